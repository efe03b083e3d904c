"""Resampled figures are those of a table in which each row stands so many times."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.rollout import metrics
from enrichment.rollout.resample import AveragePrecision, DailyPrecision, Judged, drawn

ROWS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3), st.integers(0, 5)),
    min_size=1,
    max_size=30,
)


def judged(rows: list[tuple[bool, int, int, int]], k: int = 3) -> Judged:
    """Rows of (bad, score, cluster, day), each of weight one."""
    bad, score, cluster, day = (np.array(column) for column in zip(*rows, strict=True))
    _, cluster = np.unique(cluster, return_inverse=True)
    return Judged(
        bad=bad,
        weight=np.ones(len(bad)),
        cluster=cluster,
        day=day,
        scores={"heuristic": score.astype(float)},
        decisions={"heuristic": (score > 2).astype(int)},
        k=k,
    )


@given(ROWS, st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_copies_are_rows_that_stand_so_often(rows: Any, times: list[int]) -> None:
    """Average precision and precision at k agree with the plain ones on the copied table."""
    events = judged(rows)
    copies = np.array(times[: events.clusters], dtype=float)
    row = np.repeat(np.arange(len(rows)), copies[events.cluster].astype(int))
    bad, score, day = events.bad[row], events.scores["heuristic"][row], events.day[row]
    found = AveragePrecision(events, "heuristic").of(copies)
    wanted = metrics.average_precision(bad, score) if len(row) else np.nan
    assert found == pytest.approx(wanted, nan_ok=True)
    daily = DailyPrecision(events, "heuristic").of(copies)
    places = [min(events.k, int((day == one).sum())) for one in np.unique(day)]
    hits = [
        metrics.precision_at_k(bad[day == one], score[day == one], events.k) * n
        for one, n in zip(np.unique(day), places, strict=True)
    ]
    assert daily == pytest.approx(sum(hits) / sum(places) if places else np.nan, nan_ok=True)


def test_a_resample_that_leaves_out_the_best_rows_looks_deeper() -> None:
    """What a day's first rows do not fill is filled from further down, not left empty."""
    rows = [(i >= 40, 100 - i, i, 0) for i in range(50)]
    events = judged(rows, k=5)
    copies = np.zeros(50)
    copies[42:] = 1
    assert DailyPrecision(events, "heuristic").of(copies) == 1.0


def test_equal_seeds_draw_equally_and_weights_are_copies_of_an_event() -> None:
    """A weight of two is the event twice; the first value is of the events as they are."""
    rows = [(i % 3 == 0, i % 4, i, i % 2) for i in range(12)]
    events = judged(rows)
    one, two = (drawn(events, seed=7, resamples=20) for _ in range(2))
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])
    heavy = np.ones(12)
    heavy[0] = 2.0
    weighted = judged(rows)
    weighted.weight[:] = heavy
    doubled = judged([rows[0], *rows])
    for measure in (AveragePrecision, DailyPrecision):
        assert measure(weighted, "heuristic").of(np.ones(12)) == pytest.approx(
            measure(doubled, "heuristic").of(np.ones(doubled.clusters))
        )
    assert one["heuristic", "caught"][0] == 1
    assert one["heuristic", "reviews"][0] == 3
