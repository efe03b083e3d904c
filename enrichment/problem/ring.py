r"""The ring problem: which accounts of a subgraph form a group that is denser than it should be.

A ring is modelled as a *quasi-clique*. With the adjacency clipped to [0, 1] and one binary variable
per account (1: in the ring), minimise

    E(x) = - sum_{i<j} (A_ij - theta) x_i x_j  -  KNOWN_BAD_FIELD * sum_i b_i x_i

where b_i is 1 for an account that is already known to be bad. Each pair inside the group earns what
its link exceeds theta and pays what it falls short of it, so the optimum is the group with the
largest edge surplus. This is the edge-surplus form of the optimal quasi-clique,
f(S) = e[S] - alpha * |S|(|S|-1)/2, of Tsourakakis et al., "Denser than the densest subgraph",
KDD 2013, eq. (2), with weighted edges and alpha = theta.

Bounds, by the triangle inequality: with theta and A_ij in [0, 1],
-n(n-1)/2 - n * KNOWN_BAD_FIELD <= E(x) <= n(n-1)/2, and E(0) = 0, so the optimum is never positive.

A pair is asked for half of what a link of this subgraph weighs on average, at most: so a clique is
a ring however weak its links are, and how weak is another figure (the density). For full links that
is the cap of 1/2.
"""

from collections.abc import Sequence
from typing import Final

import dimod
import numpy as np

WEIGHT_MAX: Final = 16
"""A full link in sixteenths: adjacency is quantised so that equal subgraphs give equal models."""

THETA_FACTOR: Final = 1.3
"""How much denser than the subgraph a ring must be: measured best near 1.3 x density."""

THETA_MIN: Final = 0.1
"""Below it any link at all would pull an account into the ring of a sparse subgraph."""

LINK_SHARE: Final = 0.5
"""The most that a pair is asked, in mean links: with more, a clique of equals would not pay."""

KNOWN_BAD_FIELD: Final = 0.5
"""What a known-bad account earns by being in: as much as a full link does at theta = 1/2."""


def theta_of(nodes_count: int, weights: Sequence[tuple[int, int, int]]) -> float:
    """Return the density a group must exceed: 1.3 x the subgraph's own, or half a link if less.

    Density is the mean clipped adjacency over all n(n-1)/2 pairs, a link the mean over those pairs
    that are linked. Never below 0.1, and never above 0.5.
    """
    if not weights:
        return THETA_MIN
    total = sum(weight for _, _, weight in weights) / WEIGHT_MAX
    density = total / (nodes_count * (nodes_count - 1) / 2)
    return max(THETA_MIN, min(THETA_FACTOR * density, LINK_SHARE * total / len(weights)))


def ring(
    nodes: Sequence[str],
    weights: Sequence[tuple[int, int, int]],
    fields: Sequence[int] = (),
    *,
    theta: float | None = None,
) -> dimod.BinaryQuadraticModel:
    """Return the quasi-clique model of one subgraph, BINARY, its variables in the order of `nodes`.

    `weights` holds ``(i, j, sixteenths)`` with positions i < j and 1 <= sixteenths <= 16, each pair
    at most once; `fields` is empty or holds one known-bad flag (0 or 1) per node; `theta` overrides
    the rule of `theta_of`. Raises ValueError on anything else.
    """
    count = len(nodes)
    _check(nodes, weights, fields)
    threshold = theta_of(count, weights) if theta is None else theta
    if not 0.0 <= threshold <= 1.0:
        msg = f"theta must lie in [0, 1]: {threshold}"
        raise ValueError(msg)
    surplus = np.zeros((count, count))
    if weights:
        first, second, sixteenths = np.array(weights).T
        surplus[first, second] = sixteenths / WEIGHT_MAX
    surplus -= threshold
    linear = -KNOWN_BAD_FIELD * np.array(fields if fields else [0] * count, dtype=np.float64)
    # All at once: pair by pair it takes three times as long.
    model = dimod.BinaryQuadraticModel(linear, np.triu(-surplus, 1), 0.0, dimod.BINARY)
    model.relabel_variables(dict(enumerate(nodes)))
    return model


def _check(
    nodes: Sequence[str], weights: Sequence[tuple[int, int, int]], fields: Sequence[int]
) -> None:
    """Raise ValueError, with what was found, where the input is not one subgraph."""
    count = len(nodes)
    if count == 0 or len(set(nodes)) != count:
        msg = f"nodes must be distinct and at least one: {count} given, {len(set(nodes))} distinct"
        raise ValueError(msg)
    if len(fields) not in {0, count}:
        msg = f"fields must be empty or one per node: {len(fields)} for {count} nodes"
        raise ValueError(msg)
    if any(flag not in {0, 1} for flag in fields):
        msg = f"fields are flags, 0 or 1: {list(fields)}"
        raise ValueError(msg)
    seen = set()
    for i, j, weight in weights:
        if not (0 <= i < j < count and 1 <= weight <= WEIGHT_MAX) or (i, j) in seen:
            msg = f"not a weight (i < j < {count}, 1..{WEIGHT_MAX}, once a pair): {(i, j, weight)}"
            raise ValueError(msg)
        seen.add((i, j))
