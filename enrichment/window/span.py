"""Events and amounts per entity over one span of event time, shorter than the horizon."""

import heapq
from collections.abc import Iterable
from typing import Final

from enrichment.records.horizon_slice import SliceTally, SliceTie
from enrichment.window.content import Content, Entry, step_ms
from enrichment.window.slices import NEW, Kept, Origin, Through

_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms"))

Tallies = dict[tuple[str, str], Entry]  # (kind, id) -> [events, amount]


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
        "_contents", "_leaving", "_sliced", "_step_ms", "amount_name", "events_name", "kept",
        "span_ms", "totals",
    )  # fmt: skip

    def __init__(self, span_ms: int, size_ms: int) -> None:
        self.span_ms = span_ms
        self._step_ms = step_ms(span_ms, size_ms)
        # As features have it: `events_1m` and `amount_1m`, for a span of a minute.
        self.events_name = f"events_{span_name(span_ms)}"
        self.amount_name = f"amount_{span_name(span_ms)}"
        self.totals: Tallies = {}
        # Slice start -> what it contributed; the starts as a heap.
        self._contents: dict[int, Tallies] = {}
        self._leaving: list[int] = []
        self._sliced = 0
        self.kept = Kept()

    @property
    def name(self) -> str:
        """By which its slices are kept."""
        return self.events_name

    @property
    def size(self) -> int:
        """How many entries are held: entities, and entities in slices."""
        return len(self.totals) + self._sliced

    def fold(self, content: Content, now_ms: int, origin: Origin = NEW) -> None:
        """Take in a window's content, or more of it."""
        start_ms = content.start_ms // self._step_ms * self._step_ms
        if start_ms + self._step_ms + self.span_ms <= now_ms:
            return
        if not self.kept.admit(start_ms, origin):
            return
        self._add(start_ms, content.entities())

    def entries(self, start_ms: int) -> tuple[list[SliceTie], list[SliceTally]] | None:
        """What the slice holds; None if it has left."""
        mine = self._contents.get(start_ms)
        if mine is None:
            return None
        return [], [(kind, id_, n, amount) for (kind, id_), (n, amount) in mine.items()]

    def load(
        self,
        start_ms: int,
        ties: Iterable[SliceTie],
        tallies: Iterable[SliceTally],
        through: Through,
    ) -> None:
        """Hold this of the slice, or more of it."""
        del ties
        start_ms = start_ms // self._step_ms * self._step_ms
        self.kept.load(start_ms, through)
        self._add(start_ms, tallies)

    def _add(self, start_ms: int, tallies: Iterable[SliceTally]) -> None:
        mine = self._contents.get(start_ms)
        if mine is None:
            mine = self._contents[start_ms] = {}
            heapq.heappush(self._leaving, start_ms)
        both = (self.totals, mine)
        self._sliced -= len(mine)
        for kind, id_, events, amount_minor in tallies:
            key = (kind, id_)
            for entries in both:
                entry = entries.get(key)
                if entry is None:
                    entries[key] = [events, amount_minor]
                else:
                    entry[0] += events
                    entry[1] += amount_minor
        self._sliced += len(mine)

    def advance(self, now_ms: int) -> None:
        """Move on to that event time."""
        self.drop_before(now_ms - self.span_ms)

    def drop_before(self, end_ms: int) -> None:
        """Let go of the slices that end by then: their time has come, or memory ends."""
        while self._leaving and self._leaving[0] + self._step_ms <= end_ms:
            start_ms = heapq.heappop(self._leaving)
            leaving = self._contents.pop(start_ms)
            self.kept.left(start_ms)
            self._sliced -= len(leaving)
            for key, (events, amount_minor) in leaving.items():
                entry = self.totals[key]
                entry[0] -= events
                entry[1] -= amount_minor
                if entry[0] <= 0:
                    del self.totals[key]
