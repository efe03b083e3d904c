"""Candidate subgraphs are small, disjoint, deterministic, and hashed by what a model is made of."""

import itertools
import random
from collections import Counter
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.records.micro_batch import subgraph_hash
from enrichment.window.candidates import (
    MEMBERS_MIN,
    Candidate,
    candidate,
    components,
    edges_of,
    pieces,
    split,
)
from enrichment.window.graph import DIRECT
from enrichment.window.horizon import Horizon
from enrichment.window.limits import Limits
from enrichment.window.neighbourhood import Neighbourhood, explore
from tests.window import sketch
from tests.window.sketch import HORIZON_MS, Event, TieKey, horizon, numbers, pipeline

LIMITS = Limits.of(pipeline())
ACCOUNTS = [f"a{number}" for number in range(14)]
EVENTS = st.lists(
    st.tuples(
        st.integers(0, HORIZON_MS - 1),
        st.sampled_from(ACCOUNTS),
        st.sampled_from([f"d{number}" for number in range(9)]),
        st.sampled_from(["", "", *ACCOUNTS]),
        st.integers(0, 10_000),
    ),
    min_size=1,
    max_size=60,
)


def candidates(built: Horizon, touched: set[str]) -> tuple[Neighbourhood, list[Candidate]]:
    """The candidate subgraphs around the touched accounts."""
    found = explore(built, numbers(built, touched), (), LIMITS)
    all_pieces, _ = pieces(built, found, LIMITS.variables_max)
    gathered = [candidate(built, found, piece, set(), LIMITS) for piece in all_pieces]
    return found, [one for one in gathered if one.subgraph]


def explored(built: Horizon, found: Neighbourhood) -> set[str]:
    """Who was explored, by name."""
    return {built.entities.named[number].id for number in found.explored | found.lone}


def brute_weight(built: Horizon, a: str, b: str) -> float:
    """A_ij before quantising, from the ties alone."""
    total = 0.0
    ties = sketch.ties(built)
    both = Counter(key.b for key in ties if key.kind == "device" and key.a in (a, b))
    for device in (device for device, times in both.items() if times == 2):
        degree = sum(key[::2] == ("device", device) for key in ties)
        if degree <= LIMITS.degree_max["device"]:
            ages = (faded(built, ties[TieKey("device", one, device)]) for one in (a, b))
            total += LIMITS.weight["device"] / sqrt(degree - 1) * min(ages)
    crowded = LIMITS.degree_max[">"]
    if all(built.direct_degree(one) <= crowded for one in numbers(built, [a, b])):
        ways = [ties.get(TieKey(DIRECT, *pair)) for pair in ((a, b), (b, a))]
        total += LIMITS.weight[">"] * sum(faded(built, tie) for tie in ways if tie)
    return min(total, 1.0)


def faded(built: Horizon, tie: sketch.Tie) -> float:
    """By half in half a horizon, in eighths of it."""
    steps = 8 * (built.now_ms - tie.newest_ms) // HORIZON_MS
    return float(0.5 ** (min(8, steps) / 4))


@given(events=EVENTS, touched=st.sets(st.sampled_from(ACCOUNTS), min_size=1))
def test_weights_are_what_the_definition_says(events: list[Event], touched: set[str]) -> None:
    """Of every explored account: the clipped sum in sixteenths, or none if it is too small."""
    built = horizon(events, now_ms=HORIZON_MS)
    found = explore(built, numbers(built, touched), (), LIMITS)
    reached = explored(built, found)
    for a, b in itertools.combinations(ACCOUNTS, 2):
        weight = found.weights.get(a, {}).get(b, 0)
        assert weight == found.weights.get(b, {}).get(a, 0)
        if not {a, b} & reached:
            assert not weight
            continue
        wanted = 16 * brute_weight(built, a, b)
        if weight:
            assert weight >= LIMITS.sixteenths_min
            assert abs(weight - wanted) <= 0.501
        else:
            assert wanted <= LIMITS.sixteenths_min - 0.499


@given(events=EVENTS, touched=st.sets(st.sampled_from(ACCOUNTS)))
def test_each_account_is_in_one_problem_that_fits(events: list[Event], touched: set[str]) -> None:
    """Problems have 3 to variables_max accounts, weights in range, and share none."""
    _, found = candidates(horizon(events, now_ms=HORIZON_MS), touched)
    members = [node for one in found for node in one.nodes]
    assert len(members) == len(set(members))
    for one in found:
        assert MEMBERS_MIN <= len(one.nodes) <= LIMITS.variables_max
        assert all(i < j and 1 <= weight <= 16 for i, j, weight in one.edges)
        assert list(one.edges) == sorted(one.edges)


@given(events=EVENTS, order=st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(events: list[Event], order: random.Random) -> None:
    """The same graph, however it came about, gives the same subgraphs with the same hashes."""
    shuffled = list(events)
    order.shuffle(shuffled)
    one, other = (horizon(some, now_ms=HORIZON_MS) for some in (events, shuffled))
    assert by_name(one) == by_name(other)


def by_name(built: Horizon) -> list[tuple[object, ...]]:
    """All candidate subgraphs, without the numbers that only this horizon knows."""
    named = built.entities.named
    return [
        (
            one.nodes, one.edges, one.known_bad, one.subgraph,
            [(named[number], members) for number, members in one.shared.items()],
        )
        for one in candidates(built, set(ACCOUNTS))[1]
    ]  # fmt: skip


MODELS = st.integers(3, 6).flatmap(
    lambda n: st.tuples(
        st.just(tuple(f"a{i}" for i in range(n))),
        st.lists(st.integers(0, 16), min_size=n * (n - 1) // 2, max_size=n * (n - 1) // 2).map(
            lambda weights: tuple(
                (i, j, w)
                for (i, j), w in zip(itertools.combinations(range(n), 2), weights, strict=True)
                if w
            )
        ),
        st.sets(st.integers(0, n - 1)).map(lambda bad: tuple(sorted(bad))),
    )
)


@given(one=MODELS, other=MODELS)
def test_hashes_are_equal_exactly_for_equal_models(
    one: tuple[tuple[str, ...], tuple[tuple[int, int, int], ...], tuple[int, ...]],
    other: tuple[tuple[str, ...], tuple[tuple[int, int, int], ...], tuple[int, ...]],
) -> None:
    """Nodes, quantised weights and known-bad fields decide, and nothing else does."""
    assert (subgraph_hash(*one) == subgraph_hash(*other)) == (one == other)


def test_nothing_happens_and_the_hash_stays() -> None:
    """Time that passes within a step of age leaves the hash; a horizon's eighth may change it."""
    events: list[Event] = [(0, a, "d", "", 1) for a in ("a0", "a1", "a2")]
    hashes = []
    for now_ms in (10, HORIZON_MS // 8 - 1, HORIZON_MS // 2):
        _, (one,) = candidates(horizon(events, now_ms=now_ms), {"a0"})
        hashes.append(one.subgraph)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_hub_ties_nobody() -> None:
    """A device of more than degree_max accounts is no tie, and is reported."""
    events: list[Event] = [(0, f"a{n}", "kiosk", "", 1) for n in range(5)]
    built = horizon(events, now_ms=10)
    found, problems = candidates(built, {"a0"})
    assert problems == []
    assert found.hubs == set(numbers(built, ["kiosk"], "device"))


def test_a_giant_component_is_not_walked() -> None:
    """Exploring stops at its bound, whatever the size of the component."""
    events: list[Event] = [
        (0, f"a{n:05}", f"d{n // 2:05}", f"a{n + 1:05}", 1) for n in range(3_000)
    ]
    built = horizon(events, now_ms=10)
    found = explore(built, numbers(built, ["a01500"]), (), LIMITS, explored_max=50)
    assert len(found.explored) == 51


def test_those_tied_come_before_those_beside() -> None:
    """However many share a shop with a touched account, its ring is explored as a whole."""
    ring: list[Event] = [(0, f"z{n}", "d", "", 1) for n in range(4)]
    built = horizon([*ring, *((0, f"a{n:03}", f"shop{n}", "", 1) for n in range(50))], now_ms=10)
    beside = numbers(built, [f"a{n:03}" for n in range(50)])
    found = explore(built, numbers(built, ["z0"]), [beside], LIMITS, explored_max=5)
    assert explored(built, found) == {"z0", "z1", "z2", "z3", "a000", "a001"}


def test_a_subgraph_beside_is_explored_as_a_whole_or_not_at_all() -> None:
    """Where the bound leaves room for half of it, none of it is: it stays what it was."""
    events: list[Event] = [(0, f"b{n}", "d", "", 1) for n in range(4)]
    built = horizon([(0, "a", "x", "", 1), *events], now_ms=10)
    touched, beside = numbers(built, ["a"]), numbers(built, ["b0"])
    found = explore(built, touched, [beside], LIMITS, explored_max=3)
    assert explored(built, found) == {"a"}
    found = explore(built, touched, [beside], LIMITS, explored_max=4)
    assert explored(built, found) == {"a", "b0", "b1", "b2", "b3"}


def test_the_bound_grows_with_those_touched() -> None:
    """A busy window explores as many accounts more as were touched in it."""
    events = [(0, f"a{n}{m}", f"d{n}", "", 1) for n in range(6) for m in (0, 1)]
    built = horizon(events, now_ms=10)
    touched = numbers(built, [f"a{n}0" for n in range(6)])
    found = explore(built, touched, (), LIMITS, explored_max=2)
    assert len(found.explored) == 12


@pytest.mark.parametrize("size", [7, 40, 300])
def test_splitting_fits_and_keeps_everybody(size: int) -> None:
    """Cliques and random graphs alike end in pieces that fit, each node in one, and repeatably."""
    rng = random.Random(size)
    nodes = tuple(f"n{i:03}" for i in range(size))
    for density in (1.0, 8 / size):
        weights: dict[str, dict[str, int]] = {node: {} for node in nodes}
        for a, b in itertools.combinations(nodes, 2):
            if rng.random() < density:
                weights[a][b] = weights[b][a] = rng.randint(1, 16)
        for component in components(weights, nodes):
            parts = list(split(weights, component, 6))
            assert sorted(node for part in parts for node in part) == sorted(component)
            assert max(map(len, parts)) <= 6
            assert parts == list(split(weights, component, 6))


def test_planted_communities_are_found() -> None:
    """Three cliques on a ring of weak ties come apart where they should."""
    names = [[f"{group}{i}" for i in range(5)] for group in "abc"]
    nodes = tuple(node for group in names for node in group)
    weights: dict[str, dict[str, int]] = {node: {} for node in nodes}
    for group in names:
        for one, other in itertools.combinations(group, 2):
            weights[one][other] = weights[other][one] = 16
    for one, other in (("a0", "b0"), ("b1", "c1"), ("c2", "a2")):
        weights[one][other] = weights[other][one] = 4
    assert sorted(split(weights, nodes, 6)) == [tuple(group) for group in names]
    index = {node: number for number, node in enumerate(nodes)}
    assert len(edges_of(weights, nodes, index)) == 33
