"""What stands behind one enriched event, as plain figures: for text and JSON alike. Pure.

What is no longer there is `gone` with the reason; nothing of it is an error.
"""

from dataclasses import dataclass
from typing import Any

from enrichment.lineage.derive import Derived
from enrichment.records import FeatureUpdate, FeatureUsed, VerdictName

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a record stands, or stood."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """The record that the event came in. `gone` says why it is not there any more."""

    place: Place
    gone: str = ""
    bytes: int = 0
    written_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRange:
    """Input records that a micro-batch counts: of one source partition, first to last offset.

    Records of other shards may lie between. `there` is how many offsets the topic still holds.
    """

    topic: str
    partition: int
    first: int
    last: int
    events: int
    digests: int
    there: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestRow:
    """One digest, and the source offsets that it counts."""

    offset: int
    written_ms: int
    source_partition: int
    offset_first: int
    offset_last: int
    events: int
    part: int
    parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A micro-batch, what it was made of, and whether that gives it again."""

    micro_batch_id: str
    gone: str = ""
    place: Place | None = None
    shard: str = ""
    window_start_ms: int = 0
    window_end_ms: int = 0
    closed_by: str = ""
    closed_at_ms: int = 0
    events: int = 0
    problems: int = 0
    content_hash: str = ""
    version: int = 0
    # Places of further records of the same identity.
    others: tuple[Place, ...] = ()
    # Where its digests stand: topic and partition, first to last offset.
    digests_at: Plain | None = None
    digests: tuple[DigestRow, ...] = ()
    derived: Derived | None = None
    # Why digests are not there, where they are not.
    digests_gone: str = ""
    inputs: tuple[InputRange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One transition of a job."""

    at_ms: int
    event: str
    state: str
    attempt: int
    provider: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTraced:
    """A job from claim to answer. `answer` is what its last event with samples says of them."""

    job_id: str
    gone: str = ""
    ledger: Plain | None = None
    history: tuple[Step, ...] = ()
    history_gone: str = ""
    answer: Plain | None = None
    micro_batch_id: str = ""
    # Ids of spot checks of it, of jobs whose samples it was given, of the job that it checks.
    checks: tuple[str, ...] = ()
    kept_of: tuple[str, ...] = ()
    check_of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureTraced:
    """One feature that the score saw, and the update it was read from.

    `same` is whether that update, as the topic has it now, is what was used: None where it is gone,
    or was used decayed.
    """

    used: Plain
    same: bool | None = None
    place: Place | None = None
    gone: str = ""
    computed_at_ms: int = 0
    source: Plain | None = None
    micro_batch_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescored:
    """Whether the record comes out of its own fields again, byte for byte; None: not compared."""

    same: bool | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One instruction that was in force when the event was decided, and who gave it and why."""

    subject: str
    kind: str
    at_ms: int
    by: str
    reason: str
    what: str
    override: bool = False
    evidence_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """What was in force at the decision, and from which topic that is known.

    `same` is whether it amounts to the revision that the record bears; None where either is not
    known.
    """

    told_by: str
    standing: tuple[Standing, ...]
    revision: str
    derived_revision: str
    same: bool | None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Everything behind one enriched record; jobs and micro-batches by id, each told once."""

    place: Place
    record: Plain
    rescored: Rescored
    input: Input
    features: tuple[FeatureTraced, ...]
    jobs: dict[str, JobTraced]
    batches: dict[str, Batch]
    in_force: InForce
    versions: Plain

    @property
    def differs(self) -> bool:
        """Whether anything that could be checked is not what it says it is."""
        return (
            self.rescored.same is False
            or self.in_force.same is False
            or any(feature.same is False for feature in self.features)
            or any(
                batch.derived is not None and batch.derived.same is False
                for batch in self.batches.values()
            )
        )


def is_used(used: FeatureUsed, update: FeatureUpdate) -> bool | None:
    """Whether a feature was used as the update has it; None where it had decayed by then."""
    source = update.source
    if (used.version, used.subgraph, used.job_id) != (
        update.version,
        update.subgraph,
        source.job_id if source is not None else "",
    ):
        return False
    if used.verdict.name is VerdictName.STALE:
        return None
    return _within(used.values, update.values) and all(
        _within(figures, update.estimates.get(path, {})) for path, figures in used.estimates.items()
    )


def _within(few: dict[str, float], all_of_them: dict[str, float]) -> bool:
    """Whether these figures are among those: a score keeps what its terms read."""
    return all(name in all_of_them and all_of_them[name] == few[name] for name in few)
