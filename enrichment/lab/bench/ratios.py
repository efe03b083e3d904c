"""What can be said of a ratio that was measured in pairs. Pure: randomness is an argument."""

from collections.abc import Sequence
from typing import Final

import numpy as np

RESAMPLES: Final = 10_000
LEVEL: Final = 0.95


def geometric_mean(ratios: Sequence[float]) -> float:
    """The mean of ratios in which a half and a double cancel."""
    return float(np.exp(np.mean(np.log(ratios))))


def upper_bound(ratios: Sequence[float], rng: np.random.Generator) -> float:
    """The upper 95 % bound of the geometric mean: the percentile bootstrap over pairs.

    One-sided: in so many of all resamples the mean lies at or below it (Efron, 1979). Of one pair
    it is that pair's ratio, and says nothing.
    """
    logs = np.log(np.asarray(ratios, dtype=float))
    drawn = rng.integers(0, len(logs), size=(RESAMPLES, len(logs)))
    return float(np.exp(np.quantile(logs[drawn].mean(axis=1), LEVEL)))
