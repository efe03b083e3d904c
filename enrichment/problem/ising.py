"""A binary quadratic model as arrays, in Ising form: what circuits and hashes are made of.

Arrays and not the model itself go to other processes: a pickled ``dimod.BinaryQuadraticModel``
comes back with its variables in another order (dimod 0.12.23), and order is what a bit means here.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache

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


def spin_model(form: Ising) -> dimod.BinaryQuadraticModel:
    """Return the SPIN model of an Ising form, its variables the positions in their order."""
    return dimod.BinaryQuadraticModel(form.h, _upper(form), form.offset, dimod.SPIN)


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
    fields = spins @ _upper(model) + model.h
    result: Floats = np.einsum("si,si->s", fields, spins) + model.offset
    return result


def strings_of(indices: NDArray[np.unsignedinteger], size: int) -> Bits:
    """Return the strings of indices below 2^size, shape (len(indices), size): column k is bit k."""
    octets = indices.astype("<u8").view(np.uint8).reshape(-1, 8)
    return np.unpackbits(octets, axis=1, count=size, bitorder="little")


def all_energies(model: Ising) -> Floats:
    """Return the energy of all 2^n strings; bit k of the index (from the right) is variable k.

    Each half of the variables has few strings; what couples the halves is one product of matrices,
    which is all that is done 2^n times. Raises ValueError above 24 variables (128 MiB).
    """
    if model.size > 24:
        msg = f"all energies of {model.size} variables would not fit: at most 24"
        raise ValueError(msg)
    upper = _upper(model)
    middle = model.size // 2
    low, high = _strings(middle), _strings(model.size - middle)
    inner, outer = slice(0, middle), slice(middle, model.size)

    def own(spins: Floats, part: slice) -> Floats:
        fields = spins @ upper[part, part] + model.h[part]
        energy: Floats = np.einsum("si,si->s", fields, spins)
        return energy

    total: Floats = high @ (low @ upper[inner, outer]).T
    total += own(high, outer)[:, None]
    total += own(low, inner) + model.offset
    return total.reshape(-1)


@cache
def _strings(size: int) -> Floats:
    """Return all strings of so many spins, shape (2^size, size); bit k of the row is column k."""
    bits = strings_of(np.arange(2**size, dtype=np.uint64), size)
    spins: Floats = 2.0 * bits.astype(np.float64) - 1.0
    spins.flags.writeable = False
    return spins
