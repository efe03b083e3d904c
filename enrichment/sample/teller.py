"""The teller: takes a worker's asks, and has them decided by the counter without making it wait.

The worker's thread leaves asks and settlements here and finds decisions. All that may take time
(Redis, the reading of the ledger) happens in `turn`, which a thread of the teller's own calls again
and again (`start`); a simulation without threads calls it itself.
"""

import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from enrichment.records.job import Charge
from enrichment.sample.budget import (
    DAYS_ASKED,
    GRANTED,
    Allowance,
    Answer,
    BudgetAwayError,
    Claim,
    Grant,
    Limits,
    refusal,
    room,
    scopes,
)
from enrichment.sample.counter import Counted, Counter, Verdict
from enrichment.telemetry import metrics
from enrichment.telemetry.log import logger

ASKS_MAX: Final = 1_000
"""Asks without a decision: twice as many as a worker has jobs. More have to come again."""

SETTLEMENTS_MAX: Final = 10_000
"""Settlements that wait for a counter. Beyond, the oldest is left to the next reading."""

FORGOTTEN_S: Final = 2.0
"""A worker asks at every tick, 50 times a second: who has not for so long has given up."""

FRESH_S: Final = 10.0
"""How long what was seen of the counter says what is left: others spend, too."""

READ_AGAIN_S: Final = 60.0
"""How often the ledger is read before a refusal, for what has been counted too high."""

PAUSE_S: Final = 0.2
"""Between two attempts at a counter that does not answer, or that somebody else builds."""

IDLE_S: Final = 1.0
"""How long the thread sleeps where nobody asks: then it looks for what is forgotten."""

CLOSE_S: Final = 2.0
"""How long the end waits for the thread: a reading that goes on is left to itself."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Ask:
    """One ask, and its decision once there is one."""

    day: int
    claim: Claim
    asked_s: float
    answer: Answer | None = None


class Teller:
    """A Budget over a counter and a ledger: see `budget.Budget`, whose methods any thread may call.

    `read` gives the claims of a day as the committed ledger has them, all pipelines' (it raises
    BudgetAwayError); `clock_s` is monotonic.
    """

    def __init__(
        self,
        counter: Counter,
        read: Callable[[int], Mapping[str, Claim]],
        allowance: Allowance,
        *,
        clock_s: Callable[[], float],
    ) -> None:
        self._counter = counter
        self._read = read
        self._allowance = allowance
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._asks: OrderedDict[str, _Ask] = OrderedDict()
        self._settlements: OrderedDict[str, tuple[int, Claim]] = OrderedDict()
        # (day, scope) -> the sum, and when it was seen.
        self._sums: dict[tuple[int, str], tuple[int, float]] = {}
        # By day: when the ledger was read before a refusal, and which settlements that has told.
        self._read_s: dict[int, float] = {}
        self._told: dict[int, set[str]] = {}
        self._trouble = ""
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def ask(self, charge_id: str, charge: Charge, pipeline: str) -> Answer:
        """See Budget."""
        if charge.micro == 0:
            return GRANTED
        objection = self._allowance.objection(charge, pipeline)
        if objection:
            return Answer(grant=Grant.REFUSED, detail=objection)
        now_s = self._clock_s()
        with self._lock:
            self._raise_failure()
            ask = self._asks.get(charge_id)
            if ask is None:
                if len(self._asks) >= ASKS_MAX:
                    return Answer(grant=Grant.WAITING, detail="budget: too many asks are waiting")
                claim = Claim.of(charge, pipeline)
                self._asks[charge_id] = _Ask(day=charge.day, claim=claim, asked_s=now_s)
                self._wake.set()
            else:
                ask.asked_s = now_s
                if ask.answer is not None:
                    del self._asks[charge_id]
                    return ask.answer
            return Answer(grant=Grant.WAITING, detail=self._trouble or "budget: not decided yet")

    def settle(self, charge_id: str, charge: Charge, pipeline: str) -> None:
        """See Budget. Raises ValueError for a charge that is not settled."""
        if not charge.settled:
            raise ValueError(f"{charge_id} is not settled")
        with self._lock:
            self._raise_failure()
            self._asks.pop(charge_id, None)
            if len(self._settlements) >= SETTLEMENTS_MAX:
                self._settlements.popitem(last=False)
                metrics.settlements_left.add(1)
            self._settlements[charge_id] = (charge.day, Claim.of(charge, pipeline))
        self._wake.set()

    def left(self, pipeline: str, provider: str, day: int) -> int | None:
        """See Budget."""
        if not self._allowance.pipelines.get(pipeline, 0):
            return 0
        fresh_s = self._clock_s() - FRESH_S
        with self._lock:
            seen = [self._sums.get((day, scope)) for scope in scopes(pipeline, provider)]
        known = [one[0] for one in seen if one is not None and one[1] >= fresh_s]
        if len(known) < len(seen):
            return None
        return max(0, room(known, self._allowance.limits(pipeline, provider)))

    def start(self) -> "Teller":
        """Begin to decide, in a thread that ends with the process."""
        self._thread = threading.Thread(target=self._run, name="budget", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """See Budget. Settlements that are still here are in the ledger, which is read again."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def turn(self) -> bool:
        """Settle and decide what is waiting; whether nothing is left that must be tried again."""
        self._forget()
        try:
            self._settle()
            done = self._decide()
        except BudgetAwayError as error:
            self._say(str(error))
            return False
        if done:
            self._say("")
        return done

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self.turn():
                    self._wake.wait(IDLE_S)
                else:
                    self._stop.wait(PAUSE_S)
                self._wake.clear()
        except BaseException as failure:  # whoever asks next is told, in its own thread
            with self._lock:
                self._failure = failure
            raise

    def _raise_failure(self) -> None:
        """Let the worker end with a bug of ours, instead of waiting for what never comes."""
        if self._failure is not None:
            raise RuntimeError("the budget's thread has ended") from self._failure

    def _say(self, trouble: str) -> None:
        """What those who wait are told; logged when it changes."""
        with self._lock:
            changed, self._trouble = trouble != self._trouble, trouble
        if changed and trouble:
            logger().warning("the budget cannot be asked: nothing paid is begun", detail=trouble)

    def _forget(self) -> None:
        """Drop asks that nobody repeats, and what was seen of days and scopes long ago."""
        now_s = self._clock_s()
        with self._lock:
            for charge_id, ask in list(self._asks.items()):
                if now_s - ask.asked_s > FORGOTTEN_S:
                    del self._asks[charge_id]
            old = [where for where, (_, at_s) in self._sums.items() if now_s - at_s > FRESH_S]
            for where in old:
                del self._sums[where]

    def _settle(self) -> None:
        """Tell the counter all that is waiting to be settled.

        Where it is missing, the reading that builds it finds the settlement in the ledger; one that
        has passed that place already misses it, and a later one, before a refusal, makes it good.
        """
        with self._lock:
            waiting = list(self._settlements.items())
        for charge_id, (day, claim) in waiting:
            self._note(day, claim, self._counter.settle(day, charge_id, claim))
            with self._lock:
                self._settlements.pop(charge_id, None)

    def _decide(self) -> bool:
        """Have every undecided ask decided; False where some have to wait."""
        with self._lock:
            waiting = [(id_, ask) for id_, ask in self._asks.items() if ask.answer is None]
        for charge_id, ask in waiting:
            answer = self._answer(charge_id, ask)
            if answer is None:
                return False
            metrics.budget_asks.add(1, {"grant": answer.grant.value})
            with self._lock:
                ask.answer = answer
        return True

    def _answer(self, charge_id: str, ask: _Ask) -> Answer | None:
        """The decision on one ask; None while the counter is missing and another builds it."""
        claim, day = ask.claim, ask.day
        limits = self._allowance.limits(claim.pipeline, claim.provider)
        counted = self._reserve(charge_id, ask, limits)
        if counted.verdict is Verdict.MISSING:
            if not self._build(day):
                return None
            counted = self._reserve(charge_id, ask, limits)
        if counted.verdict is Verdict.REFUSED and self._correct(day):
            counted = self._reserve(charge_id, ask, limits)
        match counted.verdict:
            case Verdict.GRANTED:
                return GRANTED
            case Verdict.REFUSED:
                detail = refusal(claim, counted.sums, limits)
            case Verdict.SETTLED:
                detail = "budget: this attempt's charge is settled: nobody may begin it again"
            case Verdict.DAY:
                detail = f"budget: day {day} is not one of the server's: which clock is wrong?"
            case _:
                return None
        return Answer(grant=Grant.REFUSED, detail=detail)

    def _reserve(self, charge_id: str, ask: _Ask, limits: Limits) -> Counted:
        counted = self._counter.reserve(ask.day, charge_id, ask.claim, limits)
        self._note(ask.day, ask.claim, counted)
        return counted

    def _build(self, day: int) -> bool:
        """Build a missing counter from the ledger, as `budget` argues; whether it may be there."""
        token = uuid.uuid4().hex
        # First the token, then the ledger: the other way round, a claim might be granted, and the
        # counter lost again, between the reading and the writing.
        if not self._counter.begin(day, token):
            self._say("budget: its counter is missing, and somebody builds it from the ledger")
            return False
        claims = self._read(day)
        written = self._counter.write(day, token, claims)
        metrics.budget_rebuilds.add(1, {"written": str(written).lower()})
        logger().info("budget's counter from the ledger", day=day, claims=len(claims), kept=written)
        return True

    def _correct(self, day: int) -> bool:
        """Read the ledger for what it has settled and the counter has not, if that is due."""
        now_s = self._clock_s()
        last_s = self._read_s.get(day)
        if last_s is not None and now_s - last_s < READ_AGAIN_S:
            return False
        claims = self._read(day)
        told = self._told.setdefault(day, set())
        for charge_id, claim in claims.items():
            if claim.settled and charge_id not in told:
                self._counter.settle(day, charge_id, claim)
                told.add(charge_id)
        self._read_s[day] = now_s
        for past in [other for other in self._read_s if other < day - DAYS_ASKED]:
            del self._read_s[past], self._told[past]
        return True

    def _note(self, day: int, claim: Claim, counted: Counted) -> None:
        """Remember the sums, for `left`."""
        now_s = self._clock_s()
        with self._lock:
            for scope, total in zip(claim.scopes, counted.sums, strict=False):
                self._sums[day, scope] = (total, now_s)
