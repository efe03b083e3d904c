"""The Cirq circuit prepares the stated state, and its name is stable."""

import cirq
import dimod
import networkx as nx
import numpy as np
import pytest

from enrichment.circuit import circuit_hash, fixed_angles, qaoa_circuit, scaled_angles
from tests.circuit.models import minus_cut, random_model
from tests.circuit.reference import distance, state

ANGLES = ((0.37, -0.81), (0.23, 0.61))


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_state_is_the_stated_product(vartype: str, size: int) -> None:
    """With fields, SPIN or BINARY, the state is the independent statevector's, up to a phase."""
    model = random_model(size, vartype, seed=size)
    circuit = qaoa_circuit(model, *ANGLES, measure=False)
    found = cirq.final_state_vector(
        circuit, qubit_order=cirq.LineQubit.range(size), dtype=np.complex128
    )
    assert distance(found, state(model, *ANGLES)) < 1e-9


def test_measured_one_is_binary_one_is_spin_plus_one() -> None:
    """A strong field that favours 1 for the second variable only makes qubit 1 measure 1."""
    model = dimod.BinaryQuadraticModel({"b": 1.0, "a": -1.0}, {}, 0.0, dimod.SPIN)
    # exp(-i beta X) exp(i gamma h s) |+> at gamma = beta = pi/4 puts s where h s is lowest.
    circuit = qaoa_circuit(model, [np.pi / 4], [np.pi / 4])
    result = cirq.Simulator(seed=1).run(circuit, repetitions=20)
    assert (result.measurements["x"] == [0, 1]).all()
    assert circuit.all_qubits() == frozenset(cirq.LineQubit.range(2))


def test_json_reads_back_to_the_same_circuit() -> None:
    """Cirq JSON of the circuit is the circuit, measurement included."""
    circuit = qaoa_circuit(random_model(3, "BINARY", seed=4), *ANGLES)
    assert cirq.read_json(json_text=cirq.to_json(circuit)) == circuit


@pytest.mark.parametrize(("gammas", "betas"), [([0.1], []), ([], [0.1, 0.2])])
def test_uneven_angles_are_refused(gammas: list[float], betas: list[float]) -> None:
    """A layer is a gamma and a beta."""
    with pytest.raises(ValueError, match="beta per gamma"):
        qaoa_circuit(random_model(2, "SPIN", seed=0), gammas, betas)


def test_hash_is_that_of_the_circuit() -> None:
    """Equal circuits share a hash (labels, vartype, offset, last bits); other circuits do not."""
    model = random_model(5, "BINARY", seed=5)
    name = circuit_hash(model, *ANGLES)
    spin = model.change_vartype(dimod.SPIN, inplace=False)
    spin.offset += 3.0
    relabelled = model.relabel_variables(
        {v: f"other{k}" for k, v in enumerate(model.variables)}, inplace=False
    )
    assert circuit_hash(spin, *ANGLES) == name
    assert circuit_hash(relabelled, *ANGLES) == name
    gammas, betas = ANGLES
    assert circuit_hash(model, (gammas[0] + 1e-13, gammas[1]), betas) == name
    assert circuit_hash(model, (gammas[0] + 1e-6, gammas[1]), betas) != name
    assert circuit_hash(model, betas, gammas) != name
    model.add_linear(next(iter(model.variables)), 1e-6)
    assert circuit_hash(model, *ANGLES) != name


def test_hash_is_the_same_on_every_machine() -> None:
    """The hash of one committed model is the committed one."""
    model = dimod.BinaryQuadraticModel(
        {"a": -0.5, "b": 0.0, "c": 0.25},
        {("a", "b"): -0.6875, ("b", "c"): 0.3},
        1.0,
        dimod.BINARY,
    )
    assert circuit_hash(model, (0.5, 0.25), (0.125, 1 / 3)) == "68a2cf12b50a24e14c157134ccc0ba58"


@pytest.mark.parametrize(("layers", "published"), [(1, 0.6925), (2, 0.7559), (3, 0.8092)])
def test_fixed_angles_give_the_published_cut(layers: int, published: float) -> None:
    """On the Heawood graph (girth 6) the expected share of cut edges is the published one."""
    graph = nx.heawood_graph()
    model = minus_cut(graph)
    psi = cirq.final_state_vector(
        qaoa_circuit(model, *fixed_angles(layers), measure=False), dtype=np.complex64
    )
    size = model.num_variables
    bits = (np.arange(2**size)[:, None] >> np.arange(size - 1, -1, -1)) & 1
    energy = model.energies((2 * bits - 1, list(model.variables)))
    share = -float((np.abs(psi) ** 2) @ energy) / graph.number_of_edges()
    assert share == pytest.approx(published, abs=1e-4)


def test_scaled_angles_are_the_fixed_ones_on_a_cut() -> None:
    """For E = -cut of a 3-regular graph the local norm scales nothing; twice E halves gamma."""
    model = minus_cut(nx.petersen_graph())
    gammas, betas = scaled_angles(model, 2)
    assert gammas == pytest.approx(fixed_angles(2)[0])
    assert betas == fixed_angles(2)[1]
    model.scale(2.0)
    assert scaled_angles(model, 2)[0] == pytest.approx([gamma / 2 for gamma in gammas])


def test_a_model_without_coefficients_has_no_phase_to_scale() -> None:
    """All-zero coefficients give the fixed angles, not a division by zero; unknown depths raise."""
    model = dimod.BinaryQuadraticModel({"a": 0.0}, {}, 0.0, dimod.SPIN)
    assert scaled_angles(model, 1) == fixed_angles(1)
    with pytest.raises(ValueError, match="1 to 3"):
        fixed_angles(4)
