"""A change: what somebody did to how a pipeline runs, on record for good."""

from enum import Enum

import msgspec


class ChangeKind(Enum):
    """What was changed."""

    ROLLOUT = "rollout"  # a path's stage or share, an override and a demotion among them
    SERVE = "serve"  # the kill switch
    COMPUTE = "compute"  # the provider, and what is spot-checked
    EXPERIMENT = "experiment"
    WITHDRAWAL = "withdrawal"
    BUDGET = "budget"
    PIPELINE = "pipeline"  # the pipeline's file
    SCORE_TABLE = "score_table"
    ORDER = "order"  # an operator's order about a job, quarantine among them
    REPLAY = "replay"  # dead letters published again
    EVIDENCE = "evidence"  # the gate was asked: what on, and what it said


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change: who, when, why, before and after. Appended to `enrichment.changes`, never edited.

    Where it goes with a record that makes it so, both are written in one transaction.
    """

    change_id: str
    # `*` where it concerns all of them.
    pipeline: str
    kind: ChangeKind
    # What was changed, by its name: a control record's, a job's id, a file's.
    subject: str
    changed_at_ms: int
    changed_by: str
    reason: str
    # As text (JSON, or a file's own) that can be held side by side; "" where there was or is none.
    before: str = ""
    after: str = ""
    experiment_id: str = ""
    evidence_id: str = ""
    # Done against the gate.
    override: bool = False
