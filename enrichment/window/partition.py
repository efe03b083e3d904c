"""One digest partition: its shards, its watermark, and what must close now. Pure."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from enrichment.pipelines import Pipeline
from enrichment.records import Digest, FeatureUpdate, MicroBatch, Outcome
from enrichment.records.horizon_slice import HorizonSlice
from enrichment.window.close import Chunk, LoggedClose
from enrichment.window.horizon import Horizon
from enrichment.window.known_bad import KnownBad
from enrichment.window.shard import Close, Moment, Shard
from enrichment.window.slices import Through
from enrichment.window.snapshot import Snapshot
from enrichment.window.watermark import NOTHING_KNOWN, Watermark, WatermarkState


@dataclass(slots=True)
class Counts:
    """What a partition has to report since it was last asked."""

    # How late each late digest was, in milliseconds behind the first window that was still open.
    late_ms: list[int] = field(default_factory=list)
    # How far each quarantined digest lay ahead of when it was written, in milliseconds.
    ahead_ms: list[int] = field(default_factory=list)
    # Logged closes whose digests no longer give the content that was logged.
    conflicts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The log of closes as a rebuild finds it."""

    # (offset in the log, the close), in order, of one partition and pipeline.
    closes: tuple[tuple[int, MicroBatch], ...] = ()
    # Where the log goes on.
    end: int = 0
    # What was noted of the watermark with the offset from which digests are read again.
    watermark: WatermarkState = NOTHING_KNOWN


class Partition:
    """Everything that one worker knows of one digest partition.

    `start` is the offset from which digests come, and `sources` the number of partitions of the
    stream's events, 0 where that is not known.
    """

    def __init__(self, pipeline: Pipeline, number: int, *, start: int, sources: int = 0) -> None:
        self.number = number
        self.known_bad = KnownBad()
        self.counts = Counts()
        # The offset of the next digest to read; what comes from before it has been read already.
        self.next_offset = start
        self._pipeline = pipeline
        self._start = start
        self._shards: dict[str, Shard] = {}
        window = pipeline.window
        self._idle_ms = window.idle_close_ms
        self._ahead_max_ms = window.ahead_max_ms
        # How far the log has come, by the times at which digests were written.
        self._written_ms = 0
        self._watermark = Watermark(
            lateness_ms=window.lateness_ms, idle_ms=window.idle_close_ms, sources=sources
        )
        # (offset in the log of closes, last digest offset, window's end), of closes that a rebuild
        # still needs.
        self._log: deque[tuple[int, int, int]] = deque()
        self._log_end = 0
        self._closable = True
        self._snapshot = Snapshot(pipeline.name)

    def follow(self, log: Log, *, now_ms: int) -> None:
        """Take over the log of closes, before the first digest is received."""
        self._watermark.restore(log.watermark)
        by_shard: dict[str, list[LoggedClose]] = {}
        for log_offset, micro_batch in log.closes:
            close = LoggedClose.of(micro_batch, log_offset)
            self._log.append((log_offset, close.offset_last, micro_batch.window_end_ms))
            by_shard.setdefault(micro_batch.shard, []).append(close)
        for name, closes in by_shard.items():
            self._shard(name, now_ms).windows.follow(closes)
        self._log_end = log.end
        self._follow_through(self._start - 1)

    def load(self, snapshot: Snapshot, *, now_ms: int) -> None:
        """Take over what is kept of the horizons: before the log, and the first digest."""
        self._snapshot = snapshot
        names = sorted(snapshot.shards)
        snapshot.load({name: self._shard(name, now_ms).horizon for name in names})

    def changes(self) -> Iterator[tuple[str, HorizonSlice | None]]:
        """What is to be kept of the horizons: key and record, None where it is to be deleted.

        All of it is to be written, in order; then `kept` is called, before anything else is read.
        """
        for name in self._at_rest():
            shard = self._shards[name]
            oldest = shard.windows.oldest_offset
            through = Through(self._log_end, self.next_offset if oldest is None else oldest)
            yield from self._snapshot.changes(name, shard.horizon, through, self.next_offset)

    def kept(self) -> None:
        """Need no digest for what was kept."""
        for name in self._at_rest():
            self._shards[name].horizon.forget_offsets()

    def horizon(self, shard: str) -> Horizon:
        """The graph of a shard; an empty one of a shard that was never heard of."""
        return self._shard(shard, 0).horizon

    def _at_rest(self) -> list[str]:
        """The shards that have gone through the log: what they hold is known by its end."""
        return [name for name, shard in self._shards.items() if not shard.windows.following]

    def receive(self, digest: Digest, offset: int, *, written_ms: int, now_ms: int) -> None:
        """Take in one digest of this pipeline; what was read already is passed over."""
        if offset < self.next_offset:
            return
        self._follow_through(offset - 1)
        self.next_offset = offset + 1
        self._closable = digest.part + 1 >= digest.parts
        self._written_ms = max(self._written_ms, written_ms)
        ahead_ms = digest.pane_start_ms - written_ms
        if ahead_ms > self._ahead_max_ms:
            self.counts.ahead_ms.append(ahead_ms)
        elif digest.shard:
            self._window(digest, offset, written_ms=written_ms, now_ms=now_ms)
        if digest.progress_ms - written_ms <= self._ahead_max_ms:
            self._watermark.observe(
                digest.source_partition,
                digest.progress_ms,
                written_ms=written_ms,
                complete=not digest.shard,
            )
        self._follow_through(offset)

    def _window(self, digest: Digest, offset: int, *, written_ms: int, now_ms: int) -> None:
        """Put a digest of events where it belongs: into a window, or late into the horizon."""
        shard = self._shard(digest.shard, now_ms)
        shard.heard_ms = now_ms
        ended = self._ended(digest)
        if not shard.windows.add(digest, offset, written_ms=written_ms, ended=ended):
            through_ms = max(shard.windows.floor_ms or 0, self._watermark.value_ms or 0)
            self.counts.late_ms.append(through_ms - digest.pane_start_ms)
            shard.fold_late(digest, offset)

    def skip(self, offset: int) -> None:
        """Pass over a record of another pipeline."""
        self.next_offset = max(self.next_offset, offset + 1)

    def settle(self) -> None:
        """Let held progress count: there is nothing more to read."""
        self._closable = True
        if self._watermark.held:
            self._watermark.settle()

    def judge(self, outcome: Outcome, *, now_ms: int) -> None:
        """Take in one outcome."""
        if self.known_bad.add(outcome):
            self._shard(outcome.shard, now_ms).judge(outcome)

    def due(self, now_ms: int) -> Iterator[Close]:
        """What must close now, one after the other; each is to be published before the next."""
        if not self._closable:
            return
        for name in sorted(self._shards):
            shard = self._shards[name]
            while True:
                idle = now_ms - shard.heard_ms >= self._idle_ms
                taken = shard.windows.next_due(
                    self._watermark.value_ms,
                    written_ms=self._written_ms,
                    idle_at_ms=now_ms if idle else None,
                )
                if taken is None:
                    break
                yield shard.close(*taken, self._moment(now_ms))

    def published(self, close: Close, log_offset: int) -> None:
        """Note that a close stands in the log, at that offset."""
        _, _, last = close.micro_batch.digest_offsets[0]
        self._log.append((log_offset, last, close.micro_batch.window_end_ms))
        self._log_end = log_offset + 1

    def heartbeats(self, interval_ms: int, now_ms: int) -> list[FeatureUpdate]:
        """A heartbeat of each shard that has not had one for the interval."""
        return [
            shard.heartbeat(self._moment(now_ms))
            for shard in self._shards.values()
            if now_ms - shard.beat_ms >= interval_ms and not shard.windows.following
        ]

    def watermark(self) -> WatermarkState:
        """What is known of the watermark, to be noted with `safe`."""
        return self._watermark.state()

    def safe(self) -> tuple[int, int]:
        """The oldest digest that a rebuild would need, and from where it would read the log."""
        needed = [
            offset
            for shard in self._shards.values()
            for offset in (shard.windows.oldest_offset, shard.horizon.oldest_offset())
            if offset is not None
        ]
        digest_offset = min(needed, default=self.next_offset)
        # A window that has not ended may be given more: a rebuild must know that it was closed.
        ended_ms = -1 if self._watermark.value_ms is None else self._watermark.value_ms
        while self._log and self._log[0][1] < digest_offset and self._log[0][2] <= ended_ms:
            self._log.popleft()
        return digest_offset, self._log[0][0] if self._log else self._log_end

    def _ended(self, digest: Digest) -> bool:
        """Whether the watermark has passed the digest's window.

        Then it is late even for a shard of which no close is remembered: that window may have been
        closed and forgotten.
        """
        size_ms, watermark_ms = self._pipeline.window.size_ms, self._watermark.value_ms
        end_ms = (digest.pane_start_ms // size_ms + 1) * size_ms
        return watermark_ms is not None and end_ms <= watermark_ms

    def _shard(self, name: str, now_ms: int) -> Shard:
        shard = self._shards.get(name)
        if shard is None:
            shard = self._shards[name] = Shard(self._pipeline, name, heard_ms=now_ms)
        return shard

    def _moment(self, now_ms: int) -> Moment:
        return Moment(
            partition=self.number,
            read_through=self.next_offset - 1,
            watermark_ms=self._watermark.value_ms,
            now_ms=now_ms,
            known_bad=self.known_bad,
        )

    def _follow_through(self, offset: int) -> None:
        """Go through the logged closes whose digests have all been read by that offset."""
        for shard in self._shards.values():
            while taken := shard.windows.next_logged(offset):
                logged, chunk = taken
                self._watermark.follow(logged.micro_batch.watermark_ms)
                self.follow_close(shard, logged, chunk)

    def follow_close(self, shard: Shard, logged: LoggedClose, chunk: Chunk) -> None:
        """Go through one logged close with the digests that it covers."""
        if not shard.follow(logged, chunk):
            self.counts.conflicts.append(logged.micro_batch.micro_batch_id)
