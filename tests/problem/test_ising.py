"""The Ising form has the model's energies, in the model's order."""

from itertools import product

import dimod
import numpy as np
import pytest

from enrichment.problem.ising import all_energies, energies, ising, local_norm, variables


def random_model(size: int, vartype: str, seed: int) -> dimod.BinaryQuadraticModel:
    """Return a model with fields, an offset, and labels whose order is not their sorting."""
    random = np.random.default_rng(seed)
    labels = [f"v{(7 * k) % 23}" for k in range(size)]
    model = dimod.BinaryQuadraticModel(vartype)
    for label in labels:
        model.add_linear(label, float(random.normal()))
    for j in range(size):
        for i in range(j):
            if random.random() < 0.7:
                model.add_quadratic(labels[j], labels[i], float(random.normal()))
    model.offset = float(random.normal())
    return model


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_energies_are_the_models_own(vartype: str, size: int) -> None:
    """Both ways to compute energies agree with dimod on every string, bit k being variable k."""
    model = random_model(size, vartype, seed=size)
    form = ising(model)
    strings = list(product((0, 1), repeat=size))
    low = 0 if vartype == "BINARY" else -1
    wanted = [
        model.energy({v: 1 if bit else low for v, bit in zip(variables(model), bits, strict=True)})
        for bits in strings
    ]
    assert energies(form, np.array(strings, dtype=np.uint8)) == pytest.approx(wanted)
    listed = all_energies(form)
    indices = [sum(bit << k for k, bit in enumerate(bits)) for bits in strings]
    assert listed[indices] == pytest.approx(wanted)


def test_other_vartype_has_the_same_form() -> None:
    """A model and its other vartype are one Ising form, but for rounding."""
    model = random_model(6, "BINARY", seed=3)
    one, two = ising(model), ising(model.change_vartype(dimod.SPIN, inplace=False))
    assert one.h == pytest.approx(two.h)
    assert one.couplings == pytest.approx(two.couplings)
    assert one.offset == pytest.approx(two.offset)


def test_local_norm_is_the_root_mean_square_field() -> None:
    """sqrt(mean_i [h_i^2 + sum_j J_ij^2]), by hand on a chain of three."""
    model = dimod.BinaryQuadraticModel(
        {"a": 1.0, "b": 0.0, "c": 2.0}, {("a", "b"): 3.0, ("b", "c"): 4.0}, 0.0, dimod.SPIN
    )
    assert local_norm(ising(model)) == pytest.approx(((1 + 9 + 9 + 16 + 4 + 16) / 3) ** 0.5)


def test_wrong_width_is_refused() -> None:
    """Bits of another model raise ValueError and give no energies."""
    form = ising(random_model(3, "SPIN", seed=1))
    with pytest.raises(ValueError, match="shape"):
        energies(form, np.zeros((4, 2), dtype=np.uint8))
