"""What the project's commands say, hand-made, as small as the page needs it to draw everything."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from enrichment.feature.reader import Features
from enrichment.records import FeatureUpdate, Verdict, VerdictName

PATHS: Final = ("quantum", "classical", "random")


def _memberships(node: int) -> dict[str, Any]:
    return {
        path: {"membership": share, "low": share - 0.05, "high": share + 0.04, "in_best": node < 2}
        for path, share in zip(PATHS, (0.9 - node / 5, 0.88 - node / 5, 0.5), strict=True)
    }


DRAWN: Final[dict[str, Any]] = {
    "job": {"job_id": "payments|eu/west|1700000000000|0"},
    "problems": [
        {"problem_id": "p0", "nodes": 3, "ties": 3, "energy": -1.25, "membership_max": 0.9,
         "published": 4},
        {"problem_id": "p1", "nodes": 4, "ties": 5, "energy": -1.0, "membership_max": 0.8,
         "published": 5},
    ],
    "problem": {
        "number": 0,
        "problem_id": "p0",
        "nodes": [
            {"index": node, "id": f"acc-{node}", "known_bad": node == 0,
             "memberships": _memberships(node), "gibbs_marginal": 0.5}
            for node in range(3)
        ],
        "circuit": {"template": "qaoa", "version": 1, "layers": 2, "device": None},
        "energies": {
            "edges": [-1.25, -1.0, -0.75, -0.5, -0.25, 0.0],
            "counts": {"quantum": [500, 300, 100, 60, 40], "classical": [700, 200, 60, 30, 10],
                       "random": [125, 250, 250, 250, 125]},
            "best": dict.fromkeys(PATHS, -1.25),
            "mean": {"quantum": -0.9, "classical": -1.1, "random": -0.6},
            "near_optima": dict.fromkeys(PATHS, 2),
            "optimum": -1.25,
            "at_optimum": {"quantum": 0.5, "classical": 0.7, "random": 0.125},
        },
        "differences": {"energy_gap": 0.0, "membership_gap": 0.03},
    },
    "verdict": {"drawn": True, "not_drawn": "", "same_samples": True, "agrees": True,
                "checks": [], "changed": []},
    "drawing": {"text": "0: ──H──ZZ──Rx──M", "qubits": 3, "depth": 9, "gates": 15,
                "two_qubit_gates": 6},
}  # fmt: skip


def told_svg() -> str:
    """A circuit as the command draws one, wider than a page."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="1600" height="176" viewBox="0 0 1600 176">'
        '<rect width="100%" height="100%" fill="white"/>'
        '<line x1="40" y1="44" x2="1590" y2="44" stroke="black"/></svg>'
    )


def _figure(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.04, "high": value + 0.04}


EVIDENCE: Final[dict[str, Any]] = {
    "evidence": {
        "experiment_id": "x-1", "since_ms": 1_700_000_000_000, "level": 0.95,
        "counts": {"events": 12_000, "matured": 9_000, "bad": 120, "clusters": 4_000,
                   "unknowable": 12},
        "paths": {
            path: {"figures": {"average_precision": _figure(value), "caught": _figure(40.0)},
                   "known_share": 0.9}
            for path, value in (("heuristic", 0.61), ("classical", 0.66), ("quantum", 0.65))
        },
        "differences": {
            "quantum-heuristic": _figure(0.04), "classical-heuristic": _figure(0.05),
            "quantum-classical": _figure(-0.01),
        },
        "sampling": {"jobs": 300, "checks": 0, "figures": {"energy_gap": _figure(0.02)}},
    },
    "looks": [],
}  # fmt: skip

EVENT: Final[dict[str, Any]] = {
    "event_id": "e-1",
    "records": [
        {
            "record": {
                "event_id": "e-1", "decision": "review", "path": "classical",
                "verdict": {"name": "fresh", "reason": "subgraph_unchanged"},
                "scores": {"served": 71.5, "heuristic": 40.0, "classical": 71.5, "quantum": None},
                "reasons": [{"term": "ring_membership", "contribution": 1.25}],
            },
            "rescored": {"same": True, "detail": "byte for byte"},
            "in_force": {"same": True, "standing": []},
            "input": {"place": {"topic": "payments.events", "partition": 0, "offset": 7}},
            "features": [{"used": {"role": "account", "group": "ring"}, "same": True, "gone": ""}],
            "jobs": {}, "batches": {}, "versions": {"pipeline": "1"},
        }
    ],
}  # fmt: skip


class Estimates:
    """A cache that has an estimate of everybody, with its interval."""

    def read_many(self, wanted: Sequence[tuple[str, str, str]]) -> list[Features]:
        """Fresh, each of them."""
        shares = {
            "quantum": {"membership": 0.82, "membership_low": 0.78, "membership_high": 0.86},
            "classical": {"membership": 0.8, "membership_low": 0.77, "membership_high": 0.83},
        }
        return [
            Features(
                kind=kind,
                id=id_,
                group=group,
                verdict=Verdict(VerdictName.FRESH, "subgraph_unchanged"),
                age_ms=300,
                half_life_ms=1,
                raw=msgspec.json.encode(
                    FeatureUpdate(
                        version=1,
                        pipeline="payments",
                        entity=kind,
                        id=id_,
                        group=group,
                        subgraph="",
                        event_time_ms=0,
                        computed_at_ms=0,
                        values={"degree": 4.0},
                        estimates=shares if group == "ring" else {},
                    )
                ),
            )
            for kind, id_, group in wanted
        ]
