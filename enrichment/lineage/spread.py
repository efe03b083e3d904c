"""How far memberships move from draw to draw of the same circuits: over seeds, by problem. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from enrichment.records import Problem
from enrichment.sample.estimate import Answers, memberships

DRAWS_MIN: Final = 2
"""A deviation is between draws."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One path's deviation of one problem's memberships: over its nodes, the mean and the largest.

    Each node's is the sample standard deviation (n - 1) over `draws`, each of other seeds.
    """

    problem_id: str
    path: str
    draws: int
    mean: float
    max: float


def spreads(problems: Sequence[Problem], draws: Sequence[Answers]) -> tuple[Spread, ...]:
    """By problem and path. Raises ValueError of fewer than DRAWS_MIN draws."""
    if len(draws) < DRAWS_MIN:
        raise ValueError(f"{len(draws)} draws tell nothing of a deviation")
    found = []
    for index, problem in enumerate(problems):
        by_draw = [memberships(index, answers) for answers in draws]
        for path in by_draw[0]:
            drawn = np.array([of_path[path] for of_path in by_draw])
            deviations = drawn.std(axis=0, ddof=1)
            found.append(
                Spread(
                    problem_id=problem.problem_id,
                    path=path,
                    draws=len(draws),
                    mean=float(deviations.mean()),
                    max=float(deviations.max()),
                )
            )
    return tuple(found)
