"""The largest circuit that a pipeline may ask for, compiled and never run. Loads cirq: seconds."""

from typing import Final

import cirq
import dimod

from enrichment.circuit.ansatz import MEASUREMENT_KEY, qaoa_circuit
from enrichment.circuit.native import CZ, compiled, statistics
from enrichment.circuit.swap_network import swap_network
from enrichment.preflight.facts import Circuit
from enrichment.problem.ising import ising

ANGLE: Final = 0.4  # any that makes no gate the identity: depth and counts are the same for all


def largest(variables: int, layers: int, *, on_line: bool) -> Circuit:
    """A dense model's circuit: ideal, or `on_line` of a device whose own gate is CZ.

    Every pair is tied, each differently: no gate of a real problem's circuit is missing in it.
    """
    model = dimod.BinaryQuadraticModel(dimod.BINARY)
    for one in range(variables):
        for other in range(one):
            model.add_quadratic(one, other, -0.3 - 0.01 * one - 0.007 * other)
    angles = ((ANGLE,) * layers, (ANGLE,) * layers)
    if on_line:
        network = swap_network(ising(model), angles, cirq.LineQubit.range(variables))
        measured = cirq.Moment(cirq.measure(*network.qubits, key=MEASUREMENT_KEY))
        circuit = compiled(network, CZ) + measured
    else:
        circuit = qaoa_circuit(model, *angles)
    depth, pairs = statistics(circuit, frozenset(circuit.all_qubits()))
    return Circuit(
        variables=variables,
        layers=layers,
        depth=depth,
        two_qubit_gates=pairs,
        measurements=variables,
        gates="compiled to CZ on a line" if on_line else "ideal",
    )
