"""`bench uplift`: means over seeds, paired differences, and models that know no judged event."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from enrichment.lab.as_known import PATHS, AsKnown
from enrichment.lab.bench import uplift_models
from enrichment.lab.bench.uplift_figures import (
    AGAINST,
    SYSTEMS,
    Judged,
    apart,
    case_rows,
    mean_precision,
)
from enrichment.lab.bench.uplift_models import MODELS, NONE, TREES, scores
from enrichment.lab.folds import weights_at
from enrichment.rollout.metrics import average_precision, value_of


def judged(seed: int, shift: float = 0.0) -> Judged:
    """A stream of 60 events in 20 groups, all systems with the same scores but for QAOA's."""
    rng = np.random.default_rng(seed)
    bad = rng.random(60) < 0.3
    score = rng.normal(size=60) + bad
    better = score + shift * bad
    return Judged(
        bad=bad,
        groups=np.repeat(np.arange(20), 3),
        scores={
            (model, path): better if path == "quantum" else score
            for model in MODELS
            for path in SYSTEMS
        },
        ringed={},
    )


def test_the_figure_is_the_mean_over_seeds() -> None:
    """Each stream is ranked by itself: scores of different models are not on one scale."""
    streams = [judged(1), judged(2)]
    measure = mean_precision(streams, TREES, NONE)
    alone = [average_precision(one.bad, one.scores[TREES, NONE]) for one in streams]
    assert value_of(measure, 120) == pytest.approx(sum(alone) / 2)


def test_a_system_with_the_same_scores_has_no_difference_at_all() -> None:
    """All see the same draws: what is equal differs by nothing, with an interval of nothing."""
    rows = {(r.system, r.metric): r for r in case_rows("c", [judged(1, 3.0), judged(2, 3.0)])}
    same = rows["annealing", "trees_over_random"]
    assert (same.low, same.value, same.high) == (0.0, 0.0, 0.0)
    better = rows["QAOA p=2", "trees_over_random"]
    assert 0 < better.low <= better.value <= better.high
    assert (NONE, "trees_over_none") not in rows
    assert {r.runs for r in rows.values()} == {2}
    assert set(AGAINST.values()) == {m.split("_", 1)[1] for _, m in rows if "over" in m}


def test_no_group_is_in_two_streams() -> None:
    """A ring of one world is not drawn with one of another that has its number."""
    groups = apart([np.array([0, 0, 1]), np.array([0, 5, 5])])
    assert len(set(groups.tolist())) == 4


def known(seed: int) -> AsKnown:
    """A stream with one column that tells and rings that do not."""
    rng = np.random.default_rng(seed)
    bad = rng.random(400) < 0.2
    column = (bad + rng.normal(size=400) * 0.5).astype(np.float32)[:, None]
    rings = {path: np.full((400, 3), np.nan, dtype=np.float32) for path in PATHS}
    return AsKnown(
        seed=seed, roles=("account",), names=("x",), classical=column, rings=rings,
        fresh={"account": np.zeros(400, dtype=np.bool_)}, bad=bad, groups=np.arange(400),
        problems=0,
    )  # fmt: skip


@pytest.mark.parametrize("model", list(MODELS))
def test_the_judged_labels_are_not_known_to_the_models(model: str) -> None:
    """With its labels turned round a stream gets the very same scores."""
    mine, others = known(1), [known(2), known(3)]
    first = scores(mine, others, [NONE])[model, NONE]
    second = scores(replace(mine, bad=~mine.bad), others, [NONE])[model, NONE]
    np.testing.assert_array_equal(first, second)
    assert average_precision(mine.bad, first) > 0.5


def test_gaps_are_said_and_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The logistic model gets a column for what is not known; every system the same rows."""
    shapes: list[tuple[int, ...]] = []

    def noted(inner: Callable[..., object]) -> Callable[..., object]:
        def fitted(columns: np.ndarray, *rest: object) -> object:
            shapes.append(columns.shape)
            assert not np.isnan(columns).any()
            return inner(columns, *rest)

        return fitted

    monkeypatch.setattr(uplift_models, "weights_at", noted(weights_at))
    scores(known(1), [known(2), known(3)], [NONE, "quantum"])
    (rows, narrow), (again, wide) = shapes
    assert rows == again
    assert (narrow, wide) == (2, 8)
