"""Folds by group and by time, and a regularised logistic regression within them.

A fold is judged on one part of the groups in one stretch of time. It is fitted on the other parts
of the groups, in the time before: never on a later event, and never on a ring that it is judged on.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from enrichment.rollout.metrics import Bools, Floats, Ints

# Inverse regularisation strengths, for columns of unit variance.
STRENGTHS: Final = tuple(10.0**power for power in range(-4, 3))
INNER_FOLDS: Final = 3
# A fit on fewer bad events says little of ten weights, and none at all has no logistic regression.
FOLD_POSITIVES_MIN: Final = 20
STEADY: Final = 1e-9  # a column whose standard deviation is less has nothing to tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One part to judge and what it may be fitted on, as masks over the recording."""

    block: int
    part: int
    train: Bools
    test: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A fitted table: log-odds = bias + columns @ weights."""

    bias: float
    weights: Floats
    strength: float

    def probabilities(self, columns: Floats) -> Floats:
        """The probability of a bad event by row."""
        log_odds = np.clip(self.bias + columns @ self.weights, -35.0, 35.0)
        chance: Floats = 1.0 / (1.0 + np.exp(-log_odds))
        return chance


def time_blocks(at_ms: Ints, blocks: int) -> Ints:
    """The block of each event, 0 the earliest; equal times are never in two blocks."""
    ordered = np.sort(at_ms)
    cuts = ordered[[len(ordered) * number // blocks for number in range(1, blocks)]]
    return np.searchsorted(cuts, at_ms, side="right")


def parts_of(groups: Ints, bad: Bools, parts: int) -> Ints:
    """The part of each event: whole groups; bad events are spread evenly, and so are the others.

    Both matter: where one part had most of the good events, a model of the others would be fitted
    on another share of bad ones than it is judged by.
    """
    _, code = np.unique(groups, return_inverse=True)
    events = np.bincount(code)
    positives = np.bincount(code, bad).astype(np.int64)
    chosen = np.empty(len(events), dtype=np.int64)
    rows = [0] * parts
    for counted, groups_in in ((positives, positives > 0), (events, positives == 0)):
        held = rows if counted is events else [0] * parts
        shelves = [(held[part], part) for part in range(parts)]
        heapq.heapify(shelves)
        order = np.lexsort((np.arange(len(events)), -events, -counted))
        for group in order[groups_in[order]].tolist():
            least, part = heapq.heappop(shelves)
            chosen[group] = part
            rows[part] += int(events[group])
            heapq.heappush(shelves, (least + int(counted[group]), part))
    return chosen[code]


def folds_of(at_ms: Ints, groups: Ints, bad: Bools, *, blocks: int, parts: int) -> Iterator[Fold]:
    """Every fold; the first block is never judged, since nothing came before it."""
    block, part = time_blocks(at_ms, blocks), parts_of(groups, bad, parts)
    for number in range(1, blocks):
        for own in range(parts):
            yield Fold(
                block=number,
                part=own,
                train=(block < number) & (part != own),
                test=(block == number) & (part == own),
            )


def fit_weights(columns: Floats, bad: Bools, groups: Ints) -> Weights:
    """The weights of these rows, the strength chosen by folds of groups within them."""
    return weights_at(columns, bad, _best_strength(columns, bad, groups))


def _best_strength(columns: Floats, bad: Bools, groups: Ints) -> float:
    """The strength with the least log loss on groups left out; the strongest of equals."""
    part = parts_of(groups, bad, INNER_FOLDS)
    losses = []
    for strength in STRENGTHS:
        loss = 0.0
        for own in range(INNER_FOLDS):
            held = part == own
            if bad[~held].any() and not bad[~held].all() and held.any():
                chance = weights_at(columns[~held], bad[~held], strength).probabilities(
                    columns[held]
                )
                loss -= float(np.log(np.where(bad[held], chance, 1.0 - chance)).sum())
        losses.append(loss)
    return STRENGTHS[int(np.argmin(losses))]


def weights_at(columns: Floats, bad: Bools, strength: float) -> Weights:
    """A logistic regression of these rows at that strength, as they are: no class weighted up.

    Weighting the rare class would shift the log-odds, and the probability would be none.
    """
    from sklearn.linear_model import LogisticRegression

    mean, deviation = columns.mean(axis=0), columns.std(axis=0)
    telling = deviation > STEADY
    weights = np.zeros(columns.shape[1])
    if not telling.any():
        share = float(bad.mean())
        return Weights(bias=float(np.log(share / (1 - share))), weights=weights, strength=strength)
    scaled = (columns[:, telling] - mean[telling]) / deviation[telling]
    # Many rows and few columns: Newton's method ends in a few steps.
    model = LogisticRegression(C=strength, solver="newton-cholesky", max_iter=200, tol=1e-6)
    model.fit(scaled, bad)
    weights[telling] = model.coef_[0] / deviation[telling]
    bias = float(model.intercept_[0] - weights[telling] @ mean[telling])
    return Weights(bias=bias, weights=weights, strength=strength)
