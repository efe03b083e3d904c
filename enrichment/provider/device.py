"""A device with its errors, virtual or real: where circuits go on it, and what they become there.

One calibration's view: another calibration is another `Device`, with other lines.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import cirq
import numpy as np

from enrichment.circuit.lines import (
    Errors,
    Line,
    best_line,
    gates_per_pair,
    greedy_lines,
    line_cost,
)
from enrichment.circuit.native import compiled
from enrichment.circuit.readout import Confusion, corrected_marginals, corrected_mean_energy
from enrichment.circuit.swap_network import Network, final_order
from enrichment.problem.ising import Bits, Ising
from enrichment.provider.contract import DeviceRun

if TYPE_CHECKING:
    from cirq_google.devices import GridDevice

LINES_MAX: Final = 512
"""Lines kept: one for each size, layers and what was taken before it, some kilobytes each."""

COST_MAX: Final = 1e4
"""A line cost that says "never": JSON has no infinity, for a pair that is no longer calibrated."""


class Device:
    """One processor at one calibration: its graph, native gate and errors, and lines on it."""

    def __init__(
        self, name: str, grid: "GridDevice", gate: str, errors: Errors, calibration_id: str
    ) -> None:
        """Serve the device `grid`, whose native two-qubit `gate` is a key of `native.GATES`."""
        self.name = name
        self.grid = grid
        self.gate = gate
        self.errors = errors
        self.calibration_id = calibration_id
        self._lines: dict[tuple[int, int, frozenset[cirq.Qid]], tuple[Line | None]] = {}

    def lines(self, sizes: Sequence[int], layers: int) -> tuple[Line | None, ...]:
        """Return disjoint lines for models of these sizes, None for each that finds no place."""
        return greedy_lines(sizes, lambda size, used: self._line(size, layers, used))

    def line(self, size: int, layers: int) -> Line:
        """Return the best line for models of this size; ValueError where the device has none."""
        line = self._line(size, layers, frozenset())
        if line is None:
            msg = f"{self.name} has no line of {size} qubits"
            raise ValueError(msg)
        return line

    def compiled(self, network: Network) -> cirq.Circuit:
        """Return the circuit in native gates, not measured."""
        return compiled(network, self.gate)

    def checked(self, circuit: cirq.Circuit) -> cirq.Circuit:
        """Return the circuit as it is; raises ValueError where the device refuses it."""
        self.grid.validate_circuit(circuit)
        return circuit

    def run_of(
        self,
        model: Ising,
        layers: int,
        bits: Bits,
        figures: tuple[int, int],
        qubits: Sequence[cirq.Qid],
        readout: Confusion | None,
    ) -> DeviceRun:
        """Return how the model's `bits` came about: where, and the figures.

        `figures` are the `statistics` of its part of a circuit. `qubits[k]` held variable k at the
        measurement; `readout` are their errors in that order, or None where they are not known, and
        then nothing is corrected.
        """
        depth, pairs = figures
        return DeviceRun(
            processor=self.name,
            calibration_id=self.calibration_id,
            qubits=tuple(str(qubit) for qubit in qubits),
            depth=depth,
            two_qubit_gates=pairs,
            line_cost=self._cost(qubits, layers),
            mean_energy=corrected_mean_energy(model, bits, readout),
            marginals=corrected_marginals(bits, readout),
        )

    def _line(self, size: int, layers: int, used: frozenset[cirq.Qid]) -> Line | None:
        """Return the best line outside of what is used, worked out once."""
        key = (size, layers, used)
        kept = self._lines.get(key)
        if kept is None:
            gates = gates_per_pair(size, layers)
            kept = (best_line(self.errors, size, gates, without=used),)
            while len(self._lines) >= LINES_MAX:
                self._lines.pop(next(iter(self._lines)), None)
            self._lines[key] = kept
        return kept[0]

    def _cost(self, qubits: Sequence[cirq.Qid], layers: int) -> float:
        """Return the cost of the line on which the network ended with these qubits."""
        size = len(qubits)
        line = [qubits[variable] for variable in final_order(size, layers)]
        try:
            cost = line_cost(self.errors, line, gates_per_pair(size, layers))
        except KeyError:
            return COST_MAX  # a job found again, on what this calibration has given up
        return min(cost, COST_MAX)


def confusion_of(
    figures: Mapping[cirq.Qid, tuple[float, float]], qubits: Sequence[cirq.Qid], shots: int
) -> Confusion | None:
    """Return the readout errors of these qubits in their order, None where one has no figures.

    `figures` are P(read 1 | 0) and P(read 0 | 1) of each, known as from so many shots.
    """
    found = [figures.get(qubit) for qubit in qubits]
    if None in found:
        return None
    errors = np.array(found, dtype=np.float64)
    return Confusion(zero_as_one=errors[:, 0], one_as_zero=errors[:, 1], shots=shots)
