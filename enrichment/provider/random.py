"""Uniformly random strings: the null that any sampler must beat to have said anything."""

from collections.abc import Callable

import numpy as np

from enrichment.provider.answer import Drawn, Problem, generator
from enrichment.provider.contract import STRING_MAX
from enrichment.provider.local import Local
from enrichment.provider.pool import Pool


def draw(problem: Problem) -> Drawn:
    """Return independent fair bits."""
    shape = (problem.shots, problem.model.size)
    return Drawn(bits=generator(problem, "random").integers(0, 2, shape, dtype=np.uint8))


def open_provider(pool: Pool, now_ms: Callable[[], int]) -> Local:
    """Return the provider, its strings drawn in `pool`."""
    return Local("random", pool, now_ms, variables_max=STRING_MAX)
