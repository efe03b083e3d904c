"""Many problems in one circuit of a device: disjoint lines, and a measurement key per problem.

A device runs a circuit of 84 qubits in the time of one of 12, so several problems share its shots.
A simulator does not: its cost is exponential in the qubits, so never pack for one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cirq
import numpy as np
from numpy.typing import NDArray

from enrichment.circuit.angles import Angles
from enrichment.circuit.lines import Line
from enrichment.circuit.swap_network import Network, swap_network
from enrichment.problem.ising import Bits, Ising

Place = Callable[[Sequence[int]], Sequence[Line | None]]
"""Sizes to disjoint lines of an empty device, None for each that found no place: `best_lines`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pack:
    """One circuit: `networks` maps a problem's place among all problems to its network in here."""

    circuit: cirq.Circuit
    networks: Mapping[int, Network]


def key_of(problem: int) -> str:
    """Return the measurement key of the problem at this place among all problems."""
    return f"x{problem}"


def pack(problems: Sequence[tuple[Ising, Angles]], place: Place) -> tuple[Pack, ...]:
    """Return as many circuits as it takes, each with the problems that found a place in it.

    Problems that find none wait for the next circuit. All begin in the first moment of their
    circuit and are measured together in its last. Raises ValueError for a problem that finds no
    place on an empty device.
    """
    packs: list[Pack] = []
    waiting = list(range(len(problems)))
    while waiting:
        lines = place([problems[problem][0].size for problem in waiting])
        networks = {
            problem: swap_network(*problems[problem], line)
            for problem, line in zip(waiting, lines, strict=True)
            if line is not None
        }
        if not networks:
            sizes = [problems[problem][0].size for problem in waiting]
            msg = f"no line on the device for problems {waiting} of {sizes} variables"
            raise ValueError(msg)
        packs.append(Pack(circuit=_together(networks), networks=networks))
        waiting = [problem for problem in waiting if problem not in networks]
    return tuple(packs)


def unpack(packed: Pack, measurements: Mapping[str, NDArray[Any]]) -> dict[int, Bits]:
    """Return each problem's bits, shape (shots, n), columns in its model's order, by its place.

    Raises ValueError where a measurement is missing or has another shape.
    """
    shapes = {key: values.shape for key, values in measurements.items()}
    shots = {shape[0] for shape in shapes.values() if shape}
    found: dict[int, Bits] = {}
    for problem, network in packed.networks.items():
        key = key_of(problem)
        wanted = (*shots, len(network.line))
        if shapes.get(key) != wanted:
            msg = f"measurement {key!r} must have shape {wanted}: {shapes.get(key)}"
            raise ValueError(msg)
        found[problem] = measurements[key].astype(np.uint8)
    return found


def _together(networks: Mapping[int, Network]) -> cirq.Circuit:
    """Return the networks side by side, measured in one moment."""
    circuit = cirq.Circuit.zip(*(network.circuit for network in networks.values()))
    measured = (
        cirq.measure(*network.qubits, key=key_of(problem)) for problem, network in networks.items()
    )
    return cirq.Circuit(*circuit, cirq.Moment(measured))
