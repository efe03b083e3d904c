"""The windows of one shard: which digests they hold, when they close, and what the log says of it.

A window [start, end) is made of *chunks*: one after the other, each is closed with the window's
next sequence number. Where nothing else happens a window has one chunk, closed by the watermark.
A chunk that is full is followed by another; after a close by wall clock, what still comes for the
window opens one too. Chunks close in the order of their windows. What comes for a window before
the last closed one is late.

After a restart the logged closes are authoritative: while any of them is still to be followed,
digests go where the log says that they went, and nothing is decided.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from enrichment.records import Cause, Digest, MicroBatch
from enrichment.records.micro_batch import TRACES_MAX
from enrichment.window.content import Content

WINDOWS_OPEN_MAX: Final = 4_096  # a replay of years may hold a year of daily windows open


@dataclass(slots=True)
class Chunk:
    """What has come for one close, and the offsets of the digests that told it."""

    window_start_ms: int
    window_end_ms: int
    sequence: int
    offset_first: int = -1
    offset_last: int = -1
    # When its first digest was written, by the wall clock.
    since_ms: int = 0
    events: int = 0
    traces: tuple[str, ...] = ()
    content: Content = field(init=False)

    def __post_init__(self) -> None:
        self.content = Content(self.window_start_ms, self.window_end_ms)

    def add(self, digest: Digest, offset: int, written_ms: int) -> None:
        """Count one digest in."""
        if self.offset_first < 0:
            self.since_ms = written_ms
        self.content.add(digest)
        self.events += digest.events
        self.offset_first = offset if self.offset_first < 0 else min(self.offset_first, offset)
        self.offset_last = max(self.offset_last, offset)
        if digest.traces:
            self.traces = (self.traces + digest.traces)[:TRACES_MAX]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedClose:
    """A close that was published: read back from the log of closes."""

    micro_batch: MicroBatch
    offset_first: int
    offset_last: int
    # When the digest at this offset had been read, the window closed.
    read_through: int
    # Where it stands in the log of closes.
    log_offset: int = -1

    @classmethod
    def of(cls, micro_batch: MicroBatch, log_offset: int = -1) -> "LoggedClose":
        """The close that the micro-batch at that offset states."""
        _, first, last = micro_batch.digest_offsets[0]
        return cls(
            micro_batch=micro_batch,
            offset_first=first,
            offset_last=last,
            read_through=max(last, micro_batch.read_through),
            log_offset=log_offset,
        )


class Windows:
    """The open windows of one shard, and the rules by which they close."""

    def __init__(
        self,
        *,
        size_ms: int,
        events_max: int,
        open_max_ms: int,
        windows_open_max: int = WINDOWS_OPEN_MAX,
    ) -> None:
        """`open_max_ms` counts from when a chunk's first digest was written."""
        self._size_ms = size_ms
        self._open_max_ms = open_max_ms
        self._events_max = events_max
        self._windows_open_max = windows_open_max
        # Window start -> its chunks that are not closed yet, in order; never empty.
        self._open: dict[int, deque[Chunk]] = {}
        # Window start -> the sequence number of its next chunk, for windows that may get one.
        self._sequences: dict[int, int] = {}
        self._logged: deque[LoggedClose] = deque()
        # Window start -> its logged closes that are still to be followed, in order.
        self._logged_of: dict[int, deque[LoggedClose]] = {}
        # The start of the earliest window that may still get something; before it, all is late.
        self.floor_ms: int | None = None

    def follow(self, logged: Iterable[LoggedClose]) -> None:
        """Take over closes from the log, in the order in which they were published."""
        for close in logged:
            batch = close.micro_batch
            self._logged.append(close)
            self._logged_of.setdefault(batch.window_start_ms, deque()).append(close)
            known = self._sequences.get(batch.window_start_ms, 0)
            self._sequences[batch.window_start_ms] = max(known, batch.sequence + 1)

    @property
    def following(self) -> bool:
        """Whether logged closes are still to be followed."""
        return bool(self._logged)

    def add(self, digest: Digest, offset: int, *, written_ms: int, ended: bool = False) -> bool:
        """Put a digest where it belongs; False if it is late, as one of an ended window is."""
        if self._follow_digest(digest, offset, written_ms):
            return True
        start_ms = digest.pane_start_ms // self._size_ms * self._size_ms
        if ended:
            return False
        if self.floor_ms is not None and start_ms < self.floor_ms:
            return False
        chunks = self._open.get(start_ms)
        newest = chunks[-1] if chunks else None
        full = newest is not None and newest.events >= self._events_max and digest.part == 0
        if newest is None or full or self._is_logged(newest):
            sequence = self._sequences.get(start_ms, 0)
            self._sequences[start_ms] = sequence + 1
            newest = self._chunk(start_ms, sequence)
        newest.add(digest, offset, written_ms)
        return True

    def _follow_digest(self, digest: Digest, offset: int, written_ms: int) -> bool:
        """Put a digest into the logged close that covers it, if there is one."""
        start_ms = digest.pane_start_ms // self._size_ms * self._size_ms
        for close in self._logged_of.get(start_ms, ()):
            if offset <= close.offset_last:
                chunk = self._chunk(start_ms, close.micro_batch.sequence)
                chunk.add(digest, offset, written_ms)
                return True
        return False

    def next_logged(self, offset: int) -> tuple[LoggedClose, Chunk] | None:
        """The next logged close that was made by that offset, taken off."""
        if not self._logged or self._logged[0].read_through > offset:
            return None
        close = self._logged.popleft()
        batch = close.micro_batch
        of_window = self._logged_of[batch.window_start_ms]
        of_window.remove(close)
        if not of_window:
            del self._logged_of[batch.window_start_ms]
        chunk = self._chunk(batch.window_start_ms, batch.sequence)
        self._take(chunk, batch.cause)
        return close, chunk

    def next_due(
        self, watermark_ms: int | None, *, written_ms: int, idle_at_ms: int | None
    ) -> tuple[Chunk, Cause] | None:
        """The next chunk that must close now, with the cause, taken off; None if none must.

        `written_ms` is how far the log has come by the wall clock, `idle_at_ms` the wall clock's
        time where the shard has gone idle. A window that is still to begin waits for its time:
        closing it would make late whatever comes before.
        """
        if self._logged or not self._open:
            return None
        chunks = self._open[min(self._open)]
        chunk = chunks[0]
        if chunk.events >= self._events_max:
            cause = Cause.COUNT
        elif watermark_ms is not None and chunk.window_end_ms <= watermark_ms:
            cause = Cause.WATERMARK
        elif idle_at_ms is not None and chunk.window_start_ms <= idle_at_ms:
            cause = Cause.IDLE
        elif (
            written_ms - chunk.since_ms > self._open_max_ms
            or len(self._open) > self._windows_open_max
        ):
            cause = Cause.MAXIMUM_AGE
        else:
            return None
        self._take(chunk, cause)
        return chunk, cause

    @property
    def oldest_offset(self) -> int | None:
        """The least offset of a digest that has not been in a close."""
        return min((c.offset_first for chunks in self._open.values() for c in chunks), default=None)

    def _is_logged(self, chunk: Chunk) -> bool:
        return any(
            close.micro_batch.sequence == chunk.sequence
            for close in self._logged_of.get(chunk.window_start_ms, ())
        )

    def _chunk(self, start_ms: int, sequence: int) -> Chunk:
        chunks = self._open.setdefault(start_ms, deque())
        for chunk in chunks:
            if chunk.sequence == sequence:
                return chunk
        chunk = Chunk(start_ms, start_ms + self._size_ms, sequence)
        chunks.append(chunk)
        if len(chunks) > 1:
            self._open[start_ms] = deque(sorted(chunks, key=lambda chunk: chunk.sequence))
        return chunk

    def _take(self, chunk: Chunk, cause: Cause) -> None:
        """Take a chunk off, and move the floor: only the watermark ends a window for good."""
        start_ms = chunk.window_start_ms
        chunks = self._open[start_ms]
        chunks.remove(chunk)
        if not chunks:
            del self._open[start_ms]
        ended = cause is Cause.WATERMARK
        floor_ms = chunk.window_end_ms if ended else start_ms
        if self.floor_ms is None or floor_ms > self.floor_ms:
            self.floor_ms = floor_ms
            self._sequences = {s: n for s, n in self._sequences.items() if s >= floor_ms}
