"""The worker and the budget: what is asked for, what is submitted, and what the ledger settles."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import pytest

from enrichment.provider.contract import Failure, FailureKind, Result
from enrichment.records import JobState
from enrichment.sample.budget import DAY_MS, Allowance, Claim, day_of
from enrichment.sample.spending import Spender, claims_of
from enrichment.sample.teller import Teller
from tests.sample.fakes import Bench
from tests.sample.memory_counter import MemoryCounter
from tests.sample.streams import batch, problem
from tests.sample.test_worker import AWAY, IN_DOUBT, states

PRICE = 0.01
COST = 1_000_000
"""Of a job with one problem of 100 shots, in millionths."""


@dataclass(slots=True, kw_only=True)
class Till:
    """A bench whose qsim costs money, and the budget that it has for a day."""

    bench: Bench
    counter: MemoryCounter
    teller: Teller

    @classmethod
    def open(cls, day: float) -> "Till":
        """A till with so much in it."""
        bench = Bench()
        bench.providers["qsim"].price_per_shot = PRICE

        def read(wanted: int) -> dict[str, Claim]:
            jobs = bench.topics.jobs().values()
            spenders = [msgspec.convert(job, Spender, from_attributes=True) for job in jobs]
            return claims_of(spenders).get(wanted, {})

        counter = MemoryCounter(lambda: day_of(bench.clock()), lambda: bench.clock() / 1000)
        allowance = Allowance.of({bench.pipeline.name: day})
        teller = Teller(counter, read, allowance, clock_s=lambda: bench.clock() / 1000)
        bench.budget = teller
        bench.restart()
        return cls(bench=bench, counter=counter, teller=teller)

    def turns(self, count: int, ms: int = 10) -> None:
        """Several turns of the stage, the budget's beside."""
        for _ in range(count):
            self.bench.turn(ms)
            self.teller.turn()

    def send(self, *numbers: int) -> None:
        """A job of one problem for each."""
        self.bench.send(*(batch(number, (problem(0),)) for number in numbers))

    def charges(self, number: int = 0) -> list[tuple[int, str, int, bool]]:
        """What the ledger says that a job's attempts have cost."""
        job = self.bench.topics.jobs()[self.bench.sent[number].micro_batch_id]
        return [(one.attempt, one.provider, one.micro, one.settled) for one in job.charges]

    def counted(self) -> int:
        """What the counter says is spent or reserved."""
        seen = self.counter.seen(day_of(self.bench.clock()), ("all",))
        assert seen is not None
        return seen[0]


def costing(micro: int) -> Callable[[Result], Result]:
    """An answer that did cost that much."""
    return lambda result: replace(result, cost=micro / 1_000_000)


def test_money_is_in_the_ledger_then_granted_then_spent_then_settled() -> None:
    """In this order; and what it did cost takes the place of what it might have."""
    till = Till.open(day=5)
    qsim = till.bench.providers["qsim"]
    qsim.answers[:] = [costing(400_000)]
    till.send(1)
    till.bench.turn()
    assert till.charges() == [(1, "qsim", COST, False)]
    till.bench.turns(5)
    assert qsim.accepted == [], "submitted without a grant"
    till.turns(6)
    assert states(till.bench)[-1] is JobState.SUCCEEDED
    assert till.charges() == [(1, "qsim", 400_000, True)]
    (job,) = till.bench.topics.jobs().values()
    assert job.cost_micro == 400_000
    assert till.counted() == 400_000


def test_what_does_not_fit_goes_to_the_fallback_and_costs_nothing() -> None:
    """Money for two and a half jobs: two are sampled, the third is answered classically at once."""
    till = Till.open(day=2.5)
    qsim = till.bench.providers["qsim"]
    qsim.answers[:] = [costing(COST)] * 2
    till.send(1)
    till.turns(6)
    till.send(2, 3)
    till.turns(20)
    assert len(qsim.accepted) == 2
    ends = [till.bench.topics.jobs()[one.micro_batch_id] for one in till.bench.sent]
    assert sorted(job.state.value for job in ends) == ["fallback_complete"] + ["succeeded"] * 2
    (poor,) = (n for n, job in enumerate(ends) if job.state is JobState.FALLBACK_COMPLETE)
    assert till.charges(poor) == [(1, "qsim", 0, True), (2, "exact", 0, False)]
    given_up = [e for e in till.bench.topics.events() if e.event == "ProviderGivenUp"]
    told = [event.detail for event in given_up]
    assert len(told) == 1
    assert "1 more do not fit" in told[0]
    assert till.counted() == 2 * COST


def test_a_new_day_has_new_money() -> None:
    """What was spent yesterday does not count."""
    till = Till.open(day=1)
    qsim = till.bench.providers["qsim"]
    qsim.answers[:] = [costing(COST)] * 2
    till.send(1)
    till.turns(6)
    till.bench.clock.now_ms += DAY_MS
    till.send(2)
    till.turns(6)
    assert len(qsim.accepted) == 2


def test_while_nobody_can_say_nothing_is_spent() -> None:
    """The counter is away: the job waits, and at its deadline the fallback answers."""
    till = Till.open(day=5)
    till.counter.away = True
    till.send(1)
    till.turns(20)
    assert states(till.bench)[-1] is JobState.PENDING
    till.turns(4, ms=5_000)
    assert states(till.bench)[-1] is JobState.FALLBACK_COMPLETE
    assert till.bench.providers["qsim"].accepted == []
    assert till.charges()[0] == (1, "qsim", 0, True)


def test_after_a_flush_the_counter_is_rebuilt_from_the_ledger() -> None:
    """What was spent before is not forgotten with it."""
    till = Till.open(day=1.5)
    qsim = till.bench.providers["qsim"]
    qsim.answers[:] = [costing(COST)] * 2
    till.send(1)
    till.turns(6)
    till.counter.flush()
    till.send(2)
    till.turns(8)
    assert len(qsim.accepted) == 1
    assert till.counted() == COST


@pytest.mark.parametrize(
    ("failure", "charge"),
    [
        (AWAY, (1, "qsim", 0, True)),
        (Failure(kind=FailureKind.QUOTA, detail="later"), (1, "qsim", 0, True)),
        (IN_DOUBT, (1, "qsim", COST, True)),
        (Failure(kind=FailureKind.ALGORITHM, detail="garbage"), (1, "qsim", COST, True)),
    ],
)
def test_only_what_was_never_taken_costs_nothing(
    failure: Failure, charge: tuple[int, str, int, bool]
) -> None:
    """What the provider may have run counts with all that it might have cost."""
    till = Till.open(day=5)
    till.bench.providers["qsim"].answers[:] = [failure]
    till.send(1)
    till.turns(60)
    assert till.charges()[0] == charge


def test_an_adopted_attempt_that_fails_in_passing_is_tried_under_its_own_id() -> None:
    """Under a new one it might be paid twice: the former owner's may be running."""
    till = Till.open(day=5)
    bench, qsim = till.bench, till.bench.providers["qsim"]
    qsim.holds = True
    till.send(1)
    till.turns(4)
    (sent,) = qsim.accepted
    bench.restart()
    qsim.refusals[:] = [AWAY, AWAY]
    till.turns(100)
    assert qsim.refusals == []
    assert till.charges() == [(1, "qsim", COST, False)], "given back, though it may be spent"
    qsim.holds = False
    till.turns(60)
    assert states(bench)[-1] is JobState.SUCCEEDED
    assert qsim.accepted == [sent]
    job = bench.topics.jobs()[bench.sent[0].micro_batch_id]
    assert (job.attempt, len(job.charges)) == (1, 1)


def test_a_late_answer_is_settled_at_what_it_cost() -> None:
    """It comes while the fallback is at work: nobody uses it, and it is paid for all the same."""
    till = Till.open(day=5)
    bench, qsim, exact = till.bench, till.bench.providers["qsim"], till.bench.providers["exact"]
    qsim.holds = exact.holds = True
    till.send(1)
    till.turns(4)
    till.turns(2, ms=5_000)
    qsim.answers[:] = [costing(300_000)]
    qsim.holds = False
    till.turns(60)
    exact.holds = False
    till.turns(60)
    assert states(bench)[-1] is JobState.FALLBACK_COMPLETE
    assert till.charges()[0] == (1, "qsim", 300_000, True)


def test_with_little_money_left_a_job_gets_fewer_shots() -> None:
    """What is left for the day buys half of the usual: that is asked for."""
    till = Till.open(day=30)
    bench = till.bench
    sampling = msgspec.structs.replace(bench.pipeline.sampling, shots=1_000)
    bench.pipeline = msgspec.structs.replace(bench.pipeline, sampling=sampling)
    bench.restart()
    qsim = bench.providers["qsim"]
    qsim.answers[:] = [costing(25 * COST), costing(5 * COST)]
    till.send(1)
    till.turns(6)
    till.send(2)
    till.turns(6)
    assert [qsim.jobs[one].shots for one in qsim.accepted] == [1_000, 500]


def test_a_lost_counter_risks_nothing_at_the_limit() -> None:
    """Which of the ledger's open claims were granted is not known: beyond the limit none is now."""
    till = Till.open(day=2.5)
    till.send(1, 2, 3)
    till.turns(20)
    assert till.bench.providers["qsim"].accepted == []
    assert till.counted() == 0
    till.send(4)
    till.turns(6)
    assert len(till.bench.providers["qsim"].accepted) == 1
