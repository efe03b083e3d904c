"""Evidence for tests: good in every respect, unless told otherwise."""

from typing import Any, Final

import msgspec

from enrichment.pipelines.rollout import Gate
from enrichment.records.control import Experiment
from enrichment.records.enriched import Path, Stage
from enrichment.rollout.evidence import Counts, Evidence, Figure, PathFigures, Sampling
from enrichment.rollout.judgement import Proofs, Question
from enrichment.rollout.looks import level_of

GATE: Final = Gate()
EXPERIMENT: Final = Experiment(
    experiment_id="e1", started_ms=1, pipeline_version="p1", score_version="s1"
)
PROVED: Final = Proofs(
    rescored=100,
    rescored_equal=100,
    energies=50,
    energies_right=50,
    reproduced=5,
    reproduced_equal=5,
    canary_bad=20,
)


def figure(value: float | None, low: float | None = None, high: float | None = None) -> Figure:
    """A figure; without an interval, the value at both ends."""
    return Figure(
        value=value, low=value if low is None else low, high=value if high is None else high
    )


def sampling(**figures: float | None) -> Sampling:
    """What good jobs show, but for these figures."""
    good: dict[str, float | None] = {
        "repeat_deviation": 0.02,
        "latency_p99_ms": 800.0,
        "failed_share": 0.0,
    }
    told = {name: figure(value) for name, value in (good | figures).items()}
    return Sampling(jobs=100, checks=0, figures=told)


def evidence(**fields: Any) -> Evidence:
    """The first look's: quantum is superior to none, and the twin's equal."""
    bad = fields.pop("bad", 100)
    cost = {"cost_per_caught": figure(0.1)}
    told: dict[str, Any] = {
        "evidence_id": "v1",
        "pipeline": "payments",
        "experiment_id": "e1",
        "pipeline_version": "p1",
        "score_version": "s1",
        "since_ms": 1,
        "until_ms": 2,
        "look": 1,
        "looks": GATE.looks,
        "level": level_of(GATE),
        "counts": Counts(
            events=5_000,
            matured=4_000,
            bad=bad,
            unknowable=0,
            untreated=0,
            clusters=60,
            outcomes=200,
        ),
        "paths": {
            path: PathFigures(figures=cost, known_share=1.0) for path in ("classical", "quantum")
        },
        "differences": {
            "quantum-heuristic": figure(0.1, 0.05, 0.15),
            "classical-heuristic": figure(0.1, 0.05, 0.15),
            "quantum-classical": figure(0.0, -0.01, 0.01),
        },
        "verdict_shares": {"fresh": 1.0},
        "sampling": sampling(),
        "hot_path_p50_ms": figure(5.0),
        "hot_path_p99_ms": figure(10.0),
    }
    return Evidence(**(told | fields))


def differing(evidence_: Evidence, **ends: Figure) -> Evidence:
    """The same with other differences: `quantum_classical=figure(...)`."""
    told = {name.replace("_", "-"): value for name, value in ends.items()}
    return msgspec.structs.replace(evidence_, differences=evidence_.differences | told)


def question(path: Path = Path.QUANTUM, **fields: Any) -> Question:
    """Whether a path in shadow may be a canary."""
    told: dict[str, Any] = {
        "path": path,
        "before": Stage.SHADOW,
        "target": Stage.CANARY,
        "pipeline": "payments",
        "pipeline_version": "p1",
        "score_version": "s1",
        "experiment": EXPERIMENT,
    }
    return Question(**(told | fields))
