"""What the topics say of one experiment, read to their present ends: what evidence is made of.

    known = gather(kafka, pipeline, experimented, now_ms=now_ms)
    evidence = latest_look(kafka, pipeline, experimented, now_ms=now_ms)

Memory is bounded: events and outcomes are held as columns (`enrichment.rollout.join`), jobs as a
few figures, and of micro-batches a few problems. Nothing is written.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE

from enrichment.pipelines import Pipeline
from enrichment.records import Case, Experiment, MicroBatch, Outcome
from enrichment.rollout.answered import reader_of
from enrichment.rollout.evidence import Evidence, Figure
from enrichment.rollout.join import Experimented, Join, Rows, TooManyError
from enrichment.rollout.looks import level_of, reached_ms
from enrichment.rollout.repeats import Chosen, Sampler, repeat_deviation
from enrichment.rollout.resample import RESAMPLES
from enrichment.rollout.sampled import JOBS_MAX, Ended, Ending, ended
from enrichment.rollout.weigh import Known, Moment, weigh
from enrichment.stream.cases import read_cases
from enrichment.stream.framing import unframed
from enrichment.stream.to_end import scan_to_end, since
from enrichment.stream.topics import CASES, JOB_EVENTS, MICRO_BATCHES, StreamTopics

READ_S: Final = 30.0
"""Without a record for so long, the broker does not answer."""

WAITED_MS: Final = 3_600_000
"""An answer bears its input's timestamp: of what had waited for up to an hour when the experiment
began, what was answered within it is still found."""

SETTLED_MS: Final = 10_000
"""A look is taken only so long after it was reached: a transaction or a producer's batch that was
open then is readable by now, and the look will not change any more."""

REPORT_EVERY: Final = 2_000

Progress = Callable[[float], None]
T = TypeVar("T")


class GatherError(ValueError):
    """An experiment that cannot be read, said in one line that tells what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """One experiment as the topics know it now, and when its looks were reached."""

    pipeline: Pipeline
    known: Known
    now_ms: int
    # When each look was reached, as far as they have been and have settled.
    reached_ms: tuple[int, ...]
    # As of when -> the problems that are sampled again.
    chosen: Mapping[int, Chosen] = field(default_factory=dict)
    # Records that cannot be decoded, and are in no figure; the first one's place, and why.
    unreadable: int = 0
    first_unreadable: str = ""
    resamples: int = RESAMPLES

    def at(self, look: int, sampler: Sampler | None = None) -> Evidence:
        """The evidence of a look that was reached, from 1; of now where it is 0."""
        until_ms = self.now_ms if look == 0 else self.reached_ms[look - 1]
        repeats = Figure(value=None)
        if sampler is not None and until_ms in self.chosen:
            problems = self.chosen[until_ms].problems()
            level = level_of(self.pipeline.rollout.gate)
            repeats = repeat_deviation(problems, sampler, level=level)
        moment = Moment(until_ms=until_ms, look=look, resamples=self.resamples)
        return weigh(self.pipeline, self.known, moment, repeats)


def experimented(experiment: Experiment) -> Experimented:
    """Which records are of an experiment that `enrichment.control` names."""
    return Experimented(
        since_ms=experiment.started_ms,
        pipeline_version=experiment.pipeline_version,
        score_version=experiment.score_version,
        experiment_id=experiment.experiment_id,
    )


def latest_look(
    kafka: Mapping[str, Any],
    pipeline: Pipeline,
    of: Experimented,
    *,
    now_ms: int,
    sampler: Sampler | None = None,
) -> Evidence | None:
    """The evidence of the last look that was reached, or None where none has been yet.

    Raises GatherError, KafkaException, TimeoutError.
    """
    gathered = gather(kafka, pipeline, of, now_ms=now_ms)
    look = len(gathered.reached_ms)
    return gathered.at(look, sampler) if look else None


def gather(
    kafka: Mapping[str, Any],
    pipeline: Pipeline,
    of: Experimented,
    *,
    now_ms: int,
    on_progress: Progress = lambda _: None,
) -> Gathered:
    """Everything of the experiment up to now; `on_progress` gets the share that was read.

    Raises GatherError, KafkaException, TimeoutError.
    """
    reading = _Reading(kafka, pipeline.name, of.since_ms - WAITED_MS, on_progress)
    rows = _joined(reading, pipeline, of)
    gate = pipeline.rollout.gate
    reached = [
        at_ms
        for at_ms in reached_ms(rows, gate.looks, gate.matured_ms)
        if at_ms <= now_ms - SETTLED_MS
    ]
    jobs = _jobs(reading, of)
    closed_ms, chosen = _closes(reading, of.since_ms, [*reached, now_ms])
    known = Known(
        of=of,
        rows=rows,
        jobs=jobs,
        cases=_cases(kafka, pipeline.name) if CASES in reading.topics else (),
        closed_ms=closed_ms,
    )
    return Gathered(
        pipeline=pipeline,
        known=known,
        now_ms=now_ms,
        reached_ms=tuple(reached),
        chosen=chosen,
        unreadable=reading.unreadable,
        first_unreadable=reading.first_unreadable,
    )


class _Reading:
    """The topics of one pipeline from some time on, one after the other."""

    def __init__(
        self, kafka: Mapping[str, Any], stream: str, from_ms: int, on_progress: Progress
    ) -> None:
        """Ask where everything begins, and how much it is."""
        self.names = StreamTopics(stream)
        self.prefix = f"{stream}|".encode()
        self._kafka = kafka
        wanted = (self.names.enriched, self.names.outcomes, JOB_EVENTS, MICRO_BATCHES)
        self._starts, self._total = since(kafka, wanted, from_ms)
        cases, _ = since(kafka, (CASES,), 0)
        self.topics = {start.topic for start in (*self._starts, *cases)}
        self.unreadable = 0
        self.first_unreadable = ""
        self._done = 0
        self._on_progress = on_progress

    def records(
        self, topic: str, decode: Callable[[bytes, int], T], prefix: bytes = b""
    ) -> Iterator[T]:
        """Each record of the pipeline, decoded from its value and timestamp (0: it has none).

        One that cannot be read is counted and passed over: outcomes come from anybody.
        """
        starts = [start for start in self._starts if start.topic == topic]
        for message in scan_to_end(self._kafka, starts, READ_S) if starts else ():
            self._done += 1
            if self._done % REPORT_EVERY == 0:
                self._on_progress(min(1.0, self._done / max(1, self._total)))
            value = message.value()
            if value is None or not (message.key() or b"").startswith(prefix):
                continue
            kind, at_ms = message.timestamp()
            try:
                record = decode(unframed(value), 0 if kind == TIMESTAMP_NOT_AVAILABLE else at_ms)
            except msgspec.DecodeError as error:
                place = f"{topic}/{message.partition()}/{message.offset()}"
                self.first_unreadable = self.first_unreadable or f"{place}: {error}"
                self.unreadable += 1
                continue
            yield record


def _joined(reading: _Reading, pipeline: Pipeline, of: Experimented) -> Rows:
    """Answers and outcomes, joined."""
    join, decode = Join(pipeline, of), msgspec.json.Decoder(Outcome).decode
    try:
        for answered in reading.records(reading.names.enriched, reader_of(pipeline)):
            join.answer(answered)
        said = reading.records(reading.names.outcomes, lambda value, at_ms: (decode(value), at_ms))
        for outcome, at_ms in said:
            join.outcome(outcome, at_ms)
    except TooManyError as error:
        raise GatherError(str(error)) from error
    return join.rows()


def _jobs(reading: _Reading, of: Experimented) -> Sequence[Ended]:
    """The ends of the pipeline's jobs within the experiment."""
    found: list[Ended] = []
    decode = msgspec.json.Decoder(Ending).decode
    for ending in reading.records(JOB_EVENTS, lambda value, _: decode(value), reading.prefix):
        other = of.experiment_id and ending.experiment_id not in {"", of.experiment_id}
        if other or ending.at_ms < of.since_ms:
            continue
        if (job := ended(ending, of.pipeline_version)) is not None:
            found.append(job)
        if len(found) > JOBS_MAX:
            raise GatherError(f"more than {JOBS_MAX:,} jobs: begin another experiment")
    return found


def _closes(
    reading: _Reading, since_ms: int, untils_ms: Sequence[int]
) -> tuple[dict[str, int], dict[int, Chosen]]:
    """Job -> when its window was closed; as of when -> the problems that are sampled again."""
    closed_ms: dict[str, int] = {}
    chosen = {until_ms: Chosen() for until_ms in untils_ms}
    decode = msgspec.json.Decoder(MicroBatch).decode
    for batch in reading.records(MICRO_BATCHES, lambda value, _: decode(value), reading.prefix):
        if batch.closed_at_ms < since_ms or not batch.problems:
            continue
        if len(closed_ms) < JOBS_MAX:
            closed_ms[batch.micro_batch_id] = batch.closed_at_ms
        for until_ms, some in chosen.items():
            if batch.closed_at_ms <= until_ms:
                some.take(batch)
    return closed_ms, chosen


def _cases(kafka: Mapping[str, Any], pipeline: str) -> Sequence[Case]:
    """The cases of now, in order of their ids."""
    return [case for _, case in sorted(read_cases(dict(kafka), pipeline).items())]
