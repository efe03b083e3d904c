"""Simulated annealing (dwave-samplers): the classical twin of models too large to solve exactly."""

from collections.abc import Callable
from typing import Final

import numpy as np
from dwave.samplers import SimulatedAnnealingSampler

from enrichment.problem.ising import spin_model
from enrichment.provider.answer import Drawn, Problem, generator
from enrichment.provider.contract import STRING_MAX
from enrichment.provider.local import Local
from enrichment.provider.pool import Pool

SWEEPS: Final = 32
"""Metropolis sweeps a read: ring models of 20 variables settle in fewer."""

SEED_MAX: Final = 2**31 - 1
"""The sampler takes a 32-bit seed."""


def draw(problem: Problem) -> Drawn:
    """Return one independent read per shot, cooled over the sampler's own range."""
    model = problem.model
    size = model.size
    answer = SimulatedAnnealingSampler().sample(
        spin_model(model),
        num_reads=problem.shots,
        num_sweeps=SWEEPS,
        seed=int(generator(problem, "annealing").integers(SEED_MAX)),
    )
    # The sampler orders columns as it likes: ours is the model's order.
    order = [answer.variables.index(k) for k in range(size)]
    return Drawn(bits=(answer.record.sample[:, order] > 0).astype(np.uint8))


def open_provider(pool: Pool, now_ms: Callable[[], int]) -> Local:
    """Return the provider, its reads done in `pool`."""
    return Local("annealing", pool, now_ms, variables_max=STRING_MAX)
