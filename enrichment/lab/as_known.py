"""What was known of each event of a simulated stream when it came, by every sampler, as arrays."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from enrichment.lab.samplers import SAMPLERS
from enrichment.pipelines import Pipeline
from enrichment.pipelines.probability import ENERGY, MEMBERSHIP
from enrichment.records import FeatureUsed, VerdictName
from enrichment.rollout.metrics import Bools, Floats, Ints
from enrichment.sample.estimate import CLASSICAL, GROUP

GRAPH: Final = "graph"
COUNTED: Final = (
    "events", "amount", "velocity_short", "degree", "size", "density", "core_number",
    "known_bad_near", "events_1m", "amount_1m", "events_10m", "amount_10m",
)  # fmt: skip
OF_NODES: Final = ("triangles", "bad_rank")
MARGINAL: Final = "gibbs_marginal"
GIBBS: Final = "gibbs"
"""The exact Gibbs marginals: not a path of their own, the classical path publishes them."""

# Paths of estimates, and what speaks for an entity's membership there.
PATHS: Final = {sampler.path: (sampler.path, MEMBERSHIP) for sampler in SAMPLERS} | {
    GIBBS: (CLASSICAL, MARGINAL)
}
OF_PATH: Final = ("membership", "energy", "membership_energy")

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class AsKnown:
    """The events of one simulated run with what was known of them; NaN where it was not.

    `classical` holds no ring feature; `rings` has the columns of one path, of shape (events, roles
    x OF_PATH). `groups` names who belongs together: a ring's members, else tied accounts.
    """

    seed: int
    roles: tuple[str, ...]
    names: tuple[str, ...]
    classical: Matrix
    rings: dict[str, Matrix]
    # Role -> whether a ring feature of it was fresh: computed from the subgraph as it was.
    fresh: dict[str, Bools]
    bad: Bools
    groups: Ints
    # Solved by each sampler.
    problems: int

    def membership(self, path: str, role: str) -> Floats:
        """One path's membership of the entities in that role."""
        column = self.roles.index(role) * len(OF_PATH)
        return self.rings[path][:, column].astype(np.float64)

    def surplus(self, path: str, role: str) -> Floats:
        """The same times what the subgraph's best string falls below zero, at least 0."""
        column = self.roles.index(role) * len(OF_PATH) + OF_PATH.index("membership_energy")
        return np.maximum(0.0, self.rings[path][:, column].astype(np.float64))

    def write(self, file: Path) -> None:
        """Keep it in a file, for another process."""
        arrays: dict[str, Any] = {
            "seed": self.seed,
            "problems": self.problems,
            "roles": self.roles,
            "names": self.names,
            "classical": self.classical,
            "bad": self.bad,
            "groups": self.groups,
        }
        arrays |= {f"ring {path}": columns for path, columns in self.rings.items()}
        arrays |= {f"fresh {role}": fresh for role, fresh in self.fresh.items()}
        np.savez(file, **arrays)

    @classmethod
    def read(cls, file: Path) -> "AsKnown":
        """Take it from such a file."""
        with np.load(file, allow_pickle=False) as kept:
            roles = tuple(kept["roles"].tolist())
            return cls(
                seed=int(kept["seed"]),
                problems=int(kept["problems"]),
                roles=roles,
                names=tuple(kept["names"].tolist()),
                classical=kept["classical"],
                bad=kept["bad"],
                groups=kept["groups"],
                rings={path: kept[f"ring {path}"] for path in PATHS},
                fresh={role: kept[f"fresh {role}"] for role in roles},
            )


@dataclass(slots=True)
class Rows:
    """Rows of features by role, each written down once however many events see it."""

    pipeline: Pipeline
    graph: dict[str, list[list[float]]] = field(default_factory=dict)
    rings: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    fresh: dict[str, list[bool]] = field(default_factory=dict)

    def names(self, role: str) -> tuple[str, ...]:
        """The names of the role's graph features."""
        of_node = self.pipeline.kind(role) == self.pipeline.node_kind
        return (*COUNTED, *OF_NODES) if of_node else COUNTED

    def add(self, role: str, used: Iterable[FeatureUsed]) -> int:
        """The number of the row that these features are written down in."""
        by_group = {each.group: each for each in used}
        values, ring = by_group[GRAPH].values, by_group[GROUP]
        rows = self.graph.setdefault(role, [])
        rows.append([_logarithmic(name, values.get(name)) for name in self.names(role)])
        mine = self.rings.setdefault(role, {})
        for path, (estimator, name) in PATHS.items():
            mine.setdefault(path, []).append(_of_path(ring.estimates.get(estimator), name))
        fresh = ring.verdict.name is VerdictName.FRESH and bool(ring.estimates)
        self.fresh.setdefault(role, []).append(fresh)
        return len(rows) - 1

    def columns(self, seen: Ints) -> tuple[list[str], Matrix, dict[str, Matrix], dict[str, Bools]]:
        """Names and columns of graph features, columns of every path, and what was fresh."""
        roles = list(self.graph)
        names = [f"{role}.{name}" for role in roles for name in self.names(role)]

        def gathered(tables: Iterator[list[list[float]]]) -> Matrix:
            parts = [
                np.array(table, dtype=np.float32)[seen[:, number]]
                for number, table in enumerate(tables)
            ]
            return np.hstack(parts)

        return (
            names,
            gathered(self.graph[role] for role in roles),
            {path: gathered(self.rings[role][path] for role in roles) for path in PATHS},
            {role: np.array(self.fresh[role])[seen[:, n]] for n, role in enumerate(roles)},
        )


def _logarithmic(name: str, value: float | None) -> float:
    """A graph feature on the scale that a sum of terms can read; NaN where it is not known."""
    if value is None:
        return float("nan")
    bounded = name in {"density", "known_bad_near", "bad_rank"}
    return value if bounded else float(np.log1p(max(value, 0.0)))


def _of_path(estimate: dict[str, float] | None, name: str) -> list[float]:
    """OF_PATH of one entity, the energy turned round so that more says more."""
    if estimate is None or name not in estimate:
        return [float("nan")] * len(OF_PATH)
    membership, surplus = estimate[name], -estimate[ENERGY]
    return [membership, surplus, membership * surplus]
