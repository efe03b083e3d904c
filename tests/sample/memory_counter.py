"""The budget's counter in memory, as Redis shows it: flushed, restarted and cut off at will.

It passes `tests/contract/test_budget.py` beside a real Redis. `today` and `clock_s` are the
server's clocks.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from enrichment.sample.budget import DAYS_ASKED, BudgetAwayError, Claim, Limits, scopes, totals
from enrichment.sample.counter import READING_S, Counted, Verdict


@dataclass(eq=False)
class _Day:
    """One day's hash: missing unless it is of the present run."""

    run: int | None = None
    claims: dict[str, Claim] = field(default_factory=dict)
    # Token -> the run in which it was put down.
    tokens: dict[str, int] = field(default_factory=dict)
    read_s: float | None = None


class MemoryCounter:
    """A Counter without a server."""

    def __init__(self, today: Callable[[], int], clock_s: Callable[[], float]) -> None:
        self._today = today
        self._clock_s = clock_s
        self._run = 0
        self._days: dict[int, _Day] = {}
        # No method answers while this is set.
        self.away = False

    def reserve(self, day: int, charge_id: str, claim: Claim, limits: Limits) -> Counted:
        """See Counter."""
        self._require()
        if abs(self._today() - day) > DAYS_ASKED:
            return Counted(verdict=Verdict.DAY)
        held = self._held(day)
        if held is None:
            return Counted(verdict=Verdict.MISSING)
        known = held.claims.get(charge_id)
        if known is not None and known.settled:
            return self._counted(held, Verdict.SETTLED, claim)
        more = max(0, claim.micro - (known.micro if known else 0))
        sums = self._sums(held, claim.scopes)
        if any(
            limit is not None and total + more > limit
            for total, limit in zip(sums, limits, strict=True)
        ):
            return self._counted(held, Verdict.REFUSED, claim)
        if more:
            held.claims[charge_id] = claim
        return self._counted(held, Verdict.GRANTED, claim)

    def settle(self, day: int, charge_id: str, claim: Claim) -> Counted:
        """See Counter."""
        self._require()
        held = self._held(day)
        if held is None:
            return Counted(verdict=Verdict.MISSING)
        known = held.claims.get(charge_id)
        if known is not None and known.settled:
            return self._counted(held, Verdict.SETTLED, claim)
        held.claims[charge_id] = Claim(
            pipeline=claim.pipeline, provider=claim.provider, micro=claim.micro, settled=True
        )
        return self._counted(held, Verdict.GRANTED, claim)

    def begin(self, day: int, token: str) -> bool:
        """See Counter."""
        self._require()
        if self._held(day) is not None:
            return False
        found = self._days.get(day)
        if found is None or found.run is not None:
            found = self._days[day] = _Day()
        now_s = self._clock_s()
        if found.read_s is not None and abs(now_s - found.read_s) < READING_S:
            return False
        found.tokens[token], found.read_s = self._run, now_s
        return True

    def write(self, day: int, token: str, claims: Mapping[str, Claim]) -> bool:
        """See Counter."""
        self._require()
        found = self._days.get(day)
        if self._held(day) is not None or found is None or found.tokens.get(token) != self._run:
            return False
        self._days[day] = _Day(run=self._run, claims=dict(claims))
        return True

    def seen(self, day: int, names: Sequence[str]) -> tuple[int, ...] | None:
        """See Counter."""
        self._require()
        held = self._held(day)
        return None if held is None else (*self._sums(held, names), len(held.claims))

    def flush(self) -> None:
        """Forget everything, as FLUSHALL does."""
        self._days.clear()

    def snapshot(self) -> Any:
        """What a replica, or an append-only file, has by now."""
        return copy.deepcopy(self._days)

    def restart(self, kept: Any = None) -> None:
        """Be another run, with what `kept` holds of an earlier moment; with nothing by default."""
        self._run += 1
        self._days = {} if kept is None else copy.deepcopy(kept)

    def _require(self) -> None:
        if self.away:
            raise BudgetAwayError("the budget's counter does not answer: away")

    def _held(self, day: int) -> _Day | None:
        found = self._days.get(day)
        return found if found is not None and found.run == self._run else None

    @staticmethod
    def _sums(held: _Day, names: Sequence[str]) -> tuple[int, ...]:
        found = totals(held.claims.values())
        return tuple(found.get(name, 0) for name in names)

    def _counted(self, held: _Day, verdict: Verdict, claim: Claim) -> Counted:
        names = scopes(claim.pipeline, claim.provider)
        return Counted(verdict=verdict, sums=self._sums(held, names))
