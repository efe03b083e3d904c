"""An independent statevector of the convention, in plain numpy: no Cirq, no qsim, no Ising form."""

from collections.abc import Sequence

import dimod
import numpy as np
from numpy.typing import NDArray


def state(
    model: dimod.BinaryQuadraticModel, gammas: Sequence[float], betas: Sequence[float]
) -> NDArray[np.complex128]:
    """Return prod_l exp(-i beta_l sum X) exp(+i gamma_l E) |+>, variable 0 the highest bit."""
    size = model.num_variables
    labels = list(model.variables)
    indices = np.arange(2**size)
    bits = (indices[:, None] >> np.arange(size - 1, -1, -1)) & 1
    values = bits if model.vartype is dimod.BINARY else 2 * bits - 1
    energy = np.array(
        [model.energy(dict(zip(labels, row.tolist(), strict=True))) for row in values]
    )
    psi = np.full(2**size, 2 ** (-size / 2), dtype=np.complex128)
    for gamma, beta in zip(gammas, betas, strict=True):
        psi = np.exp(1j * gamma * energy) * psi
        for k in range(size):
            flipped = psi[indices ^ (1 << k)]
            psi = np.cos(beta) * psi - 1j * np.sin(beta) * flipped
    return psi


def overlap(one: NDArray[np.complex128], two: NDArray[np.complex128]) -> float:
    """Return |<one|two>|: 1 for equal states, whatever their global phases."""
    return float(abs(np.vdot(one, two)))


def distance(one: NDArray[np.complex128], two: NDArray[np.complex128]) -> float:
    """Return the largest difference of amplitudes once the global phases are aligned."""
    phase = np.vdot(one, two)
    return float(np.abs(one * (phase / abs(phase)) - two).max())
