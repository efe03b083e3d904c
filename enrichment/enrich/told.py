"""What one batch of the hot path tells of itself: once it is committed, and at once for all of it.

Nothing is counted per event: the answers bring their counts along. A batch that is given up is told
as that and no more, since its records are read again.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from confluent_kafka import Consumer
from opentelemetry.context import Context

from enrichment.enrich.batch import Outputs, Record
from enrichment.stream import lag
from enrichment.telemetry import metrics, trace

REPORT_S: Final = 5.0
"""How often levels are told: a scrape comes no more often, and each partition is asked."""

_published_ms: Final = attrgetter("timestamp_ms")


@dataclass(slots=True, kw_only=True)
class Told:
    """One batch, from taken to committed. Times are of a clock that nobody sets, in seconds."""

    records: int
    # When its oldest record was published, 0 where that is not known, and when it was taken.
    oldest_ms: int
    taken_ms: int
    outputs: Outputs = field(default_factory=Outputs)
    # Step -> how long it took. `read` is of the cache, `hold` the wait for the batch before.
    steps_ms: dict[str, float] = field(default_factory=dict)
    _began_s: float = field(default_factory=time.perf_counter)
    _at_s: float = 0.0

    @classmethod
    def taken(cls, records: Sequence[Record], now_ms: int) -> "Told":
        """A batch that has just been taken from its topic."""
        told = cls(
            records=len(records), oldest_ms=min(map(_published_ms, records)), taken_ms=now_ms
        )
        told._at_s = told._began_s
        if told.oldest_ms > 0:
            told.steps_ms["wait"] = max(0.0, now_ms - told.oldest_ms)
        return told

    def answered(self, outputs: Outputs) -> None:
        """Its answers are made."""
        self.mark("score")
        self.outputs = outputs
        self.steps_ms["read"] = outputs.read_ms
        self.steps_ms["score"] = max(0.0, self.steps_ms["score"] - outputs.read_ms)

    def mark(self, step: str) -> None:
        """A step is done: the time since the one before was its own."""
        now_s = time.perf_counter()
        self.steps_ms[step] = (now_s - self._at_s) * 1000
        self._at_s = now_s

    def tell(self, topic: str, group: str) -> None:
        """Count it, and make its spans: it is committed."""
        took_ms = (self._at_s - self._began_s) * 1000
        outputs = self.outputs
        within = self._trace(topic, group, took_ms)
        metrics.transactions.add(1, _COMMITTED)
        metrics.batch_duration.record(took_ms, context=within)
        metrics.batch_records.record(self.records)
        if "wait" in self.steps_ms:
            metrics.latency.record(self.steps_ms["wait"] + took_ms, context=within)
        for step, step_ms in self.steps_ms.items():
            metrics.batch_step.record(step_ms, {"step": step}, within)
        for verdict, count in outputs.verdicts.items():
            metrics.events.add(count, {"verdict": verdict})
        for outcome, count in outputs.outcomes.items():
            level, decision, path = outcome.split("|")
            metrics.decisions.add(count, {"level": level, "decision": decision, "path": path})
        for reason, count in outputs.reasons.items():
            metrics.dead_letters.add(count, {"reason": reason})
        if outputs.reviews:
            metrics.reviews.add(len(outputs.reviews))

    def _trace(self, topic: str, group: str, took_ms: float) -> Context | None:
        """Its spans, and what leads to them; None where nobody follows an event of it."""
        outputs = self.outputs
        if not outputs.followed or not trace.opened():
            return None
        work = trace.Work(
            topic=topic,
            group=group,
            messages=self.records,
            start_ms=self.taken_ms,
            end_ms=self.taken_ms + took_ms,
            attributes={"enrichment.events.sampled": outputs.sampled},
            steps={name: self.steps_ms[name] for name in _STEPS if name in self.steps_ms},
        )
        return trace.tell(work, outputs.followed)


# In the order of their spans.
_STEPS: Final[tuple[str, ...]] = ("read", "score", "hold", "produce", "commit")
_COMMITTED: Final = {"outcome": "committed"}


def given_up() -> None:
    """Count a batch whose records are to be read again."""
    metrics.transactions.add(1, {"outcome": "aborted"})


class Levels:
    """What is told every few seconds: how far behind the loop is, and what is in force."""

    def __init__(self) -> None:
        self._due_s = 0.0

    def tell(self, consumer: Consumer, *, killed: bool) -> None:
        """Tell it, where it is time."""
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self._due_s = now_s + REPORT_S
        metrics.kill_switch.set(float(killed))
        lag.tell(lag.lags(consumer))
