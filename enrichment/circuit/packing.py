"""Many problems in one circuit of a device: disjoint lines, and a measurement key per problem.

A device runs a circuit of 84 qubits in the time of one of 12, so several problems share its shots.
A simulator does not: its cost is exponential in the qubits, so never pack for one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import cirq

from enrichment.circuit.angles import Angles
from enrichment.circuit.lines import Line
from enrichment.circuit.swap_network import Network, swap_network
from enrichment.problem.ising import Ising

Place = Callable[[Sequence[int]], Sequence[Line | None]]
"""Sizes to disjoint lines of an empty device, None for each that found no place: `best_lines`."""

Compile = Callable[[Network], cirq.Circuit]
"""A network to what is run of it, not measured."""


class NoPlaceError(ValueError):
    """A problem for which an empty device has no line."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pack:
    """One circuit: `networks` maps a problem's place among all problems to its network in here."""

    circuit: cirq.Circuit
    networks: Mapping[int, Network]


def key_of(problem: int) -> str:
    """Return the measurement key of the problem at this place among all problems."""
    return f"x{problem}"


def pack(
    problems: Sequence[tuple[Ising, Angles]],
    place: Place,
    *,
    compiled: Compile = attrgetter("circuit"),
    key: Callable[[int], str] = key_of,
) -> tuple[Pack, ...]:
    """Return as many circuits as it takes, each with the problems that found a place in it.

    Problems that find none wait for the next circuit. All end together, and are measured in the
    last moment: a shorter one begins later, since a qubit that waits in |0> loses nothing. Raises
    NoPlaceError for a problem that finds no place on an empty device.
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
            raise NoPlaceError(msg)
        circuit = cirq.Circuit.zip(
            *(compiled(network) for network in networks.values()), align=cirq.Alignment.RIGHT
        )
        measured = (
            cirq.measure(*network.qubits, key=key(problem)) for problem, network in networks.items()
        )
        packs.append(Pack(circuit=circuit + cirq.Moment(measured), networks=networks))
        waiting = [problem for problem in waiting if problem not in networks]
    return tuple(packs)
