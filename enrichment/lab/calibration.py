"""Whether a predicted probability is one: Brier score, calibration by bins, and their plot."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import Final

import numpy as np

from enrichment.rollout.metrics import Bools, Floats, Ints

BINS: Final = 10
ALIKE: Final = 1.1  # bins whose predictions differ by less say the same, and are one
PLOT_SUFFIXES: Final = (".png", ".svg")
_Z: Final = 1.959964  # of a 95 % interval


class PlotError(ValueError):
    """A plot that cannot be written, said in one line."""


@dataclass(frozen=True, slots=True)
class Brier:
    """The mean squared error of a probability (Brier, 1950); smaller is better."""

    bad: Bools
    probability: Floats

    def resampled(self, weights: Ints) -> Floats:
        """The score of each resample."""
        errors = np.square(self.probability - self.bad)
        mean: Floats = weights @ errors / weights.sum(axis=1)
        return mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Events of neighbouring probabilities: what was predicted of them, and what came."""

    events: int
    bad: int
    predicted: float
    observed: float
    # Wilson's 95 % interval of the observed share, with events taken as independent.
    low: float
    high: float


def calibration_bins(bad: Bools, probability: Floats, count: int = BINS) -> list[Bin]:
    """The calibration curve, from low probabilities to high ones.

    Each bin expects about as many bad events as any other, not as many events: where one event in a
    hundred is bad, bins of equal size would tell nothing of the probabilities that matter. Events
    of one probability stay together, and bins that predict nearly the same are one.
    """
    order = np.argsort(probability, kind="stable")
    rising, outcome = probability[order], bad[order]
    expected = np.cumsum(rising)
    if not len(rising) or expected[-1] <= 0:
        return []
    cuts = np.searchsorted(expected, expected[-1] * np.arange(1, count) / count)
    # To the end of each run of equal probabilities.
    cuts = np.searchsorted(rising, rising[cuts], side="right")
    edges = np.unique(np.concatenate([[0], cuts, [len(rising)]])).tolist()
    kept = edges[:1]
    for start, end in pairwise(edges):
        # The first bin begins at 0; a later one only where it says something else.
        if start and rising[start:end].mean() >= rising[kept[-1] : start].mean() * ALIKE:
            kept.append(start)
    return [
        _bin(rising[start:end], outcome[start:end]) for start, end in pairwise([*kept, edges[-1]])
    ]


def _bin(probability: Floats, bad: Bools) -> Bin:
    events, hits = len(bad), int(bad.sum())
    low, high = wilson(hits, events)
    return Bin(
        events=events,
        bad=hits,
        predicted=float(probability.mean()),
        observed=hits / events,
        low=low,
        high=high,
    )


def wilson(hits: int, events: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (1927): it holds for rare events as well."""
    share, z2 = hits / events, _Z**2 / events
    middle = (share + z2 / 2) / (1 + z2)
    half = _Z * sqrt(share * (1 - share) / events + z2 / (4 * events)) / (1 + z2)
    # At none and at all, rounding must not put the share itself outside.
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def check_plot(path: Path) -> None:
    """Refuse early what could not be written later. Raises PlotError."""
    if path.suffix not in PLOT_SUFFIXES:
        raise PlotError(f"{path}: wanted a file ending in {' or '.join(PLOT_SUFFIXES)}")
    if not path.parent.is_dir():
        raise PlotError(f"{path}: there is no folder '{path.parent}'")


def plot_calibration(curves: Mapping[str, list[Bin]], title: str, path: Path) -> None:
    """Curves and their intervals beside the diagonal; logarithmic, since bad events are rare."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 5.0), layout="constrained")
    axes = figure.add_subplot()
    every = [each for bins in curves.values() for each in bins]
    lowest = (each.low for each in every if each.low > 0)
    least = max(1e-5, min(0.1, *(each.predicted for each in every), *lowest) / 2)
    axes.plot([least, 1], [least, 1], color="0.6", linestyle="--", label="predicted = observed")
    for name, bins in curves.items():
        observed = np.array([each.observed for each in bins])
        spread = np.array([[e.observed - e.low for e in bins], [e.high - e.observed for e in bins]])
        axes.errorbar(
            [each.predicted for each in bins],
            np.maximum(observed, least),
            yerr=np.clip(spread, 0, None),
            marker="o",
            capsize=3,
            label=name,
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(least, 1.2),
        ylim=(least, 1.2),
        xlabel="predicted probability",
        ylabel="share that was bad",
        title=title,
    )
    for each in every:
        axes.annotate(
            f"{each.events:,}",
            (each.predicted, max(each.observed, least)),
            textcoords="offset points",
            xytext=(6, -11),
            fontsize=7,
            color="0.4",
        )
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(path, dpi=150)
