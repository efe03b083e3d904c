"""Slices of the horizon's structures, as they change, are kept, and are loaded again."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from enrichment.records.horizon_slice import SliceTally, SliceTie


class Origin(NamedTuple):
    """From where a content came, when it is read again: a logged close, or a late digest.

    `close` is an offset in the log of closes, `late` one of the digests; -1 for neither.
    """

    close: int = -1
    late: int = -1


NEW: Origin = Origin()  # of a close that is in no log yet


class Through(NamedTuple):
    """How far a loaded slice goes: it holds the closes and late digests before these offsets."""

    closes: int
    digests: int

    def holds(self, origin: Origin) -> bool:
        """Whether what came from there is in the slice already."""
        return 0 <= origin.close < self.closes or 0 <= origin.late < self.digests


class Kept:
    """Which slices of a structure have changed since they were kept, and which were loaded."""

    __slots__ = ("changed", "loaded")

    def __init__(self) -> None:
        self.changed: set[int] = set()
        self.loaded: dict[int, Through] = {}

    def admit(self, start_ms: int, origin: Origin) -> bool:
        """Whether what comes from there is new to that slice, which is then taken to change."""
        through = self.loaded.get(start_ms)
        if through is not None and through.holds(origin):
            return False
        self.changed.add(start_ms)
        return True

    def left(self, start_ms: int) -> None:
        """The slice has left."""
        self.changed.add(start_ms)
        self.loaded.pop(start_ms, None)


class Sliced(Protocol):
    """A structure of the horizon that can be kept slice by slice."""

    @property
    def name(self) -> str:
        """By which its slices are kept."""

    @property
    def kept(self) -> Kept:
        """Which of them have changed since they were kept."""

    def entries(self, start_ms: int) -> tuple[list[SliceTie], list[SliceTally]] | None:
        """What the slice holds; None if it has left."""

    def load(self, start_ms: int, ties: Iterable[SliceTie], tallies: Iterable[SliceTally]) -> None:
        """Hold this of the slice, or more of it."""
