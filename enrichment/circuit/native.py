"""A SWAP network in a device's own gates: CZ or sqrt(iSWAP), and turns of single qubits (PhasedXZ).

The network has few kinds of gates, so most of them have a closed form and no compiler is asked.
With H on qubit a alone, and CX(b, a) = H CZ H,

    exp(i t ZZ)       =  CX(b, a)  Rz_a(-2 t)  CX(b, a)                 two CZ
    SWAP exp(i t ZZ)  =  CX(b, a)  CX(a, b)  Rz_a(-2 t)  CX(b, a)       three CZ

(matrices, so that the rightmost acts first). Places on the line alternate between the roles of a
and b: then the H that ends a gate of the network meets the one that begins the next gate on the
same qubit, and between two gates no turn is left. Turns about Z wait for the next turn about
another axis, or for the measurement, which does not see them.

A qubit still in |0> (one in |+>, seen through the H of its first gate) makes its first CZ the
identity, which is left out. What is kept is the prepared state, not the unitary on other inputs.

What has no closed form is left to Cirq's decompositions of two-qubit matrices: pairs that meet
twice with turns in between only (`enrichment.circuit.swap_network`), and all of sqrt(iSWAP).
"""

from cmath import phase
from dataclasses import dataclass, field
from math import asin, atan2, pi, sqrt
from typing import Any, Final

import cirq
import numpy as np
from numpy.typing import NDArray

from enrichment.circuit.swap_network import Network, rounds

Matrix = NDArray[np.complex128]

CZ: Final = "cz"
SQRT_ISWAP: Final = "sqrt_iswap"

GATES: Final = {CZ: cirq.CZ, SQRT_ISWAP: cirq.SQRT_ISWAP}
"""The two-qubit gates that can be compiled to, by their names in device specifications."""

ATOL: Final = 1e-10
"""Turns smaller than this are none: far below what a device can set, far above rounding."""

_ONE: Final[Matrix] = np.eye(2, dtype=np.complex128)
_H: Final[Matrix] = np.array([[1, 1], [1, -1]], dtype=np.complex128) / np.sqrt(2.0)
_SWAP: Final[Matrix] = np.eye(4, dtype=np.complex128)[[0, 2, 1, 3]]


def compiled(network: Network, gate: str) -> cirq.Circuit:
    """Return the network's circuit in native gates, `gate` a key of GATES, not measured.

    From |0...0> it prepares the network's state, up to turns about Z and a global phase: what a
    measurement sees is the same. Raises TypeError for a gate that no SWAP network has.
    """
    return _Compiler(network, gate).circuit()


def gates_max(size: int, layers: int, gate: str) -> int:
    """Return how many two-qubit gates the network of a model needs once compiled to `gate`.

    3 for a meeting that swaps, 2 for one that does not, 1 for the first of both its qubits; nothing
    for the last round of a layer that the next layer's first takes in; and one CZ less where a
    qubit in |+> has the role of a. Dense models of 3 and more variables reach it.
    """
    total = 0
    fresh = set(range(size))
    for layer in range(layers):
        for number, (places, swapped) in enumerate(rounds(size, layer)):
            if number == size - 1 and layer < layers - 1:
                continue
            for place in places:
                pair = {place, place + 1}
                spared = gate == CZ and any(held % 2 == 0 for held in pair & fresh)
                total += 1 if pair <= fresh else (3 if swapped else 2) - spared
                fresh -= pair
    return total


def statistics(circuit: cirq.AbstractCircuit, qubits: frozenset[cirq.Qid]) -> tuple[int, int]:
    """Return depth and two-qubit gates of what the circuit does on these qubits.

    The depth is the number of moments from the first gate on one of them, measurement included.
    """
    moments = [moment for moment in circuit if qubits & moment.qubits]
    first = next((k for k, moment in enumerate(circuit) if qubits & moment.qubits), 0)
    pairs = sum(
        len(op.qubits) == 2 and not cirq.is_measurement(op) and op.qubits[0] in qubits
        for moment in moments
        for op in moment
    )
    return len(circuit) - first, pairs


@dataclass(slots=True, kw_only=True, eq=False)
class _Meeting:
    """A pair's gate that waits: should the same pair be the next to meet, both become one gate.

    `phase` is t above; where two meetings have become one, `whole` is their matrix. `after` are the
    turns of both qubits since.
    """

    pair: tuple[cirq.Qid, cirq.Qid]
    phase: float
    swaps: bool
    whole: Matrix | None = None
    after: dict[cirq.Qid, Matrix] = field(default_factory=dict)

    def gate(self) -> Matrix:
        """Return what the pair's gate does, shape (4, 4)."""
        if self.whole is not None:
            return self.whole
        gate: Matrix = np.diag(np.exp(1j * self.phase * np.array([1.0, -1.0, -1.0, 1.0])))
        return _SWAP @ gate if self.swaps else gate

    def turned(self) -> Matrix:
        """Return what the pair's gate and the turns after it do, shape (4, 4)."""
        one, two = (self.after.get(qubit, _ONE) for qubit in self.pair)
        turned: Matrix = np.kron(one, two) @ self.gate()
        return turned


class _Compiler:
    """One network on its way into native gates, moment by moment."""

    def __init__(self, network: Network, gate: str) -> None:
        """Compile to `gate`; nothing is done yet."""
        self._network = network
        self._gate = GATES[gate]
        self._cz = gate == CZ
        self._place = {qubit: place for place, qubit in enumerate(network.line)}
        self._moments: list[list[cirq.Operation]] = []
        self._free: dict[cirq.Qid, int] = dict.fromkeys(network.line, 0)
        self._turns: dict[cirq.Qid, Matrix] = dict.fromkeys(network.line, _ONE)
        self._about_z: dict[cirq.Qid, float] = dict.fromkeys(network.line, 0.0)
        self._waiting: dict[cirq.Qid, _Meeting] = {}
        self._untouched = set(network.line)

    def circuit(self) -> cirq.Circuit:
        """Return the compiled circuit."""
        for op in self._network.circuit.all_operations():
            gate = op.gate
            if isinstance(gate, cirq.FSimGate) and gate.theta == pi / 2:
                # Z^(-a/pi) x Z^(-a/pi) come after the SWAP, with a = pi/2 - 2 t = phi/2.
                a = float(gate.phi) / 2
                self._meet((op.qubits[0], op.qubits[1]), (pi / 2 - a) / 2, turn=-a)
            elif isinstance(gate, cirq.ZZPowGate):
                self._meet((op.qubits[0], op.qubits[1]), -pi * float(gate.exponent) / 2, turn=None)
            elif len(op.qubits) == 1:
                self._turn(op.qubits[0], cirq.unitary(op))
            else:
                msg = f"no gate of a SWAP network: {op!r}"
                raise TypeError(msg)
        for qubit in self._network.line:
            self._give_way(qubit)
        # The measurement does not see turns about Z.
        turned = [q for q in self._network.line if not _is_about_z(self._turns[q])]
        last = max([len(self._moments) - 1, *(self._free[qubit] for qubit in turned)])
        for qubit in turned:
            self._emit_turn(qubit, last)
        return cirq.Circuit(cirq.Moment(ops) for ops in self._moments)

    def _turn(self, qubit: cirq.Qid, matrix: Matrix) -> None:
        """Turn a qubit: about Z later, about another axis now or after the gate that waits."""
        if abs(matrix[1, 0]) < ATOL:
            self._about_z[qubit] += float(np.angle(matrix[1, 1] / matrix[0, 0]))
            return
        angle, self._about_z[qubit] = self._about_z[qubit], 0.0
        matrix = matrix @ np.diag([1.0, np.exp(1j * angle)])
        waiting = self._waiting.get(qubit)
        if waiting is None:
            self._turns[qubit] = matrix @ self._turns[qubit]
        else:
            waiting.after[qubit] = matrix @ waiting.after.get(qubit, _ONE)

    def _meet(self, pair: tuple[cirq.Qid, cirq.Qid], phase: float, turn: float | None) -> None:
        """Let a pair meet, and change places where there is a `turn`, of both, to follow."""
        # Both gates are the same from either end: one order, so that two meetings can become one.
        one, two = pair = pair if self._place[pair[0]] < self._place[pair[1]] else pair[::-1]
        swaps = turn is not None
        if turn is not None:
            z = self._about_z
            z[one], z[two] = z[two] + turn, z[one] + turn
        before = self._waiting.get(one)
        meeting = _Meeting(pair=pair, phase=phase, swaps=swaps)
        if before is not None and before is self._waiting.get(two):
            meeting.whole = meeting.gate() @ before.turned()
        else:
            self._give_way(one)
            self._give_way(two)
        self._waiting[one] = self._waiting[two] = meeting

    def _give_way(self, qubit: cirq.Qid) -> None:
        """Bring the gate that waits on this qubit, if any, into the circuit."""
        meeting = self._waiting.get(qubit)
        if meeting is None:
            return
        for held in meeting.pair:
            del self._waiting[held]
        if self._cz and meeting.whole is None:
            self._closed_form(meeting)
        elif self._untouched.issuperset(meeting.pair):
            self._prepare(meeting)
        else:
            self._decomposed(meeting)
        for held, matrix in meeting.after.items():
            self._turned(held, matrix)

    def _closed_form(self, meeting: _Meeting) -> None:
        """Bring one meeting in as CZ, as above; the qubit at the even place is a."""
        a, b = sorted(meeting.pair, key=lambda qubit: self._place[qubit] % 2)
        self._turned(a, _H)
        self._emit_pair((a, b))
        self._turned(a, np.diag([1.0, np.exp(-2j * meeting.phase)]) @ _H)
        if meeting.swaps:
            self._turned(b, _H)
            self._emit_pair((a, b))
            self._turned(b, _H)
        self._turned(a, _H)
        self._emit_pair((a, b))
        self._turned(a, _H)

    def _prepare(self, meeting: _Meeting) -> None:
        """Bring in the first gate of both its qubits: one native gate prepares any state of two.

        Turned by `angle` before it, its state has the entanglement that is wanted (concurrence, of
        the Schmidt coefficients 2 s_0 s_1); turns after it make the one state the other.
        """
        one, two = meeting.pair
        turns = [self._turns[held][:, 0] for held in meeting.pair]
        left, wanted, right = np.linalg.svd((meeting.gate() @ np.kron(*turns)).reshape(2, 2))
        entangled = min(1.0, 2.0 * float(wanted[0] * wanted[1]))
        angle = asin(entangled) / 2 if self._cz else asin(sqrt(entangled))
        begin = [_about_y(angle), _H if self._cz else _ONE]
        state = np.kron(begin[0][:, 0], begin[1][:, 0])
        if entangled > ATOL:
            state = cirq.unitary(self._gate) @ state
            self._turns[one], self._turns[two] = begin
            self._emit_pair((one, two))
        else:
            self._turns[one], self._turns[two] = begin
        had_left, _, had_right = np.linalg.svd(state.reshape(2, 2))
        self._turned(one, left @ had_left.conj().T)
        self._turned(two, (had_right.conj().T @ right).T)

    def _decomposed(self, meeting: _Meeting) -> None:
        """Bring in a gate without a closed form, by Cirq's decomposition of its matrix."""
        one, two = meeting.pair
        gate = meeting.gate()
        ops = (
            cirq.two_qubit_matrix_to_cz_operations(
                one, two, gate, allow_partial_czs=False, atol=ATOL, clean_operations=False
            )
            if self._cz
            else cirq.two_qubit_matrix_to_sqrt_iswap_operations(one, two, gate, atol=ATOL)
        )
        for op in ops:
            if len(op.qubits) == 1:
                self._turned(op.qubits[0], cirq.unitary(op))
            else:
                self._emit_pair((op.qubits[0], op.qubits[1]))

    def _turned(self, qubit: cirq.Qid, matrix: Matrix) -> None:
        """Take in a turn, which waits for the pair's gate that needs it."""
        self._turns[qubit] = matrix @ self._turns[qubit]

    def _emit_pair(self, pair: tuple[cirq.Qid, cirq.Qid]) -> None:
        """Put the native gate of a pair into the circuit, right behind the turns that it needs."""
        if self._cz and any(
            qubit in self._untouched and _is_about_z(self._turns[qubit]) for qubit in pair
        ):
            return
        at = max(self._free[qubit] + self._due(qubit) for qubit in pair)
        for qubit in pair:
            if self._due(qubit):
                self._emit_turn(qubit, at - 1)
        self._emit(self._gate.on(*pair), at)

    def _due(self, qubit: cirq.Qid) -> bool:
        """Return whether the qubit's turn must go out before a pair's gate: CZ lets Z's pass."""
        turn = self._turns[qubit]
        return not (_is_about_z(turn) and (self._cz or _is_one(turn)))

    def _emit_turn(self, qubit: cirq.Qid, at: int) -> None:
        """Put the qubit's turn into the moment `at`."""
        turn, self._turns[qubit] = self._turns[qubit], _ONE
        self._emit(_phased_xz(turn).on(qubit), at)

    def _emit(self, op: cirq.Operation, at: int) -> None:
        """Put an operation into the moment `at`."""
        while len(self._moments) <= at:
            self._moments.append([])
        self._moments[at].append(op)
        for qubit in op.qubits:
            self._free[qubit] = at + 1
            self._untouched.discard(qubit)


def _about_y(angle: float) -> Matrix:
    """Return the turn that takes |0> to cos(angle) |0> + sin(angle) |1>."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]], dtype=np.complex128)


def _is_about_z(matrix: Matrix) -> bool:
    """Return whether a turn is one about Z, the identity included."""
    return bool(abs(matrix[1, 0]) < ATOL)


def _is_one(matrix: Matrix) -> bool:
    """Return whether a turn about Z is none."""
    return bool(abs(matrix[1, 1] - matrix[0, 0]) < ATOL)


def _phased_xz(matrix: Matrix) -> Any:
    """Return a turn as Rz(one) Rx(angle) Rz(two), up to a global phase: one native gate."""
    (cos, second), (first, other) = matrix.tolist()
    angle = 2.0 * atan2(abs(first), abs(cos))
    if abs(cos) < ATOL:
        one, two = phase(first / second), 0.0
    elif abs(first) < ATOL:
        one, two = phase(other / cos), 0.0
    else:
        one, two = phase(1j * first / cos), phase(1j * second / cos)
    return cirq.PhasedXZGate(
        x_exponent=angle / pi, z_exponent=(one + two) / pi, axis_phase_exponent=-two / pi
    )
