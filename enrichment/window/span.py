"""Events and amounts per entity over one span of event time, shorter than the horizon."""

import heapq
from typing import Final

from enrichment.window.content import Content, step_ms
from enrichment.window.entities import Entities
from enrichment.window.graph import batches_of, tallies_of
from enrichment.window.slices import NEW, Held, Kept, Origin, Through
from enrichment.window.sliding import Batch, Sliding

_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms"))


def span_name(span_ms: int) -> str:
    """The span as feature names have it: "1m", "90s", "2h"."""
    for unit_ms, unit in _UNITS:
        if span_ms % unit_ms == 0:
            return f"{span_ms // unit_ms}{unit}"
    raise AssertionError("unreachable: every span is a number of milliseconds")


class Span:
    """What came within the last `span_ms`: a slice counts while `end_ms + span_ms > now_ms`.

    Kept are a 64th of the span, or a window where that is longer. Entering and leaving cost time
    in proportion to what enters and leaves.
    """

    __slots__ = (
        "_entities", "_leaving", "_step_ms", "amount_name", "events_name", "kept", "span_ms",
        "totals",
    )  # fmt: skip

    def __init__(self, span_ms: int, size_ms: int, entities: Entities) -> None:
        self.span_ms = span_ms
        self._entities = entities
        self._step_ms = step_ms(span_ms, size_ms)
        # As features have it: `events_1m` and `amount_1m`, for a span of a minute.
        self.events_name = f"events_{span_name(span_ms)}"
        self.amount_name = f"amount_{span_name(span_ms)}"
        # By number of an entity.
        self.totals = Sliding()
        # The starts of its slices, as a heap.
        self._leaving: list[int] = []
        self.kept = Kept()

    @property
    def name(self) -> str:
        """By which its slices are kept."""
        return self.events_name

    def fold(self, content: Content, tallies: Batch, now_ms: int, origin: Origin = NEW) -> None:
        """Take in a window's content, or more of it: its tallies."""
        start_ms = content.start_ms // self._step_ms * self._step_ms
        if start_ms + self._step_ms + self.span_ms <= now_ms:
            return
        if self.kept.admit(start_ms, origin):
            self._add(start_ms, tallies)

    def entries(self, start_ms: int) -> Held | None:
        """What the slice holds; None if it has left."""
        mine = self.totals.merged(start_ms)
        return None if mine is None else Held(tallies=tallies_of(self._entities, mine))

    def load(self, start_ms: int, held: Held, through: Through) -> None:
        """Hold this of the slice, or more of it."""
        start_ms = start_ms // self._step_ms * self._step_ms
        self.kept.load(start_ms, through)
        for batch in batches_of(self._entities, held.tallies):
            self._add(start_ms, batch)

    def _add(self, start_ms: int, batch: Batch) -> None:
        if start_ms not in self.totals.starts:
            heapq.heappush(self._leaving, start_ms)
        self.totals.fit(len(self._entities))
        self._entities.hold(self.totals.add(start_ms, batch))

    def advance(self, now_ms: int) -> None:
        """Move on to that event time."""
        self.drop_before(now_ms - self.span_ms)

    def drop_before(self, end_ms: int) -> None:
        """Let go of the slices that end by then: their time has come, or memory ends."""
        while self._leaving and self._leaving[0] + self._step_ms <= end_ms:
            start_ms = heapq.heappop(self._leaving)
            self.kept.left(start_ms)
            self._entities.drop(self.totals.take_out(start_ms))
