"""What the gate demands to see done again: records scored, energies computed, jobs run.

Everything is bounded: a sample of the records, some of the jobs, so many events of a canary.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from confluent_kafka import Message

from enrichment.pipelines.definition import CLASSICAL_PROVIDERS, RANDOM_PROVIDER
from enrichment.problem import KINDS
from enrichment.records import Experiment, Outcome, Path
from enrichment.records.job import Job, JobState
from enrichment.records.micro_batch import MicroBatch
from enrichment.sample.estimate import Answers
from enrichment.sample.flight import flags_of
from enrichment.stream.framing import unframed

RESCORED_MAX: Final = 200
"""Records scored again, drawn from all of the experiment: of a table that gets one record in 50
wrong, one in 60 such samples would show none."""

CANARY_EVENTS_MAX: Final = 500_000
"""Events of one canary that outcomes are looked for: 60 MB of ids. Later ones are not counted, so
that a canary can only be thought to have seen less than it has."""

ENERGY_ROUNDING: Final = 1e-9
"""Relative to the largest energy: sums of the same terms in another order."""

REPORT_EVERY: Final = 2_000


class _Head(msgspec.Struct, frozen=True):
    """What of an enriched record tells whether it is of the experiment; the rest is not parsed."""

    event_id: str
    decided_at_ms: int
    pipeline_version: str
    score_version: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Of one experiment's records: some, drawn evenly, and the events that its canary served."""

    sample: list[tuple[str, bytes]] = field(default_factory=list)
    canary: set[str] = field(default_factory=set)


def looked_through(
    messages: Iterable[Message],
    experiment: Experiment,
    canary: tuple[Path, int] | None,
    on_read: Callable[[float], None] = lambda _: None,
) -> Seen:
    """A look through the enriched topic; `canary` is the path and since when it has been one.

    The draw depends on the records and the experiment alone: asked again, the same ones are drawn.
    """
    seen, drawn, of_it = Seen(), random.Random(experiment.experiment_id), 0  # noqa: S311  # no secret
    decode = msgspec.json.Decoder(_Head).decode
    for number, message in enumerate(messages, 1):
        if number % REPORT_EVERY == 0:
            on_read(number)
        value = unframed(message.value() or b"")
        try:
            head = decode(value)
        except msgspec.DecodeError:
            # Whose record is that? It is in the sample, and will not come out the same.
            head = None
        where = f"{message.topic()}/{message.partition()}/{message.offset()}"
        if head is None or _is_of(head, experiment):
            of_it += 1
            if len(seen.sample) < RESCORED_MAX:
                seen.sample.append((where, value))
            elif (place := drawn.randrange(of_it)) < RESCORED_MAX:
                seen.sample[place] = (where, value)
        if head is not None and canary is not None and len(seen.canary) < CANARY_EVENTS_MAX:
            path, since_ms = canary
            if head.path is path and head.decided_at_ms >= since_ms:
                seen.canary.add(head.event_id)
    return seen


def _is_of(head: _Head, experiment: Experiment) -> bool:
    """Decided since it began, by its file and its table."""
    return (
        head.decided_at_ms >= experiment.started_ms
        and head.pipeline_version == experiment.pipeline_version
        and head.score_version == experiment.score_version
    )


def bad_among(events: set[str], values: Iterable[bytes]) -> int:
    """How many of the events are bad by the last word on each; values are outcomes' records."""
    decode = msgspec.json.Decoder(Outcome).decode
    last: dict[str, tuple[int, bool]] = {}
    for value in values:
        try:
            outcome = decode(value)
        except msgspec.DecodeError:
            continue  # anybody may publish there: what is no outcome says nothing
        if outcome.event_id in events:
            word = (outcome.decided_at_ms, outcome.kind.is_fraud)
            last[outcome.event_id] = max(last.get(outcome.event_id, word), word)
    return sum(bad for _, bad in last.values())


def to_run_again(
    jobs: Iterable[Job], pipeline: str, path: Path, experiment: Experiment
) -> list[Job]:
    """Jobs of the experiment whose samples the path rests on, the newest first.

    Of the quantum path those that a circuit has answered; every job's answer has the classical
    path's samples.
    """
    found = [
        job
        for job in jobs
        if job.pipeline == pipeline
        and job.state is JobState.SUCCEEDED
        and not job.check_of
        and job.problems > 0
        and job.created_ms >= experiment.started_ms
        and (
            path is Path.CLASSICAL
            or (job.provider not in CLASSICAL_PROVIDERS and job.provider != RANDOM_PROVIDER)
        )
    ]
    return sorted(found, key=lambda job: (job.created_ms, job.job_id), reverse=True)


def energies_right(batch: MicroBatch, kind: str, answers: Answers) -> tuple[int, int]:
    """Of how many sample sets the energies are right, and how many there are.

    They are computed again by the model itself, from the bits, and none may lie below the minimum
    that the exact solver has proved.
    """
    right = tried = 0
    for index, problem in enumerate(batch.problems):
        model = KINDS[kind](problem.nodes, problem.weights, flags_of(problem))
        proved = [
            found for sets in answers.values() if (found := sets[index].optimum_energy) is not None
        ]
        for sets in answers.values():
            drawn = sets[index]
            again = np.asarray(model.energies((drawn.bits, list(drawn.variables))))
            rounding = ENERGY_ROUNDING * max(1.0, float(np.abs(again).max()))
            equal = bool(np.abs(again - drawn.energies).max() <= rounding)
            above = all(float(again.min()) >= optimum - rounding for optimum in proved)
            tried += 1
            right += equal and above
    return right, tried
