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

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

import networkx as nx
import numpy as np

from enrichment.window.candidates import Candidate
from enrichment.window.entities import Entity
from enrichment.window.horizon import Horizon
from enrichment.window.known_bad import KnownBad
from enrichment.window.limits import SIXTEENTHS, Limits
from enrichment.window.neighbourhood import Neighbourhood
from enrichment.window.sliding import Sliding

MICRO: Final = 1_000_000  # aggregates travel in millionths
DAMPING: Final = 0.85  # as in the literature
STEPS_MAX: Final = 100  # .85 ** 100 is below 1e-7
RANK_CHANGE_MIN: Final = 1e-9  # summed over all accounts: below what is published
RANK_DIGITS: Final = 6
SHAPES_MAX: Final = 4_096  # of pieces, most of which come again at the next close: some 10 MB


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

    horizon: Horizon
    # By account.
    distances: dict[str, int]
    ranks: dict[str, float]
    known_bad: KnownBad
    as_of_ms: int

    def near(self, account: str) -> float:
        """`known_bad_near` of an account."""
        if self.flagged(Entity(self.horizon.node_kind, account)):
            return 1.0
        distance = self.distances.get(account)
        return 0.0 if distance is None else 1 / (1 + distance)

    def near_attribute(self, number: int, members: Iterable[int]) -> float:
        """`known_bad_near` of an attribute with those members, all by number."""
        named = self.horizon.entities.named
        if self.flagged(named[number]):
            return 1.0
        if not self.distances:
            return 0.0
        known = [self.distances.get(named[member].id) for member in members]
        nearest = min((distance for distance in known if distance is not None), default=None)
        return 0.0 if nearest is None else 1 / (2 + nearest)

    def flagged(self, entity: Entity) -> bool:
        """Whether the entity itself is known to be bad."""
        return bool(self.known_bad.kinds) and self.known_bad.flagged(entity, self.as_of_ms)


def vicinity(
    horizon: Horizon, found: Neighbourhood, known_bad: KnownBad, as_of_ms: int, limits: Limits
) -> Vicinity:
    """A breadth-first search over what was explored, from all who are known to be bad at once."""
    kind, named = horizon.node_kind, horizon.entities.named
    near = Vicinity(horizon, {}, {}, known_bad, as_of_ms)
    if not known_bad.kinds:
        return near
    lone = [named[number].id for number in found.lone]
    level = {a for a in (*found.weights, *lone) if near.flagged(Entity(kind, a))}
    distances = dict.fromkeys(level, 0)
    beside: set[str] = set()
    if known_bad.kinds - {kind}:
        beside = {
            named[account].id
            for account in found.explored | found.lone
            for attribute in horizon.shared.get(account, {})
            if len(horizon.shared[attribute]) <= limits.degree_max[named[attribute].kind]
            and near.flagged(named[attribute])
        }
    distance = 0
    while level or beside:
        distance += 1
        reached = {other for account in level for other in found.weights.get(account, ())} | beside
        beside = set()
        level = {account for account in reached if account not in distances}
        distances.update(dict.fromkeys(level, distance))
    return replace(near, distances=distances, ranks=bad_ranks(found, distances))


def bad_ranks(found: Neighbourhood, distances: dict[str, int]) -> dict[str, float]:
    """`bad_rank` of every account that can be reached from one at distance 0, by power iteration.

    Sums run in the order of names, so that the same graph gives the same ranks.
    """
    bad = sorted(account for account, distance in distances.items() if distance == 0)
    if not bad:
        return {}
    reached = sorted(distances)
    outgoing = {
        account: [(other, w) for other, w in sorted(found.weights.get(account, {}).items())]
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


def place_accounts(piece: Candidate, found: Neighbourhood, near: Vicinity) -> dict[int, Placement]:
    """Where the accounts of one piece lie, by number."""
    cores, triangles = _cores_and_triangles(
        len(piece.nodes), tuple((i, j) for i, j, _ in piece.edges)
    )
    density = density_of(piece)
    placements = {}
    for index, (number, account) in enumerate(zip(piece.numbers, piece.nodes, strict=True)):
        placements[number] = Placement(
            subgraph=piece.subgraph,
            degree=len(found.weights[account]),
            size=len(piece.nodes),
            density=density,
            core_number=cores[index],
            triangles=triangles[index],
            known_bad_near=near.near(account),
            bad_rank=near.ranks.get(account, 0.0),
        )
    return placements


@lru_cache(maxsize=SHAPES_MAX)
def _cores_and_triangles(
    nodes: int, edges: tuple[tuple[int, int], ...]
) -> tuple[dict[int, int], dict[int, int]]:
    """Core number and triangles by the node's index."""
    if nodes < 3:  # most pieces by far, and not worth a graph
        return dict.fromkeys(range(nodes), len(edges)), dict.fromkeys(range(nodes), 0)
    graph = nx.Graph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from(edges)
    return nx.core_number(graph), nx.triangles(graph)


def density_of(piece: Candidate) -> float:
    """The mean weight over all pairs of the piece's accounts, 0 to 1."""
    pairs = len(piece.nodes) * (len(piece.nodes) - 1) / 2
    return sum(weight for _, _, weight in piece.edges) / SIXTEENTHS / pairs if pairs else 0.0


def place_attribute(
    horizon: Horizon,
    attribute: int,
    within: tuple[Candidate, dict[int, Placement]] | None,
    near: Vicinity,
    limits: Limits,
) -> Placement:
    """Where an attribute lies: `within` is the piece that it ties most of, and its accounts."""
    members = horizon.shared.get(attribute, {})
    hub = len(members) > limits.degree_max.get(horizon.entities.named[attribute].kind, 0)
    bad = near.near_attribute(attribute, () if hub else members)
    if within is None or hub:
        return Placement(degree=len(members), known_bad_near=bad)
    piece, placements = within
    tied = [piece.numbers[index] for index in piece.shared[attribute]]
    return Placement(
        subgraph=piece.subgraph,
        degree=len(members),
        size=len(piece.nodes),
        density=density_of(piece),
        core_number=max(placements[account].core_number for account in tied),
        known_bad_near=bad,
    )


def values(
    horizon: Horizon,
    numbers: Sequence[int],
    placed: Mapping[int, Placement],
    counted: Mapping[int, int],
    amount_scale: int,
) -> Iterator[dict[str, float]]:
    """The features of each entity by name; `counted` are an entity's events in the window."""
    named, node_kind = horizon.entities.named, horizon.node_kind
    events, amounts = _totals(horizon, horizon.tallies, numbers, amount_scale)
    spans = [
        (span.events_name, span.amount_name, *_totals(horizon, span.totals, numbers, amount_scale))
        for span in horizon.spans
    ]
    for at, number in enumerate(numbers):
        placement = placed[number]
        found: dict[str, float] = {
            "events": events[at],
            "amount": amounts[at],
            "velocity_short": counted.get(number, 0),
            "degree": placement.degree,
            "size": placement.size,
            "density": placement.density,
            "core_number": placement.core_number,
            "known_bad_near": placement.known_bad_near,
        }
        kind = named[number].kind
        if kind == node_kind:
            found["triangles"] = placement.triangles
            found["bad_rank"] = placement.bad_rank
        for events_name, amount_name, span_events, span_amounts in spans:
            found[events_name] = span_events[at]
            found[amount_name] = span_amounts[at]
        for running in horizon.aggregates:
            if running.kind == kind:
                count, total = running.totals.get(named[number].id, (0, 0))
                found[f"{running.name}_count"] = count
                if count:
                    found[f"{running.name}_mean"] = total / MICRO / count
        yield found


def _totals(
    horizon: Horizon, totals: Sliding, numbers: Sequence[int], amount_scale: int
) -> tuple[list[int], list[float]]:
    """Events and amounts, in units of the stream's amount field."""
    totals.fit(len(horizon.entities))
    chosen = np.array(numbers, np.int64)
    return totals.events[chosen].tolist(), (totals.amount_minor[chosen] / amount_scale).tolist()
