"""The budget's pure parts, and the teller in between worker and counter."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from enrichment.records.job import Charge
from enrichment.sample import teller as teller_module
from enrichment.sample.budget import (
    CHARGE_MAX_MICRO,
    LIMIT_MAX_MICRO,
    MICRO,
    Allowance,
    Answer,
    BudgetAwayError,
    Claim,
    Grant,
    charge_id,
    is_needed,
    micro_up,
    refusal,
    room,
    shown,
    totals,
)
from enrichment.sample.counter import READING_S, Counted, Verdict
from enrichment.sample.spending import Spender, claims_of
from enrichment.sample.teller import FORGOTTEN_S, FRESH_S, READ_AGAIN_S, Teller
from tests.sample.entries import job
from tests.sample.memory_counter import MemoryCounter

DAY = 20_000
ALLOWANCE = Allowance(all=None, pipelines={"payments": 100}, providers={"ionq": 90})


def charge(micro: int, *, attempt: int = 1, day: int = DAY, settled: bool = False) -> Charge:
    """One at ionq."""
    return Charge(attempt=attempt, provider="ionq", day=day, micro=micro, settled=settled)


@dataclass(eq=False)
class World:
    """A teller without a thread, its counter, the ledger and the time."""

    now_s: float = 0.0
    ledger: dict[str, Claim] = field(default_factory=dict)
    readings: int = 0
    broken: BaseException | None = None

    def __post_init__(self) -> None:
        self.counter = MemoryCounter(lambda: DAY, lambda: self.now_s)
        self.teller = Teller(self.counter, self._read, ALLOWANCE, clock_s=lambda: self.now_s)

    def _read(self, _: int) -> Mapping[str, Claim]:
        self.readings += 1
        if self.broken is not None:
            raise self.broken
        return dict(self.ledger)

    def asked(self, name: str, what: Charge) -> Answer:
        """The answer to an intent, after one turn."""
        self.ledger[name] = Claim.of(what, "payments")
        first = self.teller.ask(name, what, "payments")
        if first.grant is not Grant.WAITING:
            return first
        self.teller.turn()
        return self.teller.ask(name, what, "payments")


def test_the_first_ask_builds_the_counter_and_is_granted() -> None:
    """The worker never waits: the ask is decided in a turn of the teller's, and told once."""
    world = World()
    assert world.teller.ask("a|1", charge(40), "payments").grant is Grant.WAITING
    world.ledger["a|1"] = Claim.of(charge(40), "payments")
    world.teller.turn()
    assert world.teller.ask("a|1", charge(40), "payments").grant is Grant.GRANTED
    assert world.teller.ask("a|1", charge(40), "payments").grant is Grant.WAITING  # another ask
    assert world.readings == 1
    assert world.counter.seen(DAY, ("all",)) == (40, 1)


def test_what_is_free_needs_no_counter() -> None:
    """A simulator's attempt is granted at once, with Redis away, for a pipeline without budget."""
    world = World()
    world.counter.away = True
    assert world.teller.ask("a|1", charge(0), "trust").grant is Grant.GRANTED


def test_what_no_limit_allows_is_refused_at_once() -> None:
    """A paid attempt of a pipeline without a budget is told what to set; so is an absurd amount."""
    world = World()
    world.counter.away = True
    said = world.teller.ask("a|1", charge(5), "trust")
    assert said.grant is Grant.REFUSED
    assert "[budget]" in said.detail
    assert "trust" in said.detail
    for micro in (-1, CHARGE_MAX_MICRO + 1):
        assert world.teller.ask("b|1", charge(micro), "payments").grant is Grant.REFUSED


def test_a_refusal_names_the_limit() -> None:
    """Spent, limit and what did not fit, in currency; and the ledger was read before it."""
    world = World()
    assert world.asked("a|1", charge(60)).grant is Grant.GRANTED
    said = world.asked("b|1", charge(31))
    assert said.grant is Grant.REFUSED
    assert said.detail == (
        "budget: 0.000031 more do not fit: provider:ionq has spent or reserved 0.00006 of 0.00009 "
        "for the day"
    )
    assert world.readings == 2
    assert world.asked("c|1", charge(31)).grant is Grant.REFUSED
    assert world.readings == 2  # not for each refusal
    world.now_s += READ_AGAIN_S
    assert world.asked("d|1", charge(31)).grant is Grant.REFUSED
    assert world.readings == 3


def test_what_a_crash_left_reserved_is_found_before_a_refusal() -> None:
    """A worker that died between ledger and counter keeps nobody from what it did not spend."""
    world = World()
    assert world.asked("a|1", charge(60)).grant is Grant.GRANTED
    world.ledger["a|1"] = Claim.of(charge(10, settled=True), "payments")  # and no `settle`
    assert world.asked("b|1", charge(60)).grant is Grant.GRANTED
    assert world.counter.seen(DAY, ("all",)) == (70, 2)


def test_an_attempt_that_is_settled_is_granted_to_nobody() -> None:
    """A former owner that wakes up asks in vain for what has come to nothing since."""
    world = World()
    world.asked("a|1", charge(60))
    world.teller.settle("a|1", charge(0, settled=True), "payments")
    said = world.teller.ask("a|1", charge(60), "payments")
    assert said.grant is Grant.WAITING
    world.teller.turn()
    said = world.teller.ask("a|1", charge(60), "payments")
    assert said.grant is Grant.REFUSED
    assert "settled" in said.detail
    with pytest.raises(ValueError, match="not settled"):
        world.teller.settle("a|1", charge(60), "payments")


def test_redis_away_or_a_ledger_that_cannot_be_read_leaves_asks_waiting() -> None:
    """Neither yes nor no, and why; decided as soon as both are back."""
    world = World()
    world.counter.away = True
    said = world.asked("a|1", charge(40))
    assert said.grant is Grant.WAITING
    assert "does not answer" in said.detail
    world.counter.away = False
    world.broken = BudgetAwayError("the ledger cannot be read: no leader")
    said = world.asked("a|1", charge(40))
    assert said.grant is Grant.WAITING
    assert "no leader" in said.detail
    world.broken = None
    said = world.asked("a|1", charge(40))
    assert "somebody builds it" in said.detail  # it may be the reading that failed
    world.now_s += READING_S
    assert world.asked("a|1", charge(40)).grant is Grant.GRANTED


def test_another_days_ask_is_refused() -> None:
    """A clock that is days away spends nothing."""
    world = World()
    said = world.asked("a|1", charge(40, day=DAY + 2))
    assert said.grant is Grant.REFUSED
    assert "clock" in said.detail


def test_asks_are_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not ask again makes room for others, and is not granted what it does not want."""
    monkeypatch.setattr(teller_module, "ASKS_MAX", 1)
    world = World()
    world.teller.ask("a|1", charge(40), "payments")
    said = world.teller.ask("b|1", charge(40), "payments")
    assert (said.grant, said.detail) == (Grant.WAITING, "budget: too many asks are waiting")
    world.now_s += FORGOTTEN_S + 0.1
    world.teller.turn()
    assert world.asked("b|1", charge(40)).grant is Grant.GRANTED
    assert world.counter.seen(DAY, ("all",)) == (40, 1)


def test_settlements_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """While Redis is away the oldest are left to the ledger, from which they come all the same."""
    monkeypatch.setattr(teller_module, "SETTLEMENTS_MAX", 2)
    world = World()
    for name in ("a|1", "b|1", "c|1"):
        assert world.asked(name, charge(30)).grant is Grant.GRANTED
    world.counter.away = True
    for name in ("a|1", "b|1", "c|1"):
        world.ledger[name] = Claim.of(charge(1, settled=True), "payments")
        world.teller.settle(name, charge(1, settled=True), "payments")
        world.teller.turn()
    world.counter.away = False
    world.teller.turn()
    assert world.counter.seen(DAY, ("all",)) == (32, 3)
    assert world.asked("d|1", charge(87)).grant is Grant.GRANTED
    assert world.counter.seen(DAY, ("all",)) == (90, 4)


def test_what_is_left_is_that_of_the_tightest_limit_and_only_lately() -> None:
    """Unknown before anything was seen, and again when that was long ago; nought is nought."""
    world = World()
    assert world.teller.left("payments", "ionq", DAY) is None
    world.asked("a|1", charge(60))
    assert world.teller.left("payments", "ionq", DAY) == 30
    assert world.teller.left("payments", "ionq", DAY + 1) is None
    world.teller.settle("a|1", charge(95, settled=True), "payments")  # more than was said
    world.teller.turn()
    assert world.teller.left("payments", "ionq", DAY) == 0
    world.now_s += FRESH_S + 0.1
    assert world.teller.left("payments", "ionq", DAY) is None
    assert world.teller.left("trust", "ionq", DAY) == 0


def test_a_bug_in_the_thread_ends_the_worker() -> None:
    """A thread that died is not an ask that waits for ever."""

    class Bug(MemoryCounter):
        def reserve(self, *_: Any) -> Counted:
            raise ZeroDivisionError

    teller = Teller(Bug(lambda: DAY, lambda: 0.0), lambda _: {}, ALLOWANCE, clock_s=lambda: 0.0)
    teller.ask("a|1", charge(5), "payments")
    with pytest.raises(ZeroDivisionError):
        teller._run()
    with pytest.raises(RuntimeError, match="has ended"):
        teller.ask("a|1", charge(5), "payments")


def test_the_threads_own_turns_decide() -> None:
    """Started, it needs nobody to call it; closed, it is gone."""
    world = World()
    teller = world.teller.start()
    world.ledger["a|1"] = Claim.of(charge(5), "payments")
    answer = teller.ask("a|1", charge(5), "payments")
    while answer.grant is Grant.WAITING:
        answer = teller.ask("a|1", charge(5), "payments")
    assert answer.grant is Grant.GRANTED
    teller.close()
    assert teller._thread is not None
    assert not teller._thread.is_alive()


def test_amounts_are_rounded_against_the_spender() -> None:
    """Limits down, bounds up; what is exact stays so, whatever binary fractions make of it."""
    allowance = Allowance.of({"payments": 0.29}, day=1.0000019, providers={"ionq": 1e12})
    assert allowance.limits("payments", "ionq") == (1_000_001, 290_000, LIMIT_MAX_MICRO)
    assert allowance.limits("cards", "google") == (1_000_001, 0, None)
    assert micro_up(0.1 * 3) == 300_000
    assert micro_up(0.0000001) == 1
    assert micro_up(0.0) == 0
    assert (shown(0), shown(MICRO), shown(1_234_500_000)) == ("0", "1", "1,234.5")


def test_room_is_that_of_the_tightest() -> None:
    """Without a limit there is as much as there can be."""
    assert room((5, 5, 5), (None, 8, 6)) == 1
    assert room((5, 5, 5), (4, None, None)) == -1
    assert room((5, 5, 5), (None, None, None)) == LIMIT_MAX_MICRO
    assert "pipeline:p has spent" in refusal(
        Claim(pipeline="p", provider="q", micro=4), (5, 5, 5), (None, 8, 6)
    )


def test_the_ledgers_claims_are_the_newest_of_each_charge() -> None:
    """What is free is left out, what was settled at nothing is not, and no entry takes one back."""
    first = Spender(job_id="j", pipeline="payments", charges=(charge(5),))
    second = Spender(
        job_id="j",
        pipeline="payments",
        charges=(charge(0, settled=True), charge(7, attempt=2, day=DAY + 1), charge(0, attempt=3)),
    )
    other = Spender(job_id="k", pipeline="cards", charges=(charge(3),))
    silent = Spender(job_id="k", pipeline="cards")
    found = claims_of([first, other, second, silent])
    assert found == {
        DAY: {
            "j|1": Claim(pipeline="payments", provider="ionq", micro=0, settled=True),
            "k|1": Claim(pipeline="cards", provider="ionq", micro=3),
        },
        DAY + 1: {"j|2": Claim(pipeline="payments", provider="ionq", micro=7)},
    }
    assert totals(found[DAY].values()) == {
        "all": 3,
        "pipeline:payments": 0,
        "pipeline:cards": 3,
        "provider:ionq": 3,
    }
    assert charge_id("j", 2) == "j|2"


def test_an_entry_is_needed_while_its_day_may_be_asked_about() -> None:
    """Yesterday's paid charges keep it in the ledger; older and free ones do not."""

    def needed(*charges: Charge) -> bool:
        return is_needed(job("j", "payments", *charges), DAY)

    assert needed(charge(5, day=DAY - 1))
    assert not needed(charge(5, day=DAY - 2), charge(0))
    assert needed(charge(0, settled=True))


def test_every_verdict_has_an_answer() -> None:
    """None of the counter's words leaves an ask without one, but for a counter that is missing."""
    for verdict in Verdict:
        world = World()
        counted = Counted(verdict=verdict, sums=(1, 1, 1))
        world.counter.reserve = lambda *_, said=counted: said  # type: ignore[method-assign]
        waits = world.asked("a|1", charge(5)).grant is Grant.WAITING
        assert waits == (verdict is Verdict.MISSING)
