"""How far a problem's memberships move when it is sampled again with another seed. Pure.

Whoever asks brings the sampler. The problems are chosen by a hash, so that everybody who has the
same micro-batches chooses the same.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from itertools import combinations
from typing import Final

import numpy as np

from enrichment.records import MicroBatch
from enrichment.records.micro_batch import Problem
from enrichment.rollout.evidence import Figure
from enrichment.rollout.sampled import mean

PROBLEMS: Final = 20
SEEDS: Final = 5
"""Twenty problems of twelve variables, five times each: half a second on the simulator."""

Sampler = Callable[[Problem, int], Sequence[float]]
"""A problem and a seed -> the membership of each of its nodes."""


class Chosen:
    """The problems that are sampled again, of all that come by: a bounded few, in any order."""

    def __init__(self) -> None:
        """None yet."""
        self._problems: dict[tuple[str, str], Problem] = {}

    def take(self, batch: MicroBatch) -> None:
        """Consider a micro-batch's problems."""
        for problem in batch.problems:
            name = f"{batch.micro_batch_id}\n{problem.problem_id}"
            digest = blake2b(name.encode(), digest_size=16).hexdigest()
            self._problems[digest, name] = problem
        while len(self._problems) > PROBLEMS:
            del self._problems[max(self._problems)]

    def problems(self) -> list[tuple[int, Problem]]:
        """Each with the seed that its repeats count from."""
        return [(int(key[0][:12], 16), self._problems[key]) for key in sorted(self._problems)]


def repeat_deviation(
    chosen: Iterable[tuple[int, Problem]], sampler: Sampler | None, *, level: float
) -> Figure:
    """Mean |difference of membership| between draws of a problem, over nodes and pairs of seeds.

    The interval is over problems. Nothing is known without a sampler, or without problems.
    """
    if sampler is None:
        return Figure(value=None)
    found = []
    for seed, problem in chosen:
        drawn = [np.asarray(sampler(problem, seed + number)) for number in range(SEEDS)]
        gaps = [float(np.abs(a - b).mean()) for a, b in combinations(drawn, 2)]
        found.append(float(np.mean(gaps)))
    return mean(found, np.random.default_rng(SEEDS), level)
