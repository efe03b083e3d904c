"""Readout errors, measured by calibration shots and taken out of means; never out of single shots.

The model: each qubit is misread by itself, a 0 as 1 with chance e and a 1 as 0 with chance f (no
crosstalk). Then the mean of a bit is m -> e + (1 - e - f) m and, for spins s = 2 x - 1,
E[read s | s] = a s + b with a = 1 - e - f, b = e - f. Since qubits are misread independently,
(read s - b) / a is an unbiased estimate of s, and the product of two such of s t (the tensored
inverse of Bravyi et al., arXiv:2006.14044, on one- and two-body terms).

So what is estimated is the marginals and the mean energy of the state before its readout: linear
figures, without bias and with more variance (1 / a^2 a qubit). What is *not* corrected: strings,
the best energy, ring membership (a mean over the best shots, which is not linear in the readout).

A correction is kept only where it helps: where its mean squared error, estimated from the shots
and the calibration's own noise, is below that of the figure as it was read.
"""

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np

from enrichment.problem.ising import Bits, Floats, Ising, coupling_matrix

T = TypeVar("T", Floats, float)

FIDELITY_MIN: Final = 0.1
"""Below 1 - e - f of this on any qubit nothing is corrected: noise would be ten times the signal"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Confusion:
    """Each qubit's readout errors, shape (n,), from `shots` calibration shots of each kind.

    `zero_as_one` is P(read 1 | 0), called e above; `one_as_zero` is P(read 0 | 1), called f.
    """

    zero_as_one: Floats
    one_as_zero: Floats
    shots: int

    @property
    def fidelity(self) -> Floats:
        """1 - e - f, shape (n,): 1 for a perfect readout, 0 for one that says nothing."""
        return 1.0 - self.zero_as_one - self.one_as_zero


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corrected(Generic[T]):
    """A figure as read and corrected: `value` is the one that is kept, as `applied` says.

    `error_read` and `error_corrected` are the estimated root mean square errors, of which the
    smaller decides (over all entries of an array together); `error_corrected` is infinite where
    nothing could be corrected.
    """

    value: T
    read: T
    applied: bool
    error_read: float
    error_corrected: float


def confusion(zeros: Bits, ones: Bits) -> Confusion:
    """Return the readout errors from shots of all qubits in 0 and in 1, each of shape (shots, n).

    Raises ValueError where the shapes differ or there are no shots.
    """
    if zeros.ndim != 2 or zeros.shape != ones.shape or 0 in zeros.shape:
        msg = f"calibration shots must have one shape (shots, n): {zeros.shape}, {ones.shape}"
        raise ValueError(msg)
    return Confusion(
        zero_as_one=zeros.mean(axis=0), one_as_zero=1.0 - ones.mean(axis=0), shots=len(zeros)
    )


def corrected_marginals(bits: Bits, errors: Confusion | None) -> Corrected[Floats]:
    """Return P(x_i = 1) before the readout, shape (n,); not clipped, so means of it stay unbiased.

    Where no errors are known it is as it was read. Raises ValueError where the bits have another
    number of columns than the calibration.
    """
    _check(bits, errors)
    read = bits.mean(axis=0)
    noise = read * (1.0 - read) / len(bits)
    if errors is None or not _tells(errors):
        return _as_read(read, float(noise.sum()))
    a = errors.fidelity
    value = (read - errors.zero_as_one) / a
    of_zeros, of_ones = _calibration_noise(errors)
    # d value / d e = (value - 1) / a and d value / d f = value / a.
    calibration = ((1.0 - value) ** 2 * of_zeros + value**2 * of_ones) / a**2
    shift = noise * (1.0 - 1.0 / a) ** 2 + calibration
    bias2 = float((np.square(value - read) - shift).sum())
    return _kept(read, value, bias2, float(noise.sum()), float((noise / a**2 + calibration).sum()))


def corrected_mean_energy(model: Ising, bits: Bits, errors: Confusion | None) -> Corrected[float]:
    """Return the mean energy before the readout; it may lie below the minimum, as noise may.

    Where no errors are known it is as it was read. Raises ValueError where the bits have another
    number of columns than the calibration.
    """
    _check(bits, errors)
    spins: Floats = 2.0 * bits.astype(np.float64) - 1.0
    plain = np.zeros(model.size)
    read = _energies(model, spins, plain + 1.0, plain)
    noise = float(read.var()) / len(bits)
    if errors is None or not _tells(errors):
        return _as_read(float(read.mean()), noise)
    a, b = errors.fidelity, errors.zero_as_one - errors.one_as_zero
    found = _energies(model, spins, a, b)
    slope_a, slope_b = _slopes(model, spins, a, b)
    of_zeros, of_ones = _calibration_noise(errors)
    # e moves a by -1 and b by +1, f moves both by -1.
    calibration = float(
        (np.square(slope_b - slope_a) * of_zeros + np.square(slope_a + slope_b) * of_ones).sum()
    )
    shift = float((found - read).var()) / len(bits) + calibration
    value, before = float(found.mean()), float(read.mean())
    bias2 = (value - before) ** 2 - shift
    return _kept(before, value, bias2, noise, float(found.var()) / len(bits) + calibration)


def _energies(model: Ising, spins: Floats, a: Floats, b: Floats) -> Floats:
    """Return each shot's unbiased energy, shape (shots,)."""
    unbiased = (spins - b) / a
    pairs = np.einsum("si,si->s", unbiased @ coupling_matrix(model), unbiased) / 2.0
    result: Floats = model.offset + unbiased @ model.h + pairs
    return result


def _slopes(model: Ising, spins: Floats, a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Return how the corrected mean energy changes with each a and each b, each of shape (n,)."""
    unbiased = (spins - b) / a
    fields = model.h + unbiased @ coupling_matrix(model)
    return -(unbiased * fields).mean(axis=0) / a, -fields.mean(axis=0) / a


def _calibration_noise(errors: Confusion) -> tuple[Floats, Floats]:
    """Return the variances of e and f; half a count is added, so that none seen is not certain."""
    e = (errors.zero_as_one * errors.shots + 0.5) / (errors.shots + 1.0)
    f = (errors.one_as_zero * errors.shots + 0.5) / (errors.shots + 1.0)
    return e * (1.0 - e) / errors.shots, f * (1.0 - f) / errors.shots


def _kept(read: T, value: T, bias2: float, noise_read: float, noise_value: float) -> Corrected[T]:
    """Return the figure with the smaller estimated mean squared error."""
    error_read = max(0.0, bias2) + noise_read
    applied = noise_value < error_read
    return Corrected(
        value=value if applied else read,
        read=read,
        applied=applied,
        error_read=float(np.sqrt(error_read)),
        error_corrected=float(np.sqrt(noise_value)),
    )


def _as_read(read: T, noise: float) -> Corrected[T]:
    """Return the figure as it was read, where the readout says too little to be corrected."""
    return Corrected(
        value=read,
        read=read,
        applied=False,
        error_read=float(np.sqrt(noise)),
        error_corrected=float("inf"),
    )


def _tells(errors: Confusion) -> bool:
    """Return whether the readout tells enough of every qubit to be corrected."""
    return bool((errors.fidelity >= FIDELITY_MIN).all())


def _check(bits: Bits, errors: Confusion | None) -> None:
    """Raise ValueError where bits and calibration are not of the same qubits."""
    size = bits.shape[-1] if errors is None else len(errors.zero_as_one)
    if bits.ndim != 2 or len(bits) == 0 or bits.shape[1] != size:
        msg = f"bits must have shape (shots, {size}), with a shot: {bits.shape}"
        raise ValueError(msg)
