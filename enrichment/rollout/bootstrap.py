"""Bootstrap intervals of metrics, from draws of whole entities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from enrichment.rollout.metrics import Floats, Ints, Measure, value_of

CELLS_MAX: Final = 4_000_000  # weights held at once: 32 MiB of int64


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """How a bootstrap is drawn: its seed, the number of resamples and the interval's level."""

    seed: int
    resamples: int = 200
    level: float = 0.95

    def __post_init__(self) -> None:
        if self.resamples < 1:
            message = f"resamples is {self.resamples}: it must be at least 1"
            raise ValueError(message)
        if not 0 < self.level < 1:
            message = f"level is {self.level}: it must lie between 0 and 1"
            raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A metric with its percentile bootstrap interval.

    ``undefined`` counts resamples in which the metric had no value (a class was missing): they are
    left out of the interval, and many of them mean that it should not be trusted. Without any
    defined resample both ends are NaN.
    """

    value: float
    low: float
    high: float
    level: float
    resamples: int
    undefined: int


def bootstrap_interval(measure: Measure, entity: ArrayLike, bootstrap: Bootstrap) -> Interval:
    """One measure's interval; see ``bootstrap_intervals``."""
    return bootstrap_intervals({"": measure}, entity, bootstrap)[""]


def bootstrap_intervals(
    measures: Mapping[str, Measure], entity: ArrayLike, bootstrap: Bootstrap
) -> dict[str, Interval]:
    """Percentile intervals from a cluster bootstrap: entities are drawn, with all their rows.

    Rows of one account are not independent, so whole entities are drawn with replacement (Davison
    and Hinkley, 1997, section 3.8). ``entity`` names each row's entity, in the order of the rows
    the measures were made from. All measures see the same draws, so that a ``Difference`` of two
    is paired. For ``CardPrecisionAtK`` all rows of a card must belong to one entity.
    """
    drawn = bootstrap_draws(measures, entity, bootstrap)
    rows = len(np.asarray(entity))
    return {
        name: percentile_interval(value_of(measure, rows), drawn[name], bootstrap.level)
        for name, measure in measures.items()
    }


def bootstrap_draws(
    measures: Mapping[str, Measure], entity: ArrayLike, bootstrap: Bootstrap
) -> dict[str, Floats]:
    """Each measure of every resample, all of the same draws: their differences are paired."""
    names, code = np.unique(np.asarray(entity), return_inverse=True)
    rows = len(code)
    if rows == 0:
        message = "there are no rows to resample"
        raise ValueError(message)
    rng = np.random.default_rng(bootstrap.seed)
    batch = max(1, CELLS_MAX // max(rows, len(names)))
    drawn: dict[str, list[Floats]] = {name: [] for name in measures}
    for start in range(0, bootstrap.resamples, batch):
        size = min(batch, bootstrap.resamples - start)
        times = np.stack([_multiplicities(rng, len(names)) for _ in range(size)])
        weights = times[:, code]
        for name, measure in measures.items():
            drawn[name].append(measure.resampled(weights))
    return {name: np.concatenate(each) for name, each in drawn.items()}


def _multiplicities(rng: np.random.Generator, entities: int) -> Ints:
    """How often each entity comes up in one draw of as many as there are."""
    return np.bincount(rng.integers(entities, size=entities), minlength=entities)


def percentile_interval(value: float, resampled: Floats, level: float) -> Interval:
    """The interval of a figure from what resamples made of it."""
    defined = resampled[~np.isnan(resampled)]
    low, high = (
        np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
        if len(defined)
        else (np.nan, np.nan)
    )
    return Interval(
        value=value,
        low=float(low),
        high=float(high),
        level=level,
        resamples=len(resampled),
        undefined=len(resampled) - len(defined),
    )
