"""Operators' orders, carried out: each once, in the transaction that says so in its job.

An order counts where it was given later than the newest that its job bears, and the job bears it
from then on, whether it was carried out or refused. So an order that is heard again at the next
takeover, or was published twice, does nothing; and one that was refused does not come true later,
when nobody expects it. Of two orders of one millisecond the first heard stands.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from enrichment.records.job import Job, JobEvent, JobState
from enrichment.records.order import JobOrder, OrderKind
from enrichment.sample import events, machine
from enrichment.sample.attempts import Attempts
from enrichment.sample.choice import Choice
from enrichment.sample.machine import LATE
from enrichment.sample.shelf import Shelf
from enrichment.telemetry import metrics
from enrichment.telemetry.log import logger

REFUSED: Final = "OrderRefused"
"""The event of an order that changes nothing: its detail says why."""

PUT_OFF: Final = "OrderPutOff"
"""The event of a retry that comes while the worker is full: it may be given again."""


class Orders:
    """What becomes of orders about the jobs of one worker's partitions."""

    def __init__(
        self,
        choice: Choice,
        attempts: Attempts,
        *,
        now_ms: Callable[[], int],
        full: Callable[[], bool],
    ) -> None:
        """`full` says whether the worker can take no further job."""
        self._choice = choice
        self._attempts = attempts
        self._now_ms = now_ms
        self._full = full

    def carry_out(self, shelf: Shelf, order: JobOrder, *, anew: bool) -> None:
        """Do what the order says, or say why not.

        `anew` tells that it has just come. Of what was said before a takeover the job knows whether
        it was heard, and a job that has succeeded does not care.
        """
        opened = shelf.jobs.get(order.job_id)
        job = shelf.ended.get(order.job_id) if opened is None else opened.job
        if job is None:
            self._not_there(shelf, order, anew=anew)
            return
        if order.issued_at_ms <= job.ordered_ms:
            _count(order, "repeated")
            return
        job = msgspec.structs.replace(job, ordered_ms=order.issued_at_ms, updated_ms=self._now_ms())
        event = self._event(job, order)
        objection = _objection(job, event, order) or self._unasked(event)
        if objection:
            self._leave(shelf, job, order, REFUSED, objection)
        elif order.order is OrderKind.RETRY and self._full():
            self._leave(shelf, job, order, PUT_OFF, "the worker has all the jobs it can hold")
        else:
            _count(order, "carried out")
            self._apply(shelf, job, event, order)

    def _event(self, job: Job, order: JobOrder) -> events.Event:
        """What the order is to the job's machine."""
        now_ms, said = self._now_ms(), _said(order)
        if order.order is OrderKind.CANCEL:
            return events.CancelOrdered(attempt=job.attempt, at_ms=now_ms, detail=said)
        if order.order is OrderKind.QUARANTINE or order.micro_batch is None:
            return events.Quarantined(attempt=job.attempt, at_ms=now_ms, detail=said)
        return events.RetryOrdered(
            attempt=job.attempt,
            at_ms=now_ms,
            detail=said,
            micro_batch=order.micro_batch,
            deadline_ms=now_ms + self._choice.deadline_ms(check=bool(job.check_of)),
            # A check is of the provider that it was begun with.
            provider=job.chosen if job.check_of else self._choice.provider(),
        )

    def _unasked(self, event: events.Event) -> str:
        """Why nobody can be asked for a retry here, or ""."""
        if not isinstance(event, events.RetryOrdered):
            return ""
        return self._choice.objection(event.provider)

    def _apply(self, shelf: Shelf, job: Job, event: events.Event, order: JobOrder) -> None:
        """Take the job through its machine, which has a rule for it."""
        extra = {"order_id": order.order_id}
        opened = shelf.jobs.get(job.job_id)
        if isinstance(event, events.RetryOrdered):
            published = job.published or job.state is not JobState.FAILED
            job = msgspec.structs.replace(job, published=published)
            opened = shelf.reopen(job, event.micro_batch)
            opened.deadline_ms = event.deadline_ms
        elif opened is None:
            after, _ = machine.step(job, event)
            shelf.record(job, after, type(event).__name__, extra)
            shelf.remember(after)
            return
        else:
            opened.job = job
        self._attempts.steer(opened, event, extra)

    def _leave(self, shelf: Shelf, job: Job, order: JobOrder, name: str, why: str) -> None:
        """Let the job be as it is, but for having heard the order, and say why."""
        _count(order, name)
        said = f"{_said(order)}: {why}"
        opened = shelf.jobs.get(job.job_id)
        if opened is None:
            shelf.remember(job)
        else:
            opened.job = job
        shelf.record(job, job, name, {"order_id": order.order_id, "detail": said})
        logger().warning("order not carried out", job_id=job.job_id, detail=said)

    def _not_there(self, shelf: Shelf, order: JobOrder, *, anew: bool) -> None:
        """Answer an order about a job that has succeeded, or that nobody here knows."""
        if order.job_id not in shelf.done:
            _count(order, "unknown")
            logger().warning(
                "an order names a job that is not known here",
                job_id=order.job_id,
                order_id=order.order_id,
                partition=shelf.partition,
            )
        elif anew:
            _count(order, REFUSED)
            now_ms = self._now_ms()
            shelf.outbox.events.append(
                JobEvent(
                    job_id=order.job_id,
                    pipeline=order.pipeline,
                    shard=order.shard,
                    attempt=0,  # no more is remembered of a job that has succeeded
                    at_ms=now_ms,
                    event=REFUSED,
                    state_before=JobState.SUCCEEDED,
                    state_after=JobState.SUCCEEDED,
                    detail=f"{_said(order)}: the job has succeeded",
                    order_id=order.order_id,
                )
            )
            shelf.outbox.touch(now_ms, urgent=True)


def _objection(job: Job, event: events.Event, order: JobOrder) -> str:
    """Why the order is not to be carried out, or ""."""
    if order.order is OrderKind.RETRY:
        batch = order.micro_batch
        if batch is None or (batch.micro_batch_id, batch.content_hash) != (
            job.micro_batch_id,
            job.content_hash,
        ):
            return "it does not bring the job's own micro-batch"
        if job.quarantined and not order.quarantined:
            return (
                "the job is quarantined, and the order does not say that it is meant all the same"
            )
    if (job.state, type(event)) in LATE:
        return f"the job is {job.state.value}"
    return ""


def _said(order: JobOrder) -> str:
    return f"{order.order.value} by {order.issued_by}: {order.reason}"


def _count(order: JobOrder, result: str) -> None:
    metrics.orders.add(1, {"order": order.order.value, "result": result})
