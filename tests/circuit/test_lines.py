"""Lines are disjoint paths of the device, the cheap ones where calibration chooses."""

from itertools import pairwise

import cirq
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enrichment.circuit import lines as room
from enrichment.circuit.lines import (
    Errors,
    Line,
    best_line,
    best_lines,
    line_cost,
    random_lines,
)


def device(rows: int, cols: int, seed: int = 0) -> Errors:
    """Return a grid with random errors."""
    random = np.random.default_rng(seed)
    qubits = cirq.GridQubit.rect(rows, cols)
    pairs = [(one, two) for one in qubits for two in qubits if one < two and one.is_adjacent(two)]
    return Errors(
        readout={qubit: float(random.uniform(0.005, 0.05)) for qubit in qubits},
        pairs={pair: float(random.uniform(0.002, 0.02)) for pair in pairs},
    )


def check(errors: Errors, sizes: list[int], lines: tuple[Line | None, ...]) -> None:
    """Assert that lines are paths of the graph, disjoint, and of the sizes asked for."""
    near = errors.neighbours()
    assert len(lines) == len(sizes)
    used = [qubit for line in lines for qubit in line or ()]
    assert len(used) == len(set(used))
    for size, line in zip(sizes, lines, strict=True):
        if line is not None:
            assert len(line) == size
            assert all(two in near[one] for one, two in pairwise(line))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 5),
    cols=st.integers(1, 5),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
def test_lines_are_disjoint_paths(rows: int, cols: int, sizes: list[int], seed: int) -> None:
    """Chosen or random, on any grid; and the same ones again for the same arguments."""
    errors = device(rows, cols, seed)
    chosen = best_lines(errors, sizes, 10.0)
    walked = random_lines(errors, sizes, np.random.default_rng(seed))
    for lines in (chosen, walked):
        check(errors, sizes, lines)
    assert chosen == best_lines(errors, sizes, 10.0)
    assert walked == random_lines(errors, sizes, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(5))
def test_best_line_is_the_cheapest_path(seed: int) -> None:
    """On a small grid the line costs what the cheapest of all simple paths does."""
    errors = device(3, 3, seed)
    graph = nx.Graph(list(errors.pairs))
    for size in (2, 4, 6):
        costs = [
            line_cost(errors, path, 7.0)
            for one in graph
            for path in nx.all_simple_paths(graph, one, set(graph) - {one}, cutoff=size - 1)
            if len(path) == size
        ]
        line = best_line(errors, size, 7.0)
        assert line is not None
        assert line_cost(errors, line, 7.0) == pytest.approx(min(costs))


@settings(max_examples=20, deadline=None)
@given(bad=st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=3))
def test_bad_qubits_and_pairs_are_avoided(bad: set[tuple[int, int]]) -> None:
    """Planted qubits of bad readout and pairs of bad gates are not in a line that can do without.

    A dead one (error 1) is never used, whatever that leaves.
    """
    errors = device(5, 5, 3)
    planted = {cirq.GridQubit(*place) for place in bad}
    readout = {q: 0.45 if q in planted else e for q, e in errors.readout.items()}
    pair = (cirq.GridQubit(2, 2), cirq.GridQubit(2, 3))
    noisy = Errors(readout=readout, pairs={**errors.pairs, pair: 0.3})
    line = best_line(noisy, 6, 10.0)
    assert line is not None
    assert not planted & set(line)
    assert set(pair) not in [set(two) for two in pairwise(line)]
    dead = Errors(readout={q: 1.0 if q in planted else 0.01 for q in readout}, pairs=errors.pairs)
    for lines in best_lines(dead, [6, 6, 6, 6], 10.0):
        assert not planted & set(lines or ())


def test_what_does_not_fit_is_none() -> None:
    """A line longer than the device, or than what others leave, is None; nothing raises."""
    errors = device(2, 3)
    assert best_line(errors, 7, 1.0) is None
    assert best_line(errors, 0, 1.0) is None
    lines = best_lines(errors, [2, 5], 1.0)
    assert lines[0] is None
    assert lines[1] is not None
    assert random_lines(errors, [7], np.random.default_rng(0)) == (None,)


def test_search_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With few paths kept the line is a path still, at no less than the best one's cost."""
    errors = device(5, 5)
    best = best_line(errors, 8, 10.0)
    monkeypatch.setattr(room, "PATHS_MAX", 5)
    line = best_line(errors, 8, 10.0)
    assert best is not None
    assert line is not None
    check(errors, [8], (line,))
    assert line_cost(errors, line, 10.0) >= line_cost(errors, best, 10.0) - 1e-12


def test_chosen_lines_cost_less_than_random_ones() -> None:
    """On a device of 25 qubits the chosen line is cheaper than each of 50 random ones."""
    errors = device(5, 5, 4)
    best = best_line(errors, 8, 24.0)
    assert best is not None
    for seed in range(50):
        (line,) = random_lines(errors, [8], np.random.default_rng(seed))
        assert line is not None
        assert line_cost(errors, best, 24.0) <= line_cost(errors, line, 24.0)
