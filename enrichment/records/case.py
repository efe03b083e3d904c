"""A case: a ring that somebody can work on, with a stable id, its evidence and what was said of it.

What its status rests on is in the record: whoever takes the cases over needs no other memory.
"""

from enum import Enum

import msgspec

from enrichment.records.outcome import OutcomeKind


class CaseStatus(Enum):
    """What outcomes have made of a case."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    DISMISSED = "dismissed"


class CaseMember(msgspec.Struct, frozen=True, kw_only=True):
    """One account in a case, with each path's estimate of its membership (not a probability)."""

    entity: str
    id: str
    memberships: dict[str, float]
    # The last verdict on a case of which it was a member, and when that was decided.
    said: OutcomeKind | None = None
    said_ms: int = 0
    # Of its events that outcomes call fraud the one decided last, and when; "" where there is none.
    fraud_event_id: str = ""
    fraud_ms: int = 0


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """A shared device or beneficiary, and which members it ties."""

    entity: str
    id: str
    members: tuple[str, ...]
    events: int
    amount_minor: int


class CaseVerdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last verdict on a case as a whole, and of whom it was said."""

    outcome_id: str
    kind: OutcomeKind
    decided_at_ms: int
    decided_by: str = ""
    note: str = ""
    # The ids of those who were members when it came.
    members: tuple[str, ...] = ()


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One ring as last seen."""

    case_id: str
    pipeline: str
    shard: str
    # That of the micro-batch in which the ring was last seen to differ.
    version: int
    status: CaseStatus
    members: tuple[CaseMember, ...]
    evidence: tuple[Evidence, ...]
    amount_at_risk_minor: int
    first_seen_ms: int
    last_seen_ms: int
    subgraph: str
    job_id: str
    # Cases that this one took in when their members came to overlap, the latest last.
    merged: tuple[str, ...] = ()
    # How often outcomes have changed the case since it got its version.
    revision: int = 0
    verdict: CaseVerdict | None = None
