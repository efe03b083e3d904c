"""Classical features of the group `graph`, published at each close.

Of every entity:

- `events`, `amount`: over the horizon, the amount in units of the stream's amount field;
- `velocity_short`: events in the window that closed;
- `events_{span}`, `amount_{span}`: over each of the pipeline's `spans_ms` (`events_1m`), as of the
  close that published them: they are not published again as events leave the span;
- `degree`: of an account, the others that it is tied to; of an attribute, the accounts that use it;
- `size`, `density`: number of accounts in the piece it lies in (see candidates), and the mean
  weight over all pairs of them;
- `core_number`: in the piece; of an attribute, the largest among its members there;
- `known_bad_near`: 1 / (1 + distance) to the nearest account or attribute known to be bad, sharing
  an attribute being one step for accounts, and an account and its attribute one step from each
  other; 1 for one that is itself known to be bad, 0 where none is near;
- `subgraph_since_ms`: when its candidate subgraph's hash last changed, by the pipeline's clock;
- `{aggregate}_mean` (absent without values) and `{aggregate}_count`, of its `[[aggregates]]`.

Of accounts also

- `triangles`: those in the piece that the account is part of;
- `bad_rank`: personalised PageRank, restarted with .15 at accounts known to be bad, over the
  explored accounts that can be reached from one, weighted by adjacency (Page et al. 1999, "The
  PageRank citation ranking", section 6); 0 where none can be reached.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import networkx as nx

from enrichment.window.candidates import SIXTEENTHS, Candidate, Limits, Neighbourhood
from enrichment.window.graph import Entity
from enrichment.window.horizon import Horizon
from enrichment.window.known_bad import KnownBad

MICRO: Final = 1_000_000  # aggregates travel in millionths
DAMPING: Final = 0.85  # as in the literature
STEPS_MAX: Final = 100  # .85 ** 100 is below 1e-7
RANK_CHANGE_MIN: Final = 1e-9  # summed over all accounts: below what is published
RANK_DIGITS: Final = 6
_NOTHING: Final = [0, 0]


class Placement(NamedTuple):
    """Where an entity lies in the graph: what changes only when its surroundings do."""

    subgraph: str = ""
    degree: int = 0
    size: int = 0
    density: float = 0.0
    core_number: int = 0
    triangles: int = 0
    known_bad_near: float = 0.0
    bad_rank: float = 0.0


@dataclass(frozen=True, slots=True)
class Vicinity:
    """How far explored accounts are from the nearest that is known to be bad, and their ranks."""

    distances: dict[str, int]
    ranks: dict[str, float]
    known_bad: KnownBad
    as_of_ms: int

    def near(self, account: Entity) -> float:
        """`known_bad_near` of an account."""
        if self.known_bad.flagged(account, self.as_of_ms):
            return 1.0
        distance = self.distances.get(account.id)
        return 0.0 if distance is None else 1 / (1 + distance)

    def near_attribute(self, attribute: Entity, members: Iterable[str]) -> float:
        """`known_bad_near` of an attribute with those members."""
        if self.known_bad.flagged(attribute, self.as_of_ms):
            return 1.0
        if not self.distances:
            return 0.0
        known = [self.distances[account] for account in members if account in self.distances]
        return 1 / (2 + min(known)) if known else 0.0


def vicinity(
    horizon: Horizon, found: Neighbourhood, known_bad: KnownBad, as_of_ms: int, limits: Limits
) -> Vicinity:
    """A breadth-first search over what was explored, from all who are known to be bad at once."""
    kind = horizon.node_kind
    level = {a for a in found.weights if known_bad.flagged(Entity(kind, a), as_of_ms)}
    distances = dict.fromkeys(level, 0)
    beside: set[str] = set()
    if known_bad.kinds - {kind}:
        beside = {
            account
            for account in found.explored
            for attribute in horizon.attributes.get(account, {})
            if len(horizon.members[attribute]) <= limits.degree_max[attribute.kind]
            and known_bad.flagged(attribute, as_of_ms)
        }
    distance = 0
    while level or beside:
        distance += 1
        reached = {other for account in level for other in found.weights[account]} | beside
        beside = set()
        level = {account for account in reached if account not in distances}
        distances.update(dict.fromkeys(level, distance))
    return Vicinity(distances, bad_ranks(found, distances), known_bad, as_of_ms)


def bad_ranks(found: Neighbourhood, distances: dict[str, int]) -> dict[str, float]:
    """`bad_rank` of every account that can be reached from one at distance 0, by power iteration.

    Sums run in the order of names, so that the same graph gives the same ranks.
    """
    bad = sorted(account for account, distance in distances.items() if distance == 0)
    if not bad:
        return {}
    reached = sorted(distances)
    outgoing = {
        account: [(other, w) for other, w in sorted(found.weights[account].items())]
        for account in reached
    }
    strength = {account: sum(w for _, w in ties) for account, ties in outgoing.items()}
    restart = dict.fromkeys(reached, 0.0) | dict.fromkeys(bad, 1 / len(bad))
    ranks = restart
    for _ in range(STEPS_MAX):
        spread = dict.fromkeys(reached, 0.0)
        idle = 0.0  # what stands on accounts without ties goes back to the start
        for account, rank in ranks.items():
            if not strength[account]:
                idle += rank
                continue
            share = rank / strength[account]
            for other, w in outgoing[account]:
                spread[other] += share * w
        after = {
            account: DAMPING * (spread[account] + idle * restart[account])
            + (1 - DAMPING) * restart[account]
            for account in reached
        }
        change = sum(abs(after[account] - ranks[account]) for account in reached)
        ranks = after
        if change < RANK_CHANGE_MIN:
            break
    return {account: round(rank, RANK_DIGITS) for account, rank in ranks.items()}


def place_accounts(
    piece: Candidate, found: Neighbourhood, near: Vicinity, node_kind: str
) -> dict[Entity, Placement]:
    """Where the accounts of one piece lie."""
    cores, triangles = _cores_and_triangles(piece)
    density = density_of(piece)
    placements = {}
    for index, account in enumerate(piece.nodes):
        entity = Entity(node_kind, account)
        placements[entity] = Placement(
            subgraph=piece.subgraph,
            degree=len(found.weights[account]),
            size=len(piece.nodes),
            density=density,
            core_number=cores[index],
            triangles=triangles[index],
            known_bad_near=near.near(entity),
            bad_rank=near.ranks.get(account, 0.0),
        )
    return placements


def _cores_and_triangles(piece: Candidate) -> tuple[dict[int, int], dict[int, int]]:
    """Core number and triangles by the node's index."""
    nodes = range(len(piece.nodes))
    if len(nodes) < 3:  # most pieces by far, and not worth a graph
        return dict.fromkeys(nodes, len(piece.edges)), dict.fromkeys(nodes, 0)
    graph = nx.Graph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from((i, j) for i, j, _ in piece.edges)
    return nx.core_number(graph), nx.triangles(graph)


def density_of(piece: Candidate) -> float:
    """The mean weight over all pairs of the piece's accounts, 0 to 1."""
    pairs = len(piece.nodes) * (len(piece.nodes) - 1) / 2
    return sum(weight for _, _, weight in piece.edges) / SIXTEENTHS / pairs if pairs else 0.0


def place_attribute(
    horizon: Horizon,
    attribute: Entity,
    within: tuple[Candidate, dict[Entity, Placement]] | None,
    near: Vicinity,
    limits: Limits,
) -> Placement:
    """Where an attribute lies: `within` is the piece that it ties most of, and its accounts."""
    members = horizon.members.get(attribute, {})
    hub = len(members) > limits.degree_max.get(attribute.kind, 0)
    bad = near.near_attribute(attribute, () if hub else members)
    if within is None or hub:
        return Placement(degree=len(members), known_bad_near=bad)
    piece, placements = within
    tied = [Entity(horizon.node_kind, piece.nodes[index]) for index in piece.shared[attribute]]
    return Placement(
        subgraph=piece.subgraph,
        degree=len(members),
        size=len(piece.nodes),
        density=density_of(piece),
        core_number=max(placements[account].core_number for account in tied),
        known_bad_near=bad,
    )


def values(
    horizon: Horizon, entity: Entity, placement: Placement, velocity: int, amount_scale: int
) -> dict[str, float]:
    """The features by name; `velocity` is the entity's events in the window."""
    events, amount_minor = horizon.tallies.get(entity, _NOTHING)
    named: dict[str, float] = {
        "events": events,
        "amount": amount_minor / amount_scale,
        "velocity_short": velocity,
        "degree": placement.degree,
        "size": placement.size,
        "density": placement.density,
        "core_number": placement.core_number,
        "known_bad_near": placement.known_bad_near,
    }
    if entity.kind == horizon.node_kind:
        named["triangles"] = placement.triangles
        named["bad_rank"] = placement.bad_rank
    for span in horizon.spans:
        span_events, span_amount_minor = span.totals.get(entity, _NOTHING)
        named[span.events_name] = span_events
        named[span.amount_name] = span_amount_minor / amount_scale
    for running in horizon.aggregates:
        if running.kind == entity.kind:
            count, total = running.totals.get(entity.id, (0, 0))
            named[f"{running.name}_count"] = count
            if count:
                named[f"{running.name}_mean"] = total / MICRO / count
    return named
