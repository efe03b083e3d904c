"""Binary quadratic models of what a subgraph asks: pure functions from a graph to a model.

What may enter: one file per kind of problem, each with its formula and its source, and one line in
``KINDS``; nothing here samples, reads a clock or knows a provider.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import dimod

from enrichment.problem.ring import ring

Builder = Callable[
    [Sequence[str], Sequence[tuple[int, int, int]], Sequence[int]], dimod.BinaryQuadraticModel
]
"""From nodes, weights ``(i, j, sixteenths)`` with ``i < j``, and known-bad flags, to a model."""

KINDS: Final[Mapping[str, Builder]] = {
    "ring": ring,
}

__all__ = ["KINDS", "Builder", "ring"]
