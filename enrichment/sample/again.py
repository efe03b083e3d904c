"""A finished job drawn again: the same requests as then, held against what was recorded.

The samples themselves are not kept. What is kept is what they depend on (models, seeds, circuits,
shots, SDK versions, conditions) and a hash of them, so that the same samples can be had again, and
known to be the same. Where versions or conditions are others now, they may differ: by how much is
what `Compared.changed` and the details of its checks are for.

Only what is drawn on this machine, from a seed, is drawn again: another run on a device is another
experiment, and may be billed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from enrichment import __version__
from enrichment.circuit.angles import LAYERS_MAX, ising_scaled_angles
from enrichment.circuit.template import ising_circuit_hash
from enrichment.pipelines import Pipeline
from enrichment.problem import KINDS
from enrichment.problem.ising import ising
from enrichment.provider.contract import Description, Result, SampleRequest
from enrichment.records.case import Case
from enrichment.records.feature import FeatureUpdate
from enrichment.records.job import Job, JobEvent
from enrichment.records.micro_batch import MicroBatch
from enrichment.sample.estimate import answers_of
from enrichment.sample.fault import fault_of
from enrichment.sample.flight import flags_of, requests_of
from enrichment.sample.machine import TERMINAL
from enrichment.sample.publish import Answer, Publication, publication

SEEDED: Final = frozenset({"qsim", "exact", "annealing", "random", "virtual"})
"""Providers that sample on this machine, from a seed, for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """All that the topics know of one job; `batch` is None where the topic no longer has it.

    `features` are the job's own updates that are still there: the topic is compacted, and a later
    job's replace them.
    """

    job: Job
    events: tuple[JobEvent, ...]
    batch: MicroBatch | None
    features: tuple[FeatureUpdate, ...] = ()
    cases: tuple[Case, ...] = ()

    @property
    def answered(self) -> JobEvent | None:
        """The event that brought the samples, or None where none did."""
        return next((event for event in reversed(self.events) if event.seeds), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was held against the record: whether it is the same, or None: not recorded."""

    name: str
    same: bool | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A version or a condition that is not what it was: "" where there was or is none."""

    name: str
    recorded: str
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How a job drawn again compares with its record.

    `same_samples` is None where the record has no hashes to prove it by.
    """

    checks: tuple[Check, ...]
    changed: tuple[Changed, ...]

    @property
    def same_samples(self) -> bool | None:
        """Whether every problem gave the very samples that it gave then, on every path."""
        return next(check.same for check in self.checks if check.name == "samples")

    @property
    def agrees(self) -> bool:
        """Whether nothing that could be compared differs."""
        return all(check.same is not False for check in self.checks)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Again:
    """A job drawn again, and how that compares."""

    result: Result
    publication: Publication
    compared: Compared


def refusal(recorded: Recorded) -> str:
    """Why the job cannot be drawn again, or ""."""
    job = recorded.job
    if job.state not in TERMINAL:
        return f"the job is {job.state.value}: wait until it has ended"
    if recorded.answered is None:
        return f"the job has no samples: {job.detail or job.state.value}"
    if job.provider not in SEEDED:
        return (
            f"{job.provider} is not asked again: its samples do not come from a seed, and a run "
            "there may be billed"
        )
    if recorded.batch is None:
        return "its micro-batch has left sampling.micro-batches (retention.ms of that topic)"
    return ""


def options_of(recorded: Recorded) -> dict[str, float]:
    """What the job's provider is to be told to be again what it was: the virtual device's noise."""
    event = recorded.answered
    conditions = event.run.conditions if event is not None and event.run is not None else {}
    scale = conditions.get("noise_scale")
    return {} if scale is None else {"noise_scale": float(scale)}


def as_it_was(recorded: Recorded, pipeline: Pipeline) -> Pipeline:
    """The pipeline with the problem, layers and shots of the job, as far as they are recorded."""
    event = recorded.answered
    if event is None:
        return pipeline
    run, change = event.run, msgspec.structs.replace
    if run is not None:
        sampling = change(pipeline.sampling, layers=run.layers, shots=run.shots)
        problem = change(pipeline.problem, kind=run.problem_kind)
        return change(pipeline, sampling=sampling, problem=problem)
    layers = _layers_of(recorded, pipeline) or pipeline.sampling.layers
    sampling = change(pipeline.sampling, layers=layers, shots=recorded.job.shots)
    return change(pipeline, sampling=sampling)


def _layers_of(recorded: Recorded, pipeline: Pipeline) -> int:
    """The layers that give the recorded circuit of the first problem, or 0: for older records."""
    event, batch = recorded.answered, recorded.batch
    if event is None or batch is None or not event.circuit_hashes:
        return 0
    first = batch.problems[0]
    model = ising(KINDS[pipeline.problem.kind](first.nodes, first.weights, flags_of(first)))
    return next(
        (
            layers
            for layers in range(1, LAYERS_MAX + 1)
            if ising_circuit_hash(model, *ising_scaled_angles(model, layers))
            == event.circuit_hashes[0]
        ),
        0,
    )


def requests_again(recorded: Recorded, pipeline: Pipeline, deadline_ms: int) -> list[SampleRequest]:
    """The requests of the job's last attempt, with the seeds that are recorded.

    `pipeline` is that of `as_it_was`. Raises ValueError where there is a `refusal`.
    """
    why_not = refusal(recorded)
    event, batch = recorded.answered, recorded.batch
    if why_not or event is None or batch is None:
        raise ValueError(why_not)
    requests = requests_of(recorded.job, batch, pipeline, deadline_ms)
    seeds = iter(event.seeds)
    return [
        replace(
            request,
            job_id=f"again|{request.job_id}",
            seeds=tuple(seed for seed, _ in zip(seeds, request.seeds, strict=False)),
        )
        for request in requests
    ]


def compared(
    recorded: Recorded, pipeline: Pipeline, result: Result, described: Description
) -> Again:
    """The job drawn again, with what it would publish, held against what it did publish.

    `pipeline` is that of `as_it_was`. Raises ValueError where the new samples are none.
    """
    event, batch, job = recorded.answered, recorded.batch, recorded.job
    if event is None or batch is None:
        raise ValueError(refusal(recorded))
    answers = answers_of(result)
    fault = fault_of(batch.problems, answers, pipeline.sampling.shots)
    if fault:
        raise ValueError(fault)
    answer = Answer(
        result=result,
        answers=answers,
        submitted_ms=job.created_ms,
        received_ms=job.created_ms,
        sdk_versions=described.sdk_versions,
        conditions=described.conditions,
    )
    made = publication(pipeline, job, batch, answer, now_ms=event.at_ms)
    checks = (
        _equal("micro-batch", job.content_hash, batch.content_hash),
        _equal("models", event.model_hashes, tuple(problem.subgraph for problem in batch.problems)),
        _per_problem("circuits", event.circuit_hashes, made.event["circuit_hashes"]),
        _samples(event.sample_hashes, made.event["sample_hashes"]),
        _features(recorded.features, made.features),
        _differences(event.differences, made.event["differences"]),
    )
    return Again(
        result=result,
        publication=made,
        compared=Compared(checks=checks, changed=_changed(event, pipeline, described)),
    )


def _equal(name: str, then: object, now: object) -> Check:
    """Whether two hashes, or lists of them, are equal; "" and () were not recorded."""
    if not then:
        return Check(name=name, same=None, detail="not recorded")
    same = then == now
    return Check(name=name, same=same, detail="the same hash" if same else f"{then}, now {now}")


def _per_problem(name: str, then: Sequence[str], now: Sequence[str]) -> Check:
    """Whether each problem's hash is what it was."""
    if not then:
        return Check(name=name, same=None, detail="none recorded")
    equal = sum(a == b for a, b in zip(then, now, strict=False))
    same = equal == len(then) == len(now)
    return Check(name=name, same=same, detail=f"{equal} of {len(then)} hashes equal")


def _samples(then: Mapping[str, Sequence[str]], now: Mapping[str, Sequence[str]]) -> Check:
    """Whether every path's samples are what they were, problem by problem."""
    if not then:
        return Check(name="samples", same=None, detail="no hashes recorded")
    paths = [_per_problem(path, hashes, now.get(path, ())) for path, hashes in then.items()]
    return Check(
        name="samples",
        same=all(path.same is True for path in paths) and set(then) == set(now),
        detail="; ".join(f"{path.name}: {path.detail}" for path in paths),
    )


def _features(then: Sequence[FeatureUpdate], now: Sequence[FeatureUpdate]) -> Check:
    """Whether the updates that are still in the topic are, but for when, those of now."""
    if not then:
        detail = f"none of {len(now)} is left in the topic"
        return Check(name="features", same=None, detail=detail)
    ours = {(update.entity, update.id): update for update in now}
    differing, gap = 0, 0.0
    for update in then:
        other = ours.get((update.entity, update.id))
        if other is None:
            differing += 1
            continue
        timed = msgspec.structs.replace(other, computed_at_ms=update.computed_at_ms)
        if timed != update:
            differing += 1
            gap = max(gap, _membership_gap(update, other))
    equal = len(then) - differing
    detail = f"{equal} of the {len(then)} left of {len(now)} are equal in every figure"
    if differing:
        detail += f"; largest difference of a membership {gap:.4f}"
    return Check(name="features", same=not differing, detail=detail)


def _membership_gap(one: FeatureUpdate, other: FeatureUpdate) -> float:
    """The largest difference of a membership on any path."""
    return max(
        (
            abs(figures["membership"] - other.estimates[path]["membership"])
            for path, figures in one.estimates.items()
            if path in other.estimates
        ),
        default=0.0,
    )


def _differences(
    then: Mapping[str, Mapping[str, float]], now: Mapping[str, Mapping[str, float]]
) -> Check:
    """Whether the figures that compare the paths are what they were, to the last bit.

    A figure that the record is older than is no difference.
    """
    if not then:
        return Check(name="differences", same=None, detail="none recorded")
    if all(
        now.get(problem, {}).get(name) == value
        for problem, figures in then.items()
        for name, value in figures.items()
    ):
        figures = sum(len(of_problem) for of_problem in then.values())
        return Check(name="differences", same=True, detail=f"{figures} figures equal")
    gap = max(
        (
            abs(value - now[problem][name])
            for problem, figures in then.items()
            for name, value in figures.items()
            if name in now.get(problem, {})
        ),
        default=0.0,
    )
    return Check(name="differences", same=False, detail=f"they differ by up to {gap:.4f}")


def _changed(event: JobEvent, pipeline: Pipeline, described: Description) -> tuple[Changed, ...]:
    """The versions and conditions that are not what they were."""
    run = event.run
    pairs = [(event.sdk_versions, described.sdk_versions)]
    if run is not None:
        pairs.append((run.conditions, described.conditions))
        ours = {"enrichment": __version__, "pipeline": pipeline.version}
        theirs = {"enrichment": run.enrichment_version, "pipeline": run.pipeline_version}
        pairs.append((theirs, ours))
    return tuple(
        Changed(name=name, recorded=then.get(name, ""), now=now.get(name, ""))
        for then, now in pairs
        for name in sorted({*then, *now})
        if then.get(name, "") != now.get(name, "")
    )
