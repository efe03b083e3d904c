"""The exact solver: all energies, so the true optimum and exact Gibbs marginals.

Its samples are independent draws from the Gibbs distribution, by inversion. The temperature is the
model's own scale: T = GIBBS_TEMPERATURE x its local norm (the root mean square field on a spin, see
`enrichment.problem.ising.local_norm`), so that a model and the same model in other units agree.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from enrichment.problem.ising import Floats, Ising, all_energies, local_norm, strings_of
from enrichment.provider.answer import Drawn, Problem, generator
from enrichment.provider.contract import VARIABLES_MAX
from enrichment.provider.local import Local
from enrichment.provider.pool import Pool

GIBBS_TEMPERATURE: Final = 1.0
"""In local norms: flipping a typical spin against its field (2 norms) then costs a factor e^2."""


def draw(problem: Problem) -> Drawn:
    """Return Gibbs samples with the exact marginals and the proven optimum's energy."""
    model = problem.model
    energy = all_energies(model)
    temperature = gibbs_temperature(model)
    lowest = float(energy.min())
    weights = np.exp((lowest - energy) / temperature)
    cumulative = np.cumsum(weights)
    positions = generator(problem, "exact").random(problem.shots) * cumulative[-1]
    indices = np.searchsorted(cumulative, positions, side="right")
    return Drawn(
        bits=strings_of(np.minimum(indices, len(energy) - 1), model.size),
        marginals=_marginals(weights / cumulative[-1], model.size),
        temperature=temperature,
        optimum_energy=lowest,
    )


def gibbs_temperature(model: Ising) -> float:
    """Return the temperature in energy units; 1 for a model without any coefficient."""
    return GIBBS_TEMPERATURE * (local_norm(model) or 1.0)


def open_provider(pool: Pool, now_ms: Callable[[], int]) -> Local:
    """Return the provider, its sums done in `pool`."""
    return Local("exact", pool, now_ms, variables_max=VARIABLES_MAX)


def _marginals(probabilities: Floats, size: int) -> Floats:
    """Return P(x_k = 1) for each variable, shape (size,)."""
    return np.array([probabilities.reshape(-1, 2, 2**k)[:, 1].sum() for k in range(size)])
