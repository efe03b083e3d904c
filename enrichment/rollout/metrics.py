"""Metrics of a scored stream, each computable under any row weights.

Every metric here is a function of the rows *and* of how often each row counts. A bootstrap resample
is then a vector of weights, not a copied table: the rows are sorted once, and a resample costs a
few passes over them.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def _columns(label: ArrayLike, score: ArrayLike) -> tuple[Bools, Floats]:
    """Label and score as arrays of one length; ValueError for NaN, another shape or label."""
    scores = np.asarray(score, dtype=np.float64)
    raw = np.asarray(label)
    if raw.shape != scores.shape or raw.ndim != 1:
        message = f"label and score differ in shape: {raw.shape} and {scores.shape}"
        raise ValueError(message)
    if np.isnan(scores).any():
        message = f"{int(np.isnan(scores).sum())} scores are NaN: leave those rows out first"
        raise ValueError(message)
    labels = raw.astype(np.bool_)
    if not np.array_equal(labels, raw):
        message = "labels must be 0 or 1"
        raise ValueError(message)
    return labels, scores


def _at_least_one(k: int) -> None:
    if k < 1:
        message = f"k is {k}: it must be at least 1"
        raise ValueError(message)


class Measure(Protocol):
    """A metric bound to its rows, which can be computed under any row weights."""

    def resampled(self, weights: Ints) -> Floats:
        """The metric of each resample; weights have shape (resamples, rows). NaN: undefined."""
        ...


class Ranking:
    """Rows sorted once by falling score, with the ends of their groups of equal scores."""

    __slots__ = ("_ends", "_order", "_positive", "rows")

    def __init__(self, label: ArrayLike, score: ArrayLike) -> None:
        labels, scores = _columns(label, score)
        self.rows = len(scores)
        self._order = np.argsort(-scores, kind="stable")
        self._positive = labels[self._order].astype(np.int64)
        falling = scores[self._order]
        is_end = np.append(falling[1:] != falling[:-1], True) if self.rows else np.empty(0, bool)
        self._ends = np.flatnonzero(is_end)

    def cumulated(self, weights: Ints) -> tuple[Ints, Ints]:
        """Weight of positives, and of all rows, at or above each distinct score.

        Both have shape (resamples, distinct scores), highest score first.
        """
        taken = weights[:, self._order]
        everything = np.cumsum(taken, axis=1)[:, self._ends]
        positives = np.cumsum(taken * self._positive, axis=1)[:, self._ends]
        return positives, everything


def _steps(cumulated: Ints) -> Ints:
    return np.diff(cumulated, axis=1, prepend=0)


def _last(cumulated: Ints) -> Ints:
    if cumulated.shape[1] == 0:
        return np.zeros(cumulated.shape[0], dtype=np.int64)
    last: Ints = cumulated[:, -1]
    return last


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> Floats:
    """A quotient that is NaN, quietly, where nothing is below."""
    result = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=result, where=below > 0)
    return result


@dataclass(frozen=True, slots=True)
class Auc:
    """Area under the ROC curve: the chance that a fraud outscores a genuine row, ties half."""

    ranking: Ranking

    def resampled(self, weights: Ints) -> Floats:
        """Mann-Whitney's U over (positives x negatives), ties counted as one half."""
        positives, everything = self.ranking.cumulated(weights)
        negatives = everything - positives
        won = _steps(negatives) * (positives - _steps(positives) / 2)
        pairs = _last(positives) * _last(negatives)
        return _ratio(won.sum(axis=1), pairs)


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """Average precision, the step-wise sum of (recall gained) x precision; no interpolation.

    Same as scikit-learn's ``average_precision_score``: rows of one score enter together.
    """

    ranking: Ranking

    def resampled(self, weights: Ints) -> Floats:
        """AP of each resample: sum over distinct scores of (R_n - R_(n-1)) P_n."""
        positives, everything = self.ranking.cumulated(weights)
        # A score that no resampled row bears adds no recall: its precision may be anything.
        precision = positives / np.maximum(everything, 1)
        gained = (_steps(positives) * precision).sum(axis=1)
        return _ratio(gained, _last(positives))


@dataclass(frozen=True, slots=True)
class PrecisionAtK:
    """Share of frauds among the k best-scored rows; of all rows when there are fewer.

    Rows tied at the edge share the places left: the value is what a random order of them gives on
    average, so that it does not hang on how a file happens to be sorted.
    """

    ranking: Ranking
    k: int

    def __post_init__(self) -> None:
        _at_least_one(self.k)

    def resampled(self, weights: Ints) -> Floats:
        """Precision in the top k of each resample."""
        positives, everything = self.ranking.cumulated(weights)
        size = _steps(everything)
        places = np.clip(self.k - (everything - size), 0, size)
        found = (_steps(positives) * places / np.maximum(size, 1)).sum(axis=1)
        return _ratio(found, np.minimum(_last(everything), self.k))


class CardDays:
    """One row per card and day: the day's highest score and whether the card was defrauded."""

    __slots__ = ("cards", "days", "rows")

    def __init__(self, day: ArrayLike, card: ArrayLike, label: ArrayLike, score: ArrayLike) -> None:
        labels, scores = _columns(label, score)
        day_names, day_code = np.unique(np.asarray(day), return_inverse=True)
        card_names, card_code = np.unique(np.asarray(card), return_inverse=True)
        if day_code.shape != scores.shape or card_code.shape != scores.shape:
            message = f"day, card and score differ in length: {len(day_code)}, {len(card_code)}"
            raise ValueError(message)
        self.rows = len(scores)
        # Any row of a card will do to look up how often the card was drawn.
        self.cards: Ints = np.zeros(len(card_names), dtype=np.int64)
        self.cards[card_code] = np.arange(self.rows)
        pair, inverse = np.unique(day_code * len(card_names) + card_code, return_inverse=True)
        best = np.full(len(pair), -np.inf)
        np.maximum.at(best, inverse, scores)
        defrauded = np.zeros(len(pair), dtype=np.bool_)
        np.logical_or.at(defrauded, inverse, labels)
        pair_day, pair_card = np.divmod(pair, max(len(card_names), 1))
        # Ties: by rising card id, as a stable sort of the handbook's grouped frame would have it.
        order = np.lexsort((pair_card, -best, pair_day))
        edges = np.searchsorted(pair_day[order], np.arange(len(day_names) + 1))
        self.days: list[tuple[Any, Ints, Bools]] = [
            (name, pair_card[order[low:high]], defrauded[order[low:high]])
            for name, low, high in zip(day_names.tolist(), edges[:-1], edges[1:], strict=True)
        ]


@dataclass(frozen=True, slots=True)
class CardPrecisionAtK:
    """Card precision top-k of the Reproducible ML for Credit Card Fraud Detection handbook.

    Chapter 4.4, "Precision top-k metrics" (Le Borgne, Siblini, Lebichot, Bontempi, 2022). Days in
    rising order; on each day:

    1. cards *detected* on an earlier day are left out: detected means defrauded and among that
       day's top k (a defrauded card that was missed stays in);
    2. a card's score is the highest score, its label the highest label, of its rows of the day;
    3. the k cards with the highest scores are the alerts, and the day's value is the number of
       defrauded ones among them divided by k (by k also when fewer than k cards are left).

    The metric is the plain mean over the days that have rows. The handbook's test set beforehand
    leaves out cards already known to be compromised: see ``known_compromised``.

    In a resample a card drawn twice is two cards with the same rows, each taking its own place.
    """

    card_days: CardDays
    k: int

    def __post_init__(self) -> None:
        _at_least_one(self.k)

    def resampled(self, weights: Ints) -> Floats:
        """Mean over days for each resample; days left without rows by the draw do not count."""
        by_day, present = self._daily(weights)
        return _ratio(by_day.sum(axis=0), present.sum(axis=0))

    def by_day(self) -> dict[Any, float]:
        """The value of each day, days in rising order."""
        values, _ = self._daily(np.ones((1, self.card_days.rows), dtype=np.int64))
        return {
            name: float(value[0])
            for (name, _, _), value in zip(self.card_days.days, values, strict=True)
        }

    def _daily(self, weights: Ints) -> tuple[Floats, Bools]:
        """Precision and presence, both of shape (days, resamples)."""
        drawn = weights[:, self.card_days.cards].T  # (cards, resamples)
        left = drawn.copy()
        precision = np.zeros((len(self.card_days.days), weights.shape[0]))
        present = np.zeros(precision.shape, dtype=np.bool_)
        for number, (_, cards, defrauded) in enumerate(self.card_days.days):
            size = left[cards]
            before = np.cumsum(size, axis=0) - size
            taken = np.clip(self.k - before[defrauded], 0, size[defrauded])
            precision[number] = taken.sum(axis=0) / self.k
            present[number] = drawn[cards].any(axis=0)
            left[cards[defrauded]] -= taken
        return precision, present


@dataclass(frozen=True, slots=True)
class Difference:
    """What one measure has over another on the same rows and draws: a paired comparison."""

    ours: Measure
    theirs: Measure

    def resampled(self, weights: Ints) -> Floats:
        """Ours minus theirs, resample by resample."""
        return self.ours.resampled(weights) - self.theirs.resampled(weights)


def value_of(measure: Measure, rows: int) -> float:
    """The metric of the rows as they are, each counted once; NaN where it is undefined."""
    return float(measure.resampled(np.ones((1, rows), dtype=np.int64))[0])


def auc(label: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve; NaN without both classes."""
    ranking = Ranking(label, score)
    return value_of(Auc(ranking), ranking.rows)


def average_precision(label: ArrayLike, score: ArrayLike) -> float:
    """Average precision as scikit-learn defines it; NaN without a positive."""
    ranking = Ranking(label, score)
    return value_of(AveragePrecision(ranking), ranking.rows)


def precision_at_k(label: ArrayLike, score: ArrayLike, k: int) -> float:
    """Share of positives among the k best; edge ties shared fractionally. NaN without rows."""
    ranking = Ranking(label, score)
    return value_of(PrecisionAtK(ranking, k), ranking.rows)


def card_precision_at_k(
    day: ArrayLike, card: ArrayLike, label: ArrayLike, score: ArrayLike, k: int
) -> float:
    """The handbook's card precision top-k: see ``CardPrecisionAtK`` for its exact definition."""
    card_days = CardDays(day, card, label, score)
    return value_of(CardPrecisionAtK(card_days, k), card_days.rows)


def card_precision_by_day(
    day: ArrayLike, card: ArrayLike, label: ArrayLike, score: ArrayLike, k: int
) -> dict[Any, float]:
    """The same, day by day: what each working day of investigators would have found."""
    return CardPrecisionAtK(CardDays(day, card, label, score), k).by_day()


def known_compromised(day: ArrayLike, card: ArrayLike, label: ArrayLike, delay_days: int) -> Bools:
    """A mask of the rows that the handbook's test set leaves out, of cards known to be bad.

    Chapter 3.4 (``get_train_test_set``): labels are known ``delay_days`` late, so on day d a card
    is known to be compromised when it was defrauded on day ``d - delay_days - 1`` or earlier.
    Days are integers. Compute it on the whole stream, then cut out the days to be judged.
    """
    days = np.asarray(day, dtype=np.int64)
    labels = np.asarray(label).astype(np.bool_)
    names, code = np.unique(np.asarray(card), return_inverse=True)
    never = np.iinfo(np.int64).max
    first = np.full(len(names), never)
    np.minimum.at(first, code[labels], days[labels])
    known: Bools = first[code] <= days - delay_days - 1
    return known
