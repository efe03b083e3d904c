"""The worker keeps its promises, with a scripted provider and topics in memory."""

import random

import pytest

from enrichment.provider.contract import Failure, FailureKind
from enrichment.records import JobState
from enrichment.sample import worker as worker_module
from enrichment.sample.machine import TERMINAL
from tests.sample.fakes import Bench, result_of
from tests.sample.streams import batch, problem

AWAY = Failure(kind=FailureKind.TRANSIENT, detail="away")
FORBIDDEN = Failure(kind=FailureKind.PERMISSION, detail="forbidden")
IN_DOUBT = Failure(kind=FailureKind.UNKNOWN, detail="sent, and not answered")


def states(bench: Bench, number: int = 0) -> list[JobState]:
    """The states that one job is seen to have in the ledger."""
    job_id = bench.sent[number].micro_batch_id
    return [job.state for job in bench.topics.job_records() if job.job_id == job_id]


def test_a_micro_batch_becomes_pending_then_succeeded_with_features() -> None:
    """The claim with its offset first; then one transaction with all that came of it."""
    bench = Bench()
    bench.send(batch(1, (problem(0),)))
    bench.turn()
    assert states(bench) == [JobState.PENDING]
    assert bench.topics.consumed == 1
    assert bench.topics.jobs()[bench.sent[0].micro_batch_id].micro_batch == bench.sent[0]
    bench.turns(3)
    assert states(bench) == [JobState.PENDING, JobState.SUCCEEDED]
    assert len(bench.topics.features()) == 8
    assert len(bench.topics.cases()) == 1
    assert [event.event for event in bench.topics.events()] == [
        "MicroBatchClaimed",
        "ProviderAccepted",
        "SamplesReceived",
    ]


def test_nothing_to_solve_is_done_in_one_transaction() -> None:
    """No problems: succeeded with the very offset, and no provider hears of it."""
    bench = Bench()
    bench.send(batch(1), batch(2))
    bench.turn()
    assert states(bench) == [JobState.SUCCEEDED]
    assert {job.detail for job in bench.topics.jobs().values()} == {"nothing to solve"}
    assert bench.topics.consumed == 2
    assert bench.providers["qsim"].accepted == []


def test_nothing_is_submitted_before_the_ledger_has_it() -> None:
    """While the transaction is aborted again and again the provider is not asked."""
    bench = Bench()
    bench.send(batch(1, (problem(0),)))
    for _ in range(5):
        bench.poll()
        bench.worker.tick()
        bench.write(aborts=True)
    assert bench.providers["qsim"].accepted == []
    bench.turns(3)
    assert len(bench.providers["qsim"].accepted) == 1
    assert states(bench)[-1] is JobState.SUCCEEDED


def test_a_transient_failure_is_tried_again_under_a_new_attempt() -> None:
    """Two failures, then an answer: three attempts, each in the ledger before it was made."""
    bench = Bench()
    bench.providers["qsim"].answers[:] = [AWAY, AWAY]
    bench.send(batch(1, (problem(0),)))
    bench.turns(100)
    job = bench.topics.jobs()[bench.sent[0].micro_batch_id]
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 3)
    assert [one.rsplit("|", 2)[1] for one in bench.providers["qsim"].accepted] == ["1", "2", "3"]
    assert states(bench).count(JobState.RETRYING) == 2


def test_a_refusal_for_good_goes_to_the_fallback_at_once() -> None:
    """Permission: never again at this provider; the classical estimate alone is published."""
    bench = Bench()
    bench.providers["qsim"].refusals[:] = [FORBIDDEN]
    bench.send(batch(1, (problem(0),)))
    bench.turns(6)
    job = bench.topics.jobs()[bench.sent[0].micro_batch_id]
    assert job.state is JobState.FALLBACK_COMPLETE
    assert job.provider == "exact"
    assert job.updated_ms < job.deadline_ms - 9_000
    assert bench.providers["qsim"].accepted == []
    for _, update in bench.topics.features():
        assert set(update.estimates) == {"classical"}
        assert update.source is not None
        assert update.source.backend == "exact"


def test_at_the_deadline_the_fallback_is_out_before_the_cancel_is_sent() -> None:
    """The slow attempt is left running until the fallback is committed, then cancelled."""
    bench = Bench()
    bench.providers["qsim"].holds = True
    bench.send(batch(1, (problem(0),)))
    bench.turns(3)
    bench.turns(2, ms=5_000)
    assert states(bench)[-1] is JobState.TIMED_OUT
    bench.poll()
    for _ in range(3):
        bench.worker.tick()
        bench.write(aborts=True)
    assert bench.providers["qsim"].cancelled == []
    bench.turn()
    assert states(bench)[-1] is JobState.FALLBACK_COMPLETE
    assert bench.providers["qsim"].cancelled == bench.providers["qsim"].accepted
    assert {path for _, one in bench.topics.features() for path in one.estimates} == {"classical"}


def test_the_late_answer_of_an_abandoned_attempt_changes_nothing() -> None:
    """It comes while the fallback is at work: counted, and the fallback is what is published."""
    bench = Bench()
    bench.providers["qsim"].holds = True
    bench.providers["exact"].holds = True
    bench.send(batch(1, (problem(0),)))
    bench.turns(3)
    bench.turns(2, ms=5_000)
    bench.providers["qsim"].holds = False
    bench.turns(3)
    assert states(bench)[-1] is JobState.TIMED_OUT
    assert bench.topics.features() == []
    bench.providers["exact"].holds = False
    bench.turns(3)
    assert states(bench)[-1] is JobState.FALLBACK_COMPLETE
    assert {path for _, one in bench.topics.features() for path in one.estimates} == {"classical"}


def test_with_the_whole_chain_failing_the_job_fails_and_publishes_nothing() -> None:
    """Every provider refuses: a terminal job with the reason, and the cached feature stays."""
    bench = Bench()
    for provider in bench.providers.values():
        provider.refusals[:] = [FORBIDDEN]
    bench.send(batch(1, (problem(0),)), batch(2, (problem(0),)))
    bench.turns(8)
    job = bench.topics.jobs()[bench.sent[0].micro_batch_id]
    assert job.state is JobState.FAILED
    assert "forbidden" in job.detail
    assert states(bench, 1)[-1] is JobState.SUCCEEDED
    assert {one.version for _, one in bench.topics.features()} == {bench.sent[1].version}


def test_a_hanging_fallback_is_given_up_too() -> None:
    """Nobody ever answers: the chain ends in bounded time, and the job with it."""
    bench = Bench()
    for provider in bench.providers.values():
        provider.holds = True
    bench.send(batch(1, (problem(0),)))
    bench.turns(8, ms=6_000)
    assert states(bench)[-1] is JobState.FAILED


def test_the_jobs_of_a_shard_publish_in_the_order_of_their_windows() -> None:
    """A younger job that is done first waits; another shard's does not."""
    bench = Bench()
    qsim = bench.providers["qsim"]
    qsim.answers[:] = [AWAY]
    bench.send(
        batch(1, (problem(0),)),
        batch(2, (problem(0, seed=1),)),
        batch(1, (problem(5),), shard="us"),
    )
    bench.turns(3)
    done = {job.job_id for job in bench.topics.jobs().values() if job.state in TERMINAL}
    assert done == {bench.sent[2].micro_batch_id}
    bench.turns(60)
    versions = [one.version for key, one in bench.topics.features() if key.endswith("000000|ring")]
    assert versions == [bench.sent[0].version, bench.sent[1].version]


def test_a_new_owner_resumes_under_the_same_attempt() -> None:
    """After a crash the unfinished job is submitted again under its id: attached, not doubled."""
    bench = Bench()
    bench.providers["qsim"].holds = True
    bench.send(batch(1, (problem(0),)))
    bench.turns(40)
    assert states(bench)[-1] is JobState.SUBMITTED
    bench.restart()
    bench.providers["qsim"].holds = False
    bench.turns(4)
    assert states(bench)[-1] is JobState.SUCCEEDED
    assert len(bench.providers["qsim"].accepted) == 1


@pytest.mark.parametrize("at_submission", [True, False])
@pytest.mark.parametrize("idempotent", [True, False])
def test_what_is_in_doubt_is_never_submitted_again(at_submission: bool, idempotent: bool) -> None:
    """UNKNOWN, whenever it is said: one submission and no more, and the fallback publishes."""
    bench = Bench()
    qsim = bench.providers["qsim"]
    qsim.idempotent = idempotent
    (qsim.refusals if at_submission else qsim.answers).append(IN_DOUBT)
    bench.send(batch(1, (problem(0),)))
    bench.turns(20)
    assert states(bench)[-1] is JobState.FALLBACK_COMPLETE
    assert len(qsim.accepted) == (0 if at_submission else 1)
    assert qsim.refusals == qsim.answers == []
    told = [event.detail for event in bench.topics.events() if event.event == "ProviderGivenUp"]
    assert told == ["qsim: unknown: sent, and not answered"]


@pytest.mark.parametrize("turns", [1, 2, 40])
def test_a_new_owner_does_not_repeat_what_would_not_attach(turns: int) -> None:
    """After a crash at a provider without our ids the attempt may be out: the fallback is next.

    So it is whether the ledger has the attempt as pending, or as accepted.
    """
    bench = Bench()
    qsim = bench.providers["qsim"]
    qsim.idempotent, qsim.holds = False, True
    bench.send(batch(1, (problem(0),)))
    bench.turns(turns)
    assert states(bench)[-1] is (JobState.SUBMITTED if turns == 40 else JobState.PENDING)
    before = list(qsim.accepted)
    bench.restart()
    bench.turns(5)
    assert states(bench)[-1] is JobState.FALLBACK_COMPLETE
    assert qsim.accepted == before
    told = [event.detail for event in bench.topics.events() if event.event == "ProviderGivenUp"]
    assert len(told) == 1
    assert "may have been submitted" in told[0]


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("late", [False, True])
def test_a_partition_that_goes_takes_along_what_nobody_could_fetch(
    late: bool, idempotent: bool
) -> None:
    """Its attempts, abandoned ones too, are cancelled where the next owner would not attach."""
    bench = Bench()
    qsim, exact = bench.providers["qsim"], bench.providers["exact"]
    qsim.idempotent, qsim.holds, exact.holds = idempotent, True, True
    bench.send(batch(1, tuple(problem(k) for k in range(70))))
    bench.turns(40)
    if late:
        bench.turn(bench.pipeline.sampling.deadline_ms)
        bench.turns(5)
    assert len(exact.accepted) == (2 if late else 0)
    assert not qsim.cancelled
    bench.worker.drop(0)
    bench.worker.drop(0)
    assert qsim.cancelled == ([] if idempotent else qsim.accepted)
    assert not exact.cancelled


def test_a_partition_that_goes_before_its_cancellations_are_sent_sends_them() -> None:
    """A fallback that is not committed: the attempt before it is cancelled all the same."""
    bench = Bench()
    qsim = bench.providers["qsim"]
    qsim.idempotent, qsim.holds = False, True
    bench.send(batch(1, (problem(0),)))
    bench.turns(40)
    bench.clock.now_ms += bench.pipeline.sampling.deadline_ms
    for _ in range(5):
        bench.worker.tick()
        bench.write(aborts=bench.worker.open_jobs == 0)
    assert bench.worker.open_jobs == 0
    assert not qsim.cancelled
    bench.worker.drop(0)
    assert qsim.cancelled == qsim.accepted


@pytest.mark.parametrize("started", [True, False])
def test_an_attempt_that_fails_in_part_goes_on_under_its_ids(started: bool) -> None:
    """One of two requests fails: it is sent again under its id, and the other is attached to."""
    bench = Bench()
    qsim = bench.providers["qsim"]
    qsim.holds, qsim.started = True, started
    bench.send(batch(1, tuple(problem(k) for k in range(70))))
    bench.turns(3)
    qsim.holds = False
    qsim.answers.append(AWAY)
    bench.turns(60)
    job_id = bench.sent[0].micro_batch_id
    assert qsim.accepted == [f"{job_id}|1|0", f"{job_id}|1|64", f"{job_id}|1|0"]
    assert qsim.cancelled == []
    assert states(bench)[-1] is JobState.SUCCEEDED


def test_an_attempt_that_is_refused_in_part_goes_on_under_its_ids() -> None:
    """The second of two requests is refused: it is sent again, and the first is attached to."""
    bench = Bench()
    qsim = bench.providers["qsim"]
    qsim.accepted_max = 1
    bench.send(batch(1, tuple(problem(k) for k in range(70))))
    bench.turns(3)
    qsim.accepted_max = 10
    bench.turns(60)
    job_id = bench.sent[0].micro_batch_id
    assert qsim.accepted == [f"{job_id}|1|0", f"{job_id}|1|64"]
    assert qsim.cancelled == []
    assert states(bench)[-1] is JobState.SUCCEEDED


def test_what_is_there_of_an_attempt_refused_in_part_is_cancelled_at_the_deadline() -> None:
    """The second of two requests is refused for good: the first does not run on for nobody."""
    bench = Bench()
    qsim = bench.providers["qsim"]
    qsim.accepted_max, qsim.holds = 1, True
    bench.send(batch(1, tuple(problem(k) for k in range(70))))
    bench.turns(60, ms=200)
    assert states(bench)[-1] is JobState.FALLBACK_COMPLETE
    assert f"{bench.sent[0].micro_batch_id}|1|0" in qsim.cancelled


@pytest.mark.parametrize("at_submission", [True, False])
def test_where_ids_do_not_attach_what_fails_in_part_is_cancelled_as_a_whole(
    at_submission: bool,
) -> None:
    """One of two requests fails: the other is cancelled, and the fallback publishes."""
    bench = Bench()
    qsim = bench.providers["qsim"]
    qsim.idempotent = False
    if at_submission:
        qsim.accepted_max = 1
    else:
        qsim.answers.append(AWAY)
    bench.send(batch(1, tuple(problem(k) for k in range(70))))
    bench.turns(3)
    job_id = bench.sent[0].micro_batch_id
    assert f"{job_id}|1|{0 if at_submission else 64}" in qsim.cancelled
    qsim.accepted_max = 10
    bench.turns(60)
    assert states(bench)[-1] is JobState.FALLBACK_COMPLETE
    assert len(qsim.accepted) == (1 if at_submission else 2)


def test_a_running_job_that_was_taken_over_may_fail_in_passing() -> None:
    """Its child dies after it was seen to run: the same attempt is sent again, and answered."""
    bench = Bench()
    qsim = bench.providers["qsim"]
    qsim.holds = True
    bench.send(batch(1, (problem(0),)))
    bench.turns(3)
    bench.restart()
    qsim.started = True
    bench.turns(5)
    qsim.holds = False
    qsim.answers.append(AWAY)
    bench.turns(60)
    assert states(bench)[-1] is JobState.SUCCEEDED
    assert set(qsim.accepted) == {f"{bench.sent[0].micro_batch_id}|1|0"}


HOUR_MS = 3_600_000


def test_a_clock_set_back_makes_no_retry_wait_for_an_hour() -> None:
    """The wait behind a failure ends at once, whatever its end was by the clock of before."""
    bench = Bench()
    bench.providers["qsim"].refusals += [AWAY] * 2
    bench.send(batch(1, (problem(0),)))
    bench.turns(2)
    assert states(bench)[-1] is JobState.RETRYING
    bench.turn(-HOUR_MS)
    bench.turns(100)
    assert states(bench)[-1] is JobState.SUCCEEDED


def test_a_clock_set_back_makes_no_silent_provider_be_waited_for() -> None:
    """The deadline comes no later than it would for a job of now."""
    bench = Bench()
    bench.providers["qsim"].holds = True
    bench.send(batch(1, (problem(0),)))
    bench.turns(3)
    bench.turn(-HOUR_MS)
    bench.turns(110, ms=200)
    assert states(bench)[-1] is JobState.FALLBACK_COMPLETE


def test_a_clock_set_back_holds_nothing_back_in_the_outbox() -> None:
    """What waits for company is written at once."""
    bench = Bench()
    bench.providers["qsim"].holds = True
    bench.send(batch(1, (problem(0),)))
    bench.turns(3)
    assert states(bench)[-1] is JobState.PENDING
    bench.turn(-HOUR_MS)
    assert states(bench)[-1] is JobState.SUBMITTED


def test_a_job_seen_running_is_executing_in_the_ledger() -> None:
    """The ledger tells submitted from executing, for whoever looks at a slow job."""
    bench = Bench()
    qsim = bench.providers["qsim"]
    qsim.holds = True
    bench.send(batch(1, (problem(0),)))
    bench.turns(40)
    qsim.started = True
    bench.turns(40)
    assert states(bench) == [JobState.PENDING, JobState.SUBMITTED, JobState.EXECUTING]


def test_a_repeated_micro_batch_is_passed_over_and_a_conflict_is_never_solved() -> None:
    """The same content again, or another under the same identity: one job, before and after."""
    bench = Bench()
    one, other = batch(1, (problem(0),)), batch(1, (problem(1),), content="different")
    bench.send(one, one)
    bench.turns(4)
    bench.send(one, other)
    bench.turns(50)
    bench.restart()
    bench.send(other)
    bench.turns(50)
    assert len(bench.providers["qsim"].accepted) == 1
    assert bench.topics.consumed == 5
    assert {one.version for _, one in bench.topics.features()} == {one.version}
    assert not any("acc-000100" in key for key, _ in bench.topics.features())


def test_more_problems_than_a_request_takes_are_several_requests_and_one_job() -> None:
    """Seventy problems: two requests, all their features in the one transaction."""
    bench = Bench()
    bench.send(batch(1, tuple(problem(number) for number in range(70))))
    bench.turns(4)
    assert len(bench.providers["qsim"].accepted) == 2
    assert states(bench)[-1] is JobState.SUCCEEDED
    assert len(bench.topics.features()) == 70 * 8
    assert len(bench.topics.events()[-1].differences) == 70


def test_a_job_waits_for_the_last_of_its_requests() -> None:
    """With one of two answered it is not done, and what was answered is not asked again."""
    bench = Bench()
    qsim = bench.providers["qsim"]
    qsim.holds = True
    bench.send(batch(1, tuple(problem(number) for number in range(65))))
    bench.turns(3)
    first, second = qsim.accepted
    qsim.outcomes[first] = result_of(qsim.jobs[first], "qsim")
    bench.turns(40)
    assert states(bench)[-1] is JobState.SUBMITTED
    qsim.outcomes[second] = result_of(qsim.jobs[second], "qsim")
    bench.turns(3)
    assert states(bench)[-1] is JobState.SUCCEEDED
    assert len({update.id for _, update in bench.topics.features()}) == 65 * 8


def test_only_so_many_attempts_are_at_the_provider_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rest wait as pending, and the worker says when it is full."""
    monkeypatch.setattr(worker_module, "OPEN_MAX", 10)
    bench = Bench()
    bench.providers["qsim"].holds = True
    bench.providers["qsim"].jobs_max = 3
    bench.send(*(batch(number, (problem(0),)) for number in range(10)))
    bench.turns(4)
    assert len(bench.providers["qsim"].accepted) == 3
    assert bench.full()
    bench.providers["qsim"].holds = False
    bench.turns(10)
    assert not bench.full()
    assert len(bench.providers["qsim"].accepted) == 10


def faulty(rng: random.Random) -> Bench:
    """A bench whose providers refuse and fail a few times before they do well."""
    bench = Bench(draws=rng.random)
    kinds = list(FailureKind)
    for provider in bench.providers.values():
        for script in (provider.refusals, provider.answers):
            script.extend(
                Failure(kind=rng.choice(kinds), detail="scripted") for _ in range(rng.randrange(4))
            )
    return bench


def stumble(bench: Bench, rng: random.Random) -> None:
    """One turn in which the time jumps, the provider hangs, a transaction or the process dies."""
    bench.clock.now_ms += rng.choice([1, 10, 300, 4_000])
    bench.providers["qsim"].holds = rng.random() < 0.3
    bench.poll()
    bench.worker.tick()
    bench.write(aborts=rng.random() < 0.2)
    bench.worker.validate()
    if rng.random() < 0.1:
        bench.restart()


@pytest.mark.parametrize("seed", range(60))
def test_whatever_goes_wrong_every_job_ends_once_and_nothing_goes_back(seed: int) -> None:
    """Seeded faults of provider, transactions and process; the invariants hold in each run."""
    rng = random.Random(seed)
    bench = faulty(rng)
    qsim = bench.providers["qsim"]
    qsim.idempotent = seed % 2 == 0
    for number in range(rng.randrange(5, 15)):
        shard = rng.choice(["eu", "us"])
        first = 100_000 * (shard == "us")
        count = rng.randrange(3)
        problems = tuple(problem(k, seed=number, first=first) for k in range(count))
        bench.send(batch(number, problems, shard=shard))
        if rng.random() < 0.2:
            bench.send(rng.choice(bench.sent))
        for _ in range(rng.randrange(6)):
            stumble(bench, rng)
    for provider in bench.providers.values():
        provider.holds = False
    bench.turns(120, ms=500)

    wanted = {one.micro_batch_id for one in bench.sent}
    ends = [job.job_id for job in bench.topics.job_records() if job.state in TERMINAL]
    assert sorted(ends) == sorted(wanted), "not every job ended exactly once"
    assert bench.topics.consumed == len(bench.sent)
    assert len(set(qsim.accepted)) == len(qsim.accepted) or qsim.idempotent, "doubled"
    newest: dict[str, int] = {}
    for key, update in bench.topics.features():
        assert update.version > newest.get(key, -1), f"{key} went back"
        newest[key] = update.version
