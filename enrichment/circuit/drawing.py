"""A circuit for people: as text, as SVG, and what it counts. Made when asked for, never per job.

Cirq lays both out; here they are broken into rows, since a dense model of 12 variables is a dozen
pages wide. Neither bears labels of variables: qubit k is the k-th of the model. Gates are named as
Cirq names them, ZZ^t for exp(-i pi t ZZ / 2).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import cirq
import dimod

from enrichment.circuit.ansatz import qaoa_circuit

PRECISION: Final = 2
"""Decimals of a drawn angle, in half turns: enough to see, too few to compute with."""

ROW_PX: Final = 1_600
"""About as wide as a page can be and stay readable."""

CELL_PX, BOX_PX, MARGIN_PX, LETTER_PX, BASELINE_PX = 44, 30, 7, 8, 4.5
INK, WIRE = "#1f2933", "#0072b2"

_BETWEEN: Final = frozenset("─ ")
"""What stands between two gates, on a wire and beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A QAOA circuit drawn: `text` as lines without a break at the end, `svg` as a document.

    `depth` counts moments, the measurement among them; `gates` leaves the measurement out.
    """

    text: str
    svg: str
    qubits: int
    depth: int
    gates: int
    two_qubit_gates: int


def draw(
    model: dimod.BinaryQuadraticModel, gammas: Sequence[float], betas: Sequence[float]
) -> Drawing:
    """Return `qaoa_circuit` drawn; raises ValueError as that does."""
    circuit = qaoa_circuit(model, gammas, betas)
    operations = [one for one in circuit.all_operations() if not cirq.is_measurement(one)]
    return Drawing(
        text=circuit.to_text_diagram(precision=PRECISION),
        svg=_svg(circuit.to_text_diagram_drawer(precision=PRECISION)),
        qubits=len(circuit.all_qubits()),
        depth=len(circuit),
        gates=len(operations),
        two_qubit_gates=sum(len(one.qubits) == 2 for one in operations),
    )


def folded(text: str, width: int) -> list[str]:
    """Return a text diagram as parts of at most `width` columns, cut between gates where it can be.

    Each part begins with the wires' names.
    """
    lines = text.splitlines()
    longest = max(map(len, lines))
    lines = [line.ljust(longest) for line in lines]
    names = [re.match(r"(\d+: )?", line).group() for line in lines]  # type: ignore[union-attr]
    margin = max(map(len, names))
    parts, begin = [], margin
    while begin < longest:
        end = min(longest, begin + max(1, width - margin))
        if end < longest:
            end = next(
                (
                    column
                    for column in range(end, begin, -1)
                    if all(line[column] in _BETWEEN for line in lines)
                ),
                end,
            )
        rows = (
            f"{name.ljust(margin)}{line[begin:end]}".rstrip()
            for name, line in zip(names, lines, strict=True)
        )
        parts.append("\n".join(rows))
        begin = end
    return parts


def _svg(drawer: cirq.TextDiagramDrawer) -> str:
    """Return what Cirq lays out as a document, its columns broken into rows of about ROW_PX.

    Cirq's own `circuit_to_svg` measures each text's outline, 20 s for 12 variables: here a letter
    is as wide as a letter.
    """
    columns = drawer.width()
    wires = sorted({y for _, y in drawer.entries})
    ends = {y for line in drawer.vertical_lines for y in (line.y1, line.y2)}
    # Brackets are laid out half a place above the first wire, and as much below the last.
    places = {y: (y + 1) * CELL_PX for y in {*wires, *ends}}
    widths = [CELL_PX] * columns
    for (x, _), entry in drawer.entries.items():
        widths[x] = max(widths[x], len(entry.text) * LETTER_PX + 2 * MARGIN_PX)
    rows = list(_broken(widths))
    tall = int(max(wires) + 2) * CELL_PX
    parts = [
        part
        for number, (first, last) in enumerate(rows)
        for part in _row(drawer, widths, places, (first, last), number * tall)
    ]
    wide = max(_start(widths, first, last) for first, last in rows) + MARGIN_PX
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{len(rows) * tall}" '
        f'viewBox="0 0 {wide} {len(rows) * tall}" font-family="sans-serif" font-size="13" '
        'text-anchor="middle"><rect width="100%" height="100%" fill="white"/>'
    )
    return "\n".join([head, *parts, "</svg>", ""])


def _broken(widths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield each row's columns [first, last): column 0 is the wires' names, in every row."""
    first, filled = 1, 0
    for column in range(1, len(widths)):
        filled += widths[column]
        if filled > ROW_PX and column > first:
            yield first, column
            first, filled = column, widths[column]
    yield first, len(widths)


def _start(widths: Sequence[int], first: int, column: int) -> int:
    """Return where a column begins in the row that begins with column `first`."""
    return widths[0] + sum(widths[first:column])


def _row(
    drawer: cirq.TextDiagramDrawer,
    widths: Sequence[int],
    places: Mapping[float, float],
    span: tuple[int, int],
    top: int,
) -> Iterator[str]:
    """Yield the shapes of one row: wires and brackets, then what ties qubits, then gates."""
    first, last = span

    def middle(column: int) -> float:
        return _start(widths, first, column) + widths[column] / 2

    for y, x1, x2, _, _ in drawer.horizontal_lines:
        begin, end = max(int(x1), first), min(int(x2), last)
        if begin >= last or end < first:
            continue
        left = widths[0] if x1 < first or x1 == 0 else middle(begin)
        right = middle(end) if end < last else _start(widths, first, last)
        yield _line((left, top + places[y]), (right, top + places[y]), INK if x1 else WIRE)
    for x, y1, y2, _, _ in drawer.vertical_lines:
        if first <= x < last:
            at = middle(int(x))
            yield _line((at, top + places[y1]), (at, top + places[y2]), INK)
    for (x, y), entry in drawer.entries.items():
        if x == 0:
            yield _text(widths[0] / 2, top + places[y], entry.text)
        elif first <= x < last and entry.text:
            wide = widths[x] - MARGIN_PX
            left, above = middle(x) - wide / 2, top + places[y] - BOX_PX / 2
            yield (
                f'<rect x="{left:g}" y="{above:g}" width="{wide:g}" height="{BOX_PX}" '
                f'fill="white" stroke="{INK}"/>'
            )
            yield _text(middle(x), top + places[y], entry.text)


def _line(begin: tuple[float, float], end: tuple[float, float], colour: str) -> str:
    return (
        f'<line x1="{begin[0]:g}" y1="{begin[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}" '
        f'stroke="{colour}"/>'
    )


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:g}" y="{y + BASELINE_PX:g}" fill="{INK}">{escape(text)}</text>'
