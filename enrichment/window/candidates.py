"""Candidate subgraphs: from the accounts touched in a window to the few small graphs worth solving.

Two accounts are adjacent by what they share: each attribute of degree d adds w / sqrt(d - 1), a
direct link adds w in each direction, w being the link's weight in the pipeline file, times an age
weight. The sum is clipped to 1 and quantised to sixteenths; what stays below `weight_min` is no
edge. Attributes and direct neighbours above `degree_max` are hubs, and tie nobody. Sums are of
integers, so that the same graph gives the same weights in whatever order it came.

Why the root: by 1 / (d - 1) a ring of ten on one device is tied by .11, less than two strangers who
happen to pay the same shop. On simulated streams with decoys the root and a floor of .35 keep 91 %
of the pairs within planted rings, and 1 % of those at a kiosk.

The neighbourhood of the touched accounts is explored up to a bound, cut into components, and those
that are too large by community, until each piece fits. An account is in one piece.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from math import sqrt
from operator import itemgetter
from typing import Final

import msgspec
import networkx as nx

from enrichment.pipelines import Pipeline
from enrichment.window.graph import Entity
from enrichment.window.horizon import Horizon

SIXTEENTHS: Final = 16
MEMBERS_MIN: Final = 3  # two accounts that share something are a pair, not a ring
# Accounts beyond those touched, or as many as were touched: a giant component must not be walked.
EXPLORED_MAX: Final = 256
COMMUNITY_NODES_MAX: Final = 256  # Louvain in Python takes some 20 ms at this size
SHARED_MAX: Final = 64  # attributes listed with a piece; those that tie most come first
HASH_DIGITS: Final = 16
_SEED: Final = 7  # of the community search: any, but always the same

# A share is counted in units of 2**-32, an age weight in 2**-16.
_ONE: Final = 1 << 32
# Ties fade by half in half a horizon, in steps of an eighth: coarse, so that a subgraph in which
# nothing happens keeps its hash.
_AGE_STEPS: Final = 8
_AGE_WEIGHTS: Final[tuple[int, ...]] = tuple(
    round(2**16 * 0.5 ** (step / 4)) for step in range(_AGE_STEPS + 1)
)

_ENCODER: Final = msgspec.json.Encoder()

Weights = dict[str, dict[str, int]]
Piece = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a pipeline file says of links and problems."""

    horizon_ms: int
    variables_max: int
    problems_max: int
    # Attribute kind (or `>`) -> the most that may share it, and what sharing it weighs.
    degree_max: dict[str, int]
    weight: dict[str, float]
    # The least adjacency that is an edge, in sixteenths.
    sixteenths_min: int

    @classmethod
    def of(cls, pipeline: Pipeline) -> "Limits":
        """The limits that the pipeline's file states; of two for one kind, the stricter."""
        degree_max: dict[str, int] = {}
        weight: dict[str, float] = {}
        for link in pipeline.links:
            kind = ">" if link.direct else pipeline.kind(link.roles[1])
            degree_max[kind] = min(link.degree_max, degree_max.get(kind, link.degree_max))
            weight[kind] = min(link.weight, weight.get(kind, link.weight))
        return cls(
            horizon_ms=pipeline.window.horizon_ms,
            variables_max=pipeline.problem.variables_max,
            problems_max=pipeline.problem.problems_max,
            degree_max=degree_max,
            weight=weight,
            sixteenths_min=max(1, round(pipeline.problem.weight_min * SIXTEENTHS)),
        )


@dataclass(slots=True)
class Neighbourhood:
    """What exploring found: the weights around every explored account, and the hubs met."""

    # Symmetric. Accounts that were seen and not explored stand in it by their explored neighbours.
    weights: Weights = field(default_factory=dict)
    explored: set[str] = field(default_factory=set)
    hubs: set[Entity] = field(default_factory=set)

    def inner(self) -> Weights:
        """The graph of the explored accounts alone."""
        return {
            node: {other: w for other, w in self.weights[node].items() if other in self.explored}
            for node in self.explored
        }


def subgraph_hash(
    nodes: tuple[str, ...], weights: tuple[tuple[int, int, int], ...], known_bad: tuple[int, ...]
) -> str:
    """The hash of exactly what a model is built from: equal hashes, equal models."""
    return sha256(_ENCODER.encode((nodes, weights, known_bad))).hexdigest()[:HASH_DIGITS]


def explore(
    horizon: Horizon,
    touched: Iterable[str],
    beside: Iterable[str],
    limits: Limits,
    explored_max: int = EXPLORED_MAX,
) -> Neighbourhood:
    """The touched accounts and those tied to them, level by level; then those beside, in order.

    Beyond the touched ones that many are explored, or as many as were touched. An account beside
    is explored with everybody whom it is tied to or not at all: half a subgraph would break it up.
    """
    found = Neighbourhood()
    projection = Projection(horizon, limits, found.hubs)
    start = {account for account in touched if account in horizon}
    room = max(explored_max, len(start))
    room -= len(_walk(found, projection, start, len(start) + room)[0]) - len(start)
    for account in beside:
        if room <= 0:
            break
        if account in horizon and account not in found.explored:
            walked, whole = _walk(found, projection, {account}, room)
            room -= len(walked)
            if not whole:
                found.explored.difference_update(walked)
    return found


def _walk(
    found: Neighbourhood, projection: "Projection", start: set[str], room: int
) -> tuple[list[str], bool]:
    """Explore those accounts and whom they are tied to; who they were, and whether that was all."""
    walked: list[str] = []
    level, whole = sorted(start), True
    while level and whole:
        whole = len(walked) + len(level) <= room
        level = level[: room - len(walked)]
        walked += level
        found.explored.update(level)
        beyond: set[str] = set()
        for account in level:
            row = found.weights.setdefault(account, {})
            for other, weight in projection.neighbours(account).items():
                row[other] = weight
                found.weights.setdefault(other, {})[account] = weight
                if other not in found.explored:
                    beyond.add(other)
        level = sorted(beyond)
    return walked, whole


class Projection:
    """Who is tied to whom by what they share, worked out as it is asked for."""

    def __init__(self, horizon: Horizon, limits: Limits, hubs: set[Entity]) -> None:
        """Hubs that are met are added to `hubs`."""
        self._horizon = horizon
        self._limits = limits
        self._hubs = hubs
        # Attribute -> member -> its share, aged; empty where it ties nobody.
        self._shares: dict[Entity, dict[str, int]] = {}

    def neighbours(self, account: str) -> dict[str, int]:
        """The account's neighbours with their weights in sixteenths, 1 to 16."""
        # Rounded to the nearest; what is below the least weight is no edge.
        least = self._limits.sixteenths_min * _ONE - _ONE // 2
        tied = []
        for attribute in self._horizon.attributes.get(account, ()):
            aged = self._shares.get(attribute)
            if aged is None:
                aged = self._shares[attribute] = self._aged(attribute)
            if aged:
                tied.append((aged[account], aged))
        # The attributes that weigh least have most members, and all together make no edge: who
        # shares nothing else is no neighbour, and need not be looked at.
        tied.sort(key=itemgetter(0))
        light, weight = 0, 0
        while light < len(tied) and (weight + tied[light][0]) * SIXTEENTHS < least:
            weight += tied[light][0]
            light += 1
        shares: dict[str, int] = {}
        get = shares.get
        for mine, aged in tied[light:]:
            for other, theirs in aged.items():
                # The weight of the one who was seen there longer ago, which is the lesser.
                shares[other] = get(other, 0) + (theirs if theirs < mine else mine)
        shares.pop(account, None)
        self._add_direct(account, shares)
        for mine, aged in tied[:light]:
            for other in shares.keys() & aged.keys():
                shares[other] += min(mine, aged[other])
        return {
            other: min(SIXTEENTHS, (share * SIXTEENTHS + _ONE // 2) // _ONE)
            for other, share in shares.items()
            if share * SIXTEENTHS >= least
        }

    def _aged(self, attribute: Entity) -> dict[str, int]:
        """What the attribute weighs for each of its members; nothing for a hub or a lone one."""
        members = self._horizon.members[attribute]
        if len(members) > self._limits.degree_max[attribute.kind]:
            self._hubs.add(attribute)
            return {}
        if len(members) < 2:
            return {}
        weight = self._limits.weight[attribute.kind]
        share = round((_ONE >> 16) * weight / sqrt(len(members) - 1))
        now_ms, horizon_ms = self._horizon.now_ms, self._limits.horizon_ms
        return {
            member: share * _age(now_ms - tie.newest_ms, horizon_ms)
            for member, tie in members.items()
        }

    def _add_direct(self, account: str, shares: dict[str, int]) -> None:
        """Add the account's direct links, both ways, unless it or the other end is a hub."""
        horizon, limits = self._horizon, self._limits
        outgoing, incoming = horizon.outgoing.get(account, {}), horizon.incoming.get(account, {})
        if not outgoing and not incoming:
            return
        degree_max = limits.degree_max[">"]
        if horizon.direct_degree(account) > degree_max:
            self._hubs.add(Entity(horizon.node_kind, account))
            return
        share = round((_ONE >> 16) * limits.weight[">"])
        for ties in (outgoing, incoming):
            for other, tie in ties.items():
                if horizon.direct_degree(other) > degree_max:
                    self._hubs.add(Entity(horizon.node_kind, other))
                else:
                    age = _age(horizon.now_ms - tie.newest_ms, limits.horizon_ms)
                    shares[other] = shares.get(other, 0) + share * age


def _age(age_ms: int, horizon_ms: int) -> int:
    return _AGE_WEIGHTS[max(0, min(_AGE_STEPS, _AGE_STEPS * age_ms // horizon_ms))]


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
    # Attributes that tie two or more of the nodes -> their indices, ascending.
    shared: dict[Entity, tuple[int, ...]]


def pieces(found: Neighbourhood, variables_max: int) -> tuple[list[Piece], int]:
    """The explored accounts in pieces that fit; and how many splitting left too small to solve."""
    inner = found.inner()
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
    if len(piece) == 1:  # as most are: there is nothing to look for
        lone = (0,) if piece[0] in bad else ()
        return Candidate(nodes=piece, edges=(), known_bad=lone, subgraph="", shared={})
    index = {node: number for number, node in enumerate(piece)}
    edges = edges_of(found.weights, piece, index)
    known_bad = tuple(index[node] for node in piece if node in bad)
    shared: dict[Entity, list[int]] = {}
    for node in piece:
        for attribute in horizon.attributes.get(node, {}):
            degree = len(horizon.members[attribute])
            if 2 <= degree <= limits.degree_max[attribute.kind]:
                shared.setdefault(attribute, []).append(index[node])
    ties = sorted(
        ((key, ids) for key, ids in shared.items() if len(ids) > 1),
        key=lambda tie: (-len(tie[1]), tie[0]),
    )
    return Candidate(
        nodes=piece,
        edges=edges,
        known_bad=known_bad,
        subgraph=subgraph_hash(piece, edges, known_bad) if len(piece) >= MEMBERS_MIN else "",
        shared={key: tuple(ids) for key, ids in ties[:SHARED_MAX]},
    )
