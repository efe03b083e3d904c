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

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from math import sqrt
from typing import Final

import msgspec
import networkx as nx
import numpy as np
from numpy.typing import NDArray

from enrichment.pipelines import Pipeline
from enrichment.window.entities import Numbers
from enrichment.window.graph import DIRECT
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
_AGE_WEIGHTS: Final = np.array([round(2**16 * 0.5 ** (n / 4)) for n in range(_AGE_STEPS + 1)])
_HALF: Final = 32  # a pair of numbers is sorted as one

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

    # Symmetric, of accounts that are tied to somebody. Those that were seen and not explored stand
    # in it by their explored neighbours.
    weights: Weights = field(default_factory=dict)
    # The explored ones of these, and of those that are tied to nobody: by number.
    explored: set[int] = field(default_factory=set)
    lone: set[int] = field(default_factory=set)
    hubs: set[int] = field(default_factory=set)

    def inner(self, horizon: Horizon) -> Weights:
        """The graph of the explored accounts alone, without those that are tied to nobody."""
        named = horizon.entities.named
        names = {named[number].id for number in self.explored}
        return {
            node: {other: w for other, w in self.weights[node].items() if other in names}
            for node in names
        }


def subgraph_hash(
    nodes: tuple[str, ...], weights: tuple[tuple[int, int, int], ...], known_bad: tuple[int, ...]
) -> str:
    """The hash of exactly what a model is built from: equal hashes, equal models."""
    return sha256(_ENCODER.encode((nodes, weights, known_bad))).hexdigest()[:HASH_DIGITS]


def explore(
    horizon: Horizon,
    touched: Iterable[int],
    beside: Sequence[int],
    limits: Limits,
    explored_max: int = EXPLORED_MAX,
) -> Neighbourhood:
    """The touched accounts and those tied to them, level by level; then those beside, in order.

    Beyond the touched ones that many are explored, or as many as were touched. An account beside
    is explored with everybody whom it is tied to or not at all: half a subgraph would break it up.
    Accounts are given by number.
    """
    walk = _Walk(horizon, limits)
    start = {account for account in touched if horizon.tied(account)}
    room = max(explored_max, len(start))
    room -= len(walk.from_(start, len(start) + room)[0]) - len(start)
    left = [account for account in beside if horizon.tied(account)]
    while room > 0 and left:
        # As many as there may be room for are projected at once.
        some, left = left[:room], left[room:]
        walk.project([account for account in some if account not in walk.explored])
        for account in some:
            if room > 0 and account not in walk.explored:
                walked, whole = walk.from_({account}, room)
                room -= len(walked)
                if not whole:
                    walk.explored.difference_update(walked)
    return walk.found()


class _Walk:
    """Exploring, and what it has found so far. Accounts are known by number."""

    def __init__(self, horizon: Horizon, limits: Limits) -> None:
        self.explored: set[int] = set()
        self._horizon = horizon
        self._projection = Projection(horizon, limits)
        # Account -> neighbour -> sixteenths, of those that were projected.
        self._rows: dict[int, dict[int, int]] = {}

    def project(self, accounts: Iterable[int]) -> None:
        """Work out whom these are tied to, if that is not known yet."""
        if new := [account for account in accounts if account not in self._rows]:
            self._rows.update(self._projection.neighbours(new))

    def from_(self, start: set[int], room: int) -> tuple[list[int], bool]:
        """Explore those accounts and whom they are tied to; who they were, and whether all."""
        named, walked = self._horizon.entities.named, list[int]()
        level, whole = list(start), True
        while level and whole:
            whole = len(walked) + len(level) <= room
            if not whole:  # who comes first must not depend on who has which number
                level.sort(key=named.__getitem__)
                level = level[: room - len(walked)]
            walked += level
            self.explored.update(level)
            self.project(level)
            beyond = set[int]().union(*(self._rows[account] for account in level))
            level = list(beyond - self.explored)
        return walked, whole

    def found(self) -> Neighbourhood:
        """By name what was found around the explored accounts."""
        found = Neighbourhood(hubs=self._projection.hubs)
        named, weights = self._horizon.entities.named, found.weights
        for account in self.explored:
            row = self._rows[account]
            if not row:
                found.lone.add(account)
                continue
            found.explored.add(account)
            name = named[account].id
            mine = weights.setdefault(name, {})
            for other, weight in row.items():
                mine[named[other].id] = weight
                if other not in self.explored:
                    weights.setdefault(named[other].id, {})[name] = weight
        return found


class Projection:
    """Who is tied to whom by what they share, many accounts at once."""

    def __init__(self, horizon: Horizon, limits: Limits) -> None:
        # Attributes, and accounts with direct links, that tie nobody: those that were met.
        self.hubs: set[int] = set()
        self._horizon = horizon
        self._limits = limits
        # Attribute kind -> what sharing one weighs by how many do, in units of 2**-16.
        self._shares = {
            kind: [0, 0, *(_share(limits.weight[kind], degree) for degree in range(2, most + 1))]
            for kind, most in limits.degree_max.items()
            if kind != DIRECT
        }

    def neighbours(self, accounts: Sequence[int]) -> dict[int, dict[int, int]]:
        """The neighbours of each of these, with their weights in sixteenths, 1 to 16."""
        wanted = np.zeros(len(self._horizon.entities), np.bool_)
        wanted[accounts] = True
        parts = [*self._shared_pairs(accounts, wanted), *self._direct_pairs(accounts)]
        rows: dict[int, dict[int, int]] = {account: {} for account in accounts}
        if not parts:
            return rows
        pairs = np.concatenate([pair for pair, _ in parts])
        shares = np.concatenate([share for _, share in parts])
        order = np.argsort(pairs, kind="stable")
        pairs = pairs[order]
        first = np.flatnonzero(np.concatenate(([True], pairs[1:] != pairs[:-1])))
        pairs, shares = pairs[first], np.add.reduceat(shares[order], first)
        # Rounded to the nearest; what is below the least weight is no edge.
        strong = shares * SIXTEENTHS >= self._limits.sixteenths_min * _ONE - _ONE // 2
        pairs, shares = pairs[strong], shares[strong]
        weights = np.minimum(SIXTEENTHS, (shares * SIXTEENTHS + _ONE // 2) // _ONE)
        columns = (pairs >> _HALF, pairs & (1 << _HALF) - 1, weights)
        for a, b, weight in zip(*(column.tolist() for column in columns), strict=True):
            if (row := rows.get(a)) is not None:
                row[b] = weight
            if (row := rows.get(b)) is not None:
                row[a] = weight
        return rows

    def _shared_pairs(
        self, accounts: Sequence[int], wanted: NDArray[np.bool_]
    ) -> Iterator[tuple[Numbers, Numbers]]:
        """Pairs of accounts, as one number each, and what one attribute gives them.

        Attributes of one degree are taken together: their pairs are those of a matrix's columns.
        """
        horizon = self._horizon
        shared, named = horizon.shared, horizon.entities.named
        attributes = set[int]().union(*(shared.get(account, ()) for account in accounts))
        # Degree -> the shares of its attributes, and all of their ties.
        by_degree: dict[int, tuple[list[int], list[int]]] = {}
        for attribute in attributes:
            members = shared[attribute]
            degree = len(members)
            if degree < 2:
                continue
            weighed = self._shares[named[attribute].kind]
            if degree >= len(weighed):
                self.hubs.add(attribute)
                continue
            if degree not in by_degree:
                by_degree[degree] = ([], [])
            by_degree[degree][0].append(weighed[degree])
            by_degree[degree][1].extend(members.values())
        for degree, (shares, found) in by_degree.items():
            ties = np.array(found, np.int64)
            accounts_of = horizon.tie_a[ties].reshape(-1, degree)
            aged = self._ages(ties).reshape(-1, degree) * np.array(shares, np.int64)[:, None]
            one, other = np.triu_indices(degree, 1)
            a, b = accounts_of[:, one], accounts_of[:, other]
            chosen = wanted[a] | wanted[b]
            # The weight of the one who was seen there longer ago, which is the lesser.
            share = np.minimum(aged[:, one], aged[:, other])
            yield _pairs(a[chosen], b[chosen]), share[chosen]

    def _direct_pairs(self, accounts: Sequence[int]) -> Iterator[tuple[Numbers, Numbers]]:
        """The same of direct links, each way, unless one of the ends is a hub."""
        horizon = self._horizon
        if not horizon.outgoing:
            return
        most, degree_of = self._limits.degree_max[DIRECT], horizon.direct_degree
        ties: set[int] = set()
        for account in accounts:
            rows = (horizon.outgoing.get(account, {}), horizon.incoming.get(account, {}))
            if degree_of(account) > most:
                self.hubs.add(account)
                continue
            for row in rows:
                for other, tie in row.items():
                    if degree_of(other) > most:
                        self.hubs.add(other)
                    else:
                        ties.add(tie)
        chosen = np.array(sorted(ties), np.int64)
        share = round((_ONE >> 16) * self._limits.weight[DIRECT])
        yield _pairs(horizon.tie_a[chosen], horizon.tie_b[chosen]), self._ages(chosen) * share

    def _ages(self, ties: Numbers) -> Numbers:
        """The age weight of each tie, in units of 2**-16."""
        horizon_ms = self._limits.horizon_ms
        age_ms = self._horizon.now_ms - self._horizon.tie_newest_ms[ties]
        ages: Numbers = _AGE_WEIGHTS[(_AGE_STEPS * age_ms // horizon_ms).clip(0, _AGE_STEPS)]
        return ages


def _share(weight: float, degree: int) -> int:
    return round((_ONE >> 16) * weight / sqrt(degree - 1))


def _pairs(a: Numbers, b: Numbers) -> Numbers:
    """Each pair as one number, the lesser in the upper half."""
    pairs: Numbers = np.minimum(a, b) << _HALF | np.maximum(a, b)
    return pairs


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
