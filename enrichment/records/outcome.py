"""An outcome: what turned out to be true of an event, said later and perhaps corrected."""

from enum import Enum

import msgspec


class OutcomeKind(Enum):
    """Who says so, and what."""

    CONFIRMED_FRAUD = "confirmed_fraud"
    CLEARED = "cleared"
    ANALYST_FRAUD = "analyst_fraud"
    ANALYST_CLEARED = "analyst_cleared"

    @property
    def is_fraud(self) -> bool:
        """Whether it says fraud, whoever says it; else it says that there was none."""
        return self in {OutcomeKind.CONFIRMED_FRAUD, OutcomeKind.ANALYST_FRAUD}


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One verdict of the world on one event. A later one about the same event replaces it.

    It travels in the partition of its shard, so that the stages that hold the account's subgraph
    and its cases are those that hear of it.
    """

    outcome_id: str
    event_id: str
    # Kind and id of the entity that the outcome is about: ("account", "a-17").
    entity: str
    id: str
    shard: str
    kind: OutcomeKind
    decided_at_ms: int
    # Where it is a verdict on a case: then it is about all of that case's members, too.
    case_id: str = ""
    # Of an analyst's verdict: who gave it, and what they had to say.
    decided_by: str = ""
    note: str = ""
