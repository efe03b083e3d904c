"""The horizon: a sliding graph of who shared what, in plain dictionaries.

Accounts are tied to attributes (devices, beneficiaries: any entity that a shared link goes `via`)
and, by direct links, to each other. What came in one slice of event time (a 64th of the horizon,
or a window where that is longer) leaves when the slice is a horizon old, at a cost in proportion to
what leaves. Memory is bounded in ties, entities and bytes: when a bound is passed, the oldest
slices leave early, so that what was seen least lately goes first: those are evicted. The bound in
bytes is on an estimate, by what each tie, entity and slice of either takes.
"""

import heapq
from dataclasses import dataclass, field
from typing import Final

from enrichment.pipelines import Pipeline
from enrichment.window.aggregate import Running
from enrichment.window.content import Content
from enrichment.window.graph import Entity, Graph
from enrichment.window.slices import NEW, Origin, Sliced
from enrichment.window.span import Span

EDGES_MAX: Final = 2_000_000  # some 1.2 GB with an average of two slices a tie
NODES_MAX: Final = 2_000_000  # some .5 GB of tallies
SPAN_BYTES: Final = 230  # an entity in the totals of a span, or in one of its slices


@dataclass(slots=True)
class Changes:
    """What moving on in time did: whose last ties or events went, whose statistics changed."""

    untied: set[Entity] = field(default_factory=set)
    restated: set[Entity] = field(default_factory=set)


class Horizon(Graph):
    """The graph, tallies and aggregates of one shard within `horizon_ms` of its event time."""

    def __init__(
        self, pipeline: Pipeline, *, edges_max: int = EDGES_MAX, nodes_max: int = NODES_MAX
    ) -> None:
        super().__init__(pipeline)
        self._horizon_ms = pipeline.window.horizon_ms
        self._edges_max = edges_max
        self._nodes_max = nodes_max
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
        self.evicted_slices = 0
        self._bytes_max = pipeline.window.horizon_max_mib * 2**20
        # Window start -> (its end, least offset of a digest in it), while anything of it is needed.
        self._offsets: dict[int, tuple[int, int]] = {}
        self._oldest_offsets: list[int] = []

    @property
    def structures(self) -> tuple[Sliced, ...]:
        """All that is kept slice by slice: the graph itself, spans and aggregates."""
        return (self, *self.spans, *self.aggregates)

    def forget_offsets(self) -> None:
        """Need no digest any more for what is held now: it is kept elsewhere."""
        self._offsets.clear()
        self._oldest_offsets.clear()

    def fold(self, content: Content, offset: int, origin: Origin = NEW) -> Changes:
        """Take in a window's content, or more of it, once.

        `offset` is the least of the digests that it came from. What a bound pushes out is among
        the changes.
        """
        changes = Changes()
        self.newest_ms = max(self.newest_ms, content.newest_ms)
        for running in self.aggregates:
            if values := content.aggregates.get(running.name):
                running.fold(content.end_ms, values, origin)
        if content.end_ms + self._retention_ms <= self.now_ms:
            return changes
        if content.start_ms not in self._offsets:
            heapq.heappush(self._oldest_offsets, content.start_ms)
        _, known = self._offsets.get(content.start_ms, (0, offset))
        self._offsets[content.start_ms] = (content.end_ms, min(known, offset))
        start_ms = content.start_ms // self._step_ms * self._step_ms
        if start_ms + self._step_ms + self._horizon_ms <= self.now_ms:
            return changes
        if self.kept.admit(start_ms, origin):
            self._open(start_ms)
            self._add(content, start_ms)
        for span in self.spans:
            span.fold(content, self.now_ms, origin)
        while self._oldest and self._over():
            self.evicted_slices += 1
            start_ms = heapq.heappop(self._oldest)
            changes.untied |= self._expire(start_ms)
            for span in self.spans:
                span.drop_before(start_ms + self._step_ms)
        return changes

    def advance(self, now_ms: int) -> Changes:
        """Move on to that event time: what is a horizon old leaves, what has matured enters."""
        changes = Changes()
        self.now_ms = max(self.now_ms, now_ms)
        while self._oldest and (self._oldest[0] + self._step_ms + self._horizon_ms <= self.now_ms):
            changes.untied |= self._expire(heapq.heappop(self._oldest))
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

    def oldest_offset(self) -> int | None:
        """The least offset of a digest that a rebuild would still need."""
        return min((offset for _, offset in self._offsets.values()), default=None)

    @property
    def estimated_bytes(self) -> int:
        """About what the graph, its tallies and spans take in memory."""
        return super().estimated_bytes + SPAN_BYTES * sum(span.size for span in self.spans)

    def _over(self) -> bool:
        return (
            len(self.ties) > self._edges_max
            or len(self.tallies) > self._nodes_max
            or self.estimated_bytes > self._bytes_max
        )
