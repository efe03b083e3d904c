"""The job's machine is complete, and no order of events breaks what it promises."""

from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from enrichment.records import Job, JobState
from enrichment.sample import events
from enrichment.sample.events import Event
from enrichment.sample.instructions import (
    AbandonAttempt,
    CancelAbandoned,
    CountLate,
    PublishFallback,
    PublishFeatures,
    Submit,
)
from enrichment.sample.machine import (
    EVENTS,
    IMPOSSIBLE,
    LATE,
    RULES,
    TERMINAL,
    InvalidTransition,
    step,
)
from tests.sample.streams import batch, problem

EXTRA: dict[type[Event], dict[str, Any]] = {
    events.ProviderAccepted: {"provider_job_id": "p-1"},
    events.AttemptFailed: {"due_ms": 9, "detail": "away"},
    events.ProviderGivenUp: {"next_provider": "exact", "detail": "no"},
    events.DeadlinePassed: {"next_provider": "exact"},
    events.ChainExhausted: {"detail": "nobody left"},
    events.Quarantined: {"detail": "again"},
    events.CancelOrdered: {"detail": "not wanted"},
    events.RetryOrdered: {
        "detail": "once more",
        "micro_batch": batch(1, (problem(0),)),
        "deadline_ms": 900,
        "provider": "qsim",
    },
}


def event_of(kind: type[Event], attempt: int, at_ms: int = 5) -> Event:
    """An event of that kind, with whatever else it has to carry."""
    return kind(attempt=attempt, at_ms=at_ms, **EXTRA.get(kind, {}))


def job_of(state: JobState, attempt: int = 1) -> Job:
    """A job in that state."""
    one = batch(1, (problem(0),))
    return Job(
        job_id=one.micro_batch_id,
        pipeline=one.pipeline,
        shard=one.shard,
        micro_batch_id=one.micro_batch_id,
        state=state,
        attempt=attempt,
        created_ms=1,
        updated_ms=1,
        deadline_ms=100,
        provider="qsim",
        micro_batch=None if state in TERMINAL else one,
    )


def test_every_pair_has_exactly_one_meaning() -> None:
    """Each (state, event) is a rule, late news or impossible; never two of them, never none."""
    for state in JobState:
        for event in EVENTS:
            pair = (state, event)
            meanings = [pair in RULES, pair in LATE, pair in IMPOSSIBLE]
            assert sum(meanings) == 1, pair
    assert len(RULES) + len(LATE) + len(IMPOSSIBLE) == len(JobState) * len(EVENTS)


@pytest.mark.parametrize("pair", sorted(IMPOSSIBLE, key=str), ids=str)
def test_the_impossible_raises(pair: tuple[JobState, type[Event]]) -> None:
    """What is listed as impossible is a bug, and says so."""
    with pytest.raises(InvalidTransition, match=pair[1].__name__):
        step(job_of(pair[0]), event_of(pair[1], 1))


@pytest.mark.parametrize("state", list(JobState))
def test_news_of_an_older_attempt_is_counted_and_changes_nothing(state: JobState) -> None:
    """Whatever the state: an older attempt's event leaves the job as it is."""
    job = job_of(state, attempt=3)
    for kind in EVENTS:
        after, instructions = step(job, event_of(kind, 2))
        assert after is job
        assert [type(one) for one in instructions] == [CountLate]


def test_news_of_an_attempt_that_was_never_begun_raises() -> None:
    """An attempt's number cannot be ahead of the job's."""
    with pytest.raises(InvalidTransition, match="attempt 2"):
        step(job_of(JobState.SUBMITTED), event_of(events.SamplesReceived, 2))


def test_every_state_but_pending_can_be_reached() -> None:
    """No state is dead: from pending, rules lead to each."""
    reached = {JobState.PENDING}
    while True:
        more = reached | {rule.after for (state, _), rule in RULES.items() if state in reached}
        if more == reached:
            break
        reached = more
    assert reached == set(JobState)


def test_the_fallback_goes_out_before_the_cancel() -> None:
    """At the deadline: abandon, ask the next; its answer is published first, then the cancel."""
    job, instructions = step(job_of(JobState.EXECUTING), event_of(events.DeadlinePassed, 1))
    assert (job.state, job.attempt, job.provider) == (JobState.TIMED_OUT, 2, "exact")
    assert instructions == (
        AbandonAttempt(job_id=job.job_id, provider="qsim", attempt=1),
        Submit(job_id=job.job_id, provider="exact", attempt=2),
    )
    job, instructions = step(job, event_of(events.FallbackReceived, 2))
    assert job.state is JobState.FALLBACK_COMPLETE
    assert [type(one) for one in instructions] == [
        PublishFallback,
        CancelAbandoned,
    ]


@pytest.mark.parametrize("state", [JobState.SUBMITTED, JobState.TIMED_OUT])
def test_an_ordered_cancel_abandons_what_flies_and_ends_the_job(state: JobState) -> None:
    """Nothing is published; the present attempt is cancelled at its provider with the older."""
    job, told = step(job_of(state), event_of(events.CancelOrdered, 1))
    assert (job.state, job.detail, job.micro_batch) == (JobState.FAILED, "not wanted", None)
    assert [type(one) for one in told] == [AbandonAttempt, CancelAbandoned]


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.FALLBACK_COMPLETE])
def test_an_ordered_retry_begins_anew_with_its_payload(state: JobState) -> None:
    """A further attempt at the chain's first, with a deadline of its own; quarantine is lifted."""
    before = msgspec.structs.replace(job_of(state, attempt=3), quarantined=True, adoptions=7)
    job, told = step(before, event_of(events.RetryOrdered, 3))
    assert (job.state, job.attempt, job.deadline_ms) == (JobState.RETRYING, 4, 900)
    assert (job.quarantined, job.adoptions) == (False, 0)
    assert job.micro_batch is not None
    assert told == (Submit(job_id=job.job_id, provider="qsim", attempt=4),)


def test_an_adoption_is_counted() -> None:
    """Whoever takes a job up says so in it: a job that ends its workers is known by that."""
    job, _ = step(job_of(JobState.PENDING), event_of(events.JobAdopted, 1))
    job, _ = step(job, event_of(events.JobAdopted, 1))
    assert job.adoptions == 2


class AnyOrder(RuleBasedStateMachine):
    """Any event at any time, of any attempt up to the present one."""

    @initialize()
    def begin(self) -> None:
        """One pending job."""
        self.job = job_of(JobState.PENDING)
        self.published = 0
        self.retries = 0
        self.submitted: list[int] = []
        self.at_ms = 1

    @rule(kind=st.sampled_from(EVENTS), back=st.integers(0, 2))
    def happens(self, kind: type[Event], back: int) -> None:
        """Something does, possible or not."""
        before = self.job
        attempt = max(1, before.attempt - back)
        self.at_ms += 1
        event = event_of(kind, attempt, self.at_ms)
        if attempt == before.attempt and (before.state, kind) in IMPOSSIBLE:
            with pytest.raises(InvalidTransition):
                step(before, event)
            return
        self.job, instructions = step(before, event)
        for one in instructions:
            self.published += isinstance(one, (PublishFeatures, PublishFallback))
            if isinstance(one, Submit):
                assert one.attempt == self.job.attempt
                assert one.provider == self.job.provider
                self.submitted.append(one.attempt)
        assert self.job.attempt - before.attempt in {0, 1}
        if self.job is before:
            return
        assert attempt == before.attempt
        if before.state in TERMINAL:
            assert kind in {events.RetryOrdered, events.Quarantined}
            self.retries += kind is events.RetryOrdered

    @invariant()
    def keeps_its_promises(self) -> None:
        """What holds whatever has happened."""
        done = self.job.state in TERMINAL
        assert self.published <= 1 + self.retries
        assert (self.job.micro_batch is None) == done
        assert self.submitted == sorted(self.submitted)
        if self.published > self.retries:
            assert self.job.state in {JobState.SUCCEEDED, JobState.FALLBACK_COMPLETE}
        assert not self.job.quarantined or self.job.state is JobState.FAILED
        assert msgspec.json.decode(msgspec.json.encode(self.job), type=Job) == self.job


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
