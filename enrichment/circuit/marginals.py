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

Z2_95: Final = Z_95 * Z_95

TIE: Final = 1e-9
"""Energies closer than this, relative to the largest, are one energy: sums differ in last bits."""

ROUNDING: Final = 1e-12
"""A mean so near 0 or 1 is of shots that all agree."""

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
    best = _best(bits, energies, share, quantile=0.0)
    return best.at(best.wanted).mean


def shot_interval(
    bits: Bits, energies: Floats, *, share: float = BEST_SHARE
) -> tuple[Floats, Floats]:
    """Return a 95 % interval (low, high) for `ring_membership`, each of shape (n,).

    It covers the membership that infinitely many shots of the same circuit would give: shot noise,
    and nothing else (neither the angles, nor a device, nor whether the account is in a ring).

    Of infinitely many shots the best share is a set of strings (with a fraction of the last level);
    of these shots it holds some number K, binomial with mean share x shots, and those are the K
    best. Two things are unknown then: the mean of x in that set, for which Wilson's limits stand,
    and where in these shots the set ends. So the mean is taken again with the edge moved to either
    end of K's own 95 % interval, and the two distances are joined as limits are for a sum (Zou and
    Donner, "Construction of confidence limits about effect measures", Stat. Med. 27, 2008), each
    side by itself. For many levels this is the variance of the estimator's influence function; for
    few, where one shot more may let in another level, it still holds. Coverage is measured by
    `enrichment bench sampling --case coverage`.
    """
    _check(bits, energies)
    best = _best(bits, energies, share)
    return _interval(best, best.at(best.wanted))


def summarise(bits: Bits, energies: Floats) -> Summary:
    """Return the summary of one sampler's shots; raises ValueError as `ring_membership` does."""
    _check(bits, energies)
    shots_best = _best(bits, energies, BEST_SHARE)
    edge_shots = shots_best.at(shots_best.wanted)
    low, high = _interval(shots_best, edge_shots)
    lowest = int(energies.argmin())
    best_energy = float(energies[lowest])
    mean_energy = float(energies.mean())
    strings = _as_integers(bits)
    _, counts = np.unique(strings, return_counts=True)
    shares = counts / len(energies)
    edge = best_energy + NEAR_SHARE * (mean_energy - best_energy) + _tolerance(energies)
    return Summary(
        membership=edge_shots.mean,
        low=low,
        high=high,
        best=bits[lowest].copy(),
        best_energy=best_energy,
        mean_energy=mean_energy,
        entropy_bits=max(0.0, float(-(shares * np.log2(shares)).sum())),
        near_optima=len(np.unique(strings[energies <= edge])),
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
    # Each level once, at its last shot: there are few of them among many shots.
    levels = np.concatenate(
        [each[np.flatnonzero(np.diff(each, append=np.inf))] for each in (one, two)]
    )
    gaps = one.searchsorted(levels, "right") / len(one)
    gaps -= two.searchsorted(levels, "right") / len(two)
    return float(np.abs(gaps).max())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Edge:
    """The best so many shots: their mean, and the shots that tie at their edge.

    `tied` is how many those are, `inside` the fraction of them that is let in, `tied_mean` their
    mean.
    """

    mean: Floats
    tied: int
    inside: float
    tied_mean: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Best:
    """The best shots in order of energy, a few more than `wanted`, all ties at the end included.

    `sums[k]` is the sum of the first k shots' bits; `fewest` and `most` are the ends of the 95 %
    interval of how many shots the best share of infinitely many would hold of these.
    """

    wanted: float
    fewest: float
    most: float
    energies: Floats
    sums: Floats
    tolerance: float

    def at(self, wanted: float) -> _Edge:
        """The best `wanted` shots, at most `most`: those that tie at the edge share the rest."""
        edge = self.energies[_position(wanted)]
        first = int(self.energies.searchsorted(edge - self.tolerance, "left"))
        behind = int(self.energies.searchsorted(edge + self.tolerance, "right"))
        tied = behind - first
        tied_mean = (self.sums[behind] - self.sums[first]) / tied
        return _Edge(
            mean=(self.sums[first] + (wanted - first) * tied_mean) / wanted,
            tied=tied,
            inside=(wanted - first) / tied,
            tied_mean=tied_mean,
        )


def _best(bits: Bits, energies: Floats, share: float, *, quantile: float = Z_95) -> _Best:
    """Sort out the best shots; no more of them than the interval needs, if there is to be one."""
    if not 0.0 < share <= 1.0:
        msg = f"share must lie in (0, 1]: {share}"
        raise ValueError(msg)
    shots = len(energies)
    wanted = share * shots
    spread = quantile * float(np.sqrt(share * (1.0 - share) * shots))
    most = min(float(shots), wanted + spread)
    tolerance = _tolerance(energies)
    position = _position(most)
    last = np.partition(energies, position)[position]
    chosen = np.flatnonzero(energies <= last + tolerance)
    chosen = chosen[np.argsort(energies[chosen])]
    sums = np.zeros((len(chosen) + 1, bits.shape[1]))
    np.cumsum(bits[chosen], axis=0, out=sums[1:])
    return _Best(
        wanted=wanted,
        fewest=max(wanted - spread, TIE * wanted),
        most=most,
        energies=energies[chosen],
        sums=sums,
        tolerance=tolerance,
    )


def _position(wanted: float) -> int:
    """Return the place of the last of the best `wanted` shots; a rounding error lets none in."""
    return max(0, int(np.ceil(wanted - TIE)) - 1)


def _interval(best: _Best, edge: _Edge) -> tuple[Floats, Floats]:
    """Return the limits: Wilson's for the mean, widened by what moving the edge would change."""
    mean = edge.mean
    spread = mean * (1.0 - mean)
    # The mean over tied shots is known from all of them, not only from the fraction let in.
    tied = edge.tied_mean * (1.0 - edge.tied_mean) * edge.tied
    saved = tied * edge.inside * (1.0 - edge.inside) / best.wanted**2
    # One over the effective number of shots.
    each = 1.0 / best.wanted - saved / np.maximum(spread, ROUNDING)
    scale = 1.0 + Z2_95 * each
    centre = (mean + (Z2_95 / 2.0) * each) / scale
    half = Z_95 * np.sqrt(each * (spread + (Z2_95 / 4.0) * each)) / scale
    fewer, more = best.at(best.fewest).mean, best.at(best.most).mean
    fall = np.maximum(0.0, mean - np.minimum(fewer, more))
    rise = np.maximum(0.0, np.maximum(fewer, more) - mean)
    low = np.maximum(0.0, mean - np.hypot(mean - centre + half, fall))
    high = np.minimum(1.0, mean + np.hypot(centre + half - mean, rise))
    # Where all agree Wilson's outer limit is the mean itself, and rounding must not pass it.
    low[mean < ROUNDING] = 0.0
    high[mean > 1.0 - ROUNDING] = 1.0
    return low, high


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
    # Of unsigned bytes the largest says all, in a tenth of the time.
    fine = bits.max() <= 1 if bits.dtype == np.uint8 else ((bits == 0) | (bits == 1)).all()
    if not fine:
        msg = "bits must be 0 or 1"
        raise ValueError(msg)
