"""What travels on the topics: one frozen record per file, from which schemas/ is generated.

Imports nothing of ours. A field is added with a default or not at all: every released reader must
be able to read what a newer writer wrote before it, and the other way round (BACKWARD).
"""

from typing import Final

import msgspec

from enrichment.records.case import Case, CaseMember, CaseStatus, CaseVerdict, Evidence
from enrichment.records.change import Change, ChangeKind
from enrichment.records.control import Compute, Control, Experiment, Rollout, Withdrawal
from enrichment.records.dead_letter import DeadLetter, DeadLetterReason
from enrichment.records.digest import Aggregates, Digest, Links, Tallies
from enrichment.records.enriched import (
    Assigned,
    Decision,
    Enriched,
    FeatureUsed,
    Level,
    Origin,
    Path,
    Reason,
    Scores,
    Stage,
    Verdict,
    VerdictName,
)
from enrichment.records.feature import FeatureUpdate, Source
from enrichment.records.horizon_slice import HorizonSlice
from enrichment.records.job import DeviceRun, Job, JobEvent, JobRun, JobState, KeptSamples
from enrichment.records.micro_batch import Cause, MicroBatch, Problem, Shared
from enrichment.records.order import JobOrder, OrderKind
from enrichment.records.outcome import Outcome, OutcomeKind
from enrichment.records.replay import Replay
from enrichment.records.review import Review

# Record name -> type. The name is the file in schemas/ and the middle of `ce_type`.
RECORDS: Final[dict[str, type[msgspec.Struct]]] = {
    "case": Case,
    "change": Change,
    "control": Control,
    "dead-letter": DeadLetter,
    "digest": Digest,
    "enriched": Enriched,
    "feature-update": FeatureUpdate,
    "horizon-slice": HorizonSlice,
    "job": Job,
    "job-event": JobEvent,
    "job-order": JobOrder,
    "micro-batch": MicroBatch,
    "outcome": Outcome,
    "replay": Replay,
    "review": Review,
}

__all__ = [
    "RECORDS",
    "Aggregates",
    "Assigned",
    "Case",
    "CaseMember",
    "CaseStatus",
    "CaseVerdict",
    "Cause",
    "Change",
    "ChangeKind",
    "Compute",
    "Control",
    "DeadLetter",
    "DeadLetterReason",
    "Decision",
    "DeviceRun",
    "Digest",
    "Enriched",
    "Evidence",
    "Experiment",
    "FeatureUpdate",
    "FeatureUsed",
    "HorizonSlice",
    "Job",
    "JobEvent",
    "JobOrder",
    "JobRun",
    "JobState",
    "KeptSamples",
    "Level",
    "Links",
    "MicroBatch",
    "OrderKind",
    "Origin",
    "Outcome",
    "OutcomeKind",
    "Path",
    "Problem",
    "Reason",
    "Replay",
    "Review",
    "Rollout",
    "Scores",
    "Shared",
    "Source",
    "Stage",
    "Tallies",
    "Verdict",
    "VerdictName",
    "Withdrawal",
]
