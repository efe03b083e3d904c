"""A job as the topics still have it, its history and what its answer came from."""

from collections.abc import Iterable

import msgspec

from enrichment.lineage.gone import gone
from enrichment.lineage.jobs import CHECK, SKEW_MS, history, is_job_id, ledger_entry
from enrichment.lineage.tree import JobTraced, Plain, Step
from enrichment.records import Job, JobEvent
from enrichment.sample.estimate import job_of
from enrichment.stream.slices import Reader
from enrichment.stream.topics import JOB_EVENTS, JOBS


def traced_job(reader: Reader, job_id: str, *, written_ms: int) -> JobTraced:
    """A job; `written_ms` is when what is known of it was written, where the ledger has left it."""
    if not is_job_id(job_id):
        return JobTraced(job_id=job_id, gone="no job is called that")
    job = ledger_entry(reader, job_id)
    since_ms = (job.created_ms if job is not None else written_ms) - SKEW_MS
    events = history(reader, job_id, since_ms)
    check = ledger_entry(reader, job_id + CHECK) if not job_id.endswith(CHECK) else None
    return JobTraced(
        job_id=job_id,
        gone="" if job is not None else _gone(reader),
        ledger=None if job is None else _ledger(job),
        history=tuple(_step(event) for event in events),
        history_gone="" if events else gone(reader, JOB_EVENTS),
        answer=_answer(events),
        micro_batch_id=job.micro_batch_id if job is not None else job_id.removesuffix(CHECK),
        checks=() if check is None else (check.job_id,),
        kept_of=_kept_of(events),
        check_of=job.check_of if job is not None else "",
    )


def _gone(reader: Reader) -> str:
    """Why the ledger has no entry of the job."""
    if not reader.partitions(JOBS):
        return gone(reader, JOBS)
    return "gone from the ledger: finished jobs leave it after a week, or beyond 50,000"


def _ledger(job: Job) -> Plain:
    """The ledger's entry without the payload."""
    told: Plain = msgspec.to_builtins(job)
    told.pop("micro_batch")
    return told


def _step(event: JobEvent) -> Step:
    return Step(
        at_ms=event.at_ms,
        event=event.event,
        state=event.state_after.value,
        attempt=event.attempt,
        provider=event.provider,
        detail=event.detail or event.withheld,
    )


def _answer(events: Iterable[JobEvent]) -> Plain | None:
    """What the last event with samples says of them; None where none has any."""
    answered = [event for event in events if event.seeds]
    if not answered:
        return None
    told: Plain = msgspec.to_builtins(answered[-1])
    return told


def _kept_of(events: Iterable[JobEvent]) -> tuple[str, ...]:
    """The earlier jobs whose samples this one was given."""
    given = {job_of(kept.request_id) for event in events for kept in event.kept.values()}
    return tuple(sorted(given))
