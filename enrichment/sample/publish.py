"""What a job that has its answer makes known: features, rings, and the record of how it went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from enrichment import __version__
from enrichment.circuit.template import QAOA, QAOA_VERSION
from enrichment.pipelines import Pipeline
from enrichment.provider.contract import Result, SampleSet
from enrichment.records.enriched import Path
from enrichment.records.feature import FeatureUpdate
from enrichment.records.job import DeviceRun, Job, JobRun, KeptSamples
from enrichment.records.micro_batch import MicroBatch, Problem
from enrichment.sample.cases import Ring, ring_of
from enrichment.sample.estimate import (
    CLASSICAL,
    QUANTUM,
    Answers,
    Provenance,
    differences_of,
    features,
    memberships,
    path_of,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """A provider's checked result, by path, and when it was asked for and received."""

    result: Result
    answers: Answers
    submitted_ms: int
    received_ms: int
    sdk_versions: Mapping[str, str]
    conditions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Publication:
    """What goes out with the job's last transition; `event` holds fields of its `JobEvent`."""

    features: tuple[FeatureUpdate, ...]
    rings: tuple[Ring, ...]
    event: Mapping[str, Any]


def publication(
    pipeline: Pipeline,
    job: Job,
    batch: MicroBatch,
    answer: Answer,
    *,
    now_ms: int,
    cases_by: Path = Path.CLASSICAL,
) -> Publication:
    """All that the answer says. Cases are made by the path `cases_by`, where it has an answer.

    A spot check publishes nothing: it has its record alone.
    """
    result, answers = answer.result, answer.answers
    own = path_of(result.provider) if job.check_of else QUANTUM
    differences = differences_of(batch.problems, answers, own)
    event = {
        **_event(job, batch, answer, differences, now_ms),
        "sample_hashes": sample_hashes(answer.answers),
        "run": _run(pipeline, answer),
    }
    if job.check_of:
        return Publication(features=(), rings=(), event=event)
    origin = Provenance(
        batch=batch,
        job_id=job.job_id,
        backend=result.provider,
        calibration_id=result.calibration_id,
        computed_at_ms=now_ms,
        amount_scale=pipeline.stream.amount_scale,
        probability=pipeline.probability,
    )
    serves = cases_by.value if cases_by.value in answers else CLASSICAL
    rings = (
        ring_of(problem, memberships(index, answers), serves, pipeline.cases)
        for index, problem in enumerate(batch.problems)
    )
    return Publication(
        features=tuple(features(origin, answers, differences)),
        rings=tuple(ring for ring in rings if ring is not None),
        event=event,
    )


def _event(
    job: Job,
    batch: MicroBatch,
    answer: Answer,
    differences: Mapping[str, Mapping[str, float]],
    now_ms: int,
) -> dict[str, Any]:
    """The fields of the last job event: times in milliseconds, hashes, seeds, differences."""
    result = answer.result
    return {
        "durations_ms": {
            "validation": float(answer.submitted_ms - job.created_ms),
            "queue": result.queue_ms,
            "execution": result.execution_ms,
            "retrieval": max(
                0.0,
                answer.received_ms - answer.submitted_ms - result.queue_ms - result.execution_ms,
            ),
            # From the answer to its turn among the shard's jobs.
            "post_processing": float(now_ms - answer.received_ms),
        },
        "circuit_hashes": tuple(s.circuit_hash for s in result.sets if s.circuit_hash),
        "model_hashes": tuple(problem.subgraph for problem in batch.problems),
        "seeds": tuple(s.seed for s in result.sets),
        "sdk_versions": dict(answer.sdk_versions),
        "calibration_id": result.calibration_id,
        "differences": differences,
        "device_runs": device_runs(batch.problems, result.sets),
        "kept": kept_samples(batch.problems, result.sets),
    }


def _run(pipeline: Pipeline, answer: Answer) -> JobRun:
    """What the samples depend on beside models, seeds and SDK versions."""
    return JobRun(
        problem_kind=pipeline.problem.kind,
        template=QAOA,
        template_version=QAOA_VERSION,
        layers=pipeline.sampling.layers,
        shots=len(answer.result.sets[0].bits),
        conditions=dict(answer.conditions),
        pipeline_version=pipeline.version,
        enrichment_version=__version__,
    )


def sample_hashes(answers: Answers) -> dict[str, tuple[str, ...]]:
    """Path -> 32 hex digits for each problem that name its samples, their order included.

    Packed bits and SHA-256: 3 us for 1,000 shots of 12 variables.
    """
    return {path: tuple(_hash(answer) for answer in sets) for path, sets in answers.items()}


def _hash(answer: SampleSet) -> str:
    shots, size = answer.bits.shape
    digest = sha256(f"{shots}|{size}|".encode())
    digest.update(np.packbits(answer.bits).tobytes())
    return digest.hexdigest()[:32]


def kept_samples(problems: Sequence[Problem], sets: Sequence[SampleSet]) -> dict[str, KeptSamples]:
    """Problem id -> whose samples it was given, of the problems that nothing was run for."""
    return {
        problem.problem_id: KeptSamples(
            request_id=drawn.kept.job_id,
            provider_job_id=drawn.kept.provider_job_id,
            paid_at_ms=drawn.kept.at_ms,
            seed=drawn.kept.seed,
            calibration_id=drawn.kept.calibration_id,
        )
        for problem, drawn in zip(problems, sets, strict=True)
        if drawn.kept is not None
    }


def device_runs(problems: Sequence[Problem], sets: Sequence[SampleSet]) -> dict[str, DeviceRun]:
    """Problem id -> how its circuit was run, of the problems that ran on a device."""
    found: dict[str, DeviceRun] = {}
    for problem, drawn in zip(problems, sets, strict=True):
        run = drawn.device_run
        if run is not None:
            found[problem.problem_id] = DeviceRun(
                processor=run.processor,
                qubits=run.qubits,
                depth=run.depth,
                two_qubit_gates=run.two_qubit_gates,
                line_cost=run.line_cost,
                mean_energy_read=run.mean_energy.read,
                mean_energy=run.mean_energy.value,
                readout_corrected=run.mean_energy.applied,
                calibration_id=run.calibration_id,
            )
    return found
