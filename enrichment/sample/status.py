"""A case's status, by what outcomes say of its members: one rule, whatever became of the case.

A verdict on a case (an outcome that bears its id) is said of everybody who is a member when it
comes, and stays with them. A later one replaces it; one that was decided before the last that was
heard changes nothing. An outcome without a case is about an event of one account.

A member is *bad* when the last verdict on it says fraud, or when the last word on one of its events
says fraud and is not older than a verdict that cleared it; it is *cleared* when the last verdict
cleared it, and it is not bad. Then a case is

- **confirmed** when at least two members are bad: one account may have been stolen, two are a ring;
- **dismissed** when all members but at most one are cleared;
- **open** otherwise.

So a single chargeback confirms no case, and two do, also against an earlier dismissal. A cleared
event says nothing of a ring, and dismisses nothing. A dismissed case that grows by two accounts is
open again, since nobody has looked at those, and dismissed again when they leave: the newcomers'
memberships are samples and may waver. A confirmed case that takes in another stays confirmed. What
splits off takes what was said of its members along.

A verdict on a case that another has taken in is one on that other if it says fraud. A dismissal is
passed over: whoever gave it has not seen the rest of the ring.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from enrichment.records.case import Case, CaseMember, CaseStatus, CaseVerdict
from enrichment.records.outcome import Outcome
from enrichment.sample.outcomes import Said, rank

ENOUGH: Final = 2
"""Members that are bad, or that nobody has cleared: fewer are a coincidence, as in the overlap."""


def status_of(members: Sequence[CaseMember]) -> CaseStatus:
    """What the words on its members make of a case."""
    bad = sum(_is_bad(member) for member in members)
    if bad >= ENOUGH:
        return CaseStatus.CONFIRMED
    cleared = sum(member.said is not None and not _is_bad(member) for member in members)
    if cleared and len(members) - cleared < ENOUGH:
        return CaseStatus.DISMISSED
    return CaseStatus.OPEN


def judged(case: Case, said: Said) -> Case:
    """The case with everything that is known by now; the same object's equal where that is old."""
    verdict, members = case.verdict, case.members
    word = _word(case, said)
    if word is not None and (verdict is None or rank(word) > _rank(verdict)):
        verdict = CaseVerdict(
            outcome_id=word.outcome_id,
            kind=word.kind,
            decided_at_ms=word.decided_at_ms,
            decided_by=word.decided_by,
            note=word.note,
            members=tuple(member.id for member in members),
        )
        members = tuple(_told(member, word) for member in members)
    members = tuple(_with_fraud(member, case.shard, said) for member in members)
    return msgspec.structs.replace(
        case, members=members, verdict=verdict, status=status_of(members)
    )


def last_verdict(cases: Iterable[Case]) -> CaseVerdict | None:
    """Of several cases that are one now, the last verdict on any of them."""
    found = [case.verdict for case in cases if case.verdict is not None]
    return max(found, key=_rank, default=None)


def remembered(cases: Iterable[Case]) -> Mapping[str, CaseMember]:
    """Member id -> the member with the last verdict on it, of those that have one."""
    found: dict[str, CaseMember] = {}
    for member in (member for case in cases for member in case.members):
        if member.said is None:
            continue
        known = found.get(member.id)
        if known is None or _rank_of(known) < _rank_of(member):
            found[member.id] = member
    return found


def _is_bad(member: CaseMember) -> bool:
    if member.said is not None and member.said.is_fraud:
        return True
    return member.fraud_event_id != "" and member.fraud_ms >= member.said_ms


def _word(case: Case, said: Said) -> Outcome | None:
    """The last word on the case, under its own id or one that it has taken in."""
    own = said.of_case(case.case_id)
    others = (said.of_case(case_id) for case_id in case.merged)
    found = [word for word in others if word is not None and word.kind.is_fraud]
    return max(found if own is None else [own, *found], key=rank, default=None)


def _told(member: CaseMember, word: Outcome) -> CaseMember:
    """The member with this said of it, unless something later was."""
    if member.said is not None and rank(word) <= _rank_of(member):
        return member
    return msgspec.structs.replace(member, said=word.kind, said_ms=word.decided_at_ms)


def _with_fraud(member: CaseMember, shard: str, said: Said) -> CaseMember:
    """The member with the event of its that was called fraud last, or none."""
    fraud = said.fraud((shard, member.entity, member.id))
    event_id, at_ms = ("", 0) if fraud is None else (fraud.event_id, fraud.decided_at_ms)
    return msgspec.structs.replace(member, fraud_event_id=event_id, fraud_ms=at_ms)


def _rank(verdict: CaseVerdict) -> tuple[int, bool]:
    return (verdict.decided_at_ms, verdict.kind.is_fraud)


def _rank_of(member: CaseMember) -> tuple[int, bool]:
    return (member.said_ms, member.said is not None and member.said.is_fraud)
