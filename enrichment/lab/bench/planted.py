"""Rings planted in a random graph: models by seed, for what needs many and cheap ones."""

import dimod
import numpy as np

from enrichment.problem import KINDS
from enrichment.problem.ring import WEIGHT_MAX


def planted_ring(size: int, seed: int) -> dimod.BinaryQuadraticModel:
    """Return the model of a subgraph in which half of the accounts are densely linked."""
    random = np.random.default_rng(seed)
    members = set(random.permutation(size)[: max(2, size // 2)].tolist())
    weights = tuple(
        (i, j, int(random.integers(WEIGHT_MAX // 2, WEIGHT_MAX + 1)))
        for j in range(size)
        for i in range(j)
        if random.random() < (0.9 if {i, j} <= members else 0.25)
    )
    return KINDS["ring"](tuple(f"a{k}" for k in range(size)), weights, ())
