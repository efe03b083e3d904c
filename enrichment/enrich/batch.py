"""One batch: records in, enriched events, dead letters and digests out. No Kafka in it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from enrichment.enrich.decode import Decoder, Events, Invalid
from enrichment.enrich.digest import DigestBuilder
from enrichment.enrich.features import FeaturePlan
from enrichment.enrich.known import KnownFeatures
from enrichment.enrich.lookup import Lookup
from enrichment.enrich.score import Scorer
from enrichment.enrich.write import AnswerWriter
from enrichment.pipelines import Pipeline
from enrichment.records import DeadLetter, DeadLetterReason, Digest
from enrichment.rollout.control import ControlState
from enrichment.stream.envelope import Envelope
from enrichment.stream.headers import Headers, cloud_event

OUTPUT_BYTES_MAX: Final = 950_000  # below Kafka's default message limit of 1 MiB, headers included


class Record(msgspec.Struct, frozen=True, gc=False):
    """One input record, as far as the hot path looks at it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    # Without what surrounds it, if anything does.
    value: bytes | None
    # When it was published, in milliseconds; its answer bears the same.
    timestamp_ms: int = 0
    # What surrounds it; None for a record without headers.
    envelope: Envelope | None = None


class Output(msgspec.Struct, frozen=True, gc=False):
    """One record to produce."""

    key: str
    value: bytes
    headers: Headers
    # The record's timestamp; 0 is the time of producing.
    timestamp_ms: int = 0


@dataclass(slots=True)
class Outputs:
    """What one batch leads to."""

    enriched: list[Output] = field(default_factory=list)
    dead_letters: list[Output] = field(default_factory=list)
    digests: list[Digest] = field(default_factory=list)
    progress: list[tuple[Digest, bool]] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)


class Enricher:
    """The work of the hot path on one pipeline's records."""

    def __init__(
        self,
        pipeline: Pipeline,
        lookup: Lookup,
        now_ms: Callable[[], int],
        *,
        pseudonym: Callable[[str], str] | None = None,
        control: Callable[[], ControlState] | None = None,
    ) -> None:
        """`control` tells what is in force; without one nothing ever is."""
        self._pipeline = pipeline
        self._now_ms = now_ms
        self._pseudonym = pseudonym if pipeline.stream.sensitive else None
        nothing = ControlState(pipeline=pipeline.name)
        self._decoder = Decoder(pipeline, pseudonym)
        self._scorer = Scorer(pipeline)
        self._known = KnownFeatures(
            FeaturePlan(pipeline), self._scorer, lookup, now_ms, control or (lambda: nothing)
        )
        self._writer = AnswerWriter(pipeline)
        self._digests = DigestBuilder(pipeline)
        self._encode = msgspec.json.Encoder().encode
        self._source = f"/enrichment/{pipeline.name}"
        # A source may say that the window of the latest possible event is complete, and no more:
        # else one stray record would close every window to come.
        self._ahead_ms = pipeline.limits.future_ms + pipeline.window.size_ms

    def process(self, records: Sequence[Record]) -> Outputs:
        """Answer every record. The batch has one decision time, read after its features."""
        outputs = Outputs()
        now_ms = self._now_ms()
        if any([record.envelope for record in records]):
            records = self._opened(records, outputs, now_ms)
        events, invalid = self._decoder.decode([each.value for each in records], now_ms=now_ms)
        for row, why in invalid.items():
            outputs.dead_letters.append(self._dead_letter(records[row], why, now_ms))
        if len(events):
            read = [records[row] for row in events.rows] if invalid else records
            self._answer(read, events, outputs)
        outputs.progress.extend(self._digests.progress())
        return outputs

    def forget(self) -> None:
        """Drop what an aborted transaction had counted."""
        self._digests.forget()

    def _opened(
        self, records: Sequence[Record], outputs: Outputs, now_ms: int
    ) -> list[Record]:
        """The records that are to be decoded: not what a source states, nor what cannot be opened."""
        events = []
        for record in records:
            envelope = record.envelope
            why: Invalid | None = None
            if envelope is None:
                pass
            elif envelope.problem is not None:
                why = Invalid(DeadLetterReason.INVALID_FIELD, envelope.problem)
            elif (progress_ms := envelope.progress_ms) is not None:
                if progress_ms <= now_ms + self._ahead_ms:
                    self._digests.add_progress(record.partition, record.offset, progress_ms)
                    continue
                detail = f"progress to {progress_ms}, in the future"
                why = Invalid(DeadLetterReason.ABSURD_TIME, detail)
            if why is None:
                events.append(record)
            else:
                outputs.dead_letters.append(self._dead_letter(record, why, now_ms))
        return events

    def _answer(self, records: Sequence[Record], events: Events, outputs: Outputs) -> None:
        """Score the events; one that would not fit once enriched is a dead letter instead."""
        decided_at_ms, views = self._known.views(events)
        too_large: dict[int, Invalid] = {}
        verdicts = []
        scorer, write, headers = self._scorer, self._write, self._headers
        rows = zip(records, events.ids, events.occurred_at_ms, events.payloads, strict=True)
        own = scorer.of_events(events.numbers, len(events))
        for index, (record, id_, at_ms, payload) in enumerate(rows):
            mine = views[index]
            scored = scorer.scored(*own[index], mine)
            verdict, name = verdict_of(mine)
            correlation_id = ""
            marks = headers(id_, at_ms)
            if record.envelope is not None:
                carried = record.envelope.carried(self._pseudonym)
                correlation_id = (header(carried, CORRELATION) or b"").decode()
                marks += carried
            origin = Origin(record.topic, record.partition, record.offset)
            value = write(
                id_, origin, at_ms, decided_at_ms, payload, verdict, scored, mine, correlation_id
            )
            if len(value) > OUTPUT_BYTES_MAX:
                detail = f"{len(value)} bytes once enriched, the limit is {OUTPUT_BYTES_MAX}"
                too_large[index] = Invalid(DeadLetterReason.TOO_LARGE, detail)
                continue
            outputs.enriched.append(Output(events.keys[index], value, marks, record.timestamp_ms))
            verdicts.append(name)
            if scored.decision is Decision.REVIEW:
                outputs.reviews.append(self._review(value, events, index, marks, record))
