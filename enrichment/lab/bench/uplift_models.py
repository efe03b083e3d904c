"""What `bench uplift` puts on top of features: two models, the same for every sampler.

Nothing is tuned, for no sampler: a search would be one more way to favour one.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from enrichment.lab.as_known import AsKnown, Matrix
from enrichment.lab.folds import weights_at
from enrichment.rollout.metrics import Bools, Floats

NONE: Final = "no ring features"
TREES, LOGISTIC = "boosted trees", "logistic regression"

GOOD_KEPT: Final = 0.25
"""Of good events, to fit on: a ranking does not mind the odds, and the time is a quarter."""

STRENGTH: Final = 1.0
"""Inverse regularisation, of columns of unit variance: mild, with hundreds of bad events."""

TREES_COUNT: Final = 100
LEAVES_MAX: Final = 15
LEAF_MIN: Final = 40  # events: a leaf of one ring's would remember that ring


def columns(known: AsKnown, path: str) -> Matrix:
    """The features of one system: classical ones, and those of a path's rings where asked for."""
    if path == NONE:
        return known.classical
    return np.hstack([known.classical, known.rings[path]])


def kept(known: AsKnown, seed: int) -> Bools:
    """The rows to fit on: every bad event, and some of the others."""
    drawn: Bools = np.random.default_rng([seed, known.seed]).random(len(known.bad)) < GOOD_KEPT
    return known.bad | drawn


def trees(train: Matrix, bad: Bools, test: Matrix) -> Floats:
    """Scores by gradient boosted trees; a value that is not known goes its own way."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=TREES_COUNT,
        max_leaf_nodes=LEAVES_MAX,
        min_samples_leaf=LEAF_MIN,
        early_stopping=False,
        random_state=0,
    )
    # Of a column that was never known there is nothing to learn, and scikit-learn refuses it.
    known = ~np.isnan(train).all(axis=0)
    model.fit(train[:, known], bad)
    scores: Floats = model.decision_function(test[:, known])
    return scores


def logistic(train: Matrix, bad: Bools, test: Matrix) -> Floats:
    """Scores by logistic regression; a value that is not known is 0, and said to be not known."""
    model = weights_at(_told(train), bad, STRENGTH)
    return model.bias + _told(test) @ model.weights


def _told(features: Matrix) -> Floats:
    """Features without gaps, with a column that tells of each distinct pattern of gaps."""
    missing = np.isnan(features)
    return np.hstack([np.where(missing, 0.0, features), missing]).astype(np.float64)


MODELS: Final[dict[str, Callable[[Matrix, Bools, Matrix], Floats]]] = {
    TREES: trees,
    LOGISTIC: logistic,
}


def scores(
    judged: AsKnown, others: Sequence[AsKnown], paths: Sequence[str]
) -> dict[tuple[str, str], Floats]:
    """(model, path) -> the scores of one stream's events by models of the other streams."""
    rows = [kept(known, judged.seed) for known in others]
    bad = np.concatenate([known.bad[mine] for known, mine in zip(others, rows, strict=True)])
    found = {}
    for path in paths:
        train = np.vstack(
            [columns(known, path)[mine] for known, mine in zip(others, rows, strict=True)]
        )
        test = columns(judged, path)
        for name, model in MODELS.items():
            found[name, path] = model(train, bad, test)
    return found
