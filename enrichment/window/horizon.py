"""The horizon: a sliding graph of who shared what, with spans and aggregates beside it.

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
from enrichment.window.graph import ROW_BYTES, Graph
from enrichment.window.slices import NEW, Origin, Sliced
from enrichment.window.span import Span

EDGES_MAX: Final = 2_000_000  # some .65 GB with an average of two slices a tie
NODES_MAX: Final = 2_000_000  # some .95 GB of tallies
SPAN_BYTES: Final = 30  # an entity in the totals of a span: columns with room for more


@dataclass(slots=True)
class Changes:
    """What a content, or moving on in time, did. Entities are known by their numbers."""

    # Entity -> its events in the content.
    counted: dict[int, int] = field(default_factory=dict)
    # Whose last ties or events went, and whose statistics changed.
    untied: set[int] = field(default_factory=set)
    restated: set[int] = field(default_factory=set)


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
            Span(span_ms, pipeline.window.size_ms, self.entities)
            for span_ms in pipeline.window.spans_ms
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
        the changes. Whoever is counted has a number, held or not.
        """
        tallies, by_kind = self.numbered(content)
        counted = zip(tallies.numbers.tolist(), tallies.events.tolist(), strict=True)
        changes = Changes(counted=dict(counted))
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
            self._add(content, start_ms, tallies, by_kind)
        for span in self.spans:
            span.fold(content, tallies, self.now_ms, origin)
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
            changes.restated.update(self.entities.numbers(running.kind, changed).tolist())
        return changes

    def oldest_offset(self) -> int | None:
        """The least offset of a digest that a rebuild would still need."""
        return min((offset for _, offset in self._offsets.values()), default=None)

    @property
    def estimated_bytes(self) -> int:
        """About what the graph, its tallies and spans take in memory."""
        totals = [span.totals for span in self.spans]
        return super().estimated_bytes + sum(
            SPAN_BYTES * total.size + ROW_BYTES * total.rows for total in totals
        )

    def _over(self) -> bool:
        return (
            self.ties.size > self._edges_max
            or self.tallies.size > self._nodes_max
            or self.estimated_bytes > self._bytes_max
        )
