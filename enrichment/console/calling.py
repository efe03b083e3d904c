"""Endpoints for teams that call rather than stream: a micro-batch taken, and what came of a job."""

import asyncio
from typing import Final
from urllib.parse import quote

import msgspec
from confluent_kafka import KafkaException
from starlette.requests import Request
from starlette.responses import Response

from enrichment.console.calls import ACCEPTED, Call, CallError, Rules, batch_of, shard_of
from enrichment.console.desk import Calling, Desk
from enrichment.console.folds import ENDED, JobRow
from enrichment.console.limits import (
    CALL_BYTES_MAX,
    CALL_WAIT_S,
    CALLS_OPEN_MAX,
    KEY_CHARACTERS_MAX,
)
from enrichment.console.problems import Problem, json_response
from enrichment.console.reading import job_of, transitions
from enrichment.console.requests import body_of, flag_of, header_of, id_of
from enrichment.console.results import missing_of, result_of
from enrichment.console.shapes import CallTaken, JobStanding
from enrichment.feature.verdict import REBUILDING, UNAVAILABLE
from enrichment.records import JobEvent, MicroBatch

KEY: Final = "idempotency-key"
SOON_S: Final = 1.0  # a simulator takes a fraction of it


async def call(desk: Desk, request: Request) -> Response:
    """Take a micro-batch from a caller: 202 and the id of its job, once it is on its topic."""
    calling = desk.ports.calling
    if calling is None:
        raise Problem(
            409,
            f"{desk.pipeline.name} gets its micro-batches from its window stage: call a console of "
            "a pipeline with [calls] in its file",
        )
    given = await body_of(request, Call, bytes_max=CALL_BYTES_MAX)
    key = header_of(request, KEY, KEY_CHARACTERS_MAX)
    shard = calling.new_shard() if key is None else shard_of(key)
    try:
        batch = batch_of(given, Rules.of(desk.pipeline), shard, desk.clocks.now_ms())
    except CallError as error:
        raise Problem(400, str(error)) from error
    if not _is_taken(desk, batch):
        await _take(desk, calling, batch, keyed=key is not None)
    id_ = batch.micro_batch_id
    response = json_response(CallTaken(job_id=id_, state=ACCEPTED), 202)
    response.headers["location"] = f"/v1/jobs/{quote(id_, safe='')}"
    return response


async def result(desk: Desk, request: Request) -> Response:
    """What a job found, of each node and by path; 202 while it is not over."""
    row = job_of(desk, id_of(request, "id"))
    fallback = flag_of(request, "fallback")
    if row.state not in ENDED:
        return _standing(row)
    _refuse_unanswered(row, fallback=fallback)
    answered = _answered(await transitions(desk, row))
    batch = await _batch(desk, row)
    wanted = [
        (problem.entity, node, "ring") for problem in batch.problems for node in problem.nodes
    ]
    async with desk.kept.reading:  # the reader is of one thread at a time
        try:
            found = await asyncio.to_thread(desk.ports.features.read_many, wanted)
        except msgspec.DecodeError as error:
            raise Problem(502, f"the cache holds what no projector wrote: {error}") from error
    if any(one.verdict in {UNAVAILABLE, REBUILDING} for one in found):
        raise Problem(
            503, "the feature cache is away, or being rebuilt: ask again", retry_after_s=CALL_WAIT_S
        )
    told = result_of(row, answered, batch, found, desk.clocks.now_ms())
    if told is None:
        return _standing(row)
    if missing := missing_of(told):
        counts = ", ".join(f"{count} {why}" for why, count in sorted(missing.items()))
        raise Problem(
            410,
            f"none of its nodes has what it found any more ({counts}): "
            f"/v1/drawn/{quote(row.job_id, safe='')} draws the job again",
        )
    return json_response(told)


def _is_taken(desk: Desk, batch: MicroBatch) -> bool:
    """Whether the very same call was taken before. Raises Problem for another under its key."""
    id_ = batch.micro_batch_id
    row, taken = desk.known.jobs.rows.get(id_), desk.calls.get(id_)
    former = "" if taken is None else taken.batch.content_hash
    if row is not None:  # the ledger's word counts: another console may have been first
        former = row.content_hash
    if not former:
        return False
    if former != batch.content_hash:
        raise Problem(409, f"another content was sent under this {KEY}: its job is {id_}")
    if row is None and taken is not None and not taken.delivered:
        raise Problem(
            409, f"the call under this {KEY} is being taken: send it again", retry_after_s=SOON_S
        )
    return True


async def _take(desk: Desk, calling: Calling, batch: MicroBatch, *, keyed: bool) -> None:
    """Publish it and await that. Raises Problem where there is no room, or nobody can tell."""
    if not desk.known.started():
        # Another content under this key would not be told from the first.
        raise Problem(503, "the ledger is not read to its end yet", retry_after_s=SOON_S)
    if desk.calls.waiting(desk.known.jobs.rows, _is_over) >= CALLS_OPEN_MAX:
        raise Problem(
            503, f"{CALLS_OPEN_MAX} jobs are not over yet: ask again", retry_after_s=CALL_WAIT_S
        )
    taken = desk.calls.add(batch)
    try:
        await asyncio.to_thread(calling.publish, batch)
        taken.delivered = True
    except (KafkaException, TimeoutError) as error:
        again = (
            f"send it again under the same {KEY}: it is solved once"
            if keyed
            else f"sent again without {KEY} it may be solved twice: its job would be "
            f"{batch.micro_batch_id}"
        )
        said = f"not acknowledged, and perhaps taken all the same; {again}"
        raise Problem(503, said, retry_after_s=CALL_WAIT_S) from error
    finally:
        if not taken.delivered:
            desk.calls.forget(batch.micro_batch_id)


def _is_over(row: JobRow) -> bool:
    return row.state in ENDED


def _standing(row: JobRow) -> Response:
    response = json_response(JobStanding(job_id=row.job_id, state=row.state), 202)
    response.headers["retry-after"] = str(round(SOON_S))
    return response


def _refuse_unanswered(row: JobRow, *, fallback: bool) -> None:
    """Raises Problem where the job has no answer, or another provider's than was asked."""
    if row.check_of:
        raise Problem(409, f"a spot check of {row.check_of} publishes nothing")
    if row.state == "failed":
        raise Problem(409, f"it failed, and published nothing: {row.detail}")
    if not row.problems:
        raise Problem(409, "it had nothing to solve")
    if row.state == "fallback_complete" and not fallback:
        raise Problem(
            409,
            f"it fell back from {row.chosen or 'its provider'} to {row.provider} ({row.detail}): "
            "?fallback=true shows what that found",
        )


def _answered(events: list[JobEvent]) -> JobEvent:
    """The transition that bears the answer. Raises Problem where it is gone, or was withheld."""
    answered = next((event for event in reversed(events) if event.run is not None), None)
    if answered is None:
        raise Problem(410, "the record of its answer is gone from sampling.job-events")
    if answered.withheld:
        raise Problem(409, f"it has an answer that was not published: {answered.withheld}")
    return answered


async def _batch(desk: Desk, row: JobRow) -> MicroBatch:
    """The job's micro-batch, accepted here or from its topic. Raises Problem where it is gone."""
    taken = desk.calls.get(row.job_id)
    if taken is not None and taken.batch.content_hash == row.content_hash:
        return taken.batch
    async with desk.kept.histories:
        try:
            found = await asyncio.to_thread(desk.ports.micro_batch, row)
        except TimeoutError as error:
            raise Problem(504, str(error)) from error
    if found is None:
        raise Problem(410, "its micro-batch is gone from sampling.micro-batches")
    return found
