"""An outcome: what turned out to be true of an event, said later and perhaps corrected."""

from enum import Enum

import msgspec


class OutcomeKind(Enum):
    """Who says so, and what."""

    CONFIRMED_FRAUD = "confirmed_fraud"
    CLEARED = "cleared"
    ANALYST_FRAUD = "analyst_fraud"
    ANALYST_CLEARED = "analyst_cleared"


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One verdict of the world on one event. A later one about the same event replaces it.

    It travels in the partition of its shard, so that the window stage that holds the account's
    subgraph is the one that hears of it.
    """

    outcome_id: str
    event_id: str
    # Kind and id of the entity that the outcome is about: ("account", "a-17").
    entity: str
    id: str
    shard: str
    kind: OutcomeKind
    decided_at_ms: int
    case_id: str = ""
    # Of an analyst's verdict: who gave it, and what they had to say.
    decided_by: str = ""
    note: str = ""
