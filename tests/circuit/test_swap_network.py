"""The SWAP network prepares the ansatz's state on a line, with the stated number of gates."""

from itertools import combinations

import cirq
import numpy as np
import pytest

from enrichment.circuit.ansatz import qaoa_circuit
from enrichment.circuit.swap_network import (
    Network,
    final_order,
    rounds,
    swap_network,
)
from enrichment.problem.ising import Ising, ising
from tests.circuit.models import random_model
from tests.circuit.reference import distance
from tests.provider.requests import model_of

ANGLES = ((0.37, -0.81, 0.52), (0.23, 0.61, -0.4))


def network_of(size: int, layers: int, seed: int = 0) -> Network:
    """Return the network of a random model."""
    model = ising(random_model(size, "BINARY", seed))
    angles = (ANGLES[0][:layers], ANGLES[1][:layers])
    return swap_network(model, angles, cirq.GridQubit.rect(1, size))


def two_qubit_gates(circuit: cirq.Circuit) -> int:
    """Return the number of operations on two qubits."""
    return sum(cirq.num_qubits(op) == 2 for op in circuit.all_operations())


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("size", range(1, 8))
def test_state_is_that_of_the_ansatz(size: int, layers: int) -> None:
    """Up to a global phase and the stated order of qubits, for models with fields and gaps."""
    for seed in range(3):
        model = random_model(size, "SPIN" if seed else "BINARY", seed=100 * size + seed)
        gammas, betas = ANGLES[0][:layers], ANGLES[1][:layers]
        network = swap_network(ising(model), (gammas, betas), cirq.GridQubit.rect(1, size))
        found = cirq.final_state_vector(
            network.circuit, qubit_order=network.qubits, dtype=np.complex128
        )
        wanted = cirq.final_state_vector(
            qaoa_circuit(model, gammas, betas, measure=False),
            qubit_order=cirq.LineQubit.range(size),
            dtype=np.complex128,
        )
        assert distance(found, wanted) < 1e-9


@pytest.mark.parametrize("size", range(2, 13))
def test_every_pair_meets_once_a_layer(size: int) -> None:
    """In each layer every pair of variables is neighbours in exactly one round."""
    order = list(range(size))
    for layer in range(3):
        met = []
        for places, swapped in rounds(size, layer):
            met += [frozenset(order[place : place + 2]) for place in places]
            for place in places if swapped else ():
                order[place], order[place + 1] = order[place + 1], order[place]
        assert sorted(map(sorted, met)) == sorted(map(list, combinations(range(size), 2)))
        assert tuple(order) == final_order(size, layer + 1)


def test_gates_are_between_neighbours_and_as_many_as_stated() -> None:
    """A dense model takes n (n - 1) / 2 two-qubit gates a layer, all along the line."""
    size, layers = 6, 3
    network = swap_network(_dense(size), ANGLES, cirq.GridQubit.rect(1, size))
    assert two_qubit_gates(network.circuit) == layers * size * (size - 1) // 2
    for op in network.circuit.all_operations():
        if len(op.qubits) == 2:
            assert abs(op.qubits[0].col - op.qubits[1].col) == 1  # type: ignore[attr-defined]
    assert network.order == final_order(size, layers)


def test_measured_columns_are_variables() -> None:
    """Whatever the final order, column k of the measurement is variable k."""
    model = ising(random_model(5, "SPIN", seed=1))
    # gamma = 0 leaves |+>, so the turn about X too: flip variable 1 by hand at its last place.
    network = swap_network(model, ((0.0,), (0.0,)), cirq.GridQubit.rect(1, 5))
    flipped = network.circuit + cirq.Circuit(
        cirq.H.on_each(*network.line), cirq.X(network.line[network.order.index(1)])
    )
    changed = Network(circuit=flipped, line=network.line, order=network.order)
    result = cirq.Simulator(seed=1).run(changed.measured("a"), repetitions=3)
    assert (result.measurements["a"] == [0, 1, 0, 0, 0]).all()
    assert network.order != tuple(range(5))


def test_wrong_lines_and_angles_are_refused() -> None:
    """A line has a distinct qubit for each variable, a layer a gamma and a beta."""
    model = ising(random_model(3, "SPIN", seed=1))
    line = cirq.LineQubit.range(3)
    for wrong in (line[:2], [*line[:2], line[0]], cirq.LineQubit.range(4)):
        with pytest.raises(ValueError, match="line of 3"):
            swap_network(model, ((0.1,), (0.1,)), wrong)
    with pytest.raises(ValueError, match="a gamma and a beta"):
        swap_network(model, ((0.1,), ()), line)


def test_json_reads_back() -> None:
    """The network is made of Cirq's own gates, so that its JSON reads back."""
    circuit = network_of(4, 2).measured()
    assert cirq.read_json(json_text=cirq.to_json(circuit)) == circuit


def _dense(size: int) -> Ising:
    """Return a model in which every pair is coupled."""
    return ising(model_of(size, 1))
