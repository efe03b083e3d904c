"""Outcomes about accounts named by letters, and about cases."""

from enrichment.records import Outcome, OutcomeKind

FRAUD, CLEARED = OutcomeKind.CONFIRMED_FRAUD, OutcomeKind.CLEARED


def of_event(
    account: str, kind: OutcomeKind, at_ms: int, *, event: str = "", shard: str = "eu"
) -> Outcome:
    """What turned out to be true of one event of an account."""
    event_id = event or f"e-{account}"
    return Outcome(
        outcome_id=f"{event_id}/{at_ms}/{kind.value}",
        event_id=event_id,
        entity="account",
        id=account,
        shard=shard,
        kind=kind,
        decided_at_ms=at_ms,
    )


def of_case(case_id: str, *, fraud: bool, at_ms: int, account: str = "z9") -> Outcome:
    """What an analyst says of a case, in an outcome about an account that is in no ring."""
    return Outcome(
        outcome_id=f"{case_id}/{at_ms}",
        event_id=case_id,
        entity="account",
        id=account,
        shard="eu",
        kind=OutcomeKind.ANALYST_FRAUD if fraud else OutcomeKind.ANALYST_CLEARED,
        decided_at_ms=at_ms,
        case_id=case_id,
        decided_by="kim",
        note="seen before",
    )
