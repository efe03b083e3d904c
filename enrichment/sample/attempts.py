"""One job's attempts at providers: submitted, heard out, given up, and what each failure leads to.

An attempt is in the ledger before it is submitted. And one thing is never done: what a provider may
have accepted is submitted again only where that attaches (`Description.idempotent_submission`).
Elsewhere the fallback is next.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from enrichment.provider.contract import Failure, FailureKind, Result, Running
from enrichment.records.job import Job, JobState
from enrichment.sample import events
from enrichment.sample.budget import Budget, micro_up
from enrichment.sample.chain import Chain
from enrichment.sample.choice import CHECK_MS, Choice
from enrichment.sample.estimate import answers_of
from enrichment.sample.fault import fault_of
from enrichment.sample.flight import Flight
from enrichment.sample.publish import Answer
from enrichment.sample.quarantine import hopeless, worn_out
from enrichment.sample.retry import REPEATABLE, Draw, backoff_ms, retry_at_ms, waited
from enrichment.sample.sending import NotSent, NotTaken, Sending, Waiting
from enrichment.sample.shelf import OpenJob, Shelf
from enrichment.sample.terms import Terms, settled
from enrichment.sample.transitions import FALLBACK_MS, Transitions
from enrichment.telemetry import metrics
from enrichment.telemetry.log import logger


class Attempts:
    """What moves an open job: news from its provider and the time, through the machine."""

    def __init__(
        self,
        choice: Choice,
        chain: Chain,
        budget: Budget,
        shelves: Mapping[int, Shelf],
        *,
        now_ms: Callable[[], int],
        draw: Draw,
    ) -> None:
        """Write to the outboxes of `shelves`, which are the worker's, by partition."""
        self._chain = chain
        self._now_ms = now_ms
        self._draw = draw
        pipeline = choice.pipeline
        self._terms = Terms(pipeline, chain, budget)
        self._sending = Sending(pipeline, chain, self._terms)
        self._transitions = Transitions(choice, chain, self._terms, shelves, now_ms)
        self._longest_ms = pipeline.sampling.deadline_ms + FALLBACK_MS

    def claimed(self, job: Job) -> Job:
        """A new job with the terms of its first attempt."""
        left_ms = job.deadline_ms - job.created_ms
        return self._terms.applied(job, left_ms=left_ms, now_ms=job.created_ms)

    def resume(self, opened: OpenJob, now_ms: int) -> None:
        """Go on with a job that another worker, or an earlier start, has left unfinished.

        That it was taken up is in the ledger before anything is submitted again: a job that ends
        every worker is known by it.
        """
        job = opened.job
        opened.deadline_ms = self._transitions.deadline_of(job)
        opened.left, opened.adopted = False, True
        if worn_out(job):
            detail = f"found unfinished {job.adoptions} times, last as {job.state.value}"
            self._transitions.apply(
                opened, events.Quarantined(attempt=job.attempt, at_ms=now_ms, detail=detail)
            )
            return
        opened.recorded_attempt = job.attempt - 1
        objection = self._chain.objection(job.provider)
        if not objection:
            opened.job = self._terms.charged(job, now_ms)
        self._transitions.apply(opened, events.JobAdopted(attempt=job.attempt, at_ms=now_ms))
        if objection:  # the former owner could ask it, and this process cannot
            self._give_up(opened, f"{job.provider}: {objection}", now_ms)
        else:
            self._leave_in_doubt(opened, now_ms)

    def steer(self, opened: OpenJob, event: events.Event, extra: Mapping[str, Any]) -> None:
        """Let an operator's order happen to a job; `extra` are fields of its job event."""
        self._transitions.apply(opened, event, extra)

    def look_after(self, opened: OpenJob, now_ms: int, *, used: Counter[str]) -> None:
        """Do what is due for one open job; `used` counts the requests at each provider."""
        self._hear_out(opened, now_ms)
        flight = opened.flight
        if flight is not None and flight.due(now_ms) and self._poll(opened, flight, now_ms):
            return
        # No deadline is further away, but by a clock that was set back.
        longest_ms = max(self._longest_ms, CHECK_MS if opened.job.check_of else 0)
        opened.deadline_ms = min(opened.deadline_ms, now_ms + longest_ms)
        if now_ms >= opened.deadline_ms:
            self._out_of_time(opened, now_ms)
        elif opened.due_ms is not None and waited(opened.due_ms, now_ms):
            opened.due_ms = None
            self._transitions.apply(
                opened, events.AttemptDue(attempt=opened.job.attempt, at_ms=now_ms)
            )
        elif opened.may_be_submitted(now_ms):
            self._send(opened, now_ms, used)

    def finish(self, opened: OpenJob) -> None:
        """It is the job's turn: say that its samples are here."""
        fallback = self._chain.is_fallback(opened.job)
        kind = events.FallbackReceived if fallback else events.SamplesReceived
        self._transitions.apply(opened, kind(attempt=opened.job.attempt, at_ms=self._now_ms()))

    def cancel(self, provider: str, request_id: str) -> None:
        """Give a request up; where that cannot be done, it is said."""
        refused = self._chain.provider(provider).cancel(request_id)
        if refused is not None:
            logger().info("not cancelled", request_id=request_id, detail=refused.detail)

    def committed(self, job: Job) -> None:
        """The ledger has this entry."""
        self._terms.committed(job)

    def _hear_out(self, opened: OpenJob, now_ms: int) -> None:
        """Ask after abandoned attempts: their answers are late news, counted by the machine."""
        for number, flight in opened.abandoned:
            if flight.ended or not flight.due(now_ms):
                continue
            news = flight.poll(self._chain.provider(flight.provider), now_ms)
            if isinstance(news, Result):
                opened.job = settled(opened.job, number, micro_up(news.cost))
                self._transitions.apply(
                    opened, events.SamplesReceived(attempt=number, at_ms=now_ms)
                )

    def _send(self, opened: OpenJob, now_ms: int, used: Counter[str]) -> None:
        """Send the present attempt, or do what follows from its not being sent."""
        sent = self._sending.send(opened, now_ms, used)
        match sent:
            case Waiting():
                return
            case NotSent():
                self._give_up(opened, sent.detail, now_ms)
                return
            case NotTaken() | Flight():
                opened.submit, opened.resting = False, None
        if isinstance(sent, NotTaken):
            self._failed(opened, sent.flight, sent.failure, now_ms)
            return
        job, opened.flight = opened.job, sent
        ids = ",".join(sent.provider_job_ids)
        self._transitions.apply(
            opened,
            events.ProviderAccepted(attempt=job.attempt, at_ms=now_ms, provider_job_id=ids),
        )

    def _poll(self, opened: OpenJob, flight: Flight, now_ms: int) -> bool:
        """Ask how the attempt stands; whether it has come to an end, good or bad."""
        provider = self._chain.provider(flight.provider)
        news = flight.poll(provider, now_ms)
        job = opened.job
        if isinstance(news, Failure):
            self._failed(opened, flight, news, now_ms)
        elif isinstance(news, Running):
            if job.state is JobState.SUBMITTED and news.queue_s == 0.0:
                started = events.ProviderStarted(attempt=job.attempt, at_ms=now_ms)
                self._transitions.apply(opened, started)
            return False
        else:
            self._answered(opened, flight, news, now_ms)
        return True

    def _answered(self, opened: OpenJob, flight: Flight, result: Result, now_ms: int) -> None:
        """Check the answer; it is published when it is the job's turn."""
        opened.job = settled(opened.job, opened.job.attempt, micro_up(result.cost))
        answers = answers_of(result)
        fault = fault_of(opened.batch.problems, answers, flight.shots)
        if fault:
            failure = Failure(kind=FailureKind.ALGORITHM, detail=fault)
            self._failed(opened, flight, failure, now_ms)
            return
        opened.flight = None
        run = sum(drawn.kept is None for drawn in result.sets)
        if run:  # what was kept says nothing of how the provider does now
            self._chain.answered(
                flight.provider,
                units=flight.shots * run,
                execution_ms=result.execution_ms,
                now_ms=now_ms,
            )
        if not opened.job.check_of:  # a device's widths are no measure for others' shots
            self._terms.seen(answers, flight.shots)
        described = self._chain.described(flight.provider)
        opened.answer = Answer(
            result=result,
            answers=answers,
            submitted_ms=flight.submitted_ms,
            received_ms=now_ms,
            sdk_versions=described.sdk_versions,
            conditions=described.conditions,
        )

    def _failed(self, opened: OpenJob, flight: Flight, failure: Failure, now_ms: int) -> None:
        """Try again, or go on to the chain's next, by the kind of failure.

        Where others of the attempt's requests were accepted beside the one that failed, a new
        attempt would be a second job beside theirs: they are attached to under the same ids, and
        where ids do not attach they are cancelled, and there is no other attempt.
        """
        passing = failure.kind in REPEATABLE
        others = flight.others
        if others and passing and self._chain.attaches(flight.provider):
            opened.adopted = True
        if others and not (opened.adopted and passing):
            flight.cancel(self._chain.provider(flight.provider))
        if not (opened.adopted and passing):
            # An accepted job never has a failure that may pass (`provider/remote.py`).
            never_taken = passing and not others
            opened.job = settled(opened.job, opened.job.attempt, 0 if never_taken else None)
        opened.failures[opened.job.provider] = failure.kind
        if now_ms >= opened.deadline_ms:
            self._out_of_time(opened, now_ms)
            return
        job, opened.flight = opened.job, None
        self._chain.failed(job.provider, failure.kind, now_ms)
        metrics.attempts_failed.add(1, {"provider": job.provider, "kind": failure.kind.value})
        detail = f"{job.provider}: {failure.kind.value}: {failure.detail}"
        logger().warning("attempt failed", job_id=job.job_id, attempt=job.attempt, detail=detail)
        due_ms = retry_at_ms(
            failure.kind,
            attempt=opened.tries,
            now_ms=now_ms,
            deadline_ms=opened.deadline_ms,
            draw=self._draw,
        )
        if opened.adopted and passing:
            # Under a new id it might be a second job beside one that is there already.
            opened.submit, opened.resting = True, flight
            opened.not_before_ms = now_ms + backoff_ms(opened.tries, self._draw)
            opened.tries += 1
            return
        if due_ms is None or others:
            self._give_up(opened, detail, now_ms)
            return
        opened.tries += 1
        self._transitions.apply(
            opened,
            events.AttemptFailed(attempt=job.attempt, at_ms=now_ms, due_ms=due_ms, detail=detail),
        )

    def _out_of_time(self, opened: OpenJob, now_ms: int) -> None:
        """The present provider's time is over."""
        job = opened.job
        if opened.flight is not None:
            self._chain.overdue(job.provider, now_ms)
        following = self._chain.following(job)
        if following is None or self._chain.is_fallback(job):
            if opened.flight is not None:
                opened.abandoned.append((job.attempt, opened.flight))
                opened.flight = None
            self._give_up(opened, f"{job.provider}: out of time", now_ms)
            return
        self._transitions.apply(
            opened,
            events.DeadlinePassed(attempt=job.attempt, at_ms=now_ms, next_provider=following),
        )

    def _give_up(self, opened: OpenJob, detail: str, now_ms: int) -> None:
        """No more of the present provider: the chain's next, or the end."""
        job = opened.job
        following = self._chain.following(job)
        event: events.Event
        # What one provider cannot check is no reason to set anything aside.
        ended = following is None and not job.check_of
        if ended and hopeless(self._chain.names(job), opened.failures):
            detail = f"{detail}; as lastingly at each provider"
            event = events.Quarantined(attempt=job.attempt, at_ms=now_ms, detail=detail)
        elif following is None:
            event = events.ChainExhausted(attempt=job.attempt, at_ms=now_ms, detail=detail)
        else:
            event = events.ProviderGivenUp(
                attempt=job.attempt, at_ms=now_ms, next_provider=following, detail=detail
            )
        self._transitions.apply(opened, event)

    def _leave_in_doubt(self, opened: OpenJob, now_ms: int) -> None:
        """Go on to the chain's next where a second submission would be a second job.

        The attempt is in the ledger before it is submitted, so whoever takes it over cannot tell
        whether it was: that is harmless only where the provider knows the attempt by our id.
        """
        provider = opened.job.provider
        if self._chain.attaches(provider):
            return
        kind = FailureKind.UNKNOWN.value
        detail = f"{provider}: {kind}: it may have been submitted by the former owner"
        logger().warning("left in doubt", job_id=opened.job.job_id, detail=detail)
        self._give_up(opened, detail, now_ms)
