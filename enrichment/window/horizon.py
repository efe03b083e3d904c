"""The horizon: a sliding graph of who shared what, in plain dictionaries.

Accounts are tied to attributes (devices, beneficiaries: any entity that a shared link goes `via`)
and, by direct links, to each other. What came in one slice of event time (a 64th of the horizon,
or a window where that is longer) leaves when the slice is a horizon old, at a cost in proportion to
what leaves. Memory is bounded in ties, entities and bytes: when a bound is passed, the oldest
slices leave early, so that what was seen least lately goes first: those are evicted. The bound in
bytes is on an estimate, by what each tie, entity and slice of either takes.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from enrichment.pipelines import Pipeline
from enrichment.window.aggregate import Running
from enrichment.window.content import Content, Entry, step_ms
from enrichment.window.span import Span

EDGES_MAX: Final = 2_000_000  # some 1.2 GB with an average of two slices a tie
NODES_MAX: Final = 2_000_000  # some .5 GB of tallies
# What one of each takes with its share of dictionaries (measured with tracemalloc, by least
# squares over horizons of different shapes): a tie or an entity, and each slice that it counts in.
TIE_BYTES: Final = 660
TIE_SLICE_BYTES: Final = 100
NODE_BYTES: Final = 450
NODE_SLICE_BYTES: Final = 160
SPAN_BYTES: Final = 230  # an entity in the totals of a span, or in one of its slices

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


@dataclass(slots=True)
class Changes:
    """What moving on in time did: whose last ties or events went, whose statistics changed."""

    untied: set[Entity] = field(default_factory=set)
    restated: set[Entity] = field(default_factory=set)


class Horizon:
    """The graph, tallies and aggregates of one shard within `horizon_ms` of its event time."""

    def __init__(
        self, pipeline: Pipeline, *, edges_max: int = EDGES_MAX, nodes_max: int = NODES_MAX
    ) -> None:
        self.node_kind = pipeline.node_kind or ""
        self._horizon_ms = pipeline.window.horizon_ms
        self._step_ms = step_ms(self._horizon_ms, pipeline.window.size_ms)
        self._edges_max = edges_max
        self._nodes_max = nodes_max
        # Link name -> the attribute's kind, or `>`.
        self._kind_of = {
            link.name: DIRECT if link.direct else pipeline.kind(link.roles[1])
            for link in pipeline.links
        }
        self.aggregates = tuple(
            Running(aggregate, pipeline.kind(aggregate.entity), self._horizon_ms)
            for aggregate in pipeline.aggregates
        )
        self.spans = tuple(
            Span(span_ms, pipeline.window.size_ms) for span_ms in pipeline.window.spans_ms
        )
        # A digest is needed as long as the slice that it is in.
        self._retention_ms = max(
            self._horizon_ms + self._step_ms - pipeline.window.size_ms,
            *(running.retention_ms for running in self.aggregates),
            0,
        )
        self.now_ms = 0
        self.newest_ms = 0
        self.evicted_slices = 0
        self._bytes_max = pipeline.window.horizon_max_mib * 2**20
        # How many (tie, slice) and (entity, slice) there are.
        self._tie_slices = self._node_slices = 0
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
        # Window start -> (its end, least offset of a digest in it), while anything of it is needed.
        self._offsets: dict[int, tuple[int, int]] = {}
        self._oldest_offsets: list[int] = []

    def fold(self, content: Content, offset: int) -> Changes:
        """Take in a window's content, or more of it.

        `offset` is the least of the digests that it came from. What a bound pushes out is among
        the changes.
        """
        changes = Changes()
        self.newest_ms = max(self.newest_ms, content.newest_ms)
        for running in self.aggregates:
            if values := content.aggregates.get(running.name):
                running.fold(content.end_ms, values)
        if content.end_ms + self._retention_ms <= self.now_ms:
            return changes
        if content.start_ms not in self._offsets:
            heapq.heappush(self._oldest_offsets, content.start_ms)
        _, known = self._offsets.get(content.start_ms, (0, offset))
        self._offsets[content.start_ms] = (content.end_ms, min(known, offset))
        start_ms = content.start_ms // self._step_ms * self._step_ms
        if start_ms + self._step_ms + self._horizon_ms <= self.now_ms:
            return changes
        if start_ms not in self._slices:
            self._slices[start_ms] = _Slice()
            heapq.heappush(self._oldest, start_ms)
        self._add(content, start_ms)
        for span in self.spans:
            span.fold(content, self.now_ms)
        while self._oldest and self._over():
            self.evicted_slices += 1
            start_ms = heapq.heappop(self._oldest)
            self._expire(start_ms, changes)
            for span in self.spans:
                span.drop_before(start_ms + self._step_ms)
        return changes

    def advance(self, now_ms: int) -> Changes:
        """Move on to that event time: what is a horizon old leaves, what has matured enters."""
        changes = Changes()
        self.now_ms = max(self.now_ms, now_ms)
        while self._oldest and (self._oldest[0] + self._step_ms + self._horizon_ms <= self.now_ms):
            self._expire(heapq.heappop(self._oldest), changes)
        for span in self.spans:
            span.advance(self.now_ms)
        while self._oldest_offsets and (
            self._offsets[self._oldest_offsets[0]][0] + self._retention_ms <= self.now_ms
        ):
            del self._offsets[heapq.heappop(self._oldest_offsets)]
        for running in self.aggregates:
            changed = running.advance(self.now_ms)
            changes.restated.update(Entity(running.kind, id_) for id_ in changed)
        return changes

    def slice_starts(self) -> Iterable[int]:
        """The starts of the slices that count."""
        return self._slices.keys()

    def oldest_offset(self) -> int | None:
        """The least offset of a digest that a rebuild would still need."""
        return min((offset for _, offset in self._offsets.values()), default=None)

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
        """About what the graph, its tallies and spans take in memory."""
        return (
            TIE_BYTES * len(self.ties)
            + TIE_SLICE_BYTES * self._tie_slices
            + NODE_BYTES * len(self.tallies)
            + NODE_SLICE_BYTES * self._node_slices
            + SPAN_BYTES * sum(span.entries for span in self.spans)
        )

    def _over(self) -> bool:
        return (
            len(self.ties) > self._edges_max
            or len(self.tallies) > self._nodes_max
            or self.estimated_bytes > self._bytes_max
        )

    def _add(self, content: Content, start_ms: int) -> None:
        for name, links in content.links.items():
            # None: a link that the pipeline file no longer names.
            if (kind := self._kind_of.get(name)) is not None:
                self._add_links(kind, links, start_ms)
        mine = self._slices[start_ms].tallies
        self._node_slices -= len(mine)
        both = (self.tallies, mine)
        for kind, tallies in content.tallies.items():
            for id_, (events, amount_minor, _) in tallies.items():
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

    def _expire(self, start_ms: int, changes: Changes) -> None:
        """Take one slice's contributions out."""
        mine = self._slices.pop(start_ms)
        self._tie_slices -= len(mine.ties)
        self._node_slices -= len(mine.tallies)
        for tie in mine.ties:
            events, amount_minor = tie.slices.pop(start_ms)
            tie.events -= events
            tie.amount_minor -= amount_minor
            if not tie.slices:
                del self.ties[tie.key]
                changes.untied.update(self._disconnect(tie.key))
        for entity, (events, amount_minor) in mine.tallies.items():
            entry = self.tallies[entity]
            entry[0] -= events
            entry[1] -= amount_minor
            if entry[0] <= 0:
                del self.tallies[entity]
                changes.untied.add(entity)

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
