"""An enriched event: the event, the features used, the scores of every path and the decision.

The hot path keeps many of its parts: the collector of cycles need not look at them (`gc`).
"""

from enum import Enum

import msgspec


class VerdictName(Enum):
    """How far a feature may be trusted now."""

    FRESH = "fresh"
    STALE = "stale"
    FALLBACK = "fallback"
    MISSING = "missing"


class Path(Enum):
    """Which computation a score rests on."""

    HEURISTIC = "heuristic"
    CLASSICAL = "classical"
    QUANTUM = "quantum"


class Stage(Enum):
    """How far the rollout lets a path in."""

    SHADOW = "shadow"  # computed and recorded, never used
    CANARY = "canary"  # used for a share of accounts
    LIVE = "live"


class Level(Enum):
    """How much attention an event asks for."""

    NORMAL = "normal"
    ELEVATED = "elevated"
    HIGHEST = "highest"
    NOT_ASSESSED = "not_assessed"


class Decision(Enum):
    """What the pipeline's decision table makes of a level."""

    APPROVE = "approve"
    REVIEW = "review"
    DECLINE = "decline"


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """A verdict on age, and its reason."""

    name: VerdictName
    reason: str


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The input record that this output answers."""

    topic: str
    partition: int
    offset: int


class FeatureUsed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One group of one entity's features as the score saw it, decay already applied."""

    # The event's name for the entity (`account`), its kind in the cache, and its id.
    role: str
    kind: str
    id: str
    group: str
    verdict: Verdict
    version: int = 0
    age_ms: int = 0
    subgraph: str = ""
    job_id: str = ""
    values: dict[str, float] = {}
    estimates: dict[str, dict[str, float]] = {}


class Reason(msgspec.Struct, frozen=True, gc=False):
    """One term's part in the served score, in log-odds."""

    term: str
    contribution: float


class Scores(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The served score and what each path alone would have said, 0 to 100; null where unknown."""

    served: float
    heuristic: float
    classical: float | None = None
    quantum: float | None = None


class Assigned(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What the rollout made of one event: which paths might serve it, and on whose word."""

    # Those that were let in for the event's account, the first whose estimate is known serving; the
    # heuristic serves where none is, and is not named.
    paths: tuple[Path, ...] = ()
    # Of the first of these paths; shadow where there is none.
    stage: Stage = Stage.SHADOW
    # `ControlState.revision`: what was in force.
    revision: str = ""
    experiment_id: str = ""
    # One of these paths was let in against the gate.
    override: bool = False
    # One of the events that are never declined on a ring path's word, so that it becomes known what
    # declined ones turn out to be.
    untreated: bool = False
    # Then: what the decision would have been, where it is another.
    withheld: Decision | None = None


class Enriched(msgspec.Struct, frozen=True, kw_only=True):
    """One event with its answer: enough to score it again from itself, byte for byte."""

    event_id: str
    pipeline: str
    origin: Origin
    occurred_at_ms: int
    decided_at_ms: int
    event: msgspec.Raw
    verdict: Verdict
    path: Path
    scores: Scores
    level: Level
    decision: Decision
    reasons: tuple[Reason, ...]
    features: tuple[FeatureUsed, ...]
    pipeline_version: str
    score_version: str
    correlation_id: str = ""
    # None where the pipeline's file alone says which path serves.
    rollout: Assigned | None = None
