"""No order of asks, settlements, crashes, takeovers, flushes and restarts passes a limit."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from enrichment.records.job import Charge
from enrichment.sample.budget import (
    Allowance,
    BudgetAwayError,
    Claim,
    Grant,
    Limits,
    totals,
)
from enrichment.sample.counter import READING_S, Counted
from enrichment.sample.teller import FORGOTTEN_S, READ_AGAIN_S, Teller
from tests.sample.memory_counter import MemoryCounter

DAY = 20_000
ALLOWANCE = Allowance(
    all=100, pipelines={"payments": 80, "cards": 60}, providers={"ionq": 70, "google": 50}
)
WORKERS = 3
STEPS_MAX = 200
WALKS = 300
WALK_STEPS = 80
SPANS_S = (FORGOTTEN_S, READING_S, READ_AGAIN_S)

WHO = st.integers(0, WORKERS - 1)
# Two to five of them fill a limit.
AMOUNTS = st.integers(15, 50)

PICK = st.integers(0, 99)

T = TypeVar("T")


@dataclass(eq=False)
class Unsure:
    """A counter whose next call may be lost on its way there, or its answer on the way back."""

    inner: MemoryCounter
    lost: str = ""

    def reserve(self, day: int, charge_id: str, claim: Claim, limits: Limits) -> Counted:
        """See Counter."""
        return self._call(lambda: self.inner.reserve(day, charge_id, claim, limits))

    def settle(self, day: int, charge_id: str, claim: Claim) -> Counted:
        """See Counter."""
        return self._call(lambda: self.inner.settle(day, charge_id, claim))

    def begin(self, day: int, token: str) -> bool:
        """See Counter."""
        return self._call(lambda: self.inner.begin(day, token))

    def write(self, day: int, token: str, claims: Mapping[str, Claim]) -> bool:
        """See Counter."""
        return self._call(lambda: self.inner.write(day, token, claims))

    def seen(self, day: int, names: Any) -> tuple[int, ...] | None:
        """See Counter."""
        return self._call(lambda: self.inner.seen(day, names))

    def _call(self, call: Callable[[], T]) -> T:
        lost, self.lost = self.lost, ""
        if lost == "there":
            raise BudgetAwayError("lost on its way there")
        said = call()
        if lost == "back":
            raise BudgetAwayError("lost on its way back")
        return said


@dataclass(eq=False)
class Worker:
    """One process: the charges that it began or adopted, and what it has been told of them."""

    counter: Unsure
    teller: Teller
    # Charge id -> whether it began the attempt itself.
    open: dict[str, bool] = field(default_factory=dict)
    # What happens while it reads the ledger, after it has read it.
    meanwhile: list[Callable[[], None]] = field(default_factory=list)


class Spending(RuleBasedStateMachine):
    """Workers as `Budget` asks them to be, over a ledger that is always right."""

    @initialize()
    def begin(self) -> None:
        """Nothing has been spent, and no counter is there."""
        self.now_s = 0.0
        self.counter = MemoryCounter(lambda: DAY, lambda: self.now_s)
        self.ledger: dict[str, Claim] = {}
        # As they were before they were settled.
        self.intents: dict[str, Claim] = {}
        self.owner: dict[str, Worker] = {}
        self.bills: dict[str, int] = {}
        self.granted: set[str] = set()
        self.kept: list[Any] = [None]
        self.workers = [self._worker() for _ in range(WORKERS)]

    def _worker(self) -> Worker:
        counter = Unsure(self.counter)

        def read(_: int) -> Mapping[str, Claim]:
            found = dict(self.ledger)
            while made.meanwhile:
                made.meanwhile.pop()()
            return found

        made = Worker(
            counter=counter,
            teller=Teller(counter, read, ALLOWANCE, clock_s=lambda: self.now_s),
        )
        return made

    @rule(
        who=WHO,
        micro=AMOUNTS,
        pipeline=st.sampled_from(["payments", "payments", "cards"]),
        provider=st.sampled_from(["ionq", "ionq", "google", "other"]),
    )
    def intend(self, who: int, micro: int, pipeline: str, provider: str) -> None:
        """A worker begins an attempt and asks: the charge is in the ledger first."""
        worker, name = self.workers[who], f"job-{len(self.ledger)}|1"
        self.intents[name] = Claim(pipeline=pipeline, provider=provider, micro=micro)
        self.ledger[name] = self.intents[name]
        self.owner[name] = worker
        worker.open[name] = True
        self._tick(worker)

    @rule(who=WHO)
    def work(self, who: int) -> None:
        """A worker asks for everything that it has not been told of, and its teller has a turn."""
        worker = self.workers[who]
        self._tick(worker)
        worker.teller.turn()
        self._tick(worker)

    @rule(who=WHO)
    def slow_turn(self, who: int) -> None:
        """A teller has a turn, and the worker does not hear of it yet."""
        self.workers[who].teller.turn()

    @rule(who=WHO, other=WHO, micro=AMOUNTS, then=st.sampled_from(["", "flush", "restart", "back"]))
    def race(self, who: int, other: int, micro: int, then: str) -> None:
        """While one reads the ledger, another builds the counter and spends; and it may be lost."""
        self.counter.flush()
        self.intend(who, micro, "payments", "google")

        def meanwhile() -> None:
            before = self.counter.snapshot()
            self.now_s += READING_S + 1
            self.intend(other, micro, "payments", "ionq")
            self.work(other)
            if then == "flush":
                self.counter.flush()
            elif then:
                self.counter.restart(before if then == "back" else None)

        if other != who:
            self.workers[who].meanwhile = [meanwhile]
        self.work(who)
        self.workers[who].meanwhile = []

    def _tick(self, worker: Worker) -> None:
        for name, began in list(worker.open.items()):
            claim = self.ledger[name]
            if claim.settled and self.owner[name] is worker:
                del worker.open[name]  # by this very worker, when it gave the attempt up
                continue
            # A former owner does not know what has become of it since.
            answer = worker.teller.ask(name, _charge(self.intents[name]), claim.pipeline)
            if answer.grant is Grant.GRANTED:
                self.granted.add(name)
                del worker.open[name]
            elif answer.grant is Grant.REFUSED:
                del worker.open[name]
                if began:
                    self._settle(worker, name, 0)

    @rule(who=WHO, how=st.sampled_from(["there", "back"]))
    def lose(self, who: int, how: str) -> None:
        """The next call of a worker's teller is lost, on its way there or back."""
        self.workers[who].counter.lost = how

    @precondition(lambda self: self.granted)
    @rule(pick=PICK, share=st.integers(0, 4), heard=st.booleans())
    def pay(self, pick: int, share: int, heard: bool) -> None:
        """A provider's bill, at most what was reserved; its owner may die before it says so."""
        name = _picked(sorted(self.granted), pick)
        if not self.ledger[name].settled:
            cost = self.bills[name] = self.ledger[name].micro * share // 4
            self._settle(self.owner[name], name, cost, heard=heard)

    def _settle(self, worker: Worker, name: str, cost: int, *, heard: bool = True) -> None:
        """Into the ledger, where whoever is not the owner is fenced; then to the counter."""
        if self.owner[name] is not worker:
            return
        claim = self.ledger[name]
        done = Claim(pipeline=claim.pipeline, provider=claim.provider, micro=cost, settled=True)
        self.ledger[name] = done
        if heard:
            worker.teller.settle(name, _charge(done), claim.pipeline)

    @precondition(lambda self: self.ledger)
    @rule(pick=PICK, who=WHO)
    def take_over(self, pick: int, who: int) -> None:
        """Another worker adopts an attempt; the former one may go on asking for a while."""
        name, worker = _picked(sorted(self.ledger), pick), self.workers[who]
        if self.owner[name] is worker:
            return
        self.owner[name] = worker
        if not self.ledger[name].settled:
            worker.open[name] = False

    @rule(who=WHO, heir=WHO)
    def crash(self, who: int, heir: int) -> None:
        """A process dies, with all it knew; another adopts what it owned."""
        dead, self.workers[who] = self.workers[who], self._worker()
        adopter = self.workers[heir]
        for name, owner in self.owner.items():
            if owner is dead:
                self.owner[name] = adopter
                if not self.ledger[name].settled:
                    adopter.open[name] = False

    @rule()
    def flush(self) -> None:
        """Redis is flushed."""
        self.counter.flush()

    @rule()
    def remember(self) -> None:
        """A replica, or a file, has the present state."""
        self.kept.append(self.counter.snapshot())

    @rule(pick=PICK)
    def restart(self, pick: int) -> None:
        """Redis starts again, or fails over, with what was kept at some time, or nothing."""
        self.counter.restart(_picked(self.kept, pick))

    @rule(seconds=st.sampled_from([0.1, *(second + 1 for second in SPANS_S)]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now_s += seconds

    @invariant()
    def never_over(self) -> None:
        """What was granted, at what was billed or may yet be, is within every limit."""
        spent = totals(
            replace(self.intents[name], micro=self.bills.get(name, self.intents[name].micro))
            for name in getattr(self, "granted", ())
        )
        for pipeline in ALLOWANCE.pipelines:
            for provider in ("ionq", "google", "other"):
                limits = ALLOWANCE.limits(pipeline, provider)
                names = ("all", f"pipeline:{pipeline}", f"provider:{provider}")
                for scope, limit in zip(names, limits, strict=True):
                    assert limit is None or spent.get(scope, 0) <= limit, (scope, spent)

    def teardown(self) -> None:
        """Once all is calm, what still fits is granted, to the last millionth."""
        if not hasattr(self, "workers"):
            return
        for _ in range(STEPS_MAX):
            for worker in self.workers:
                worker.counter.lost = ""
                self._tick(worker)
                worker.teller.turn()
                self._tick(worker)
            self.now_s += READING_S + 1
            if not any(worker.open for worker in self.workers):
                break
        else:
            raise AssertionError("somebody was never told")
        self.now_s += READ_AGAIN_S
        known = totals(self.ledger.values())
        limits = ALLOWANCE.limits("payments", "other")
        scopes = ("all", "pipeline:payments", "provider:other")
        room = min(
            limit - known.get(scope, 0)
            for scope, limit in zip(scopes, limits, strict=True)
            if limit is not None
        )
        if room > 0:
            self.intend(0, room, "payments", "other")
            name = list(self.ledger)[-1]
            for _ in range(3):
                self._tick(self.workers[0])
                self.workers[0].teller.turn()
                self.now_s += READING_S + 1
                self._tick(self.workers[0])
            assert name in self.granted, f"{room} fit, and were not granted"
        self.never_over()


def _picked(among: list[T], pick: int) -> T:
    return among[pick % len(among)]


def _charge(claim: Claim) -> Charge:
    return Charge(
        attempt=1, provider=claim.provider, day=DAY, micro=claim.micro, settled=claim.settled
    )


TestSpending = Spending.TestCase
TestSpending.settings = settings(max_examples=100, stateful_step_count=50)


def walk(seed: int) -> Spending:
    """A long walk through the same steps: dense enough to come across what takes eight of them."""
    draw = random.Random(seed)
    world = Spending()
    world.begin()
    for _ in range(WALK_STEPS):
        who, other, pick = draw.randrange(WORKERS), draw.randrange(WORKERS), draw.randrange(100)
        micro = draw.randint(15, 50)
        pipeline = draw.choice(["payments", "payments", "cards"])
        provider = draw.choice(["ionq", "ionq", "google", "other"])
        then = draw.choice(["", "flush", "restart", "back"])
        how, heard, share = draw.choice(["there", "back"]), draw.random() < 0.7, draw.randrange(5)
        steps: list[tuple[int, Callable[[], None]]] = [
            (6, partial(world.intend, who, micro, pipeline, provider)),
            (8, partial(world.work, who)),
            (2, partial(world.slow_turn, who)),
            (2, partial(world.race, who, other, micro, then)),
            (1, partial(world.lose, who, how)),
            (4 if world.granted else 0, partial(world.pay, pick, share, heard)),
            (2 if world.ledger else 0, partial(world.take_over, pick, who)),
            (1, partial(world.crash, who, other)),
            (1, world.flush),
            (2, world.remember),
            (1, partial(world.restart, pick)),
            (2, partial(world.wait, draw.choice([0.1, *(second + 1 for second in SPANS_S)]))),
        ]
        [(_, step)] = draw.choices(steps, [weight for weight, _ in steps])
        step()
        world.never_over()
    world.teardown()
    return world


def test_walks_never_pass_a_limit_and_leave_nothing_unspent() -> None:
    """Long walks of many seeds; a failure names its seed, and `walk(seed)` goes the same way."""
    granted = 0
    for seed in range(WALKS):
        try:
            granted += len(walk(seed).granted)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert granted > 3 * WALKS  # they do come to something
