"""Operators' orders are carried out once, told in the history, and publish nothing old."""

import random

import msgspec
import pytest

from enrichment.provider.contract import Failure, FailureKind
from enrichment.records import Job, JobEvent, JobState, MicroBatch, OrderKind
from enrichment.sample import worker as worker_module
from enrichment.sample.machine import TERMINAL
from enrichment.sample.orders import PUT_OFF, REFUSED
from tests.sample.fakes import START_MS, Bench, result_of
from tests.sample.streams import batch, problem
from tests.sample.test_worker import FORBIDDEN, faulty, stumble
from tests.sample.told_orders import CANCEL, QUARANTINE, RETRY, order


def job_of(bench: Bench, one: MicroBatch) -> Job:
    """The newest entry of the micro-batch's job."""
    return bench.topics.jobs()[one.micro_batch_id]


def told(bench: Bench, name: str = "") -> list[JobEvent]:
    """The events that are answers to orders, all or of one name."""
    return [
        event for event in bench.topics.events() if event.order_id and name in ("", event.event)
    ]


def refusing(bench: Bench, times: int, kind: FailureKind = FailureKind.PERMISSION) -> None:
    """Let every provider refuse the next few submissions."""
    for provider in bench.providers.values():
        provider.refusals.extend([Failure(kind=kind, detail="forbidden")] * times)


def failed(*batches: MicroBatch) -> Bench:
    """A bench where the jobs of these micro-batches have failed at every provider."""
    bench = Bench()
    refusing(bench, len(batches))
    bench.send(*batches)
    bench.turns(12)
    assert {job.state for job in bench.topics.jobs().values()} == {JobState.FAILED}
    return bench


@pytest.mark.parametrize("kind", [CANCEL, QUARANTINE])
def test_a_job_in_flight_ends_and_is_cancelled_once_that_is_committed(kind: OrderKind) -> None:
    """Failed by the order, with who and why; the provider hears of it after the commit."""
    bench = Bench()
    qsim = bench.providers["qsim"]
    qsim.holds = True
    one = batch(1, (problem(0),))
    bench.send(one)
    bench.turns(40)
    bench.give(order(kind, one, START_MS))
    for _ in range(3):
        bench.poll()
        bench.worker.tick()
        bench.write(aborts=True)
    assert qsim.cancelled == []
    bench.turn()
    job = job_of(bench, one)
    assert (job.state, job.quarantined) == (JobState.FAILED, kind is QUARANTINE)
    assert job.detail.endswith("by kim: to see")
    assert job.ordered_ms == START_MS
    assert qsim.cancelled == qsim.accepted
    (event,) = told(bench)
    assert event.order_id == f"{kind.value}-{START_MS}"
    bench.turns(5)
    assert bench.topics.features() == []
    assert len(bench.topics.cases()) == 0


def test_a_failed_job_can_be_quarantined_and_is_then_retried_only_on_purpose() -> None:
    """Quarantine is lifted by a retry that says so, and by no other."""
    one = batch(1, (problem(0),))
    bench = failed(one)
    bench.give(order(QUARANTINE, one, START_MS))
    bench.turn()
    assert job_of(bench, one).quarantined
    bench.give(order(RETRY, one, START_MS + 1))
    bench.turns(5)
    assert job_of(bench, one).state is JobState.FAILED
    (refused,) = told(bench, REFUSED)
    assert "quarantined" in refused.detail
    bench.give(order(RETRY, one, START_MS + 2, quarantined=True))
    bench.turns(5)
    assert job_of(bench, one).state is JobState.SUCCEEDED
    assert not job_of(bench, one).quarantined


def test_a_failed_job_that_is_retried_brings_features_and_cases() -> None:
    """A new attempt at the first provider, a deadline of its own, the payload from the order."""
    one = batch(1, (problem(0),))
    bench = failed(one)
    before = job_of(bench, one)
    bench.turns(1, ms=60_000)
    bench.give(order(RETRY, one, bench.clock.now_ms))
    bench.turn()
    retried = job_of(bench, one)
    assert (retried.state, retried.attempt) == (JobState.RETRYING, before.attempt + 1)
    assert retried.deadline_ms == bench.clock.now_ms + bench.pipeline.sampling.deadline_ms
    assert retried.micro_batch == one
    bench.turns(5)
    assert job_of(bench, one).state is JobState.SUCCEEDED
    assert len(bench.topics.features()) == 8
    assert len(bench.topics.cases()) == 1
    assert bench.providers["qsim"].accepted == [f"{one.micro_batch_id}|{before.attempt + 1}|0"]


def test_a_retry_long_after_the_deadline_has_its_time_also_at_the_only_provider() -> None:
    """The provider is the one that it failed at, and the shots are those of a job in time."""
    bench = Bench()
    sampling = msgspec.structs.replace(bench.pipeline.sampling, fallback=())
    bench.pipeline = msgspec.structs.replace(bench.pipeline, sampling=sampling)
    bench.restart()
    bench.providers["qsim"].refusals[:] = [FORBIDDEN]
    one = batch(1, (problem(0),))
    bench.send(one)
    bench.turns(6)
    assert job_of(bench, one).state is JobState.FAILED
    bench.turns(1, ms=600_000)
    bench.give(order(RETRY, one, bench.clock.now_ms))
    bench.turns(6)
    job = job_of(bench, one)
    assert (job.state, job.shots) == (JobState.SUCCEEDED, sampling.shots)


def test_a_fallback_that_is_retried_is_replaced_under_its_own_version() -> None:
    """The circuit's features follow the classical ones, as the later of one version."""
    bench = Bench()
    bench.providers["qsim"].refusals[:] = [FORBIDDEN]
    one = batch(1, (problem(0),))
    bench.send(one)
    bench.turns(6)
    assert job_of(bench, one).state is JobState.FALLBACK_COMPLETE
    bench.give(order(RETRY, one, START_MS))
    bench.turns(6)
    assert job_of(bench, one).state is JobState.SUCCEEDED
    updates = [update for _, update in bench.topics.features()]
    assert [set(update.estimates) for update in updates[:8]] == [{"classical"}] * 8
    assert all("quantum" in update.estimates for update in updates[8:])
    assert {update.version for update in updates} == {one.version}
    assert updates[8].computed_at_ms > updates[0].computed_at_ms


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("fallback", [False, True])
def test_where_a_newer_window_has_published_a_retry_publishes_nothing(
    fallback: bool, restarts: bool
) -> None:
    """The run is in the job's history, with its differences; features and cases stay as they are.

    So it is also where the newer one published but a fallback, or under a worker before.
    """
    old, new = batch(1, (problem(0),)), batch(2, (problem(0, seed=1),))
    bench = failed(old)
    if fallback:
        bench.providers["qsim"].refusals[:] = [FORBIDDEN]
    bench.send(new)
    bench.turns(8)
    assert job_of(bench, new).state in TERMINAL
    cases, features = bench.topics.cases(), bench.topics.features()
    assert len(features) == 8
    if restarts:
        bench.restart()
    bench.give(order(RETRY, old, START_MS))
    bench.turns(8)
    assert job_of(bench, old).state is JobState.SUCCEEDED
    assert bench.topics.features() == features
    assert bench.topics.cases() == cases
    last = bench.topics.events()[-1]
    assert (last.job_id, last.event) == (old.micro_batch_id, "SamplesReceived")
    assert "newer window" in last.withheld
    assert last.differences


def test_a_retry_that_will_publish_nothing_holds_nobody_back() -> None:
    """It waits at its provider, and the shard's next window is published meanwhile."""
    old, new, next_ = (batch(number, (problem(0, seed=number),)) for number in range(1, 4))
    bench = failed(old)
    bench.send(new)
    bench.turns(5)
    qsim = bench.providers["qsim"]
    qsim.holds = True
    bench.give(order(RETRY, old, START_MS))
    bench.turns(3)
    bench.send(next_)
    bench.turns(3)
    waiting = qsim.accepted[-1]
    assert waiting.startswith(next_.micro_batch_id)
    qsim.outcomes[waiting] = result_of(qsim.jobs[waiting], "qsim")
    bench.turns(3)
    assert job_of(bench, old).state not in TERMINAL
    assert job_of(bench, next_).state is JobState.SUCCEEDED


def test_jobs_retried_together_publish_in_the_order_of_their_windows() -> None:
    """Given the youngest first, after an outage: versions rise all the same."""
    batches = [batch(number, (problem(0, seed=number),)) for number in range(1, 5)]
    bench = failed(*batches)
    for at, one in enumerate(reversed(batches)):
        bench.give(order(RETRY, one, START_MS + at))
    bench.turns(20)
    assert {job.state for job in bench.topics.jobs().values()} == {JobState.SUCCEEDED}
    versions = list(dict.fromkeys(update.version for _, update in bench.topics.features()))
    assert versions == [one.version for one in batches]


@pytest.mark.parametrize("restarts", [False, True])
def test_an_order_given_twice_acts_once(restarts: bool) -> None:
    """The same record again, at once or read again at a takeover: one further attempt."""
    one = batch(1, (problem(0),))
    bench = failed(one)
    refusing(bench, 2)
    given = order(RETRY, one, START_MS)
    bench.give(given)
    bench.turns(12)
    attempt = job_of(bench, one).attempt
    assert job_of(bench, one).state is JobState.FAILED
    if restarts:
        bench.restart()
    else:
        bench.give(given)
    bench.turns(12)
    assert job_of(bench, one).state is JobState.FAILED
    assert job_of(bench, one).attempt == attempt
    assert len(told(bench)) == 1


def test_an_order_that_was_refused_does_not_come_true_later() -> None:
    """A retry of an open job is refused; when the job fails, a takeover does not retry it."""
    bench = Bench()
    bench.providers["qsim"].holds = True
    one = batch(1, (problem(0),))
    bench.send(one)
    bench.turns(40)
    bench.give(order(RETRY, one, START_MS))
    bench.turn()
    (refused,) = told(bench)
    assert (refused.event, refused.state_after) == (REFUSED, JobState.SUBMITTED)
    assert "the job is submitted" in refused.detail
    for provider in bench.providers.values():
        provider.holds = True
    bench.turns(8, ms=6_000)
    assert job_of(bench, one).state is JobState.FAILED
    bench.restart()
    bench.turns(5)
    assert job_of(bench, one).state is JobState.FAILED


def test_orders_given_while_nobody_works_are_heard_at_the_next_start() -> None:
    """A cancel of what was open, a retry of what had failed: both, before anything else."""
    bench = failed(batch(1, (problem(0),)))
    open_ = batch(2, (problem(1),))
    qsim = bench.providers["qsim"]
    qsim.holds = True
    bench.send(open_)
    bench.turns(40)
    bench.give(order(CANCEL, open_, START_MS), order(RETRY, bench.sent[0], START_MS))
    bench.restart()
    qsim.holds = False
    bench.turns(8)
    assert job_of(bench, open_).state is JobState.FAILED
    assert job_of(bench, bench.sent[0]).state is JobState.SUCCEEDED
    assert sorted(event.event for event in told(bench)) == ["CancelOrdered", "RetryOrdered"]


def test_a_retry_with_another_payload_is_refused() -> None:
    """What is solved under a job's name is what its content hash names."""
    one = batch(1, (problem(0),))
    bench = failed(one)
    bench.give(order(RETRY, one, START_MS, payload=batch(1, (problem(1),), content="other")))
    bench.turns(3)
    (refused,) = told(bench)
    assert "own micro-batch" in refused.detail
    assert job_of(bench, one).state is JobState.FAILED


def test_a_full_worker_puts_retries_off_and_still_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a retry brings takes memory; a cancel gives some back."""
    monkeypatch.setattr(worker_module, "OPEN_MAX", 1)
    one, other = batch(1, (problem(0),)), batch(2, (problem(1),))
    bench = failed(one)
    bench.providers["qsim"].holds = True
    bench.send(other)
    bench.turns(40)
    bench.give(order(RETRY, one, START_MS), order(CANCEL, other, START_MS))
    bench.turns(2)
    assert [event.event for event in told(bench)] == [PUT_OFF, "CancelOrdered"]
    bench.providers["qsim"].holds = False
    bench.give(order(RETRY, one, START_MS + 1))
    bench.turns(5)
    assert job_of(bench, one).state is JobState.SUCCEEDED


def test_orders_about_what_is_done_or_unknown_change_nothing() -> None:
    """A job that has succeeded says so, once; one that nobody knows is in no history."""
    bench = Bench()
    one = batch(1, (problem(0),))
    bench.send(one)
    bench.turns(5)
    bench.give(order(CANCEL, one, START_MS), order(CANCEL, batch(9), START_MS))
    bench.turns(3)
    (refused,) = told(bench)
    assert refused.detail.endswith("the job has succeeded")
    bench.restart()
    bench.turns(3)
    assert len(told(bench)) == 1
    assert set(bench.topics.jobs()) == {one.micro_batch_id}


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_ordered_while_things_go_wrong_nothing_goes_back(seed: int) -> None:
    """Seeded orders among faults, aborts and crashes: jobs end, and versions never fall."""
    rng = random.Random(seed)
    bench = faulty(rng)
    bench.providers["qsim"].idempotent = seed % 2 == 0
    for number in range(rng.randrange(5, 12)):
        bench.send(batch(number, (problem(number % 2, seed=number),)))
        for _ in range(rng.randrange(6)):
            stumble(bench, rng)
            if rng.random() < 0.4:
                kind = rng.choice([RETRY, RETRY, CANCEL, QUARANTINE])
                about, at_ms = rng.choice(bench.sent), bench.clock.now_ms
                bench.give(order(kind, about, at_ms, quarantined=rng.random() < 0.5))
    for provider in bench.providers.values():
        provider.holds = False
    bench.turns(60, ms=500)
    for one in bench.sent:
        bench.give(order(RETRY, one, bench.clock.now_ms, quarantined=True))
    bench.turns(200, ms=500)
    states = {job.state for job in bench.topics.jobs().values()}
    assert states <= {JobState.SUCCEEDED, JobState.FALLBACK_COMPLETE, JobState.FAILED}
    assert len(bench.topics.jobs()) == len(bench.sent)
    newest: dict[str, tuple[int, int]] = {}
    for key, update in bench.topics.features():
        rank = (update.version, update.computed_at_ms)
        assert rank > newest.get(key, (-1, 0)), f"{key} went back"
        newest[key] = rank


@pytest.mark.parametrize("ends", [False, True])
def test_a_newer_window_that_is_tried_again_has_published_all_the_same(ends: bool) -> None:
    """Its fallback is out, also for a worker that finds it unfinished, or failed since."""
    old, new = batch(1, (problem(0),)), batch(2, (problem(0, seed=1),))
    bench = failed(old)
    qsim = bench.providers["qsim"]
    qsim.refusals[:] = [FORBIDDEN]
    bench.send(new)
    bench.turns(8)
    assert job_of(bench, new).state is JobState.FALLBACK_COMPLETE
    features = bench.topics.features()
    qsim.holds = True
    bench.give(order(RETRY, new, START_MS))
    bench.turns(8)
    if ends:
        bench.give(order(CANCEL, new, START_MS + 1))
        bench.turns(8)
        assert job_of(bench, new).state is JobState.FAILED
    bench.restart()
    bench.give(order(RETRY, old, START_MS))
    bench.turns(40)
    qsim.holds = False
    bench.turns(40)
    assert job_of(bench, old).state is JobState.SUCCEEDED
    versions = [one.version for key, one in bench.topics.features() if one.id == features[0][1].id]
    assert versions == sorted(versions)
