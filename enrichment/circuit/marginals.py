"""What is read off samples: ring membership with its interval, and a few figures beside it.

Pure functions of arrays: `bits` of shape (shots, n), 0 or 1, and `energies` of shape (shots,).
Membership is *not* a probability that an account is in a ring: it says how often the account is in
the best strings of one circuit (or of another sampler), and needs calibration to say more.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bits = NDArray[np.uint8]

BEST_SHARE: Final = 0.2
"""The best fifth: enough shots for a mean, few enough to be about good strings."""

NEAR_SHARE: Final = 0.05
"""A string is near the optimum within 5 % of the way from the best energy to the mean energy."""

Z_95: Final = 1.959963984540054
"""The two-sided 95 % quantile of the normal distribution."""

TIE: Final = 1e-9
"""Energies closer than this, relative to the largest, are one energy: sums differ in last bits."""

BITS_MAX: Final = 62
"""Strings are counted as 64-bit integers."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Summary:
    """What one sampler's shots say about one problem; arrays have shape (n,).

    `membership` with `low` and `high` as in `ring_membership` and `shot_interval`; `entropy_bits`
    is the plug-in entropy of the sampled strings (biased low: at most log2 of the shots);
    `near_optima` counts the distinct sampled strings near the best one seen (`NEAR_SHARE`); `best`
    is the first of the best strings.
    """

    membership: Floats
    low: Floats
    high: Floats
    best: Bits
    best_energy: float
    mean_energy: float
    entropy_bits: float
    near_optima: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """How far one sampler's summary is from its twin's, on the same problem.

    `energy_gap` is its best energy minus the twin's (positive: the twin found a better string);
    `membership_gap` the mean over variables of |difference of membership|; `histogram_distance` the
    Kolmogorov-Smirnov distance of the two energy samples, in [0, 1].
    """

    energy_gap: float
    membership_gap: float
    histogram_distance: float


def ring_membership(bits: Bits, energies: Floats, *, share: float = BEST_SHARE) -> Floats:
    """Return the mean of each variable over the best `share` of the shots by energy, shape (n,).

    Shots that tie at the edge share fractionally what is left of it, so that the order of the
    samples does not matter; within the share there is no further weighting. Raises ValueError where
    shapes do not fit, bits are not 0 or 1, or an energy is not finite.
    """
    _check(bits, energies)
    weights, _ = _weights(energies, share)
    result: Floats = weights @ bits / weights.sum()
    return result


def shot_interval(
    bits: Bits, energies: Floats, *, share: float = BEST_SHARE
) -> tuple[Floats, Floats]:
    """Return a 95 % interval (low, high) for `ring_membership`, each of shape (n,).

    It covers the membership that infinitely many shots of the same circuit would give: shot noise,
    and nothing else (neither the angles, nor a device, nor whether the account is in a ring).

    The variance is that of the estimator's influence function, which holds the noise of the edge as
    well as that of the mean: with energies e, edge e*, m* the mean of x at the edge, and the share
    r of the edge's shots that is let in, psi = (x - m*) (1{e < e*} + r 1{e = e*}) / share. The
    interval is Wilson's at the effective number of shots m (1 - m) / var, since the plain normal
    one leaves [0, 1] near the ends; where all the best shots agree, that number is their count.
    """
    _check(bits, energies)
    return _interval(bits, energies, share)


def summarise(bits: Bits, energies: Floats) -> Summary:
    """Return the summary of one sampler's shots; raises ValueError as `ring_membership` does."""
    _check(bits, energies)
    weights, _ = _weights(energies, BEST_SHARE)
    low, high = _interval(bits, energies, BEST_SHARE)
    lowest = int(energies.argmin())
    best_energy = float(energies[lowest])
    mean_energy = float(energies.mean())
    _, first, counts = np.unique(_as_integers(bits), return_index=True, return_counts=True)
    shares = counts / len(energies)
    edge = best_energy + NEAR_SHARE * (mean_energy - best_energy) + _tolerance(energies)
    return Summary(
        membership=weights @ bits / weights.sum(),
        low=low,
        high=high,
        best=bits[lowest].copy(),
        best_energy=best_energy,
        mean_energy=mean_energy,
        entropy_bits=max(0.0, float(-(shares * np.log2(shares)).sum())),
        near_optima=int((energies[first] <= edge).sum()),
    )


def differences(
    summary: Summary, energies: Floats, twin: Summary, twin_energies: Floats
) -> Differences:
    """Return how far a sampler is from its twin on the same problem."""
    return Differences(
        energy_gap=summary.best_energy - twin.best_energy,
        membership_gap=float(np.abs(summary.membership - twin.membership).mean()),
        histogram_distance=histogram_distance(energies, twin_energies),
    )


def histogram_distance(energies: Floats, others: Floats) -> float:
    """Return the largest difference of the two samples' cumulative shares (Kolmogorov-Smirnov).

    Energies are rounded first, so that one level is one level in both. Total variation over strings
    is not used: from 1,000 shots over 4,096 strings it is mostly bias.
    """
    grain = max(_tolerance(energies), _tolerance(others))
    one = np.sort(np.rint(energies / grain))
    two = np.sort(np.rint(others / grain))
    levels = np.concatenate((one, two))
    gaps = np.searchsorted(one, levels, "right") / len(one)
    gaps -= np.searchsorted(two, levels, "right") / len(two)
    return float(np.abs(gaps).max())


def _weights(energies: Floats, share: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Return each shot's weight (1 inside the best share, a fraction at its edge), and the edge."""
    if not 0.0 < share <= 1.0:
        msg = f"share must lie in (0, 1]: {share}"
        raise ValueError(msg)
    wanted = share * len(energies)
    position = min(len(energies) - 1, max(0, int(np.ceil(wanted - TIE)) - 1))
    edge_energy = np.partition(energies, position)[position]
    tolerance = _tolerance(energies)
    inside = energies < edge_energy - tolerance
    edge = np.abs(energies - edge_energy) <= tolerance
    weights = inside.astype(np.float64)
    weights[edge] = (wanted - inside.sum()) / edge.sum()
    return weights, edge


def _interval(bits: Bits, energies: Floats, share: float) -> tuple[Floats, Floats]:
    """Return the Wilson interval at the effective number of shots."""
    shots = len(energies)
    weights, edge = _weights(energies, share)
    inside = weights.sum()
    mean = weights @ bits / inside
    at_edge = bits[edge].mean(axis=0)
    influence = (bits - at_edge) * (weights / share)[:, None]
    variance = influence.var(axis=0) / shots
    spread = mean * (1.0 - mean)
    known = (variance > 0.0) & (spread > 0.0)
    effective = np.where(known, spread / np.where(known, variance, 1.0), inside)
    z2 = Z_95 * Z_95
    centre = (mean + z2 / (2.0 * effective)) / (1.0 + z2 / effective)
    half = Z_95 * np.sqrt(spread / effective + z2 / (4.0 * effective**2)) / (1.0 + z2 / effective)
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def _tolerance(energies: Floats) -> float:
    """Return the difference below which two energies are one."""
    return TIE * max(1.0, float(np.abs(energies).max()))


def _as_integers(bits: Bits) -> NDArray[np.int64]:
    """Return each string as an integer, variable k at bit k."""
    powers = np.left_shift(np.int64(1), np.arange(bits.shape[1], dtype=np.int64))
    result: NDArray[np.int64] = bits.astype(np.int64) @ powers
    return result


def _check(bits: Bits, energies: Floats) -> None:
    """Raise ValueError, with what was found, where samples are not samples."""
    if bits.ndim != 2 or 0 in bits.shape or bits.shape[1] > BITS_MAX:
        msg = f"bits must have shape (shots, n), both at least 1, n <= {BITS_MAX}: {bits.shape}"
        raise ValueError(msg)
    if energies.shape != (bits.shape[0],):
        msg = f"energies must have shape ({bits.shape[0]},): {energies.shape}"
        raise ValueError(msg)
    if not np.isfinite(energies).all():
        msg = f"energies must be finite: {int((~np.isfinite(energies)).sum())} are not"
        raise ValueError(msg)
    if not ((bits == 0) | (bits == 1)).all():
        msg = "bits must be 0 or 1"
        raise ValueError(msg)
