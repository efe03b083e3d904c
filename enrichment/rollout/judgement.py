"""What the gate is asked, on what proofs, and what it says: on record whatever that is. Pure."""

from dataclasses import dataclass
from enum import Enum

import msgspec

from enrichment.records.control import Experiment
from enrichment.records.enriched import Path, Stage
from enrichment.rollout.evidence import Evidence


class CheckVerdict(Enum):
    """What came of one check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_ENOUGH = "not_enough"  # nobody knows yet
    NOT_APPLICABLE = "not_applicable"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One criterion: the figure, its interval, what is demanded of it, and in a sentence why."""

    name: str
    verdict: CheckVerdict
    # Of the interval's end that counts, or of the figure where it has none: "> 0", "<= 0.05".
    demanded: str
    threshold: float | None
    sentence: str
    figure: float | None = None
    low: float | None = None
    high: float | None = None


class Proofs(msgspec.Struct, frozen=True, kw_only=True):
    """What was found by doing things again on the spot, before the gate was asked."""

    # Enriched records of the experiment that were scored again, and those that came out byte for
    # byte.
    rescored: int = 0
    rescored_equal: int = 0
    # Sample sets whose energies were computed again from their bits and models, and those that came
    # out equal and nowhere below a proven optimum.
    energies: int = 0
    energies_right: int = 0
    # Jobs that were run again, and those whose every sample is the same; the others by id, and why.
    reproduced: int = 0
    reproduced_equal: int = 0
    not_reproduced: dict[str, str] = {}
    # Bad events that this canary itself served, since it began; None where nobody looked.
    canary_bad: int | None = None


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate said when it was asked: kept whether it let the path in or not."""

    pipeline: str
    path: Path
    before: Stage
    target: Stage
    # "" where there was no evidence at all.
    evidence_id: str
    experiment_id: str
    passed: bool
    conclusion: str
    checks: tuple[Check, ...]
    # On what: so that it can be asked again, by whoever doubts it.
    evidence: Evidence | None
    proofs: Proofs


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the gate is asked: which path, from where to where, under which versions of now."""

    path: Path
    before: Stage
    target: Stage
    pipeline: str
    pipeline_version: str
    score_version: str
    # None: none was begun.
    experiment: Experiment | None
