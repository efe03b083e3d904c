"""The watermark: up to which event time everything is thought to have come.

It is the least progress of the live source partitions, minus the lateness, and never goes back.

Two things make it less simple than that:

- *Liveness is judged by the log.* A source is live while it has come further within the idle
  timeout, measured by the wall-clock times at which digests were *written*. So a backlog of hours
  is windowed as it would have been at the time, and a stalled reader takes nobody for silent.
- *Progress is held back.* All digests of one enricher's transaction bear the progress that the
  source had at its end. It may count only once all of them are in: that is, when the source says
  more, when it says so in a record of progress alone, or when `settle` is called because nothing
  more is there to read.
"""

from typing import Final

import msgspec


class SourceState(msgspec.Struct, frozen=True, array_like=True):
    """What one source has said: its progress that counts, that is held, and when it advanced."""

    source: int
    progress_ms: int | None
    held_ms: int | None
    advanced_ms: int


class WatermarkState(msgspec.Struct, frozen=True, array_like=True):
    """All that a watermark knows, small enough to be noted beside an offset."""

    value_ms: int | None = None
    first_ms: int | None = None
    newest_ms: int = 0
    sources: tuple[SourceState, ...] = ()


NOTHING_KNOWN: Final = WatermarkState()


class Watermark:
    """The watermark of one digest partition, over the source partitions that feed it.

    `sources` is how many there are, where that is known: then nothing closes before each has
    either spoken or been silent for the idle timeout.
    """

    __slots__ = ("_advanced_ms", "_first_ms", "_held", "_idle_ms", "_lateness_ms", "_newest_ms",
                 "_progress", "_sources", "value_ms")  # fmt: skip

    def __init__(self, *, lateness_ms: int, idle_ms: int, sources: int = 0) -> None:
        self._lateness_ms = lateness_ms
        self._idle_ms = idle_ms
        self._sources = sources
        self._progress: dict[int, int] = {}
        self._held: dict[int, int] = {}
        # When each source last came further, by the times at which its digests were written.
        self._advanced_ms: dict[int, int] = {}
        self._first_ms: int | None = None
        self._newest_ms = 0
        # Everything before this time is thought to have come; None while nothing is known.
        self.value_ms: int | None = None

    def observe(self, source: int, progress_ms: int, *, written_ms: int, complete: bool) -> None:
        """Hear from a source; `complete` says that its whole transaction has now been read."""
        if self._first_ms is None:
            self._first_ms = written_ms
        self._newest_ms = max(self._newest_ms, written_ms)
        held = self._held.get(source)
        known = max(self._progress.get(source, -1), -1 if held is None else held)
        if progress_ms > known:
            if held is not None:
                self._progress[source] = held
            self._held[source] = progress_ms
            self._advanced_ms[source] = max(self._advanced_ms.get(source, 0), written_ms)
        # What is read again after a restart says less than what is held, and completes nothing.
        if complete and progress_ms >= self._held.get(source, progress_ms + 1):
            self._progress[source] = self._held.pop(source)
        self._advance()

    def settle(self) -> None:
        """Let all held progress count: there is nothing more to read."""
        self._progress.update(self._held)
        self._held.clear()
        self._advance()

    def state(self) -> WatermarkState:
        """All that is known, for `restore`."""
        return WatermarkState(
            self.value_ms,
            self._first_ms,
            self._newest_ms,
            tuple(
                SourceState(source, self._progress.get(source), self._held.get(source), advanced_ms)
                for source, advanced_ms in sorted(self._advanced_ms.items())
            ),
        )

    def restore(self, state: WatermarkState) -> None:
        """Know what that state says."""
        self.value_ms = state.value_ms
        self._first_ms = state.first_ms
        self._newest_ms = state.newest_ms
        for one in state.sources:
            self._advanced_ms[one.source] = one.advanced_ms
            if one.progress_ms is not None:
                self._progress[one.source] = one.progress_ms
            if one.held_ms is not None:
                self._held[one.source] = one.held_ms

    @property
    def held(self) -> bool:
        """Whether some progress waits for its transaction to be complete."""
        return bool(self._held)

    def follow(self, value_ms: int) -> None:
        """Take over a watermark that a logged close states."""
        if self.value_ms is None or value_ms > self.value_ms:
            self.value_ms = value_ms

    def _advance(self) -> None:
        live_since_ms = self._newest_ms - self._idle_ms
        if len(self._advanced_ms) < self._sources and (self._first_ms or 0) >= live_since_ms:
            return  # a source that has not spoken yet is given the idle timeout to do so
        live = [
            self._progress.get(source)
            for source, advanced_ms in self._advanced_ms.items()
            if advanced_ms >= live_since_ms
        ]
        known = [progress_ms for progress_ms in live if progress_ms is not None]
        if known and len(known) == len(live):
            self.follow(min(known) - self._lateness_ms)
