"""What a shard remembers of its candidate subgraphs: who lies in which, and what was solved."""

from collections.abc import Iterable

from enrichment.window.candidates import Candidate
from enrichment.window.classical import Placement


class Memory:
    """The last placement of every entity, as it was published, and the last problem it was in.

    Entities are known by number. Bounded by the horizon: who leaves that is forgotten.
    """

    __slots__ = ("_members", "_solved", "_subgraphs", "placed", "since_ms")

    def __init__(self) -> None:
        self.placed: dict[int, Placement] = {}
        # When the entity's subgraph last changed.
        self.since_ms: dict[int, int] = {}
        # Entity -> hash of its candidate subgraph, and the way back. "" is left out.
        self._subgraphs: dict[int, str] = {}
        self._members: dict[str, set[int]] = {}
        # Entity -> hash of the subgraph of the last problem that it was part of.
        self._solved: dict[int, str] = {}

    def place(self, placements: dict[int, Placement], now_ms: int) -> list[int]:
        """Note where entities lie now; for whom that is news."""
        placed, since_ms, subgraphs = self.placed, self.since_ms, self._subgraphs
        news = []
        for entity, placement in placements.items():
            if placed.get(entity) != placement:
                placed[entity] = placement
                news.append(entity)
            before = subgraphs.get(entity, "")
            if entity not in since_ms or before != placement.subgraph:
                since_ms[entity] = now_ms
                self._assign(entity, before, placement.subgraph)
        return news

    def subgraph(self, entity: int) -> str:
        """The hash of the candidate subgraph that the entity lies in, or ""."""
        return self._subgraphs.get(entity, "")

    def mates(self, entities: Iterable[int]) -> set[int]:
        """Who lies in a candidate subgraph with one of these; they do so themselves."""
        subgraphs = {self._subgraphs.get(entity, "") for entity in entities} - {""}
        return set[int]().union(*(self._members[subgraph] for subgraph in subgraphs))

    def orphans(self, placements: dict[int, Placement]) -> set[int]:
        """Who lay in a subgraph that the new placements break up, and got no place by them."""
        kept = {placement.subgraph for placement in placements.values()}
        broken = {self._subgraphs.get(entity, "") for entity in placements} - kept - {""}
        return {
            entity
            for subgraph in broken
            for entity in self._members[subgraph]
            if entity not in placements
        }

    def solved(self, piece: Candidate) -> bool:
        """Whether this very subgraph is the last that was solved for each of its entities."""
        return all(
            self._solved.get(entity) == piece.subgraph
            for entities in (piece.numbers, piece.shared)
            for entity in entities
        )

    def note_solved(self, subgraph: str, entities: Iterable[int], *, placed: bool = False) -> None:
        """Note a problem that was published; with `placed`, also that its entities lie in it."""
        for entity in entities:
            self._solved[entity] = subgraph
            if placed:
                self._assign(entity, self._subgraphs.get(entity, ""), subgraph)

    def forget(self, entities: Iterable[int]) -> None:
        """Drop entities that have left the horizon."""
        for entity in entities:
            self.placed.pop(entity, None)
            self._solved.pop(entity, None)
            self.since_ms.pop(entity, None)
            self._assign(entity, self._subgraphs.get(entity, ""), "")

    def _assign(self, entity: int, before: str, after: str) -> None:
        if before:
            members = self._members[before]
            members.discard(entity)
            if not members:
                del self._members[before]
            del self._subgraphs[entity]
        if after:
            self._subgraphs[entity] = after
            self._members.setdefault(after, set()).add(entity)
