"""The QAOA circuit of a dense model on a line of qubits, as a SWAP network: for devices.

A layer of QAOA is n rounds of odd-even transposition (Kivlichan et al., arXiv:1711.04789; O'Gorman
et al., arXiv:1905.05118): neighbours on the line meet, get their coupling and change places, and
after n rounds every pair has met exactly once, whatever the order was before. So a layer costs
n (n - 1) / 2 two-qubit gates between neighbours, for every model of n variables.

A coupling and its SWAP are one gate. With a = pi/2 - 2 theta, up to a global phase,

    SWAP exp(i theta ZZ)  =  (Z^(a/pi) x Z^(a/pi)) FSim(pi/2, 2 a),

and turns about Z travel with their variable through every later gate of the layer, so that they
join the variable's field: one turn per variable and layer. Three CZ or sqrt(iSWAP) make the gate.

Not every meeting needs its SWAP. In the first round of all, the SWAP would only rename variables
that are still in |+>; in the last round of a layer it would only set another order for the next
one, and any order will do. Those rounds are plain ZZ gates, two CZ each, none for no coupling. And
a layer begins with the pairs with which the one before it ended: between their two meetings are
turns of single qubits only, so that a compiler makes both meetings one gate of three CZ.

Conventions of angles, signs and bits are those of `enrichment.circuit.ansatz`, proved equal by
test. Variable k starts on qubit k of the line; the measurement lists qubits in the order of the
variables that they hold in the end, so that column k of the bits is variable k.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import pi

import cirq

from enrichment.circuit.angles import Angles
from enrichment.circuit.ansatz import MEASUREMENT_KEY
from enrichment.problem.ising import Floats, Ising, coupling_matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A model's circuit on a line: `order[k]` is the variable on the line's qubit k in the end."""

    circuit: cirq.Circuit
    line: tuple[cirq.Qid, ...]
    order: tuple[int, ...]

    @property
    def qubits(self) -> tuple[cirq.Qid, ...]:
        """The qubits in the order of the variables that they hold in the end."""
        held = dict(zip(self.order, self.line, strict=True))
        return tuple(held[variable] for variable in range(len(self.line)))

    def measured(self, key: str = MEASUREMENT_KEY) -> cirq.Circuit:
        """Return the circuit with one measurement at its end, columns in the model's order."""
        return cirq.Circuit(*self.circuit, cirq.Moment(cirq.measure(*self.qubits, key=key)))


def swap_network(model: Ising, angles: Angles, line: Sequence[cirq.Qid]) -> Network:
    """Return the circuit of `model` at `angles` on `line`, whose neighbours are used in pairs.

    Raises ValueError where the line is not as long as the model, or angles are not in pairs.
    """
    gammas, betas = angles
    if model.size == 0 or len(set(line)) != model.size or len(line) != model.size:
        msg = f"a line of {model.size} distinct qubits is needed, at least 1: {len(line)}"
        raise ValueError(msg)
    if len(gammas) != len(betas):
        msg = f"a layer is a gamma and a beta: {len(gammas)} gammas, {len(betas)} betas"
        raise ValueError(msg)
    couplings = coupling_matrix(model)
    order = list(range(model.size))
    circuit = cirq.Circuit(cirq.H.on_each(*line))
    for layer, (gamma, beta) in enumerate(zip(gammas, betas, strict=True)):
        turns = 2.0 * gamma * model.h
        for pairs, swapped in rounds(model.size, layer):
            circuit.append(_meet(line, order, pairs, gamma * couplings, turns if swapped else None))
        circuit.append(
            cirq.rz(float(turns[variable])).on(qubit)
            for qubit, variable in zip(line, order, strict=True)
            if turns[variable] != 0.0
        )
        circuit.append(cirq.rx(2.0 * beta).on_each(*line))
    return Network(circuit=circuit, line=tuple(line), order=tuple(order))


def rounds(size: int, layer: int) -> Iterator[tuple[range, bool]]:
    """Yield a layer's `size` rounds: the left places of the pairs that meet, and whether they swap.

    Rounds alternate between even and odd places; a layer begins with the places with which the one
    before it ended. The first round of layer 0 and the last of each layer do not swap. Of an even
    size the first round is odd (one pair fewer), so that two layers share the larger round.
    """
    begin = size + 1 + layer * (size - 1)
    for number in range(size):
        first = layer == 0 and number == 0
        yield range((begin + number) % 2, size - 1, 2), not (first or number == size - 1)


def final_order(size: int, layers: int) -> tuple[int, ...]:
    """Return which variable each qubit of the line holds at the end of `layers` layers."""
    order = list(range(size))
    for layer in range(layers):
        for places, swapped in rounds(size, layer):
            for place in places if swapped else ():
                order[place], order[place + 1] = order[place + 1], order[place]
    return tuple(order)


def _meet(
    line: Sequence[cirq.Qid],
    order: list[int],
    pairs: range,
    phases: Floats,
    turns: Floats | None,
) -> Iterator[cirq.Operation]:
    """Yield one round's gates; where `turns` are given, pairs swap, in `order` too."""
    for place in pairs:
        one, two = order[place], order[place + 1]
        phase = float(phases[one, two])
        where = (line[place], line[place + 1])
        if turns is not None:
            turn = pi / 2 - 2.0 * phase
            turns[[one, two]] += turn
            order[place], order[place + 1] = two, one
            yield cirq.FSimGate(pi / 2, 2.0 * turn).on(*where)
        elif phase != 0.0:
            yield cirq.ZZPowGate(exponent=-2.0 * phase / pi, global_shift=-0.5).on(*where)
