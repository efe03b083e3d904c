"""On which terms the worker makes an attempt, and which attempts it does not make."""

import msgspec
import pytest

from enrichment.provider.contract import Failure, FailureKind
from enrichment.records import JobState
from enrichment.sample.chain import BROKEN_AFTER, OPEN_MS
from enrichment.sample.shots import SHOTS_MIN
from tests.sample.fakes import Bench, payments
from tests.sample.streams import batch, problem
from tests.sample.test_worker import AWAY, states


def test_an_adopted_job_is_submitted_only_once_its_adoption_is_in_the_ledger() -> None:
    """Else a job that ends every worker would never be found out."""
    bench = Bench()
    qsim = bench.providers["qsim"]
    bench.send(batch(1, (problem(0),)))
    bench.turn()
    bench.restart()
    for _ in range(5):
        bench.worker.tick()
        bench.write(aborts=True)
    assert qsim.accepted == []
    bench.turns(4)
    (job,) = bench.topics.jobs().values()
    assert (job.state, job.adoptions, job.attempt) == (JobState.SUCCEEDED, 1, 1)
    assert [one.adoptions for one in bench.topics.job_records()] == [0, 1, 1]


def test_a_broken_provider_costs_the_next_job_no_time() -> None:
    """After five failures in a row the fallback answers at once, and later the provider again."""
    bench = Bench()
    qsim = bench.providers["qsim"]
    qsim.refusals[:] = [Failure(kind=FailureKind.PERMISSION, detail="no")] * BROKEN_AFTER
    for number in range(BROKEN_AFTER):
        bench.send(batch(number, (problem(number),)))
        bench.turns(5)
    bench.send(batch(50, (problem(9),)))
    bench.turns(5)
    job = bench.topics.jobs()[bench.sent[-1].micro_batch_id]
    assert job.state is JobState.FALLBACK_COMPLETE
    assert job.updated_ms - job.created_ms < 100
    assert "left alone" in next(e.detail for e in bench.topics.events() if "left" in e.detail)
    assert qsim.accepted == []
    bench.turn(OPEN_MS)
    bench.send(batch(60, (problem(9),)))
    bench.turns(5)
    assert states(bench, -1)[-1] is JobState.SUCCEEDED


def test_what_would_come_too_late_is_not_submitted() -> None:
    """A queue of an hour and a deadline of ten seconds: the chain's next, and nothing is paid."""
    bench = Bench()
    bench.providers["qsim"].queue_s = 3_600.0
    bench.send(batch(1, (problem(0),)))
    bench.turns(5)
    assert states(bench)[-1] is JobState.FALLBACK_COMPLETE
    assert bench.providers["qsim"].accepted == []
    told = [event.detail for event in bench.topics.events() if event.event == "ProviderGivenUp"]
    assert "its queue of 3600000 ms" in told[0]


@pytest.mark.parametrize("queue_s", [0.0, 3_600.0])
def test_what_may_be_out_already_is_attached_to_whatever_is_thought_of_the_provider(
    queue_s: float,
) -> None:
    """After a crash the queue is no reason: the attempt may be at its head, and is paid for."""
    bench = Bench()
    qsim = bench.providers["qsim"]
    qsim.holds = True
    bench.send(batch(1, (problem(0),)))
    bench.turns(3)
    bench.restart()
    qsim.holds, qsim.queue_s = False, queue_s
    bench.turns(5)
    assert states(bench)[-1] is JobState.SUCCEEDED
    assert len(qsim.accepted) == 1


def test_with_little_time_a_job_gets_fewer_shots_and_a_retry_does_too() -> None:
    """The pace of earlier jobs says what fits; what was decided is in the ledger and was asked."""
    pipeline = payments()
    sampling = msgspec.structs.replace(pipeline.sampling, shots=1_000)
    bench = Bench(pipeline=msgspec.structs.replace(pipeline, sampling=sampling))
    qsim = bench.providers["qsim"]
    bench.send(batch(1, (problem(0),)))
    bench.turns(4)
    assert qsim.jobs[qsim.accepted[0]].shots == 1_000
    # The fake says 2 ms of execution; here it is told to have been a slow one.
    bench.worker._chain.answered("qsim", units=100, execution_ms=4e4, now_ms=bench.clock.now_ms)
    qsim.answers[:] = [AWAY]
    bench.send(batch(2, (problem(0),)))
    bench.turns(60)
    asked = [qsim.jobs[one].shots for one in qsim.accepted[1:]]
    assert asked[0] == asked[1] == SHOTS_MIN
    assert bench.topics.jobs()[bench.sent[1].micro_batch_id].shots == SHOTS_MIN


def test_many_left_jobs_are_taken_up_a_hundred_at_a_time() -> None:
    """Each is written with its payload: a takeover of thousands must not be one transaction."""
    bench = Bench()
    bench.providers["qsim"].holds = True
    bench.providers["qsim"].jobs_max = 1_000
    bench.send(*(batch(number, (problem(0),)) for number in range(250)))
    bench.turn()
    bench.restart()
    counts = []
    for _ in range(4):
        bench.worker.tick()
        counts.append([len(outbox.jobs) for _, outbox in bench.worker.outboxes()])
        bench.write()
    # An adoption hurries; what was accepted meanwhile goes along.
    assert [max(one, default=0) for one in counts[:3]] == [100, 200, 150]
    bench.turns(3)
    assert len(bench.providers["qsim"].accepted) == 250


def test_a_slow_job_is_asked_for_ever_less_often() -> None:
    """Five hundredths of its age apart: in ten seconds some fifty polls, and not a thousand."""
    bench = Bench()
    bench.providers["qsim"].holds = True
    bench.send(batch(1, (problem(0),)))
    bench.turns(990)
    assert 30 < bench.providers["qsim"].polls < 150
    assert not bench.worker.hurried
    bench.send(batch(2, (problem(0),)))
    bench.providers["qsim"].holds = False
    bench.turns(2)
    assert bench.worker.hurried
