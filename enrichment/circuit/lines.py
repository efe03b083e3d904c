"""Where circuits go on a device: disjoint lines of qubits, chosen by calibration or at random.

A line is a simple path of the device's graph, for `enrichment.circuit.swap_network`. Its cost is
minus the logarithm of the chance that nothing goes wrong on it, if errors were independent:

    cost = -sum_q log(1 - readout_q) - gates sum_e log(1 - pair_e),

with the readout error of each qubit, the error of one two-qubit gate on each pair of neighbours,
and `gates` of them on each: a figure to choose by, not a fidelity.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, log
from typing import Final

import cirq
import numpy as np

Line = tuple[cirq.Qid, ...]

PATHS_MAX: Final = 2_000
"""Partial paths kept at each length: a line of 12 on 105 qubits is then a tenth of a second."""

WALKS_MAX: Final = 1_000
"""Random walks tried for one line before it counts as not fitting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """A device's calibration, as what lines are chosen by; errors lie in [0, 1].

    `readout` is the mean of P(1 read | 0) and P(0 read | 1) of each qubit that may be used; `pairs`
    the error of a two-qubit gate of each pair that may be used, in either order.
    """

    readout: Mapping[cirq.Qid, float]
    pairs: Mapping[tuple[cirq.Qid, cirq.Qid], float]

    def neighbours(self) -> dict[cirq.Qid, dict[cirq.Qid, float]]:
        """Return each qubit's neighbours with the pair's error, in the qubits' own order."""
        found: dict[cirq.Qid, dict[cirq.Qid, float]] = {qubit: {} for qubit in sorted(self.readout)}
        for (one, two), error in sorted(self.pairs.items()):
            if one in found and two in found and one != two:
                found[one][two] = found[two][one] = error
        return {qubit: dict(sorted(near.items())) for qubit, near in found.items()}


def gates_per_pair(size: int, layers: int) -> float:
    """Return how many native gates a SWAP network lays on each pair of its line, in the mean."""
    return 1.5 * size * layers


def line_cost(errors: Errors, line: Sequence[cirq.Qid], gates: float) -> float:
    """Return the cost of a line, as above; infinite where an error is 1.

    Raises KeyError where two neighbours of the line are none on the device.
    """
    near = errors.neighbours()
    pairs = pairwise(line)
    return sum(_loss(errors.readout[qubit]) for qubit in line) + sum(
        gates * _loss(near[one][two]) for one, two in pairs
    )


def best_line(
    errors: Errors, size: int, gates: float, *, without: frozenset[cirq.Qid] = frozenset()
) -> Line | None:
    """Return the cheapest line of `size` qubits outside of `without`, or None if none was found.

    Paths grow by a qubit at a time; of those over the same qubits with the same end only the
    cheapest is kept (Held and Karp), and of all of them the PATHS_MAX cheapest. So the line is the
    cheapest there is while that limit is not reached, and else a good one; the same every time. A
    qubit or pair whose error is 1 is not used.
    """
    near = errors.neighbours()
    # Qubits by number, in their order, and sets of them as bits: several times as fast.
    qubits = list(near)
    number = {qubit: k for k, qubit in enumerate(qubits)}
    readout = [inf if q in without else _loss(errors.readout[q]) for q in qubits]
    steps = [
        [(number[two], gates * _loss(error)) for two, error in near[one].items()] for one in qubits
    ]
    paths: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {
        (1 << k, k): (loss, (k,)) for k, loss in enumerate(readout) if loss < inf
    }
    for _ in range(size - 1):
        longer: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}
        for (held, end), (cost, line) in paths.items():
            for k, loss in steps[end]:
                if held >> k & 1:
                    continue
                now = cost + readout[k] + loss
                key = (held | 1 << k, k)
                if now < inf and (key not in longer or now < longer[key][0]):
                    longer[key] = (now, (*line, k))
        paths = dict(sorted(longer.items(), key=lambda item: item[1])[:PATHS_MAX])
    if size < 1 or not paths:
        return None
    return tuple(qubits[k] for k in min(paths.values())[1])


def best_lines(errors: Errors, sizes: Sequence[int], gates: float) -> tuple[Line | None, ...]:
    """Return disjoint lines of the given sizes, None for each that found no place."""
    return greedy_lines(sizes, lambda size, used: best_line(errors, size, gates, without=used))


def greedy_lines(
    sizes: Sequence[int], find: Callable[[int, frozenset[cirq.Qid]], Line | None]
) -> tuple[Line | None, ...]:
    """Return disjoint lines of the given sizes, None for each that found no place.

    The longest goes first, to the best line that is left, as `find(size, used)` says: greedy, not
    the best set of lines.
    """
    lines: list[Line | None] = [None] * len(sizes)
    used: frozenset[cirq.Qid] = frozenset()
    hopeless = 0
    for place in sorted(range(len(sizes)), key=lambda k: (-sizes[k], k)):
        if sizes[place] == hopeless:
            continue  # one of this size has found no place, and none has been freed since
        lines[place] = line = find(sizes[place], used)
        used = used.union(line or ())
        hopeless = sizes[place] if line is None else hopeless
    return tuple(lines)


def random_lines(
    errors: Errors, sizes: Sequence[int], random: np.random.Generator
) -> tuple[Line | None, ...]:
    """Return disjoint lines as `best_lines`, by self-avoiding walks: what choosing is held against.

    Each line is the first of at most WALKS_MAX walks, each from a random free qubit, that is long
    enough.
    """
    near = errors.neighbours()
    lines: list[Line | None] = [None] * len(sizes)
    free = set(near)
    for place in sorted(range(len(sizes)), key=lambda k: (-sizes[k], k)):
        for _ in range(WALKS_MAX):
            walk = _walk(near, free, sizes[place], random)
            if len(walk) == sizes[place]:
                lines[place] = walk
                free -= set(walk)
                break
    return tuple(lines)


def _walk(
    near: Mapping[cirq.Qid, Mapping[cirq.Qid, float]],
    free: set[cirq.Qid],
    size: int,
    random: np.random.Generator,
) -> Line:
    """Return a self-avoiding walk over free qubits, shorter than `size` where it ran into a corner.

    Its next qubit is any free neighbour, with equal chances: walks, not paths, are uniform.
    """
    walk: list[cirq.Qid] = []
    choices = sorted(free)
    while choices and len(walk) < size:
        walk.append(choices[int(random.integers(len(choices)))])
        choices = [qubit for qubit in near[walk[-1]] if qubit in free and qubit not in walk]
    return tuple(walk)


def _loss(error: float) -> float:
    """Return -log(1 - error): infinite at 1 and above, and for what is not a number."""
    return -log(1.0 - error) if error < 1.0 else inf
