"""Slices of the horizon's structures, as they change, are kept, and are loaded again."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from enrichment.records import Aggregates, Links, Tallies


class Origin(NamedTuple):
    """From where a content came, when it is read again: a logged close, or a late digest.

    `close` is an offset in the log of closes, `late` one of the digests; -1 for neither.
    """

    close: int = -1
    late: int = -1


NEW: Origin = Origin()  # of a close that is in no log yet


class Through(NamedTuple):
    """How far a slice goes: it holds the closes and late digests before these offsets.

    Of what came behind offset `digests`, it holds the late digests at the offsets `late`: others
    may have been in windows that were open still.
    """

    closes: int
    digests: int
    late: tuple[int, ...] = ()

    def holds(self, origin: Origin) -> bool:
        """Whether what came from there is in the slice already."""
        return (
            0 <= origin.close < self.closes
            or 0 <= origin.late < self.digests
            or origin.late in self.late
        )


class Kept:
    """Which slices of a structure have changed since they were kept, and which were loaded."""

    __slots__ = ("_late", "_loaded", "changed")

    def __init__(self) -> None:
        self.changed: set[int] = set()
        self._loaded: dict[int, Through] = {}
        # Slice -> offsets of late digests in it; before they are kept, and behind open windows.
        self._late: dict[int, set[int]] = {}

    def admit(self, start_ms: int, origin: Origin) -> bool:
        """Whether what comes from there is new to that slice, which is then taken to change."""
        through = self._loaded.get(start_ms)
        if through is not None and through.holds(origin):
            return False
        self.changed.add(start_ms)
        if origin.late >= 0:
            self._late.setdefault(start_ms, set()).add(origin.late)
        return True

    def load(self, start_ms: int, through: Through) -> None:
        """The slice was loaded, and goes that far."""
        self._loaded[start_ms] = through
        self._late[start_ms] = set(through.late)

    def late(self, start_ms: int, digests: int) -> tuple[int, ...]:
        """The offsets of late digests in the slice, from that one on; others are forgotten."""
        offsets = {offset for offset in self._late.pop(start_ms, ()) if offset >= digests}
        if offsets:
            self._late[start_ms] = offsets
        return tuple(sorted(offsets))

    def left(self, start_ms: int) -> None:
        """The slice has left."""
        self.changed.add(start_ms)
        self._loaded.pop(start_ms, None)
        self._late.pop(start_ms, None)


@dataclass(slots=True)
class Held:
    """What a structure holds of a slice: columns by kind, those of ties by the attribute's."""

    ties: dict[str, Links] = field(default_factory=dict)
    tallies: dict[str, Tallies] = field(default_factory=dict)
    aggregates: dict[str, Aggregates] = field(default_factory=dict)


class Sliced(Protocol):
    """A structure of the horizon that can be kept slice by slice."""

    @property
    def name(self) -> str:
        """By which its slices are kept."""

    @property
    def kept(self) -> Kept:
        """Which of them have changed since they were kept."""

    def entries(self, start_ms: int) -> Held | None:
        """What the slice holds; None if it has left."""

    def load(self, start_ms: int, held: Held, through: Through) -> None:
        """Hold this of the slice, or more of it; it goes that far."""
