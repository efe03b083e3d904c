"""Problems: which candidate subgraphs come first, and what a sampler is told of each."""

from collections.abc import Iterable
from typing import Any

from enrichment.records import Problem, Shared
from enrichment.window.candidates import Candidate
from enrichment.window.content import Content
from enrichment.window.graph import Entity
from enrichment.window.horizon import Horizon


class Ranking:
    """How much the accounts of a shard have moved since each was last part of a problem.

    Bounded by the horizon: an account is forgotten when it leaves that.
    """

    __slots__ = ("_kind", "_moved_minor")

    def __init__(self, node_kind: str) -> None:
        self._kind = node_kind
        self._moved_minor: dict[str, int] = {}

    def add(self, content: Content) -> None:
        """Note what a window moved."""
        moved = self._moved_minor
        for id_, (_, amount_minor, _) in content.tallies.get(self._kind, {}).items():
            moved[id_] = moved.get(id_, 0) + amount_minor

    def solved(self, problem: Problem) -> None:
        """Begin anew for the accounts of a problem that was published."""
        for node in problem.nodes:
            self._moved_minor.pop(node, None)

    def forget(self, entities: Iterable[Entity]) -> None:
        """Drop those that have left the horizon."""
        for entity in entities:
            if entity.kind == self._kind:
                self._moved_minor.pop(entity.id, None)

    def key(self, one: Candidate) -> Any:
        """Sorts candidates: most moved first, then the most strongly tied, then by name."""
        return (
            -sum(self._moved_minor.get(node, 0) for node in one.nodes),
            -sum(weight for _, _, weight in one.edges),
            one.nodes,
        )


def problem_of(horizon: Horizon, one: Candidate, problem_id: str) -> Problem:
    """The problem that a candidate gives, with what its accounts share."""
    kind = horizon.node_kind
    shared, seen = [], []
    for attribute, members in one.shared.items():
        ties = [horizon.members[attribute][one.nodes[index]] for index in members]
        seen += ties
        shared.append(
            Shared(
                entity=attribute.kind,
                id=attribute.id,
                members=members,
                events=sum(tie.events for tie in ties),
                amount_minor=sum(tie.amount_minor for tie in ties),
            )
        )
    inside = set(one.nodes)
    for node in one.nodes:
        outgoing = horizon.outgoing.get(node, {})
        seen += [tie for other, tie in outgoing.items() if other in inside]
    return Problem(
        problem_id=problem_id,
        subgraph=one.subgraph,
        entity=kind,
        nodes=one.nodes,
        weights=one.edges,
        known_bad=one.known_bad,
        shared=tuple(shared),
        amount_minor=sum(horizon.tallies.get(Entity(kind, node), (0, 0))[1] for node in one.nodes),
        first_seen_ms=min((tie.first_ms for tie in seen), default=0),
        last_seen_ms=max((tie.newest_ms for tie in seen), default=0),
    )
