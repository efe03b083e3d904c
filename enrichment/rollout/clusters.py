"""Who is resampled together: rings of accounts that bad events tie, and every other account alone.

Events of one ring are not independent, and neither are those of one account: intervals that
took them for independent would be too narrow. Pure.
"""

import numpy as np

from enrichment.rollout.join import Rows
from enrichment.rollout.metrics import Bools, Ints


def clusters_of(rows: Rows, counted: Bools, bad: Bools) -> Ints:
    """Each counted event's cluster, numbered from 0 in order of the first event of each.

    Two accounts are of one ring when a bad event of each uses the same device or beneficiary, as
    the pipeline's links name them, or a bad event goes from one to the other; and what ties them to
    others is theirs too. All events of a ring's accounts are the ring's. A device or beneficiary
    that more accounts use than `degree_max` is a hub and ties nobody. An event that names no
    account is a cluster by itself.
    """
    kinds = {kind: index for index, kind in enumerate(dict.fromkeys(rows.shape.kinds))}
    nodes = [
        _nodes(column, kinds[k]) for k, column in zip(rows.shape.kinds, rows.entities, strict=True)
    ]
    parent: dict[int, int] = {}
    chosen = np.flatnonzero(counted & bad)
    for left, right, degree_max, direct in rows.shape.ties:
        both = (rows.entities[left] >= 0) & (rows.entities[right] >= 0)
        hubs = _hubs(nodes[left][counted & both], nodes[right][counted & both], degree_max)
        if direct:
            hubs |= _hubs(nodes[right][counted & both], nodes[left][counted & both], degree_max)
        mine = chosen[both[chosen]]
        for a, b in zip(nodes[left][mine].tolist(), nodes[right][mine].tolist(), strict=True):
            if a not in hubs and b not in hubs:
                _join(parent, a, b)
    account = nodes[0][counted].copy()
    nobody = rows.entities[0][counted] < 0
    roots = {node: _root(parent, node) for node in parent}
    if roots:
        known = np.array(sorted(roots), dtype=np.int64)
        to = np.array([roots[node] for node in known.tolist()], dtype=np.int64)
        place = np.minimum(np.searchsorted(known, account), len(known) - 1)
        tied = known[place] == account
        account[tied] = to[place[tied]]
    account[nobody] = -1 - np.flatnonzero(nobody)
    return _in_order(account)


def _nodes(column: Ints, kind: int) -> Ints:
    """Entities as numbers that differ between kinds: 256 kinds, as a pipeline has a handful."""
    numbers: Ints = column * 256 + kind
    return numbers


def _hubs(users: Ints, shared: Ints, degree_max: int) -> set[int]:
    """What more than so many distinct users share."""
    if not len(users):
        return set()
    pairs = np.unique(np.stack([shared, users]), axis=1)
    names, degree = np.unique(pairs[0], return_counts=True)
    return set(names[degree > degree_max].tolist())


def _root(parent: dict[int, int], node: int) -> int:
    while (above := parent.setdefault(node, node)) != node:
        parent[node] = parent[above]
        node = above
    return node


def _join(parent: dict[int, int], a: int, b: int) -> None:
    one, two = _root(parent, a), _root(parent, b)
    parent[max(one, two)] = min(one, two)


def _in_order(names: Ints) -> Ints:
    """The same clusters, numbered as they first come: entities' own numbers depend on arrival."""
    _, first, code = np.unique(names, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    numbered: Ints = rank[code]
    return numbered
