"""The figures of `bench uplift`: means over seeds, with intervals of one set of draws for all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from enrichment.lab.as_known import GIBBS
from enrichment.lab.bench.report import Row
from enrichment.lab.bench.uplift_models import LOGISTIC, MODELS, NONE, TREES
from enrichment.lab.calibration import Brier
from enrichment.lab.samplers import SAMPLERS
from enrichment.rollout.bootstrap import Bootstrap, Interval, bootstrap_draws, percentile_interval
from enrichment.rollout.metrics import (
    AveragePrecision,
    Bools,
    Difference,
    Floats,
    Ints,
    Measure,
    Ranking,
    value_of,
)
from enrichment.sample.estimate import CLASSICAL, RANDOM

RESAMPLES: Final = 300
DIGITS: Final = 4  # an interval is wider than that everywhere

# Path -> how a table names it.
SYSTEMS: Final = {
    NONE: NONE,
    **{sampler.path: sampler.title for sampler in SAMPLERS},
    GIBBS: "Gibbs marginals",
}
SHORT: Final = {TREES: "trees", LOGISTIC: "logistic"}
PRECISION: Final = "ap"
# What a system is held against, and what the difference is called.
AGAINST: Final = {NONE: "over_none", RANDOM: "over_random", CLASSICAL: "over_exact"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One seed's events with the scores that models of the other seeds give them."""

    bad: Bools
    groups: Ints
    scores: dict[tuple[str, str], Floats]
    # (path, kind) -> the held-out memberships that were fresh.
    ringed: "dict[tuple[str, str], Ringed]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ringed:
    """Fresh memberships of one path and role, and the probability by a map of the other seeds."""

    bad: Bools
    groups: Ints
    membership: Floats
    probability: Floats


@dataclass(frozen=True, slots=True)
class MeanOverSeeds:
    """The mean of a measure over the streams, each on its own rows of one long table."""

    parts: tuple[tuple[slice, Measure], ...]

    def resampled(self, weights: Ints) -> Floats:
        """The mean of each resample."""
        mean: Floats = np.mean(
            [measure.resampled(weights[:, rows]) for rows, measure in self.parts], axis=0
        )
        return mean


def mean_precision(judged: Sequence[Judged], model: str, path: str) -> MeanOverSeeds:
    """The average precision of one system."""
    ends = np.cumsum([len(one.bad) for one in judged]).tolist()
    return MeanOverSeeds(
        tuple(
            (
                slice(end - len(one.bad), end),
                AveragePrecision(Ranking(one.bad, one.scores[model, path])),
            )
            for end, one in zip(ends, judged, strict=True)
        )
    )


def apart(groups: Sequence[Ints]) -> Ints:
    """The groups of several streams in one column: none is in two."""
    return np.concatenate(
        [
            np.unique(mine, return_inverse=True)[1] + number * 10_000_000
            for number, mine in enumerate(groups)
        ]
    )


def case_rows(case: str, judged: Sequence[Judged]) -> Iterator[Row]:
    """Average precision of every system, and what each has over those it is held against."""
    measures = {
        (model, path): mean_precision(judged, model, path) for model in MODELS for path in SYSTEMS
    }
    draws = Bootstrap(seed=0, resamples=RESAMPLES)
    groups = apart([one.groups for one in judged])
    drawn = bootstrap_draws({"|".join(key): each for key, each in measures.items()}, groups, draws)
    values = {key: value_of(each, len(groups)) for key, each in measures.items()}
    for model, short in SHORT.items():
        for path, title in SYSTEMS.items():
            mine = drawn[f"{model}|{path}"]
            interval = percentile_interval(values[model, path], mine, draws.level)
            yield _row(case, title, f"{short}_{PRECISION}", interval, len(judged))
            for other, name in AGAINST.items():
                if path in {other, NONE}:
                    continue
                gap = values[model, path] - values[model, other]
                paired = percentile_interval(gap, mine - drawn[f"{model}|{other}"], draws.level)
                yield _row(case, title, f"{short}_{name}", paired, len(judged))


def calibration_rows(judged: Sequence[Judged]) -> Iterator[Row]:
    """Mean squared errors of ring_probability and of what it is held against, on unseen seeds."""
    keys: Mapping[tuple[str, str], None] = dict.fromkeys(
        key for key in judged[0].ringed if all(key in one.ringed for one in judged)
    )
    for path, role in keys:
        mine = [one.ringed[path, role] for one in judged]
        bad = np.concatenate([one.bad for one in mine])
        # The best that knows nothing: each seed's own share of bad events.
        share = np.concatenate([np.full(len(one.bad), one.bad.mean()) for one in mine])
        ours = Brier(bad, np.concatenate([one.probability for one in mine]))
        bare = Brier(bad, share)
        measures: dict[str, Measure] = {
            "brier": ours,
            "brier_of_share": bare,
            "brier_of_membership": Brier(bad, np.concatenate([one.membership for one in mine])),
            "brier_gain": Difference(bare, ours),
        }
        draws = Bootstrap(seed=0, resamples=RESAMPLES)
        groups = apart([one.groups for one in mine])
        drawn = bootstrap_draws(measures, groups, draws)
        for name, measure in measures.items():
            value = value_of(measure, len(bad))
            interval = percentile_interval(value, drawn[name], draws.level)
            system = f"{role}, {SYSTEMS[path]}"
            yield _row("ring_probability", system, name, interval, len(judged))


def _row(case: str, system: str, metric: str, interval: Interval, seeds: int) -> Row:
    """One figure with its interval."""
    return Row(
        case=case,
        system=system,
        metric=metric,
        value=round(interval.value, DIGITS),
        unit="",
        low=round(interval.low, DIGITS),
        high=round(interval.high, DIGITS),
        runs=seeds,
    )
