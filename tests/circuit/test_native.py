"""Native circuits give the network's samples, with the stated number of gates, and no compiler."""

from collections.abc import Sequence
from itertools import pairwise

import cirq
import numpy as np
import pytest

from enrichment.circuit.native import CZ, GATES, SQRT_ISWAP, compiled, gates_max, statistics
from enrichment.circuit.swap_network import Network, swap_network
from enrichment.problem.ising import Floats, ising
from tests.circuit.models import random_model
from tests.circuit.reference import distance
from tests.circuit.test_swap_network import ANGLES, two_qubit_gates
from tests.provider.requests import model_of

BACKENDS = {CZ: cirq.CZTargetGateset(), SQRT_ISWAP: cirq.SqrtIswapTargetGateset()}


def chances(circuit: cirq.Circuit, qubits: Sequence[cirq.Qid]) -> Floats:
    """Return the chance of each string when the qubits are measured."""
    state = cirq.final_state_vector(circuit, qubit_order=qubits, dtype=np.complex128)
    found: Floats = np.abs(state) ** 2
    return found


def dense_network(size: int, layers: int) -> Network:
    """Return the network of a model in which every pair is coupled."""
    angles = (ANGLES[0][:layers], ANGLES[1][:layers])
    return swap_network(ising(model_of(size, 3)), angles, cirq.GridQubit.rect(1, size))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("size", range(1, 8))
def test_samples_are_those_of_the_network(size: int, layers: int, gate: str) -> None:
    """Every string has the same chance, to 1e-9, for models with fields and gaps."""
    for seed in range(3):
        model = random_model(size, "SPIN" if seed else "BINARY", seed=100 * size + seed)
        angles = (ANGLES[0][:layers], ANGLES[1][:layers])
        network = swap_network(ising(model), angles, cirq.GridQubit.rect(1, size))
        native = compiled(network, gate)
        difference = chances(network.circuit, network.line) - chances(native, network.line)
        assert abs(difference).max() < 1e-9
        assert BACKENDS[gate].validate(native)


@pytest.mark.parametrize("phase", [*np.linspace(-4.0, 4.0, 17), 1e-7])
def test_closed_forms_are_the_gates(phase: float) -> None:
    """The formulas of the module's head, as unitaries, to 1e-9."""
    a, b = cirq.LineQubit.range(2)
    zz = cirq.ZZPowGate(exponent=-2.0 * phase / np.pi, global_shift=-0.5).on(a, b)
    turned = cirq.rz(-2.0 * phase).on(a)
    into_a, into_b = (cirq.Circuit(cirq.H(q), cirq.CZ(a, b), cirq.H(q)).freeze() for q in (a, b))
    forms = (
        (cirq.Circuit(zz), cirq.Circuit(into_a, turned, into_a)),
        (cirq.Circuit(zz, cirq.SWAP(a, b)), cirq.Circuit(into_a, turned, into_b, into_a)),
    )
    for wanted, form in forms:
        one, two = (cirq.unitary(circuit).ravel() for circuit in (wanted, form))
        assert distance(one, two) < 1e-9


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("size", "layers"), [(2, 2), (3, 1), (4, 2), (5, 2), (4, 3), (8, 2)])
def test_gates_are_as_stated_and_fewer_than_compiled(size: int, layers: int, gate: str) -> None:
    """As many two-qubit gates as `gates_max` says, no more of them or of moments than Cirq's."""
    network = dense_network(size, layers)
    native = compiled(network, gate)
    peer = cirq.optimize_for_target_gateset(network.circuit, gateset=BACKENDS[gate])
    assert two_qubit_gates(native) == gates_max(size, layers, gate) < two_qubit_gates(peer)
    assert len(native) <= len(peer)
    for op in native.all_operations():
        if len(op.qubits) == 2:
            assert tuple(sorted(op.qubits)) in [*pairwise(sorted(network.line))]


def test_figures_of_the_documentation() -> None:
    """Eight variables in two layers are 146 CZ in 74 moments with the measurement's."""
    network = dense_network(8, 2)
    native = compiled(network, CZ)
    assert (len(native) + 1, two_qubit_gates(native)) == (74, 146)


@pytest.mark.parametrize("gate", GATES)
def test_states_of_two_qubits_take_one_gate(gate: str) -> None:
    """From no coupling to the most there is, the first gate of two qubits is one or none."""
    one, two = line = cirq.LineQubit.range(2)
    for phase in (0.0, 1e-13, 1e-6, 0.3, np.pi / 4, 1.2, np.pi / 2):
        circuit = cirq.Circuit(
            cirq.H.on_each(*line),
            cirq.ZZPowGate(exponent=-2.0 * phase / np.pi).on(one, two),
            cirq.rx(0.7).on_each(*line),
        )
        native = compiled(Network(circuit=circuit, line=(one, two), order=(0, 1)), gate)
        assert abs(chances(circuit, line) - chances(native, line)).max() < 1e-9
        assert two_qubit_gates(native) <= 1


def test_other_gates_are_refused() -> None:
    """What no SWAP network has is a TypeError, not a wrong circuit."""
    line = (cirq.q(0), cirq.q(1))
    for op in (cirq.CNOT(*line), cirq.FSimGate(0.3, 0.1).on(*line), cirq.measure(*line)):
        with pytest.raises(TypeError, match="no gate of a SWAP network"):
            compiled(Network(circuit=cirq.Circuit(op), line=line, order=(0, 1)), CZ)


def test_statistics_begin_at_the_first_gate() -> None:
    """Depth and gates are those of the qubits asked for, from where they begin to the end."""
    a, b, c, d = cirq.LineQubit.range(4)
    circuit = cirq.Circuit(
        cirq.Moment(cirq.CZ(a, b)),
        cirq.Moment(cirq.X(a), cirq.CZ(c, d)),
        cirq.Moment(cirq.CZ(a, b)),
        cirq.Moment(cirq.measure(a, b, key="x"), cirq.measure(c, d, key="y")),
    )
    assert statistics(circuit, frozenset((a, b))) == (4, 2)
    assert statistics(circuit, frozenset((c, d))) == (3, 1)
