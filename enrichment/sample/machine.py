"""A job's machine: one table from (state, event) to the next state and what is to be done.

`step(job, event) -> (job, instructions)` is pure: time and attempt come with the event. Every pair
of state and event has a rule, is late news, or is listed as impossible; a test proves it.

An attempt is one submission to one provider. Its number rises when a new one is decided on, so news
of an older attempt is told by its number: it is counted and never acted on. The fallback is nothing
special, it is a further attempt at the next provider of the chain. The states, in these words:

- pending: in the ledger, and no provider has accepted the attempt;
- submitted, executing: accepted; seen to run;
- retrying: an attempt failed, and another follows (later, or at the next provider);
- timed_out: the deadline has passed, and the next provider of the chain is at work;
- succeeded, fallback_complete, failed: terminal. The payload has left the ledger. Only an
  operator's order leads on from there: a retry brings the payload along.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from enrichment.records.job import Job, JobState
from enrichment.sample.events import (
    AttemptDue,
    AttemptFailed,
    CancelOrdered,
    ChainExhausted,
    DeadlinePassed,
    Event,
    FallbackReceived,
    JobAdopted,
    NothingToSolve,
    ProviderAccepted,
    ProviderGivenUp,
    ProviderStarted,
    Quarantined,
    RetryOrdered,
    SamplesReceived,
)
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

TERMINAL: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.FALLBACK_COMPLETE})


class InvalidTransition(Exception):  # noqa: N818  # named as h11 names its kind: what happened
    """Something happened to a job that cannot happen in its state: a bug, not an outage."""


Then = Callable[[Job, Event], Instruction]


def _submit(job: Job, _: Event) -> Instruction:
    return Submit(job_id=job.job_id, provider=job.provider, attempt=job.attempt)


def _wait(job: Job, event: Event) -> Instruction:
    assert isinstance(event, AttemptFailed)  # noqa: S101  # the table says so
    return WaitUntil(job_id=job.job_id, attempt=job.attempt, due_ms=event.due_ms)


def _publish(job: Job, _: Event) -> Instruction:
    return PublishFeatures(job_id=job.job_id)


def _publish_fallback(job: Job, _: Event) -> Instruction:
    return PublishFallback(job_id=job.job_id)


def _cancel(job: Job, _: Event) -> Instruction:
    return CancelAbandoned(job_id=job.job_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The state that follows, what is to be done, and whether that is a new attempt."""

    after: JobState
    then: tuple[Then, ...] = ()
    new_attempt: bool = False
    abandon: bool = False


P, S, E, R, T = (
    JobState.PENDING,
    JobState.SUBMITTED,
    JobState.EXECUTING,
    JobState.RETRYING,
    JobState.TIMED_OUT,
)
OPEN: Final = (P, S, E, R, T)

_retry: Final = Rule(after=R, then=(_wait,), new_attempt=True)
_give_up: Final = Rule(after=R, then=(_submit,), new_attempt=True)
_time_out: Final = Rule(after=T, then=(_submit,), new_attempt=True, abandon=True)
_succeed: Final = Rule(after=JobState.SUCCEEDED, then=(_publish,))
# The fallback goes out first: a provider may take minutes to confirm a cancel.
_fall_back: Final = Rule(after=JobState.FALLBACK_COMPLETE, then=(_publish_fallback, _cancel))
_fail: Final = Rule(after=JobState.FAILED, then=(_cancel,))
_stop: Final = Rule(after=JobState.FAILED, then=(_cancel,), abandon=True)
_again: Final = Rule(after=R, then=(_submit,), new_attempt=True)

RULES: Final[Mapping[tuple[JobState, type[Event]], Rule]] = {
    (P, JobAdopted): Rule(after=P, then=(_submit,)),
    (P, NothingToSolve): Rule(after=JobState.SUCCEEDED),
    (P, ProviderAccepted): Rule(after=S),
    (P, AttemptFailed): _retry,
    (P, ProviderGivenUp): _give_up,
    (P, DeadlinePassed): _time_out,
    (P, ChainExhausted): _fail,
    # Submitted again under the same id: a provider that knows it attaches, and starts nothing.
    (S, JobAdopted): Rule(after=S, then=(_submit,)),
    (S, ProviderAccepted): Rule(after=S),
    (S, ProviderStarted): Rule(after=E),
    (S, SamplesReceived): _succeed,
    (S, FallbackReceived): _fall_back,
    (S, AttemptFailed): _retry,
    (S, ProviderGivenUp): _give_up,
    (S, DeadlinePassed): _time_out,
    (S, ChainExhausted): _fail,
    (E, JobAdopted): Rule(after=S, then=(_submit,)),
    # Adopted, and begun anew under its id: what ran there failed in a way that may pass.
    (E, ProviderAccepted): Rule(after=S),
    (E, SamplesReceived): _succeed,
    (E, FallbackReceived): _fall_back,
    (E, AttemptFailed): _retry,
    (E, ProviderGivenUp): _give_up,
    (E, DeadlinePassed): _time_out,
    (E, ChainExhausted): _fail,
    # How long it had still to wait is not in the ledger, and the restart was a wait of its own.
    (R, JobAdopted): Rule(after=R, then=(_submit,)),
    (R, ProviderAccepted): Rule(after=S),
    (R, AttemptFailed): _retry,
    (R, AttemptDue): Rule(after=R, then=(_submit,)),
    (R, ProviderGivenUp): _give_up,
    (R, DeadlinePassed): _time_out,
    (R, ChainExhausted): _fail,
    (T, JobAdopted): Rule(after=T, then=(_submit,)),
    (T, ProviderAccepted): Rule(after=T),
    (T, ProviderStarted): Rule(after=T),
    (T, FallbackReceived): _fall_back,
    (T, AttemptFailed): Rule(after=T, then=(_wait,), new_attempt=True),
    (T, AttemptDue): Rule(after=T, then=(_submit,)),
    (T, ProviderGivenUp): Rule(after=T, then=(_submit,), new_attempt=True),
    (T, ChainExhausted): _fail,
    **{(state, event): _stop for state in OPEN for event in (CancelOrdered, Quarantined)},
    (JobState.FAILED, Quarantined): Rule(after=JobState.FAILED),
    (JobState.FAILED, RetryOrdered): _again,
    (JobState.FALLBACK_COMPLETE, RetryOrdered): _again,
}
"""What follows from what. A pair that is not here is in LATE or in IMPOSSIBLE."""

NEWS: Final = (
    ProviderAccepted,
    ProviderStarted,
    SamplesReceived,
    FallbackReceived,
    AttemptFailed,
    AttemptDue,
    ProviderGivenUp,
    DeadlinePassed,
)

ORDERS: Final = (Quarantined, CancelOrdered, RetryOrdered)

EVENTS: Final[tuple[type[Event], ...]] = (
    JobAdopted,
    NothingToSolve,
    ChainExhausted,
    *NEWS,
    *ORDERS,
)
"""Every kind of event that there is."""

LATE: Final[frozenset[tuple[JobState, type[Event]]]] = frozenset(
    {
        # News of the last attempt of a job that is done may still arrive.
        *((state, event) for state in TERMINAL for event in NEWS),
        # Whoever gave the order saw the job as it was before.
        *((state, RetryOrdered) for state in (*OPEN, JobState.SUCCEEDED)),
        *((state, CancelOrdered) for state in TERMINAL),
        (JobState.SUCCEEDED, Quarantined),
        (JobState.FALLBACK_COMPLETE, Quarantined),
    }
)
"""What has been overtaken: it is counted, and changes nothing."""

IMPOSSIBLE: Final[frozenset[tuple[JobState, type[Event]]]] = frozenset(
    {
        # Nobody adopts, opens or exhausts what is done.
        *((state, event) for state in TERMINAL for event in (JobAdopted, NothingToSolve)),
        *((state, ChainExhausted) for state in TERMINAL),
        # Only at the very start is it seen that there is nothing to solve.
        *((state, NothingToSolve) for state in (S, E, R, T)),
        # What was not accepted neither runs nor answers.
        *((state, event) for state in (P, R) for event in (ProviderStarted, SamplesReceived)),
        (P, FallbackReceived),
        (R, FallbackReceived),
        # Only an attempt that waits becomes due.
        *((state, AttemptDue) for state in (P, S, E)),
        # What is seen to run has started.
        (E, ProviderStarted),
        # The chosen provider's samples are of an older attempt now; a deadline passes once.
        (T, SamplesReceived),
        (T, DeadlinePassed),
    }
)


def step(job: Job, event: Event) -> tuple[Job, tuple[Instruction, ...]]:
    """The job after the event, and what is to be done.

    Raises InvalidTransition for a pair in IMPOSSIBLE, and for an attempt that was never begun.
    """
    kind = type(event)
    pair = (job.state, kind)
    if event.attempt > job.attempt:
        raise InvalidTransition(
            f"{job.job_id}: {kind.__name__} of attempt {event.attempt}, but it is at {job.attempt}"
        )
    if event.attempt < job.attempt or pair in LATE:
        return job, (CountLate(job_id=job.job_id, event=kind.__name__, state=job.state),)
    rule = RULES.get(pair)
    if rule is None:
        raise InvalidTransition(f"{job.job_id}: {kind.__name__} while {job.state.value}")
    after = _after(job, event, rule)
    instructions = tuple(then(after, event) for then in rule.then)
    if rule.abandon:
        left = AbandonAttempt(job_id=job.job_id, provider=job.provider, attempt=job.attempt)
        return after, (left, *instructions)
    return after, instructions


def _after(job: Job, event: Event, rule: Rule) -> Job:
    """The job with what the event and the rule say."""
    provider, provider_job_id, detail = job.provider, job.provider_job_id, job.detail
    micro_batch, deadline_ms = job.micro_batch, job.deadline_ms
    adoptions, quarantined, chosen = job.adoptions, job.quarantined, job.chosen
    match event:
        case JobAdopted():
            adoptions += 1
        case ProviderAccepted():
            provider_job_id = event.provider_job_id
        case ProviderGivenUp():
            provider, detail = event.next_provider, event.detail
        case DeadlinePassed():
            provider, detail = event.next_provider, "deadline passed"
        case AttemptFailed() | ChainExhausted() | CancelOrdered():
            detail = event.detail
        case Quarantined():
            detail, quarantined = event.detail, True
        case RetryOrdered():
            provider, detail, micro_batch = event.provider, event.detail, event.micro_batch
            deadline_ms, adoptions, quarantined = event.deadline_ms, 0, False
            chosen = event.provider
        case NothingToSolve():
            detail = "nothing to solve"
        case _:
            pass
    return msgspec.structs.replace(
        job,
        state=rule.after,
        attempt=job.attempt + rule.new_attempt,
        updated_ms=event.at_ms,
        provider=provider,
        provider_job_id="" if rule.new_attempt else provider_job_id,
        detail=detail,
        deadline_ms=deadline_ms,
        adoptions=adoptions,
        quarantined=quarantined,
        chosen=chosen,
        micro_batch=None if rule.after in TERMINAL else micro_batch,
    )
