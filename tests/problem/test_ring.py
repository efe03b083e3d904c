"""The ring model is its formula, and refuses what is not a subgraph."""

from itertools import product

import dimod
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.problem import KINDS
from enrichment.problem.ring import (
    KNOWN_BAD_FIELD,
    LINK_SHARE,
    THETA_MIN,
    ring,
    theta_of,
)

Subgraph = tuple[list[str], list[tuple[int, int, int]], list[int]]


@st.composite
def subgraphs(draw: st.DrawFn) -> Subgraph:
    """Return nodes, weights and fields of a random subgraph of 1 to 6 nodes."""
    count = draw(st.integers(1, 6))
    weights = []
    for j in range(count):
        for i in range(j):
            weight = draw(st.integers(0, 16))
            if weight:
                weights.append((i, j, weight))
    fields = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    return [f"account{9 - k}" for k in range(count)], weights, fields


@given(subgraphs())
def test_energy_is_the_formula_on_every_string(subgraph: Subgraph) -> None:
    """By brute force, E(x) = -sum (A - theta) x x - field sum b x, for every x, with bounds."""
    nodes, weights, fields = subgraph
    model = ring(nodes, weights, fields)
    theta = theta_of(len(nodes), weights)
    adjacency = {(i, j): weight / 16 for i, j, weight in weights}
    count = len(nodes)
    lowest = -count * (count - 1) / 2 - count * KNOWN_BAD_FIELD
    for bits in product((0, 1), repeat=count):
        wanted = -KNOWN_BAD_FIELD * sum(b * x for b, x in zip(fields, bits, strict=True))
        for j in range(count):
            for i in range(j):
                wanted -= (adjacency.get((i, j), 0.0) - theta) * bits[i] * bits[j]
        found = model.energy(dict(zip(nodes, bits, strict=True)))
        assert found == pytest.approx(wanted, abs=1e-12)
        assert lowest <= found <= count * (count - 1) / 2


def test_variables_keep_the_order_of_the_nodes() -> None:
    """Qubit k is node k: the model's variables are the nodes in their order."""
    nodes = ["z", "a", "m", "b10", "b9"]
    model = KINDS["ring"](nodes, [(1, 3, 16), (0, 4, 2)], [])
    assert list(model.variables) == nodes
    assert model.vartype is dimod.BINARY


def test_planted_clique_is_the_optimum() -> None:
    """A clique of strong links in a sparse subgraph is what the model's minimum selects."""
    members = {1, 3, 4, 6}
    weights = [(i, j, 15) for j in members for i in members if i < j]
    weights += [(0, 1, 4), (2, 3, 4), (5, 6, 4)]
    nodes = [str(k) for k in range(8)]
    best = dimod.ExactSolver().sample(ring(nodes, weights)).first.sample
    assert {int(node) for node, value in best.items() if value} == members


def test_known_bad_account_draws_its_neighbours_in() -> None:
    """A field lowers the energy of every string that holds the known-bad account, by its value."""
    nodes = ["a", "b", "c"]
    plain = ring(nodes, [(0, 1, 8), (1, 2, 8)])
    fielded = ring(nodes, [(0, 1, 8), (1, 2, 8)], [0, 1, 0])
    sample = {"a": 1, "b": 1, "c": 0}
    assert fielded.energy(sample) - plain.energy(sample) == pytest.approx(-KNOWN_BAD_FIELD)


def test_theta_stays_in_its_range() -> None:
    """Theta is 1.3 x density between its bounds, and the bounds beyond them."""
    assert theta_of(1, []) == THETA_MIN
    assert theta_of(4, []) == THETA_MIN
    assert theta_of(3, [(0, 1, 16), (0, 2, 16), (1, 2, 16)]) == LINK_SHARE
    assert theta_of(4, [(0, 1, 12), (1, 2, 12)]) == pytest.approx(1.3 * 1.5 / 6)


@pytest.mark.parametrize(
    ("nodes", "weights", "fields", "says"),
    [
        ([], [], [], "at least one"),
        (["a", "a"], [], [], "distinct"),
        (["a", "b"], [(1, 0, 4)], [], "i < j"),
        (["a", "b"], [(0, 2, 4)], [], "i < j"),
        (["a", "b"], [(0, 1, 17)], [], "1..16"),
        (["a", "b"], [(0, 1, 0)], [], "1..16"),
        (["a", "b"], [(0, 1, 4), (0, 1, 4)], [], "once a pair"),
        (["a", "b"], [], [1], "one per node"),
        (["a", "b"], [], [1, 2], "0 or 1"),
    ],
)
def test_bad_input_is_named(
    nodes: list[str], weights: list[tuple[int, int, int]], fields: list[int], says: str
) -> None:
    """What is not a subgraph raises ValueError that says what was found."""
    with pytest.raises(ValueError, match=says):
        ring(nodes, weights, fields)


@pytest.mark.parametrize("sixteenths", [4, 6, 8, 16])
def test_a_clique_is_a_ring_however_weak_its_links(sixteenths: int) -> None:
    """With all links alike everybody is in the optimum, which is the surplus over half a link."""
    nodes = [f"a{number}" for number in range(5)]
    model = ring(nodes, [(i, j, sixteenths) for j in range(5) for i in range(j)])
    everybody = dict.fromkeys(nodes, 1)
    assert model.energy(everybody) == pytest.approx(-10 * sixteenths / 16 / 2)
    best = min(
        model.energy(dict(zip(nodes, bits, strict=True))) for bits in product((0, 1), repeat=5)
    )
    assert best == pytest.approx(model.energy(everybody))


def test_theta_outside_of_the_unit_interval_is_refused() -> None:
    """A density is between 0 and 1, NaN is not."""
    with pytest.raises(ValueError, match="theta"):
        ring(["a"], [], theta=float(np.nan))
