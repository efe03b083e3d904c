"""What outcomes say: of each account's events the last word, and of each case the last word.

Of two words about the same the one decided later stands, of two decided at once the one that says
fraud: in whatever order they come, and however often, they amount to the same.

An outcome about a case is about its own event, too. Pure, and bounded: what was heard of longest
ago is forgotten first. Cases keep what their status rests on, so that nothing of theirs is lost.
"""

from dataclasses import dataclass
from typing import Final

from enrichment.records.case import Case
from enrichment.records.outcome import Outcome

ACCOUNTS_MAX: Final = 50_000
"""Accounts of one partition with outcomes: about 45 MB at three events each (measured)."""

EVENTS_MAX: Final = 32
"""Events of one account: two with fraud in a ring are enough, and a shop has thousands cleared."""

WORDS_MAX: Final = 20_000
"""Cases of one partition that somebody has spoken of: as many as the book of cases holds."""

Account = tuple[str, str, str]
"""Shard, entity and id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fraud:
    """The event of an account that was called fraud last."""

    event_id: str
    decided_at_ms: int


def rank(outcome: Outcome) -> tuple[int, bool]:
    """What decides between two outcomes about the same: the greater stands."""
    return (outcome.decided_at_ms, outcome.kind.is_fraud)


class Said:
    """The last words of one partition."""

    def __init__(self) -> None:
        # Account -> event id -> (decided at, fraud); those heard of longest ago first.
        self._events: dict[Account, dict[str, tuple[int, bool]]] = {}
        self._of_case: dict[str, Outcome] = {}

    def add(self, outcome: Outcome) -> bool:
        """Take in an outcome; whether it is the last word on anything."""
        account = (outcome.shard, outcome.entity, outcome.id)
        of_event = self._note(account, outcome.event_id, rank(outcome))
        known = self._of_case.get(outcome.case_id)
        if not outcome.case_id or (known is not None and rank(known) >= rank(outcome)):
            return of_event
        self._of_case.pop(outcome.case_id, None)
        self._of_case[outcome.case_id] = outcome
        if len(self._of_case) > WORDS_MAX:
            del self._of_case[next(iter(self._of_case))]
        return True

    def recall(self, case: Case) -> None:
        """Take from a case what it keeps of outcomes: their topic may have let go of them."""
        for member in case.members:
            if member.fraud_event_id:
                account = (case.shard, member.entity, member.id)
                self._note(account, member.fraud_event_id, (member.fraud_ms, True))

    def fraud(self, account: Account) -> Fraud | None:
        """The account's event whose last word is fraud, of several the one decided last."""
        events = self._events.get(account, {})
        found = [(at_ms, event_id) for event_id, (at_ms, fraud) in events.items() if fraud]
        if not found:
            return None
        at_ms, event_id = max(found)
        return Fraud(event_id=event_id, decided_at_ms=at_ms)

    def of_case(self, case_id: str) -> Outcome | None:
        """The last word on the case, or None."""
        return self._of_case.get(case_id)

    def _note(self, account: Account, event_id: str, word: tuple[int, bool]) -> bool:
        """Note a word on an event; whether it is the last one."""
        events = self._events.pop(account, {})
        self._events[account] = events
        news = event_id not in events or events[event_id] < word
        if news:
            events[event_id] = word
            if len(events) > EVENTS_MAX:
                # What says fraud is what a status rests on: it goes last.
                del events[min(events, key=lambda name: (events[name][1], events[name][0], name))]
        if len(self._events) > ACCOUNTS_MAX:
            del self._events[next(iter(self._events))]
        return news
