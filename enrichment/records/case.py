"""A case: a ring that somebody can work on, with a stable id and its evidence."""

from enum import Enum

import msgspec


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


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """A shared device or beneficiary, and which members it ties."""

    entity: str
    id: str
    members: tuple[str, ...]
    events: int
    amount_minor: int


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One ring as last seen."""

    case_id: str
    pipeline: str
    shard: str
    version: int
    status: CaseStatus
    members: tuple[CaseMember, ...]
    evidence: tuple[Evidence, ...]
    amount_at_risk_minor: int
    first_seen_ms: int
    last_seen_ms: int
    subgraph: str
    job_id: str
    # Cases that this one took in when their members came to overlap.
    merged: tuple[str, ...] = ()
