"""Figures of every path on the same weighted events, and on the same resamples of their clusters.

An event counts `weight` times: once, or for all those like it that were declined, of which nobody
learns anything (Horvitz and Thompson, 1952). A resample draws as many clusters as there are, with
replacement and with all their events (Davison and Hinkley, 1997, section 3.8); every figure of
every path is computed on it, so that differences between paths are paired. Percentile intervals.

Rows are sorted once. Average precision needs the weight above each distinct score of a bad event
alone, and those are few: a resample is then one pass over (cluster, step) sums, 5 ms for 300,000
events, and nothing is left out or approximated. Pure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from enrichment.rollout.metrics import Bools, Floats, Ints

RESAMPLES: Final = 2_000
"""At three looks the interval's ends are the 17th lowest and highest of them; of 1,000, the 8th."""

DEPTH: Final = 4
"""So many times k rows of a day are looked at first: resamples seldom leave out three of four."""

APPROVE, REVIEW, DECLINE = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Events whose truth is known, each array with one entry for each.

    `scores` and `decisions` (what the path's score alone would have led to) are by path; lesser
    paths stand in where one had no estimate. `cluster` counts from 0 without a gap.
    """

    bad: Bools
    weight: Floats
    cluster: Ints
    day: Ints
    scores: Mapping[str, Floats]
    decisions: Mapping[str, Ints]
    k: int

    @property
    def clusters(self) -> int:
        """How many are drawn, and drawn from."""
        return int(self.cluster.max()) + 1 if len(self.cluster) else 0


class AveragePrecision:
    """Average precision under any number of copies of each cluster.

    As `enrichment.rollout.metrics.AveragePrecision`: the sum over distinct scores of recall gained
    times precision, rows of one score entering together.
    """

    def __init__(self, judged: Judged, path: str) -> None:
        """Of that path's scores."""
        score, bad = judged.scores[path], judged.bad
        falling = -np.unique(-score[bad])
        self._steps = len(falling)
        # The first step at which the row is counted; rows below the last bad one never are.
        step = np.searchsorted(-falling, -score)
        counted = step < self._steps
        self._all = _summed(judged, step, counted, self._steps)
        self._bad = _summed(judged, step, bad, self._steps)

    def of(self, copies: Floats) -> float:
        """NaN without a bad event."""
        above = np.cumsum(self._mass(self._all, copies))
        gained = self._mass(self._bad, copies)
        total = gained.sum()
        if total <= 0:
            return np.nan
        precision = np.divide(np.cumsum(gained), above, out=np.zeros_like(above), where=above > 0)
        return float((gained * precision).sum() / total)

    def _mass(self, sums: "_Sums", copies: Floats) -> Floats:
        """The weight at each step."""
        weights = sums.weight * copies[sums.cluster]
        return _binned(sums.step, weights, self._steps)


class DailyPrecision:
    """The share of bad events among the k best-scored of each day, over all days together.

    A day with less than k events has as many places as events; events tied at the edge share the
    places that are left. An event takes as many places as its weight and copies say.
    """

    def __init__(self, judged: Judged, path: str) -> None:
        """Of that path's scores, by UTC day of the events' own time."""
        self._judged, self._path = judged, path
        self._order = np.lexsort((-judged.scores[path], judged.day))
        self._depth = DEPTH * judged.k
        self._cut()

    def of(self, copies: Floats) -> float:
        """NaN without an event."""
        while (found := self._within(copies)) is None:
            self._depth *= DEPTH
            self._cut()
        return found

    def _cut(self) -> None:
        """Take the first rows of every day, and those that tie with the last of them."""
        judged, order = self._judged, self._order
        day, score = judged.day[order], judged.scores[self._path][order]
        begins = np.flatnonzero(np.diff(day, prepend=-1))
        sizes = np.diff(begins, append=len(day))
        last = np.repeat(begins + np.minimum(sizes, self._depth) - 1, sizes)
        kept = score >= score[last] if len(day) else np.empty(0, dtype=np.bool_)
        rows = order[kept]
        self._whole = len(rows) == len(order)
        day, score = judged.day[rows], judged.scores[self._path][rows]
        news = np.diff(day, prepend=-1) != 0
        self._groups = np.flatnonzero(news | (np.diff(score, prepend=np.nan) != 0))
        self._days = np.flatnonzero(news[self._groups])
        self._of_day = np.cumsum(news[self._groups]) - 1
        self._cluster, self._weight = judged.cluster[rows], judged.weight[rows]
        self._bad = judged.bad[rows]

    def _within(self, copies: Floats) -> float | None:
        """The figure from the rows at hand, or None where they do not fill some day's places."""
        if not len(self._groups):
            return np.nan
        weight = self._weight * copies[self._cluster]
        size = np.add.reduceat(weight, self._groups)
        bad = np.add.reduceat(weight * self._bad, self._groups)
        through = np.cumsum(size)
        before = through - size
        before -= before[self._days][self._of_day]
        places = np.clip(self._judged.k - before, 0.0, size)
        of_day = np.add.reduceat(places, self._days)
        if not self._whole and (of_day < self._judged.k - 1e-9).any():
            return None
        taken = places.sum()
        found = np.divide(bad * places, size, out=np.zeros_like(size), where=size > 0).sum()
        return float(found / taken) if taken > 0 else np.nan


class Totals:
    """Weighted numbers of events by cluster: what each path would have caught, and asked about."""

    def __init__(self, judged: Judged) -> None:
        """Of all paths."""
        self._columns = {
            path: np.stack(
                [
                    _by_cluster(judged, judged.bad & (decision != APPROVE)),
                    _by_cluster(judged, decision == REVIEW),
                ],
                axis=1,
            )
            for path, decision in judged.decisions.items()
        }

    def of(self, copies: Floats) -> Iterator[tuple[str, float, float]]:
        """Path, caught, reviews."""
        for path, columns in self._columns.items():
            caught, reviews = (copies @ columns).tolist()
            yield path, caught, reviews


Drawn = dict[tuple[str, str], Floats]
"""(path, figure) -> its value on the events as they are, and then on every resample."""


def drawn(judged: Judged, *, seed: int, resamples: int = RESAMPLES) -> Drawn:
    """Every figure of every path: `average_precision`, `precision_at_k`, `caught`, `reviews`."""
    rng = np.random.default_rng(seed)
    clusters = judged.clusters
    precision = {path: AveragePrecision(judged, path) for path in judged.scores}
    daily = {path: DailyPrecision(judged, path) for path in judged.scores}
    totals = Totals(judged)
    found: Drawn = {}
    for path in judged.scores:
        for figure in ("average_precision", "precision_at_k", "caught", "reviews"):
            found[path, figure] = np.full(resamples + 1, np.nan)
    for number in range(resamples + 1 if clusters else 0):
        copies = np.ones(clusters)
        if number:
            times = np.bincount(rng.integers(clusters, size=clusters), minlength=clusters)
            copies = times.astype(np.float64)
        for path in judged.scores:
            found[path, "average_precision"][number] = precision[path].of(copies)
            found[path, "precision_at_k"][number] = daily[path].of(copies)
        for path, caught, reviews in totals.of(copies):
            found[path, "caught"][number] = caught
            found[path, "reviews"][number] = reviews
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sums:
    """The weight of what each cluster has at each step, where it has anything."""

    cluster: Ints
    step: Ints
    weight: Floats


def _summed(judged: Judged, step: Ints, chosen: Bools, steps: int) -> _Sums:
    keys = judged.cluster[chosen] * (steps + 1) + step[chosen]
    names, inverse = np.unique(keys, return_inverse=True)
    weight = _binned(inverse, judged.weight[chosen], len(names))
    cluster, at = np.divmod(names, steps + 1)
    return _Sums(cluster=cluster, step=at, weight=weight)


def _by_cluster(judged: Judged, chosen: Bools) -> Floats:
    """The weight of the chosen events, by cluster."""
    return _binned(judged.cluster[chosen], judged.weight[chosen], judged.clusters)


def _binned(places: Ints, weights: Floats, size: int) -> Floats:
    binned: Floats = np.bincount(places, weights=weights, minlength=size).astype(np.float64)
    return binned
