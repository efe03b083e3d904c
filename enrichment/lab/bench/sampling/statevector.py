"""The same circuit without a simulator: a statevector in numpy, in single precision as qsim's.

QAOA needs only two steps. The phase is a diagonal, so all couplings together are one product; the
mixer is the same rotation of every qubit, so a block of qubits is one product of matrices.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from enrichment.problem.ising import Bits, Ising, all_energies, strings_of

Amplitudes = NDArray[np.complex64]

BLOCK: Final = 6
"""Qubits a product: a matrix of 64 x 64 stays in the first cache."""


def sample(
    model: Ising,
    gammas: Sequence[float],
    betas: Sequence[float],
    shots: int,
    random: np.random.Generator,
) -> Bits:
    """Return `shots` samples of the model's QAOA circuit, shape (shots, n), column k variable k."""
    state = final_state(model, gammas, betas)
    cumulative = np.cumsum(np.square(state.real) + np.square(state.imag), dtype=np.float64)
    positions = random.random(shots) * cumulative[-1]
    indices = np.minimum(np.searchsorted(cumulative, positions, side="right"), len(state) - 1)
    return strings_of(indices, model.size)


def final_state(model: Ising, gammas: Sequence[float], betas: Sequence[float]) -> Amplitudes:
    """Return the final state, shape (2^n,); bit k of the index (from the right) is variable k."""
    energies = all_energies(model).astype(np.float32)
    state = np.full(len(energies), len(energies) ** -0.5, dtype=np.complex64)
    phase = np.empty_like(state)
    for gamma, beta in zip(gammas, betas, strict=True):
        angles = np.float32(gamma) * energies
        np.cos(angles, out=phase.real)
        np.sin(angles, out=phase.imag)
        state *= phase
        # Each product takes the highest qubits and leaves them lowest: in the end all are back.
        for width in _widths(model.size):
            state = (state.reshape(2**width, -1).T @ _mixer(beta, width)).reshape(-1)
    return state


def _widths(size: int) -> Iterator[int]:
    """Yield the sizes of blocks, as even as they can be."""
    count = -(-size // BLOCK)
    for block in range(count):
        yield (size + block) // count


def _mixer(beta: float, width: int) -> Amplitudes:
    """Return exp(-i beta X) on each of `width` qubits, shape (2^width, 2^width); symmetric."""
    one = np.array([[np.cos(beta), -1j * np.sin(beta)], [-1j * np.sin(beta), np.cos(beta)]])
    whole = np.ones((1, 1))
    for _ in range(width):
        whole = np.kron(whole, one)
    return whole.astype(np.complex64)
