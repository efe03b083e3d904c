"""A drawn circuit is the whole circuit: every gate in the text, every box in the picture."""

from xml.etree import ElementTree as ET

import dimod
import pytest

from enrichment.circuit import qaoa_circuit, scaled_angles
from enrichment.circuit.drawing import ROW_PX, Drawing, draw, folded
from enrichment.problem import ring
from tests.sample.streams import problem

SVG = "{http://www.w3.org/2000/svg}"


def drawn(size: int) -> tuple[dimod.BinaryQuadraticModel, Drawing]:
    """A ring's model and its circuit of two layers, drawn."""
    one = problem(0, size=size, ring=size - 2)
    model = ring(one.nodes, one.weights)
    return model, draw(model, *scaled_angles(model, 2))


@pytest.mark.parametrize("size", [3, 6, 12])
def test_the_picture_has_every_gate_and_no_label(size: int) -> None:
    """As many boxes as gates have qubits, within the rows' width; ids of accounts are nowhere."""
    model, drawing = drawn(size)
    circuit = qaoa_circuit(model, *scaled_angles(model, 2))
    root = ET.fromstring(drawing.svg)  # noqa: S314  # our own
    ground, *boxes = root.iter(f"{SVG}rect")
    assert len(boxes) == sum(len(one.qubits) for one in circuit.all_operations())
    assert float(root.get("width", "0")) <= ROW_PX + 200
    wide, high = float(root.get("width", "0")), float(root.get("height", "0"))
    for box in boxes:
        assert 0 <= float(box.get("x", "-1")) <= wide - float(box.get("width", "0"))
        assert 0 <= float(box.get("y", "-1")) <= high - float(box.get("height", "0"))
    assert ground.get("fill") == "white"
    for label in model.variables:
        assert str(label) not in drawing.svg
        assert str(label) not in drawing.text


def test_counts_are_the_circuits() -> None:
    """Depth in moments with the measurement, gates without it."""
    model, drawing = drawn(6)
    circuit = qaoa_circuit(model, *scaled_angles(model, 2))
    assert drawing.qubits == 6
    assert drawing.depth == len(circuit)
    assert drawing.gates == len(list(circuit.all_operations())) - 1
    assert drawing.two_qubit_gates == 2 * 15


@pytest.mark.parametrize("width", [40, 100, 10_000])
def test_folded_parts_are_the_whole_text_again(width: int) -> None:
    """No part is wider than asked, and side by side they are the diagram without its margins."""
    _, drawing = drawn(12)
    parts = [part.split("\n") for part in folded(drawing.text, width)]
    assert all(len(line) <= width for part in parts for line in part)
    lines = drawing.text.splitlines()
    margin = len("10: ")
    for number, line in enumerate(lines):
        joined = ""
        for part in parts:
            columns = max(map(len, part)) - margin
            joined += part[number][margin:].ljust(columns)
        assert joined.rstrip() == line[margin:].rstrip()
    assert len(parts) > 1 or width > 1_000
