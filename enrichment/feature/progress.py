"""How far partitions have been projected, and for how long each may have been behind. Pure.

A partition's end is asked for now and then. Once that end is reached, all that was there when it
was asked for is in the cache; until then, and while the end is not told, nobody knows how old that
is.
"""


class Progress:
    """Of the partitions of one projector; times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._reached: dict[int, int] = {}
        # An end that was told and is not reached yet, and when.
        self._wanted: dict[int, tuple[int, float]] = {}
        self._current_s: dict[int, float] = {}

    def begin(self, number: int, offset: int) -> None:
        """Start with a partition at that offset (below 0: at its beginning)."""
        self._reached[number] = max(0, offset)
        self._wanted.pop(number, None)
        self._current_s.pop(number, None)

    def reached(self, number: int, offset: int) -> None:
        """All before that offset is in the cache."""
        self._reached[number] = offset
        end, asked_s = self._wanted.get(number, (0, 0.0))
        if number in self._wanted and offset >= end:
            del self._wanted[number]
            self._current_s[number] = asked_s

    def told(self, number: int, end: int, now_s: float) -> None:
        """The partition ends there now."""
        self._current_s.setdefault(number, now_s)
        if self.offset(number) >= end:
            self._wanted.pop(number, None)
            self._current_s[number] = now_s
        else:
            self._wanted.setdefault(number, (end, now_s))

    def offset(self, number: int) -> int:
        """Where the partition has been projected to."""
        return self._reached.get(number, 0)

    def behind_s(self, number: int, now_s: float) -> float:
        """How old at most is what the partition's values were at its end; 0 before it was told."""
        return now_s - self._current_s.get(number, now_s)
