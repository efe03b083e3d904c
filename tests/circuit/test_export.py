"""A circuit written as text reads back to the same unitary."""

from typing import Literal

import cirq
import dimod
import numpy as np
import pytest

from enrichment.circuit import (
    circuit_hash,
    circuit_json,
    circuit_qasm,
    qaoa_circuit,
    scaled_angles,
)
from tests.circuit import qasm
from tests.circuit.models import random_model
from tests.circuit.reference import distance, state

SIZES = [2, 3, 4, 5]
ANGLES = ((0.37, -0.81), (0.23, 0.61))
Version = Literal["2.0", "3.0"]


def gap(one: np.ndarray, two: np.ndarray) -> float:
    """Return the largest difference of two unitaries' entries once global phases are aligned."""
    return distance(one.ravel(), two.ravel())


def unitary_of(model: dimod.BinaryQuadraticModel) -> np.ndarray:
    """Return the unitary of the model's Cirq circuit, qubit 0 the highest bit."""
    circuit = qaoa_circuit(model, *ANGLES, measure=False)
    return circuit.unitary(qubit_order=cirq.LineQubit.range(model.num_variables))


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("measure", [True, False])
def test_json_reads_back_to_an_equal_circuit(vartype: str, size: int, measure: bool) -> None:
    """Cirq JSON is the circuit to the last bit: equal, and so is its unitary, with measurement."""
    model = random_model(size, vartype, seed=size)
    back = cirq.read_json(json_text=circuit_json(model, *ANGLES, measure=measure))
    assert back == qaoa_circuit(model, *ANGLES, measure=measure)
    assert back.has_measurements() is measure
    found = cirq.drop_terminal_measurements(back) if measure else back
    # Dropping a measurement leaves an identity in its place.
    assert gap(found.unitary(cirq.LineQubit.range(size)), unitary_of(model)) < 1e-12


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
@pytest.mark.parametrize("size", [1, *SIZES])
@pytest.mark.parametrize("measure", [True, False])
@pytest.mark.parametrize("version", ["2.0", "3.0"])
def test_qasm_reads_back_to_the_same_unitary(
    vartype: str, size: int, measure: bool, version: Version
) -> None:
    """Read without Cirq, OpenQASM is the circuit's unitary, and each qubit is measured to its bit.

    The unitary prepares the independent statevector from |0...0>, so that the order of qubits is
    right too, and not only the same as Cirq's.
    """
    model = random_model(size, vartype, seed=size)
    text = circuit_qasm(model, *ANGLES, measure=measure, version=version)
    program = qasm.read(text)
    assert program.size == size
    assert gap(program.unitary, unitary_of(model)) < 1e-12
    assert distance(program.unitary[:, 0], state(model, *ANGLES)) < 1e-12
    assert program.measured == ({k: k for k in range(size)} if measure else {})


@pytest.mark.parametrize("version", ["2.0", "3.0"])
def test_qasm_uses_gates_that_both_standard_libraries_have(version: Version) -> None:
    """Two cx a coupling and layer, one rz a coupling or field, and no gate of Cirq's own making."""
    model = dimod.BinaryQuadraticModel(
        {"a": 0.5, "b": 0.0, "c": -1.0}, {("a", "b"): 1.0, ("b", "c"): 2.0}, 0.0, dimod.SPIN
    )
    gates = qasm.read(circuit_qasm(model, *ANGLES, version=version)).gates
    assert {name: gates.count(name) for name in set(gates)} == {"h": 3, "cx": 8, "rz": 8, "rx": 6}


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e3, 1e6])
def test_qasm_holds_coefficients_of_any_size(scale: float) -> None:
    """Tiny and huge angles are written in OpenQASM's own form of a real, and lose nothing."""
    model = random_model(3, "SPIN", seed=6)
    model.scale(scale)
    program = qasm.read(circuit_qasm(model, *ANGLES, version="2.0"))
    # At 1e6 a turn's own double has some 1e-10 of a turn left.
    assert gap(program.unitary, unitary_of(model)) < 1e-8


def test_texts_name_the_circuit_and_not_its_variables() -> None:
    """The QASM's head bears the circuit's hash; labels, which may be sensitive, are nowhere."""
    model = dimod.BinaryQuadraticModel(
        {"IBAN-DE1": 1.0, "IBAN-DE2": 0.5}, {("IBAN-DE1", "IBAN-DE2"): -1.0}, 0.0, dimod.BINARY
    )
    angles = scaled_angles(model, 2)
    text = circuit_qasm(model, *angles)
    assert f"qaoa 1, circuit {circuit_hash(model, *angles)}" in text
    assert "IBAN" not in text + circuit_json(model, *angles)


def test_what_has_no_circuit_has_no_text() -> None:
    """No variable, uneven angles or an unknown version raise ValueError."""
    empty = dimod.BinaryQuadraticModel(dimod.SPIN)
    model = random_model(2, "SPIN", seed=1)
    for export in (circuit_json, circuit_qasm):
        with pytest.raises(ValueError, match="needs a variable"):
            export(empty, *ANGLES)
        with pytest.raises(ValueError, match="beta per gamma"):
            export(model, (0.1,), ())
    with pytest.raises(ValueError, match=r"2\.0 or 3\.0"):
        circuit_qasm(model, *ANGLES, version="1.0")  # type: ignore[arg-type]
