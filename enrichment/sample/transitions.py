"""Steps a job's machine, does what it instructs, and puts the transition into the outbox."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from enrichment.records.job import Job
from enrichment.rollout.assign import case_path
from enrichment.sample import events, machine
from enrichment.sample.chain import Chain
from enrichment.sample.choice import Choice
from enrichment.sample.instructions import (
    AbandonAttempt,
    CancelAbandoned,
    CountLate,
    Instruction,
    PublishFallback,
    PublishFeatures,
    Submit,
    WaitUntil,
)
from enrichment.sample.machine import TERMINAL
from enrichment.sample.publish import publication
from enrichment.sample.shelf import OpenJob, Shelf
from enrichment.sample.terms import Terms, settled
from enrichment.sample.told import Ended
from enrichment.telemetry import metrics

FALLBACK_MS: Final = 10_000
"""What a fallback may take once it is its turn: a later answer would help nobody."""

WITHHELD: Final = "a newer window of the shard had published"
"""Why an answer is recorded and not published: no feature and no case goes back."""


class Transitions:
    """What happens to open jobs, event by event; nothing of it is true before it is written."""

    def __init__(
        self,
        choice: Choice,
        chain: Chain,
        terms: Terms,
        shelves: Mapping[int, Shelf],
        now_ms: Callable[[], int],
    ) -> None:
        """Write to the outboxes of `shelves`, which are the worker's, by partition."""
        self._choice = choice
        self._chain = chain
        self._terms = terms
        self._shelves = shelves
        self._now_ms = now_ms

    def deadline_of(self, job: Job) -> int:
        """The job's own deadline, or for a fallback one from now on."""
        if self._chain.is_fallback(job):
            return max(job.deadline_ms, self._now_ms()) + FALLBACK_MS
        return job.deadline_ms

    def apply(
        self, opened: OpenJob, event: events.Event, said: Mapping[str, Any] | None = None
    ) -> None:
        """Step the machine, do what it instructs, and record the transition."""
        before = opened.job
        unsent = (opened.submit or opened.due_ms is not None) and not opened.adopted
        opened.job, told = machine.step(before, event)
        shelf = self._shelves[opened.partition]
        followed = opened.job.attempt != before.attempt
        if unsent and (followed or opened.job.state in TERMINAL):
            opened.job = settled(opened.job, before.attempt, 0)
        if followed:
            self._new_attempt(opened, event.at_ms)
        extra: Mapping[str, Any] = said or {}
        for instruction in told:
            extra = self._do(opened, shelf, instruction) or extra
        if opened.job is before:
            return
        shelf.record(before, opened.job, type(event).__name__, extra)
        if opened.job.state in TERMINAL:
            ended = Ended(
                job=opened.job,
                event=shelf.outbox.events[-1],
                traces=opened.batch.traces,
                again_ms=opened.again_ms,
            )
            shelf.outbox.ended.append(ended)
            shelf.close(opened)

    def _do(
        self, opened: OpenJob, shelf: Shelf, instruction: Instruction
    ) -> Mapping[str, Any] | None:
        """Carry out one instruction; what it adds to the job's event, if anything."""
        match instruction:
            case Submit():
                # As soon as the ledger has the attempt.
                opened.submit, opened.due_ms = True, None
            case WaitUntil():
                opened.due_ms = instruction.due_ms
            case AbandonAttempt():
                if opened.flight is not None:
                    opened.abandoned.append((instruction.attempt, opened.flight))
                    opened.flight = None
            case CancelAbandoned():
                for _, flight in opened.abandoned:
                    shelf.outbox.cancels.extend(
                        (flight.provider, id_) for id_ in flight.request_ids
                    )
            case PublishFeatures() | PublishFallback():
                return self._publish(opened, shelf)
            case CountLate():
                metrics.late_news.add(1, {"event": instruction.event})
            case _:
                raise TypeError(f"no such instruction: {instruction}")
        return None

    def _new_attempt(self, opened: OpenJob, now_ms: int) -> None:
        """Decide on the terms of an attempt before the ledger has it; whose it is may be new."""
        job = opened.job
        opened.adopted = opened.cleared = False
        if opened.resting is not None:
            opened.abandoned.append((job.attempt - 1, opened.resting))
            opened.resting = None
        opened.not_before_ms = 0
        if job.provider != opened.provider:
            opened.provider = job.provider
            opened.tries = 1
            opened.deadline_ms = self.deadline_of(job)
        left_ms = opened.deadline_ms - now_ms
        opened.job = self._terms.applied(job, left_ms=left_ms, now_ms=now_ms)

    def _publish(self, opened: OpenJob, shelf: Shelf) -> Mapping[str, Any]:
        """Put features and cases of a job that has its answer into the outbox; a check has none."""
        assert opened.answer is not None  # noqa: S101  # only _finish says that it is the turn
        pipeline, now_ms = self._choice.pipeline, self._now_ms()
        made = publication(
            pipeline,
            opened.job,
            opened.batch,
            opened.answer,
            now_ms=now_ms,
            cases_by=case_path(pipeline, self._choice.state),
        )
        if opened.job.check_of:
            return made.event
        if shelf.outdated(opened.job):
            return {**made.event, "withheld": WITHHELD}
        shelf.outbox.features.extend(made.features)
        shelf.outbox.cases.extend(shelf.cases.observe(opened.batch, opened.job.job_id, made.rings))
        return made.event
