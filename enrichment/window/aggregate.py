"""A running statistic of one field per entity: values enter when old enough, and leave again.

A value of the window that ends at `end_ms` counts while `end_ms + delay <= now < end_ms + delay +
span`. Without a delay it counts at once. Every entry and exit costs time for that window alone.
"""

import heapq

from enrichment.pipelines import AggregateDefinition
from enrichment.records import Aggregates
from enrichment.window.content import add_up
from enrichment.window.slices import NEW, Held, Kept, Origin, Through

Entry = list[int]  # [count, sum]


class Running:
    """Count and sum (in millionths) per entity of one `[[aggregates]]` table.

    `kind` is the entity's kind in the cache. Without a span, values stay for the horizon.
    """

    __slots__ = (
        "_counted",
        "_delay_ms",
        "_entering",
        "_leave_after_ms",
        "_leaving",
        "_now_ms",
        "_waiting",
        "kept",
        "kind",
        "name",
        "totals",
    )  # fmt: skip

    def __init__(self, definition: AggregateDefinition, kind: str, horizon_ms: int) -> None:
        self.name = definition.name
        self.kind = kind
        self._delay_ms = definition.delay_ms
        span_ms = definition.span_ms
        self._leave_after_ms = definition.delay_ms + span_ms if span_ms else horizon_ms
        self._now_ms = 0
        # Window end -> id -> [count, sum], before and after the values count; heaps of their ends.
        self._waiting: dict[int, dict[str, Entry]] = {}
        self._counted: dict[int, dict[str, Entry]] = {}
        self._entering: list[int] = []
        self._leaving: list[int] = []
        # Id -> [count, sum] of what counts now.
        self.totals: dict[str, Entry] = {}
        # By the ends of windows.
        self.kept = Kept()

    @property
    def retention_ms(self) -> int:
        """How long after a window's end its values are still needed."""
        return self._leave_after_ms

    def fold(self, end_ms: int, values: dict[str, Entry], origin: Origin = NEW) -> None:
        """Take in one window's values, or more of them."""
        if end_ms + self._leave_after_ms <= self._now_ms:
            return
        if self.kept.admit(end_ms, origin):
            self._fold(end_ms, values)

    def entries(self, start_ms: int) -> Held | None:
        """What the window that ended then holds; None if it has left."""
        values = self._waiting.get(start_ms) or self._counted.get(start_ms)
        if values is None:
            return None
        counts, sums = ([entry[at] for entry in values.values()] for at in (0, 1))
        return Held(aggregates={self.kind: Aggregates(list(values), counts, sums)})

    def load(self, start_ms: int, held: Held, through: Through) -> None:
        """Hold this of the window that ended then, or more of it."""
        self.kept.load(start_ms, through)
        for aggregates in held.aggregates.values():
            columns = (aggregates.ids, aggregates.count, aggregates.sum_micro)
            values = {id_: [count, sum_] for id_, count, sum_ in zip(*columns, strict=True)}
            self._fold(start_ms, values)

    def _fold(self, end_ms: int, values: dict[str, Entry]) -> None:
        if self._delay_ms == 0 or end_ms + self._delay_ms <= self._now_ms:
            self._count(end_ms, values)
        else:
            if end_ms not in self._waiting:
                heapq.heappush(self._entering, end_ms)
            _merge(self._waiting.setdefault(end_ms, {}), values)

    def advance(self, now_ms: int) -> set[str]:
        """Move on to that event time; the ids whose statistic changed by it."""
        self._now_ms = max(self._now_ms, now_ms)
        changed: set[str] = set()
        while self._entering and self._entering[0] + self._delay_ms <= self._now_ms:
            end_ms = heapq.heappop(self._entering)
            values = self._waiting.pop(end_ms)
            self._count(end_ms, values)
            changed.update(values)
        while self._leaving and self._leaving[0] + self._leave_after_ms <= self._now_ms:
            end_ms = heapq.heappop(self._leaving)
            values = self._counted.pop(end_ms)
            self.kept.left(end_ms)
            changed.update(values)
            for id_, (count, total) in values.items():
                entry = self.totals[id_]
                entry[0] -= count
                entry[1] -= total
                if entry[0] == 0:
                    del self.totals[id_]
        return changed

    def _count(self, end_ms: int, values: dict[str, Entry]) -> None:
        if end_ms not in self._counted:
            heapq.heappush(self._leaving, end_ms)
        _merge(self._counted.setdefault(end_ms, {}), values)
        _merge(self.totals, values)


def _merge(into: dict[str, Entry], values: dict[str, Entry]) -> None:
    add_up(into, ((id_, count, total) for id_, (count, total) in values.items()))
