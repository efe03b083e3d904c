"""A small reader of OpenQASM 2.0 and 3.0, of our gates alone, and of nothing else of Cirq's.

Cirq's own reader needs a parser generator that the project does not depend on; and what has been
written with Cirq is better read without it.
"""

import re
from dataclasses import dataclass, field
from math import pi

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.complex128]

HEADS = {"2.0": 'include "qelib1.inc"', "3.0": 'include "stdgates.inc"'}
REGISTERS = {
    "2.0": (r"qreg q\[(\d+)\]", r"creg m_x\[(\d+)\]"),
    "3.0": (r"qubit\[(\d+)\] q", r"bit\[(\d+)\] m_x"),
}
MEASUREMENTS = {
    "2.0": r"measure q\[(?P<qubit>\d+)\] -> m_x\[(?P<bit>\d+)\]",
    "3.0": r"m_x\[(?P<bit>\d+)\] = measure q\[(?P<qubit>\d+)\]",
}
GATE = re.compile(r"([a-z]+)(?:\(([^)]*)\))? ([^;]+)")
REAL = re.compile(r"(?:pi\*)?-?\d+(?:\.\d+(?:e-?\d+)?)?")


@dataclass(kw_only=True)
class Program:
    """What was read: the unitary of all gates, qubit 0 the highest bit, and where bits come from.

    `measured` maps a classical bit to its qubit.
    """

    size: int
    unitary: Matrix
    gates: list[str] = field(default_factory=list)
    measured: dict[int, int] = field(default_factory=dict)


def read(text: str) -> Program:
    """Return the program; raises AssertionError or ValueError on anything that is not ours."""
    statements = [
        line.strip() for line in re.sub(r"//[^\n]*", "", text).replace("\n", " ").split(";")
    ]
    version = statements.pop(0).removeprefix("OPENQASM ")
    assert statements.pop(0) == HEADS[version]
    quantum, classical = REGISTERS[version]
    size = int(_match(quantum, statements.pop(0))[1])
    program = Program(size=size, unitary=np.eye(2**size, dtype=np.complex128))
    if re.fullmatch(classical, statements[0]):
        assert int(_match(classical, statements.pop(0))[1]) == size
    assert statements.pop() == ""
    for statement in statements:
        if "measure" in statement:
            found = _match(MEASUREMENTS[version], statement)
            program.measured[int(found["bit"])] = int(found["qubit"])
            continue
        assert not program.measured, f"a gate after a measurement: {statement}"
        name, angle, targets = _match(GATE, statement).groups()
        qubits = [int(_match(r"q\[(\d+)\]", target)[1]) for target in targets.split(",")]
        program.gates.append(name)
        program.unitary = _gate(name, angle, qubits, size) @ program.unitary
    return program


def _match(pattern: str | re.Pattern[str], text: str) -> re.Match[str]:
    """Return the full match, which there has to be."""
    found = re.fullmatch(pattern, text)
    assert found is not None, f"{text!r} is not {pattern}"
    return found


def _radians(text: str) -> float:
    """Return the value of a real or of pi times one: a real with an exponent has a point too."""
    _match(REAL, text)
    factor = pi if text.startswith("pi*") else 1.0
    return factor * float(text.removeprefix("pi*"))


def _gate(name: str, angle: str | None, qubits: list[int], size: int) -> Matrix:
    """Return the gate on all qubits, from the definitions in OpenQASM's papers."""
    if name == "cx":
        control, target = qubits
        strings = np.arange(2**size)
        on = (strings >> (size - 1 - control)) & 1
        result = np.zeros((2**size, 2**size), dtype=np.complex128)
        result[strings ^ (on << (size - 1 - target)), strings] = 1.0
        return result
    (qubit,) = qubits
    if name == "h":
        assert angle is None
        root = np.sqrt(0.5)
        small = np.array([[root, root], [root, -root]], dtype=np.complex128)
    else:
        assert angle is not None
        half = _radians(angle) / 2
        if name == "rx":
            small = np.array(
                [[np.cos(half), -1j * np.sin(half)], [-1j * np.sin(half), np.cos(half)]],
                dtype=np.complex128,
            )
        elif name == "rz":
            small = np.diag([np.exp(-1j * half), np.exp(1j * half)]).astype(np.complex128)
        else:
            msg = f"not one of our gates: {name}"
            raise ValueError(msg)
    left, right = np.eye(2**qubit), np.eye(2 ** (size - 1 - qubit))
    whole: Matrix = np.kron(np.kron(left, small), right).astype(np.complex128)
    return whole
