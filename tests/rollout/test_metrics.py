"""Metrics agree with scikit-learn and with brute force, whole and resampled."""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from enrichment.rollout.bootstrap import Bootstrap, bootstrap_interval, bootstrap_intervals
from enrichment.rollout.metrics import (
    Auc,
    AveragePrecision,
    CardDays,
    CardPrecisionAtK,
    Difference,
    Floats,
    Ints,
    Measure,
    PrecisionAtK,
    Ranking,
    auc,
    average_precision,
    card_precision_at_k,
    card_precision_by_day,
    known_compromised,
    precision_at_k,
    value_of,
)

# Few distinct scores, so that ties are the rule and not the exception.
Row = tuple[int, float]
rows = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6).map(float)), min_size=2, max_size=40)
both_classes = rows.filter(lambda found: len({label for label, _ in found}) == 2)
card_rows = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 7), st.integers(0, 1), st.integers(0, 4)),
    min_size=1,
    max_size=50,
)


def columns(found: Sequence[Row]) -> tuple[Ints, Floats]:
    """Labels and scores of drawn rows."""
    label, score = zip(*found, strict=True)
    return np.array(label), np.array(score)


def handbook(found: Sequence[tuple[int, int, int, int]], k: int) -> list[float]:
    """The handbook's definition, written as it reads."""
    caught: set[int] = set()
    values = []
    for day in sorted({row[0] for row in found}):
        today = [row for row in found if row[0] == day and row[1] not in caught]
        best = {card: max(r[3] for r in today if r[1] == card) for _, card, _, _ in today}
        bad = {card for _, card, label, _ in today if label}
        top = sorted(sorted(best), key=lambda card: -best[card])[:k]
        values.append(len(bad.intersection(top)) / k)
        caught |= bad.intersection(top)
    return values


@given(both_classes)
def test_auc_and_average_precision_equal_those_of_scikit_learn(found: list[Row]) -> None:
    """AUC and average precision equal scikit-learn's, ties included."""
    label, score = columns(found)
    assert auc(label, score) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    expected = average_precision_score(label, score)
    assert average_precision(label, score) == pytest.approx(expected, abs=1e-12)


@given(rows, st.integers(1, 45), st.integers(0, 2**32))
def test_precision_at_k_is_the_mean_over_orders_of_ties(
    found: list[Row], k: int, seed: int
) -> None:
    """Precision at k lies where random orders of tied rows put it on average."""
    label, score = columns(found)
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(len(label)) for _ in range(300)]
    tops = [p[np.argsort(-score[p], kind="stable")][:k] for p in shuffled]
    expected = np.mean([label[top].mean() for top in tops])
    assert precision_at_k(label, score, k) == pytest.approx(expected, abs=0.16)


def test_precision_at_k_shares_the_edge() -> None:
    """Two places for three tied rows, one of them a fraud, count two thirds of a fraud."""
    assert precision_at_k([1, 1, 0, 0, 0], [9, 5, 5, 5, 1], 3) == pytest.approx((1 + 2 / 3) / 3)
    assert precision_at_k([1, 0], [2, 1], 10) == pytest.approx(0.5)


@given(card_rows, st.integers(1, 6))
def test_card_precision_follows_the_handbook(
    found: list[tuple[int, int, int, int]], k: int
) -> None:
    """Card precision equals the handbook's loop over days, day by day and in the mean."""
    day, card, label, score = (np.array(column) for column in zip(*found, strict=True))
    expected = handbook(found, k)
    by_day = card_precision_by_day(day, card, label, score, k)
    assert list(by_day) == sorted(set(day.tolist()))
    assert list(by_day.values()) == pytest.approx(expected)
    assert card_precision_at_k(day, card, label, score, k) == pytest.approx(np.mean(expected))


def test_a_caught_card_is_gone_and_a_missed_one_is_not() -> None:
    """A fraud in the top k leaves the stream of later days; one below it does not."""
    day = [0, 0, 0, 1, 1, 1]
    card = ["caught", "missed", "fine", "caught", "missed", "fine"]
    label = [1, 1, 0, 1, 1, 0]
    score = [0.9, 0.1, 0.5, 0.9, 0.8, 0.5]
    assert card_precision_by_day(day, card, label, score, 1) == {0: 1.0, 1: 1.0}
    assert card_precision_by_day(day, card, label, score, 2) == {0: 0.5, 1: 0.5}


def test_known_compromised_waits_for_the_delay() -> None:
    """A card is left out from the day after its fraud became known, and not one day sooner."""
    day = np.arange(12)
    mask = known_compromised(day, ["a"] * 12, day == 2, 7)
    assert np.flatnonzero(mask).tolist() == [10, 11]
    assert not known_compromised(day, ["a"] * 12, np.zeros(12), 7).any()


def rank_measures(label: Ints, score: Floats) -> dict[str, Measure]:
    """The three metrics of one ranking."""
    ranking = Ranking(label, score)
    return {
        "auc": Auc(ranking),
        "average_precision": AveragePrecision(ranking),
        "precision_at_5": PrecisionAtK(ranking, 5),
    }


@given(both_classes, st.integers(0, 2**32))
def test_a_weight_is_the_same_as_so_many_copies(found: list[Row], seed: int) -> None:
    """A row of weight w counts exactly as w copies of it, for each rank metric."""
    label, score = columns(found)
    weights = np.random.default_rng(seed).integers(0, 4, size=(3, len(label)))
    by_hand: dict[str, Callable[[Ints, Floats], float]] = {
        "auc": auc,
        "average_precision": average_precision,
        "precision_at_5": lambda copied, scored: precision_at_k(copied, scored, 5),
    }
    for name, measure in rank_measures(label, score).items():
        expected = [
            by_hand[name](np.repeat(label, times), np.repeat(score, times)) for times in weights
        ]
        assert measure.resampled(weights) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(card_rows, st.integers(1, 6), st.integers(0, 2**32))
def test_a_card_drawn_twice_is_two_cards(
    found: list[tuple[int, int, int, int]], k: int, seed: int
) -> None:
    """A resample's card precision equals that of a table in which each copy is its own card."""
    day, card, label, score = (np.array(column) for column in zip(*found, strict=True))
    times = np.random.default_rng(seed).integers(0, 3, size=8)
    # Copies get ids next to the original's, so that ties break in the same order.
    copies = [(d, c * 10 + copy, y, s) for d, c, y, s in found for copy in range(times[c])]
    measure = CardPrecisionAtK(CardDays(day, card, label, score), k)
    (value,) = measure.resampled(times[card][np.newaxis])
    expected = np.mean(handbook(copies, k)) if copies else np.nan
    assert value == pytest.approx(expected, nan_ok=True)


def example(entities: int, each: int, seed: int) -> tuple[Ints, Floats, Ints]:
    """Rows whose label and score hang together within an entity."""
    rng = np.random.default_rng(seed)
    bad = rng.random(entities) < 0.3
    shift = rng.normal(bad * 1.0, 1.0)
    entity = np.repeat(np.arange(entities), each)
    return bad[entity].astype(np.int64), rng.normal(shift[entity], 0.2), entity


def test_a_bootstrap_draws_whole_entities() -> None:
    """The cluster interval is far wider than that of rows taken as independent."""
    label, score, entity = example(60, 20, seed=1)
    measure = Auc(Ranking(label, score))
    clustered = bootstrap_interval(measure, entity, Bootstrap(seed=3))
    naive = bootstrap_interval(measure, np.arange(len(label)), Bootstrap(seed=3))
    assert clustered.low < clustered.value < clustered.high
    assert clustered.high - clustered.low > 2 * (naive.high - naive.low)


def test_a_bootstrap_equals_its_slow_form() -> None:
    """Weighted resamples give the interval that copying the drawn rows gives."""
    label, score, entity = example(25, 4, seed=2)
    found = bootstrap_interval(
        AveragePrecision(Ranking(label, score)), entity, Bootstrap(seed=5, resamples=50)
    )
    rng = np.random.default_rng(5)
    slow = []
    for _ in range(50):
        drawn = rng.integers(25, size=25)
        taken = np.concatenate([np.flatnonzero(entity == one) for one in drawn])
        slow.append(average_precision_score(label[taken], score[taken]))
    assert (found.low, found.high) == pytest.approx(np.quantile(slow, [0.025, 0.975]))
    assert found.value == pytest.approx(average_precision_score(label, score))


def test_the_interval_covers_what_it_says() -> None:
    """A 90 % interval of the AUC holds the true AUC about nine times in ten."""
    truth = NormalDist().cdf(1 / math.sqrt(2 * 1.04))  # normals of variance 1.04, one apart
    hits = 0
    for trial in range(100):
        label, score, entity = example(150, 2, seed=100 + trial)
        found = bootstrap_interval(
            Auc(Ranking(label, score)), entity, Bootstrap(seed=trial, resamples=100, level=0.9)
        )
        hits += found.low <= truth <= found.high
    assert 80 <= hits <= 98


def test_one_seed_one_interval() -> None:
    """The seed decides the draws; how many are held at once does not."""
    label, score, entity = example(30, 3, seed=4)
    measures = rank_measures(label, score)
    first = bootstrap_intervals(measures, entity, Bootstrap(seed=1))
    assert first == bootstrap_intervals(measures, entity, Bootstrap(seed=1))
    assert first != bootstrap_intervals(measures, entity, Bootstrap(seed=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("enrichment.rollout.bootstrap.CELLS_MAX", 1000)
        assert first == bootstrap_intervals(measures, entity, Bootstrap(seed=1))


def test_a_difference_is_paired() -> None:
    """A score against itself differs by exactly nothing in every resample."""
    label, score, entity = example(40, 3, seed=6)
    same = Difference(Auc(Ranking(label, score)), Auc(Ranking(label, score * 2)))
    found = bootstrap_interval(same, entity, Bootstrap(seed=1))
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_undefined_resamples_are_counted() -> None:
    """Resamples that miss a class are left out of the interval and counted."""
    found = bootstrap_interval(
        Auc(Ranking([1, 0, 0], [3, 2, 1])), [0, 1, 2], Bootstrap(seed=1, resamples=300)
    )
    assert 50 < found.undefined < 200
    assert (found.low, found.high) == (1, 1)
    assert np.isnan(auc([0, 0], [1, 2]))
    assert np.isnan(average_precision([0, 0], [1, 2]))
    nothing = bootstrap_interval(Auc(Ranking([0, 0], [1, 2])), [0, 1], Bootstrap(seed=1))
    assert nothing.undefined == nothing.resamples
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()


@pytest.mark.parametrize(
    ("label", "score", "complaint"),
    [
        ([1, 0], [1.0, float("nan")], "1 scores are NaN"),
        ([1, 0, 0], [1.0, 2.0], "differ in shape"),
        ([1, 2], [1.0, 2.0], "labels must be 0 or 1"),
    ],
)
def test_bad_columns_are_refused(label: list[int], score: list[float], complaint: str) -> None:
    """A NaN score, another length or another label raises and says so."""
    with pytest.raises(ValueError, match=complaint):
        Ranking(label, score)


def test_bad_limits_are_refused() -> None:
    """A k of nothing and an impossible bootstrap raise."""
    with pytest.raises(ValueError, match="k is 0"):
        precision_at_k([1, 0], [1, 2], 0)
    with pytest.raises(ValueError, match="resamples is 0"):
        Bootstrap(seed=1, resamples=0)
    with pytest.raises(ValueError, match="level is 1"):
        Bootstrap(seed=1, level=1)
    with pytest.raises(ValueError, match="no rows"):
        bootstrap_interval(Auc(Ranking([], [])), [], Bootstrap(seed=1))


def test_value_of_counts_each_row_once() -> None:
    """The value of a measure is the metric of the table as it stands."""
    label, score, _ = example(20, 3, seed=7)
    ranking = Ranking(label, score)
    assert value_of(Auc(ranking), ranking.rows) == pytest.approx(roc_auc_score(label, score))
