"""The QAOA circuit of a binary quadratic model, in Cirq: the source of truth, for hardware too.

Conventions, each tested against an independent statevector:

- the circuit prepares  prod_l exp(-i beta_l sum_k X_k) exp(+i gamma_l E) |+>,  layer 1 first, for
  the energy E that is to be minimised, up to the global phase of E's offset. With E = -C this is
  exp(-i gamma C), the form in which Farhi, Goldstone and Gutmann (arXiv:1411.4028) maximise C;
- qubit k is ``cirq.LineQubit(k)`` for the k-th variable of ``model.variables``;
- a measured 1 is binary 1, which in dimod is spin +1. Pauli Z is -1 there, so s = -Z: a field h s
  becomes -h Z, a coupling J s t stays J Z Z. One circuit serves a model and its other vartype.
"""

from collections.abc import Iterator, Sequence
from math import pi
from typing import Final

import cirq
import dimod

from enrichment.problem.ising import Ising, ising

MEASUREMENT_KEY: Final = "x"


def qaoa_circuit(
    model: dimod.BinaryQuadraticModel,
    gammas: Sequence[float],
    betas: Sequence[float],
    measure: bool = True,
) -> cirq.Circuit:
    """Return the circuit of `model`, SPIN or BINARY, at the given angles in radians.

    With `measure` it ends in one measurement of all qubits, in order, under MEASUREMENT_KEY.
    Raises ValueError where there is no variable or the numbers of gammas and betas differ.
    """
    form = ising(model)
    if form.size == 0 or len(gammas) != len(betas):
        msg = (
            f"a circuit needs a variable, and a beta per gamma: {form.size} variables, "
            f"{len(gammas)} gammas, {len(betas)} betas"
        )
        raise ValueError(msg)
    qubits = cirq.LineQubit.range(form.size)
    circuit = cirq.Circuit(cirq.H.on_each(*qubits))
    for gamma, beta in zip(gammas, betas, strict=True):
        circuit.append(_phase(form, gamma, qubits))
        circuit.append(cirq.rx(2.0 * beta).on_each(*qubits))
    if measure:
        circuit.append(cirq.measure(*qubits, key=MEASUREMENT_KEY))
    return circuit


def _phase(form: Ising, gamma: float, qubits: Sequence[cirq.LineQubit]) -> Iterator[cirq.Operation]:
    """Yield exp(+i gamma E) without E's offset; a qubit gets a gate only where E has a term."""
    for row, col, coupling in zip(form.rows, form.cols, form.couplings, strict=True):
        # ZZ**t is exp(-i pi t ZZ / 2) up to a phase, which the global shift takes back.
        gate = cirq.ZZPowGate(exponent=-2.0 * gamma * float(coupling) / pi, global_shift=-0.5)
        yield gate.on(qubits[int(row)], qubits[int(col)])
    for qubit, field in zip(qubits, form.h, strict=True):
        if field != 0.0:
            yield cirq.rz(2.0 * gamma * float(field)).on(qubit)
