"""Jobs as the topics hold them when they have ended, done in this process."""

from typing import Any

import msgspec

from enrichment.pipelines import Pipeline, load
from enrichment.provider.contract import Description, Result
from enrichment.provider.jobs import Done
from enrichment.provider.local import solve, work_of
from enrichment.records import Job, JobEvent, JobState, MicroBatch
from enrichment.sample.again import Again, Recorded, as_it_was, compared, requests_again
from enrichment.sample.estimate import answers_of, seed_of
from enrichment.sample.flight import requests_of
from enrichment.sample.publish import Answer, publication
from tests.sample.streams import batch, problem

DONE_MS = 1_700_000_100_000


def pipeline_of(**sampling: Any) -> Pipeline:
    """The payments pipeline with fewer shots, and with other sampling where given."""
    pipeline = load("payments")
    changed = msgspec.structs.replace(pipeline.sampling, **{"shots": 200, **sampling})
    return msgspec.structs.replace(pipeline, sampling=changed)


def described(**changes: Any) -> Description:
    """What a provider says of itself, with changes."""
    told: dict[str, Any] = {
        "name": "qsim",
        "qubits_max": 20,
        "gate_set": (),
        "calibration_id": "",
        "calibration_time_ms": 0,
        "queue_s": 0.0,
        "price_per_shot": 0.0,
        "idempotent_submission": True,
        "sdk_versions": {"qsimcirq": "1"},
        "conditions": {"machine": "x86_64 avx2"},
    }
    return Description(**{**told, **changes})


def three_problems() -> MicroBatch:
    """A micro-batch of three problems, the second the largest, the third with a known-bad node."""
    third = msgspec.structs.replace(problem(2, seed=5), known_bad=(1,))
    return batch(1, (problem(0), problem(1, size=9, ring=6, seed=3), third))


def recorded_of(provider: str = "qsim", pipeline: Pipeline | None = None, **event: Any) -> Recorded:
    """A job of three problems that has ended, with fields of its last event changed."""
    pipeline = pipeline or pipeline_of(provider=provider)
    work = three_problems()
    job = Job(
        job_id=work.micro_batch_id,
        pipeline=work.pipeline,
        shard=work.shard,
        micro_batch_id=work.micro_batch_id,
        state=JobState.SUCCEEDED,
        attempt=1,
        created_ms=DONE_MS - 50,
        updated_ms=DONE_MS,
        deadline_ms=DONE_MS + 1_000,
        provider=provider,
        problems=len(work.problems),
        shots=pipeline.sampling.shots,
        seed=seed_of(work.micro_batch_id),
        content_hash=work.content_hash,
    )
    (request,) = requests_of(job, work, pipeline, DONE_MS + 1_000)
    result = solved(request, provider)
    made = publication(
        pipeline,
        job,
        work,
        Answer(
            result=result,
            answers=answers_of(result),
            submitted_ms=DONE_MS - 40,
            received_ms=DONE_MS - 1,
            sdk_versions=described().sdk_versions,
            conditions=described().conditions,
        ),
        now_ms=DONE_MS,
    )
    last = JobEvent(
        job_id=job.job_id,
        pipeline=job.pipeline,
        shard=job.shard,
        attempt=1,
        at_ms=DONE_MS,
        event="SamplesReceived",
        state_before=JobState.EXECUTING,
        state_after=JobState.SUCCEEDED,
        provider=provider,
        **{**made.event, **event},
    )
    first = JobEvent(
        job_id=job.job_id,
        pipeline=job.pipeline,
        shard=job.shard,
        attempt=1,
        at_ms=DONE_MS - 50,
        event="MicroBatchClaimed",
        state_before=JobState.PENDING,
        state_after=JobState.PENDING,
    )
    return Recorded(job=job, events=(first, last), batch=work, features=made.features)


def solved(request: Any, sampler: str) -> Result:
    """A request's result, drawn in this process."""
    done = solve(work_of(request, sampler, float("inf")))
    assert isinstance(done, Done), done
    return Result(
        job_id=request.job_id,
        provider=sampler,
        provider_job_id=request.job_id,
        sets=done.sets,
        twins=done.twins,
    )


def drawn_again(recorded: Recorded, pipeline: Pipeline | None = None, **changes: Any) -> Again:
    """The job drawn again in this process, under a description with changes."""
    then = as_it_was(recorded, pipeline or pipeline_of())
    (request,) = requests_again(recorded, then, DONE_MS + 10_000)
    result = solved(request, recorded.job.provider)
    return compared(recorded, then, result, described(**changes))
