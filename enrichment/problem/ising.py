"""A binary quadratic model as arrays, in Ising form: what circuits and hashes are made of.

Arrays and not the model itself go to other processes: a pickled ``dimod.BinaryQuadraticModel``
comes back with its variables in another order (dimod 0.12.23), and order is what a bit means here.
"""

from collections.abc import Hashable
from dataclasses import dataclass

import dimod
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bits = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ising:
    """E(s) = offset + sum_i h_i s_i + sum_e J_e s_rows[e] s_cols[e], s = +1 where the bit is 1.

    `h` has shape (n,); `rows`, `cols` and `couplings` (the J) have shape (edges,), with
    rows < cols, sorted by (rows, cols), and no coupling that is exactly zero.
    """

    h: Floats
    rows: NDArray[np.intp]
    cols: NDArray[np.intp]
    couplings: Floats
    offset: float

    @property
    def size(self) -> int:
        """The number of variables."""
        return len(self.h)


def variables(model: dimod.BinaryQuadraticModel) -> tuple[Hashable, ...]:
    """Return the labels in the model's order: position k is qubit k and column k of the bits."""
    return tuple(model.variables)


def ising(model: dimod.BinaryQuadraticModel) -> Ising:
    """Return the Ising form of a SPIN or BINARY model, positions in the order of its variables.

    With x = (1 + s) / 2: a x = a/2 + a s/2 and q x y = q/4 (1 + s + t + s t).
    """
    linear, (ends_a, ends_b, biases), offset = model.to_numpy_vectors(
        variable_order=list(model.variables)
    )
    rows = np.minimum(ends_a, ends_b).astype(np.intp)
    cols = np.maximum(ends_a, ends_b).astype(np.intp)
    h = np.asarray(linear, dtype=np.float64).copy()
    biases = np.asarray(biases, dtype=np.float64)
    constant = float(offset)
    if model.vartype is dimod.BINARY:
        constant += float(h.sum() / 2 + biases.sum() / 4)
        h /= 2
        biases = biases / 4
        np.add.at(h, rows, biases)
        np.add.at(h, cols, biases)
    order = np.lexsort((cols, rows))
    order = order[biases[order] != 0.0]
    return Ising(h=h, rows=rows[order], cols=cols[order], couplings=biases[order], offset=constant)


def coupling_matrix(model: Ising) -> Floats:
    """Return J as a symmetric matrix of shape (n, n), its diagonal zero."""
    upper = _upper(model)
    return upper + upper.T


def _upper(model: Ising) -> Floats:
    """Return each coupling once, above the diagonal."""
    matrix = np.zeros((model.size, model.size))
    matrix[model.rows, model.cols] = model.couplings
    return matrix


def local_norm(model: Ising) -> float:
    """Return sqrt(mean_i [h_i^2 + sum_j J_ij^2]): the root mean square field that a spin feels."""
    squares = np.square(model.h)
    np.add.at(squares, model.rows, np.square(model.couplings))
    np.add.at(squares, model.cols, np.square(model.couplings))
    return float(np.sqrt(squares.mean())) if model.size else 0.0


def energies(model: Ising, bits: Bits) -> Floats:
    """Return the energy of each row of `bits`, shape (shots, n), as shape (shots,).

    Raises ValueError where the number of columns is not the model's.
    """
    if bits.ndim != 2 or bits.shape[1] != model.size:
        msg = f"bits must have shape (shots, {model.size}): {bits.shape}"
        raise ValueError(msg)
    spins = 2.0 * bits - 1.0
    matrix = _upper(model)
    pairs = np.einsum("si,si->s", spins @ matrix, spins)
    result: Floats = model.offset + spins @ model.h + pairs
    return result


def all_energies(model: Ising) -> Floats:
    """Return the energy of all 2^n strings; bit k of the index (from the right) is variable k.

    Built by doubling, 2^n additions a variable: no matrix of all strings is ever held.
    Raises ValueError above 24 variables (128 MiB).
    """
    if model.size > 24:
        msg = f"all energies of {model.size} variables would not fit: at most 24"
        raise ValueError(msg)
    matrix = _upper(model)
    total = np.full(1, model.offset)
    for k in range(model.size):
        field = np.full(1, model.h[k])
        for j in range(k):
            coupling = matrix[j, k]
            field = np.concatenate((field - coupling, field + coupling))
        total = np.concatenate((total - field, total + field))
    return total
