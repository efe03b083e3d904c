"""Packed problems give the samples that each gives alone."""

from collections.abc import Sequence

import cirq
import numpy as np
import pytest
from scipy.stats import chi2

from enrichment.circuit.angles import Angles, ising_scaled_angles
from enrichment.circuit.lines import Line, best_lines
from enrichment.circuit.native import CZ, compiled
from enrichment.circuit.packing import NoPlaceError, key_of, pack
from enrichment.problem.ising import Ising, ising
from tests.circuit.models import random_model
from tests.circuit.reference import state
from tests.circuit.test_lines import device

SHOTS = 20_000


def problem_of(size: int, seed: int) -> tuple[Ising, Angles]:
    """Return a random problem at its scaled angles."""
    model = ising(random_model(size, "BINARY", seed))
    return model, ising_scaled_angles(model, 2)


def place(sizes: Sequence[int]) -> Sequence[Line | None]:
    """Return the best lines of a device of nine qubits."""
    return best_lines(device(3, 3), sizes, 20.0)


def test_packed_samples_are_distributed_as_single_ones() -> None:
    """Each problem's strings fit its own exact distribution (chi-square, level 1e-4, seeded)."""
    sizes = [3, 2, 4]
    problems = [problem_of(size, seed=size) for size in sizes]
    (packed,) = pack(problems, lambda sizes: best_lines(device(3, 4), sizes, 20.0))
    result = cirq.Simulator(seed=5).run(packed.circuit, repetitions=SHOTS)
    for position, size in enumerate(sizes):
        model = random_model(size, "BINARY", seed=size)
        wanted = np.abs(state(model, *problems[position][1])) ** 2 * SHOTS
        strings = result.measurements[key_of(position)] @ (1 << np.arange(size - 1, -1, -1))
        counts = np.bincount(strings, minlength=2**size)
        # Rare strings are pooled, as the test needs about five of each.
        rare = wanted < 5.0
        pooled = [np.append(v[~rare], v[rare].sum()) for v in (counts, wanted)]
        kept = pooled[1] > 0.0
        distance = ((pooled[0] - pooled[1])[kept] ** 2 / pooled[1][kept]).sum()
        assert chi2.sf(distance, kept.sum() - 1) > 1e-4


def test_problems_that_do_not_fit_go_to_further_circuits() -> None:
    """Five problems of four variables take three circuits of nine qubits, each problem once."""
    problems = [problem_of(4, seed) for seed in range(5)]
    packs = pack(problems, place)
    assert [len(packed.networks) for packed in packs] == [2, 2, 1]
    assert sorted(p for packed in packs for p in packed.networks) == list(range(5))
    for packed in packs:
        lines = [set(network.line) for network in packed.networks.values()]
        assert len(set().union(*lines)) == 4 * len(lines)
        assert packed.circuit.are_all_measurements_terminal()
        assert packed.circuit.all_measurement_key_names() == {key_of(p) for p in packed.networks}


def test_what_fits_nowhere_is_refused() -> None:
    """A problem larger than the device is an error that names it; none is no circuit."""
    with pytest.raises(NoPlaceError, match=r"problems \[1\] of \[10\]"):
        pack([problem_of(2, 0), problem_of(10, 0)], place)
    assert pack([], place) == ()


def test_short_circuits_begin_late_and_bear_their_keys() -> None:
    """All end in the moment before the measurement: the shorter one's qubits wait in |0>."""
    problems = [problem_of(4, 0), problem_of(2, 1)]
    (packed,) = pack(
        problems, place, compiled=lambda network: compiled(network, CZ), key=lambda k: f"mine-{k}"
    )
    assert packed.circuit.all_measurement_key_names() == {"mine-0", "mine-1"}
    begins = [
        min(k for k, moment in enumerate(packed.circuit) if moment.operates_on(network.line))
        for network in packed.networks.values()
    ]
    assert begins[0] == 0 < begins[1]
    for network in packed.networks.values():
        assert packed.circuit[-2].operates_on(network.line)
