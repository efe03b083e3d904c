"""A model's phase in blocks: each term once, whatever the density."""

from itertools import combinations

import numpy as np
import pytest

from enrichment.circuit.phase import blocks
from enrichment.problem.ising import all_energies, ising
from tests.circuit.models import random_model


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 12, 13])
@pytest.mark.parametrize("density", [0.0, 0.3, 0.6, 1.0])
def test_blocks_and_lone_fields_add_up_to_the_energy(size: int, density: float) -> None:
    """Summed over blocks, with the fields of variables in none, every string has its energy."""
    form = ising(random_model(size, "BINARY", seed=size, density=density))
    found = blocks(form)
    indices = np.arange(2**size)
    total = np.full(2**size, form.offset)
    for places, energies in zip(found.places, found.energies, strict=True):
        string = sum(((indices >> place) & 1) << k for k, place in enumerate(places[::-1]))
        total += energies[string]
    for place in found.alone:
        total += form.h[place] * (2 * ((indices >> place) & 1) - 1)
    assert total == pytest.approx(all_energies(form), abs=1e-9)


@pytest.mark.parametrize(("size", "gates"), [(3, 1), (12, 26), (20, 73)])
def test_dense_models_take_a_third_of_the_gates(size: int, gates: int) -> None:
    """Triples cover all pairs, few of them twice."""
    found = blocks(ising(random_model(size, "SPIN", seed=1, density=1.0)))
    assert found.places.shape == (gates, 3)
    covered = {pair for places in found.places.tolist() for pair in combinations(places, 2)}
    assert covered == set(combinations(range(size), 2))
