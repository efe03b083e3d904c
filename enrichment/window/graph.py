"""The sliding graph of who shared what, in plain dictionaries.

Accounts are tied to attributes (devices, beneficiaries: any entity that a shared link goes `via`)
and, by direct links, to each other. What came in one slice of event time is taken out with the
slice, at a cost in proportion to what leaves.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from enrichment.pipelines import Pipeline
from enrichment.records.horizon_slice import SliceTally, SliceTie
from enrichment.window.content import Content, Entry, step_ms
from enrichment.window.slices import Kept, Through

# What one of each takes with its share of dictionaries (measured with tracemalloc, by least
# squares over graphs of different shapes): a tie or an entity, and each slice that it counts in.
TIE_BYTES: Final = 660
TIE_SLICE_BYTES: Final = 100
NODE_BYTES: Final = 450
NODE_SLICE_BYTES: Final = 160

DIRECT: Final = ">"  # stands where a shared link's attribute kind would


class Entity(NamedTuple):
    """One entity as the cache names it."""

    kind: str
    id: str


class TieKey(NamedTuple):
    """Account and attribute of that kind, or with kind `>` source and target of a direct link."""

    kind: str
    a: str
    b: str


@dataclass(slots=True)
class Tie:
    """One link over the horizon. Times are event times in milliseconds."""

    key: TieKey
    events: int = 0
    amount_minor: int = 0
    newest_ms: int = 0
    # Start of each slice that still counts -> [events, amount].
    slices: dict[int, Entry] = field(default_factory=dict)

    @property
    def first_ms(self) -> int:
        """The start of the oldest slice that still counts."""
        return min(self.slices)


@dataclass(slots=True)
class _Slice:
    """What one slice of time contributed, so that it can be taken out again."""

    ties: list[Tie] = field(default_factory=list)
    tallies: dict[Entity, Entry] = field(default_factory=dict)


class Graph:
    """Ties and tallies of one shard, in slices of `step_ms`: a 64th of the horizon, or a window."""

    name = "graph"

    def __init__(self, pipeline: Pipeline) -> None:
        self.node_kind = pipeline.node_kind or ""
        self._step_ms = step_ms(pipeline.window.horizon_ms, pipeline.window.size_ms)
        # Link name -> the attribute's kind, or `>`.
        self._kind_of = {
            link.name: DIRECT if link.direct else pipeline.kind(link.roles[1])
            for link in pipeline.links
        }
        self.newest_ms = 0
        self.ties: dict[TieKey, Tie] = {}
        # Account -> attribute -> tie, and attribute -> account -> tie.
        self.attributes: dict[str, dict[Entity, Tie]] = {}
        self.members: dict[Entity, dict[str, Tie]] = {}
        # Account -> account -> tie, along direct links and against them.
        self.outgoing: dict[str, dict[str, Tie]] = {}
        self.incoming: dict[str, dict[str, Tie]] = {}
        # Entity -> [events, amount].
        self.tallies: dict[Entity, Entry] = {}
        self._slices: dict[int, _Slice] = {}
        self._oldest: list[int] = []
        # How many (tie, slice) and (entity, slice) there are.
        self._tie_slices = self._node_slices = 0
        self.kept = Kept()

    def slice_starts(self) -> Iterable[int]:
        """The starts of the slices that count."""
        return self._slices.keys()

    def direct_degree(self, account: str) -> int:
        """How many others the account has direct links with, in either direction."""
        outgoing, incoming = self.outgoing.get(account, {}), self.incoming.get(account, {})
        if not outgoing or not incoming:
            return len(outgoing) + len(incoming)
        return len(outgoing.keys() | incoming.keys())

    def __contains__(self, account: str) -> bool:
        return account in self.attributes or account in self.outgoing or account in self.incoming

    @property
    def estimated_bytes(self) -> int:
        """About what ties and tallies take in memory."""
        return (
            TIE_BYTES * len(self.ties)
            + TIE_SLICE_BYTES * self._tie_slices
            + NODE_BYTES * len(self.tallies)
            + NODE_SLICE_BYTES * self._node_slices
        )

    def entries(self, start_ms: int) -> tuple[list[SliceTie], list[SliceTally]] | None:
        """What the graph holds of the slice; None if it has left."""
        mine = self._slices.get(start_ms)
        if mine is None:
            return None
        ties = []
        for tie in mine.ties:
            newest_ms = max(start_ms, min(tie.newest_ms, start_ms + self._step_ms - 1))
            events, amount_minor = tie.slices[start_ms]
            ties.append((*tie.key, events, amount_minor, newest_ms))
        tallies = [(kind, id_, n, amount) for (kind, id_), (n, amount) in mine.tallies.items()]
        return ties, tallies

    def load(
        self,
        start_ms: int,
        ties: Iterable[SliceTie],
        tallies: Iterable[SliceTally],
        through: Through,
    ) -> None:
        """Hold this of the slice, or more of it."""
        start_ms = start_ms // self._step_ms * self._step_ms
        self.kept.load(start_ms, through)
        self._open(start_ms)
        by_kind: dict[str, dict[str, dict[str, Entry]]] = {}
        for kind, a, b, events, amount_minor, newest_ms in ties:
            row = by_kind.setdefault(kind, {}).setdefault(a, {})
            row[b] = [events, amount_minor, newest_ms]
            self.newest_ms = max(self.newest_ms, newest_ms)
        for kind, links in by_kind.items():
            self._add_links(kind, links, start_ms)
        self._add_tallies(start_ms, tallies)

    def _open(self, start_ms: int) -> None:
        if start_ms not in self._slices:
            self._slices[start_ms] = _Slice()
            heapq.heappush(self._oldest, start_ms)

    def _add(self, content: Content, start_ms: int) -> None:
        for name, links in content.links.items():
            # None: a link that the pipeline file no longer names.
            if (kind := self._kind_of.get(name)) is not None:
                self._add_links(kind, links, start_ms)
        self._add_tallies(start_ms, content.entities())

    def _add_tallies(self, start_ms: int, tallies: Iterable[SliceTally]) -> None:
        mine = self._slices[start_ms].tallies
        self._node_slices -= len(mine)
        both = (self.tallies, mine)
        for kind, id_, events, amount_minor in tallies:
            key = (kind, id_)
            for entries in both:
                # A plain tuple finds what its Entity does, and is made in a fifth of the time.
                entry = entries.get(key)  # type: ignore[call-overload]
                if entry is None:
                    entries[Entity(kind, id_)] = [events, amount_minor]
                else:
                    entry[0] += events
                    entry[1] += amount_minor
        self._node_slices += len(mine)

    def _add_links(
        self, kind: str, links: Mapping[str, Mapping[str, Entry]], start_ms: int
    ) -> None:
        ties, touched = self.ties, self._slices[start_ms].ties
        self._tie_slices -= len(touched)
        for a, row in links.items():
            for b, (events, amount_minor, newest_ms) in row.items():
                if kind == DIRECT and a == b:
                    continue  # an account tied to itself ties nobody
                tie = ties.get((kind, a, b))  # type: ignore[call-overload]  # as above
                if tie is None:
                    tie = self._connected(TieKey(kind, a, b))
                tie.events += events
                tie.amount_minor += amount_minor
                if newest_ms > tie.newest_ms:
                    tie.newest_ms = newest_ms
                entry = tie.slices.get(start_ms)
                if entry is None:
                    tie.slices[start_ms] = [events, amount_minor]
                    touched.append(tie)
                else:
                    entry[0] += events
                    entry[1] += amount_minor
        self._tie_slices += len(touched)

    def _connected(self, key: TieKey) -> Tie:
        """A new tie, in its place."""
        tie = self.ties[key] = Tie(key)
        if key.kind == DIRECT:
            self.outgoing.setdefault(key.a, {})[key.b] = tie
            self.incoming.setdefault(key.b, {})[key.a] = tie
        else:
            attribute = Entity(key.kind, key.b)
            self.attributes.setdefault(key.a, {})[attribute] = tie
            self.members.setdefault(attribute, {})[key.a] = tie
        return tie

    def _expire(self, start_ms: int) -> set[Entity]:
        """Take one slice's contributions out; whose last ties or events these were."""
        untied: set[Entity] = set()
        mine = self._slices.pop(start_ms)
        self.kept.left(start_ms)
        self._tie_slices -= len(mine.ties)
        self._node_slices -= len(mine.tallies)
        for tie in mine.ties:
            events, amount_minor = tie.slices.pop(start_ms)
            tie.events -= events
            tie.amount_minor -= amount_minor
            if not tie.slices:
                del self.ties[tie.key]
                untied.update(self._disconnect(tie.key))
        for entity, (events, amount_minor) in mine.tallies.items():
            entry = self.tallies[entity]
            entry[0] -= events
            entry[1] -= amount_minor
            if entry[0] <= 0:
                del self.tallies[entity]
                untied.add(entity)
        return untied

    def _disconnect(self, key: TieKey) -> Iterable[Entity]:
        """Take the tie out of the adjacency; its two ends."""
        if key.kind == DIRECT:
            _drop(self.outgoing, key.a, key.b)
            _drop(self.incoming, key.b, key.a)
            return (Entity(self.node_kind, key.a), Entity(self.node_kind, key.b))
        attribute = Entity(key.kind, key.b)
        _drop(self.attributes, key.a, attribute)
        _drop(self.members, attribute, key.a)
        return (Entity(self.node_kind, key.a), attribute)


def _drop(table: dict[Any, dict[Any, Tie]], outer: str | Entity, inner: str | Entity) -> None:
    row = table[outer]
    del row[inner]
    if not row:
        del table[outer]
