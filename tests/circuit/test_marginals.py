"""Membership and its interval are what they say, and nothing that is not samples gets in."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.circuit.angles import Angles, ising_scaled_angles
from enrichment.circuit.direct import final_state, sample
from enrichment.circuit.marginals import (
    Bits,
    Floats,
    differences,
    histogram_distance,
    ring_membership,
    shot_interval,
    summarise,
)
from enrichment.lab.bench.planted import planted_ring
from enrichment.problem.ising import Ising, ising
from enrichment.problem.ising import energies as energies_of


def bits_of(rows: list[list[int]]) -> Bits:
    """Return rows as bits."""
    return np.array(rows, dtype=np.uint8)


def test_membership_is_the_mean_of_the_best_fifth() -> None:
    """Of ten shots the two lowest in energy count, each as much as the other."""
    bits = bits_of([[k % 2, 1] for k in range(8)] + [[1, 0], [0, 0]])
    energies = np.array([1.0] * 8 + [-2.0, -5.0])
    assert ring_membership(bits, energies) == pytest.approx([0.5, 0.0])


def test_ties_at_the_edge_share_what_is_left() -> None:
    """One shot is below the edge and four tie at it for the one place left: a quarter each."""
    bits = bits_of([[0]] + [[1], [1], [1], [0]] + [[1]] * 5)
    energies = np.array([-3.0, -1.0, -1.0 + 1e-13, -1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert ring_membership(bits, energies) == pytest.approx([(0 + 3 / 4) / 2])


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**32))
def test_order_does_not_matter_and_all_is_within_bounds(shots: int, size: int, seed: int) -> None:
    """Shuffled shots give the same summary; low <= membership <= high, all within [0, 1]."""
    generator = np.random.default_rng(seed)
    bits = generator.integers(0, 2, (shots, size), dtype=np.uint8)
    energies = np.round(generator.normal(size=32), 1)[bits @ (1 << np.arange(size))]
    order = generator.permutation(shots)
    one, two = summarise(bits, energies), summarise(bits[order], energies[order])
    assert one.membership == pytest.approx(two.membership)
    assert one.low == pytest.approx(two.low)
    assert (one.low >= 0).all()
    assert (one.low <= one.membership + 1e-12).all()
    assert (one.membership <= one.high + 1e-12).all()
    assert (one.high <= 1).all()
    assert one.near_optima == two.near_optima >= 1
    assert one.best_energy == two.best_energy


def infinite_shots(strings: Bits, energies: Floats, chances: Floats) -> Floats:
    """Return the membership of the distribution itself: the best fifth of its probability."""
    left, total = 0.2, np.zeros(strings.shape[1])
    for level in np.unique(energies):
        here = energies == level
        share = min(left, float(chances[here].sum()))
        total += share * (chances[here] @ strings[here]) / chances[here].sum()
        left -= share
        if left <= 0.0:
            break
    return np.clip(np.round(total / 0.2, 12), 0.0, 1.0)  # sums are off by a last bit


def test_interval_covers_the_infinite_shot_membership() -> None:
    """Of 400 experiments 93-97 % of the intervals hold the true value, inside (.05, .95)."""
    size = 6
    strings = np.array(list(product((0, 1), repeat=size)), dtype=np.uint8)
    inside = total = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        energies = np.round(random.normal(size=len(strings)), 1) * 0.5
        chances = random.dirichlet(np.full(len(strings), 0.7))
        truth = infinite_shots(strings, energies, chances)
        drawn = random.choice(len(strings), 1000, p=chances)
        low, high = shot_interval(strings[drawn], energies[drawn])
        asked = (truth > 0.05) & (truth < 0.95)
        inside += int(((low <= truth) & (truth <= high))[asked].sum())
        total += int(asked.sum())
    assert 0.93 <= inside / total <= 0.97


def ring_circuit(seed: int, size: int = 8) -> tuple[Ising, Angles, Floats]:
    """Return a planted ring's model, its angles, and each string's chance, variable 0 highest."""
    form = ising(planted_ring(size, seed))
    angles = ising_scaled_angles(form, 1 + seed % 3)
    chances = np.abs(final_state(form, *angles).astype(np.complex128)) ** 2
    return form, angles, chances / chances.sum()


def test_interval_covers_the_membership_of_ring_circuits() -> None:
    """Of 400 circuits 93-97 % of the intervals hold the truth in (.05, .95), more at 0 and 1.

    The full measure, a thousand circuits of three sizes, is `bench sampling --case coverage`.
    """
    size = 8
    strings = np.array(list(product((0, 1), repeat=size)), dtype=np.uint8)
    inner, ends = [], []
    for seed in range(400):
        form, angles, chances = ring_circuit(seed)
        levels = np.round(energies_of(form, strings), 9)
        truth = infinite_shots(strings, levels, chances)
        bits = sample(form, *angles, 1000, np.random.default_rng(seed))
        low, high = shot_interval(bits, energies_of(form, bits))
        held = (low <= truth) & (truth <= high)
        between = (truth > 0.05) & (truth < 0.95)
        inner += held[between].tolist()
        ends += held[~between].tolist()
    assert len(inner) > 600
    assert 0.93 <= sum(inner) / len(inner) <= 0.97
    assert len(ends) > 1_000
    assert sum(ends) / len(ends) >= 0.97


def test_interval_holds_where_the_best_fifth_ends_with_a_level() -> None:
    """Where 19 % of the shots are best and alike, a sample of 20 % hides the next level.

    One time in five all the best fifth agree on 1, and the truth is .95: the edge, moved to where
    else it may be, has to show it.
    """
    held = 0
    for seed in range(400):
        best = np.random.default_rng(seed).random(1000) < 0.19
        bits = best.astype(np.uint8)[:, None]
        low, high = shot_interval(bits, np.where(best, -1.0, 0.0))
        held += bool(low[0] <= 0.95 <= high[0])
    assert held >= 0.93 * 400


def test_interval_reaches_the_ends_where_all_agree() -> None:
    """A variable that no string of the best fifth holds, or every one, is within its interval."""
    bits = np.zeros((1000, 3), dtype=np.uint8)
    bits[:, 1] = 1
    bits[::2, 2] = 1
    low, high = shot_interval(bits, np.random.default_rng(3).normal(size=1000))
    assert low[0] == 0.0
    assert 0.0 < high[0] < 0.03
    assert high[1] == 1.0
    assert 0.97 < low[1] < 1.0
    assert low[2] < 0.5 < high[2]


def test_interval_is_that_of_the_influence_function_for_many_levels() -> None:
    """Without ties its half width is 1.96 standard deviations of the estimator, within a tenth.

    psi = (x - m*) (1{e < e*} + r 1{e = e*}) / share, with the edge e* and the mean m* there.
    """
    random = np.random.default_rng(5)
    shots = 20_000
    energies = random.normal(size=shots)
    bits = (random.random(shots) < 1 / (1 + np.exp(2 + 2 * energies))).astype(np.uint8)[:, None]
    edge = np.quantile(energies, 0.2)
    near = bits[np.abs(energies - edge) < 0.05].mean()
    influence = (bits[:, 0] - near) * (energies <= edge) / 0.2
    low, high = shot_interval(bits, energies)
    assert (high - low)[0] == pytest.approx(2 * 1.96 * influence.std() / shots**0.5, rel=0.1)


def test_interval_is_not_empty_where_all_agree() -> None:
    """Five best shots that all hold a variable leave room for shots that would not."""
    bits = np.ones((25, 1), dtype=np.uint8)
    low, high = shot_interval(bits, np.arange(25.0))
    assert high[0] == 1.0
    assert 0.4 < low[0] < 0.7


def test_summary_counts_entropy_and_near_optima() -> None:
    """Four equally frequent strings are two bits; of them those near the best are counted once."""
    bits = bits_of([[0, 0], [0, 1], [1, 0], [1, 1]] * 3)
    energies = np.array([0.0, -4.0, -3.9, 0.0] * 3)
    summary = summarise(bits, energies)
    assert summary.entropy_bits == pytest.approx(2.0)
    assert summary.near_optima == 2
    assert summary.best.tolist() == [0, 1]
    assert summary.best_energy == -4.0
    assert summary.mean_energy == pytest.approx(-7.9 / 4)


def test_differences_are_signed_and_bounded() -> None:
    """The gap is positive where the twin found better; disjoint energies are at distance 1."""
    worse = (bits_of([[0], [0]]), np.array([1.0, 2.0]))
    better = (bits_of([[1], [1]]), np.array([-1.0, -2.0]))
    found = differences(summarise(*worse), worse[1], summarise(*better), better[1])
    assert found.energy_gap == 3.0
    assert found.membership_gap == 1.0
    assert found.histogram_distance == 1.0
    assert histogram_distance(worse[1], worse[1] + 1e-12) == 0.0


@pytest.mark.parametrize(
    ("bits", "energies", "says"),
    [
        (np.zeros((0, 2), np.uint8), np.zeros(0), "at least 1"),
        (np.zeros((2, 0), np.uint8), np.zeros(2), "at least 1"),
        (np.zeros(3, np.uint8), np.zeros(3), "shape"),
        (np.zeros((3, 2), np.uint8), np.zeros(2), "shape"),
        (np.zeros((2, 1), np.uint8), np.array([0.0, np.nan]), "finite"),
        (np.zeros((2, 1), np.uint8), np.array([0.0, np.inf]), "finite"),
        (np.full((2, 1), 2, np.uint8), np.zeros(2), "0 or 1"),
        (np.full((2, 1), np.nan), np.zeros(2), "0 or 1"),
        (np.zeros((2, 63), np.uint8), np.zeros(2), "62"),
    ],
)
def test_what_is_not_samples_raises(bits: Bits, energies: Floats, says: str) -> None:
    """Wrong shapes, NaN and other values are a ValueError that says what was found."""
    for function in (ring_membership, shot_interval, summarise):
        with pytest.raises(ValueError, match=says):
            function(bits, energies)
