"""Candidate subgraphs: from the accounts touched in a window to the few small graphs worth solving.

The neighbourhood of the touched accounts is cut into components, and those that are too large by
community, until each piece fits. An account is in one piece.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

import networkx as nx

from enrichment.records.micro_batch import subgraph_hash
from enrichment.window.horizon import Horizon
from enrichment.window.limits import SIXTEENTHS, Limits
from enrichment.window.neighbourhood import Neighbourhood, Weights

MEMBERS_MIN: Final = 3  # two accounts that share something are a pair, not a ring
COMMUNITY_NODES_MAX: Final = 256  # Louvain in Python takes some 20 ms at this size
SHARED_MAX: Final = 64  # attributes listed with a piece; those that tie most come first
_SEED: Final = 7  # of the community search: any, but always the same

Piece = tuple[str, ...]


def components(weights: Weights, nodes: Iterable[str], weight_min: int = 1) -> Iterator[Piece]:
    """The components of the graph on those nodes, of edges of at least `weight_min`, sorted."""
    left = set(nodes)
    for start in sorted(left):
        if start not in left:
            continue
        left.discard(start)
        reached, stack = [start], [start]
        while stack:
            for other, weight in weights[stack.pop()].items():
                if weight >= weight_min and other in left:
                    left.discard(other)
                    reached.append(other)
                    stack.append(other)
        yield tuple(sorted(reached))


def split(weights: Weights, component: Piece, nodes_max: int) -> Iterator[Piece]:
    """The component in pieces of at most `nodes_max` accounts; each account is in one.

    A very large one first loses its weakest ties, level by level; then communities are found
    (Louvain, weighted), and halved by their least cut (Kernighan and Lin) where none are.
    """
    stack: list[tuple[Piece, int]] = [(component, 1)]
    while stack:
        piece, weight_min = stack.pop()
        if len(piece) <= nodes_max:
            yield piece
        elif len(piece) > COMMUNITY_NODES_MAX and weight_min < SIXTEENTHS:
            parts = components(weights, piece, weight_min + 1)
            stack.extend((part, weight_min + 1) for part in parts)
        else:
            stack.extend((part, SIXTEENTHS) for part in _communities(weights, piece))


def _communities(weights: Weights, piece: Piece) -> list[Piece]:
    """At least two parts. Nodes are numbered, since sets of text have no fixed order."""
    graph = graph_of(weights, piece)
    parts = nx.community.louvain_communities(graph, weight="weight", seed=_SEED)
    if len(parts) < 2:
        parts = nx.community.kernighan_lin_bisection(graph, weight="weight", seed=_SEED)
    return sorted(tuple(piece[index] for index in sorted(part)) for part in parts)


def graph_of(weights: Weights, piece: Piece) -> nx.Graph:
    """The subgraph on the piece, its nodes numbered in the piece's order."""
    index = {node: number for number, node in enumerate(piece)}
    graph = nx.Graph()
    graph.add_nodes_from(range(len(piece)))
    graph.add_weighted_edges_from(edges_of(weights, piece, index))
    return graph


def edges_of(
    weights: Weights, piece: Piece, index: dict[str, int]
) -> tuple[tuple[int, int, int], ...]:
    """(i, j, sixteenths) with i < j, ascending."""
    return tuple(
        sorted(
            (index[node], index[other], weight)
            for node in piece
            for other, weight in weights[node].items()
            if other in index and index[node] < index[other]
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One piece around touched accounts: a problem, if it has enough members."""

    nodes: Piece
    edges: tuple[tuple[int, int, int], ...]
    known_bad: tuple[int, ...]
    # "" for a piece that is too small to be a candidate subgraph.
    subgraph: str
    # By number: the nodes, and attributes that tie two or more of them -> their indices, ascending.
    numbers: tuple[int, ...]
    shared: dict[int, tuple[int, ...]]


def pieces(horizon: Horizon, found: Neighbourhood, variables_max: int) -> tuple[list[Piece], int]:
    """The explored accounts in pieces that fit; and how many splitting left too small to solve.

    Those that are tied to nobody are left out: there is nothing to look for.
    """
    inner = found.inner(horizon)
    all_pieces: list[Piece] = []
    crumbs = 0
    for component in components(inner, inner):
        parts = list(split(inner, component, variables_max))
        all_pieces += parts
        if len(parts) > 1:
            crumbs += sum(len(part) < MEMBERS_MIN for part in parts)
    return sorted(all_pieces), crumbs


def candidate(
    horizon: Horizon, found: Neighbourhood, piece: Piece, bad: set[str], limits: Limits
) -> Candidate:
    """What the piece gives; `bad` holds its accounts that are known to be bad."""
    number_of = horizon.entities.of_kind(horizon.node_kind)
    numbers = tuple(number_of[node] for node in piece)
    known_bad = tuple(index for index, node in enumerate(piece) if node in bad) if bad else ()
    if len(piece) == 1:
        return Candidate(
            nodes=piece, edges=(), known_bad=known_bad, subgraph="", numbers=numbers, shared={}
        )
    index = {node: number for number, node in enumerate(piece)}
    edges = edges_of(found.weights, piece, index)
    return Candidate(
        nodes=piece,
        edges=edges,
        known_bad=known_bad,
        subgraph=subgraph_hash(piece, edges, known_bad) if len(piece) >= MEMBERS_MIN else "",
        numbers=numbers,
        shared=_shared(horizon, numbers, limits),
    )


def _shared(
    horizon: Horizon, numbers: tuple[int, ...], limits: Limits
) -> dict[int, tuple[int, ...]]:
    """The attributes that tie two or more of these accounts, those that tie most first."""
    named, ties = horizon.entities.named, horizon.shared
    seen = Counter(chain.from_iterable(ties.get(number, ()) for number in numbers))
    tying = [
        attribute
        for attribute, times in seen.items()
        if times > 1 and len(ties[attribute]) <= limits.degree_max[named[attribute].kind]
    ]
    tying.sort(key=lambda attribute: (-seen[attribute], named[attribute]))
    return {
        attribute: tuple(at for at, number in enumerate(numbers) if number in ties[attribute])
        for attribute in tying[:SHARED_MAX]
    }
