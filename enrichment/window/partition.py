"""One digest partition: its shards, its watermark, and what must close now. Pure."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from enrichment.pipelines import Pipeline
from enrichment.records import Digest, FeatureUpdate, MicroBatch, Outcome
from enrichment.window.close import LoggedClose
from enrichment.window.known_bad import KnownBad
from enrichment.window.shard import Close, Moment, Shard
from enrichment.window.watermark import NOTHING_KNOWN, Watermark, WatermarkState


@dataclass(slots=True)
class Counts:
    """What a partition has to report since it was last asked."""

    # How late each late digest was, in milliseconds behind the first window that was still open.
    late_ms: list[int] = field(default_factory=list)
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
        self._watermark = Watermark(
            lateness_ms=window.lateness_ms, idle_ms=window.idle_close_ms, sources=sources
        )
        # (offset in the log of closes, last digest offset), of closes that a rebuild still needs.
        self._log: deque[tuple[int, int]] = deque()
        self._log_end = 0
        self._closable = True

    def follow(self, log: Log, *, now_ms: int) -> None:
        """Take over the log of closes, before the first digest is received."""
        self._watermark.restore(log.watermark)
        by_shard: dict[str, list[LoggedClose]] = {}
        for log_offset, micro_batch in log.closes:
            close = LoggedClose.of(micro_batch)
            self._log.append((log_offset, close.offset_last))
            by_shard.setdefault(micro_batch.shard, []).append(close)
        for name, closes in by_shard.items():
            self._shard(name, now_ms).windows.follow(closes)
        self._log_end = log.end
        self._follow_through(self._start - 1)

    def receive(self, digest: Digest, offset: int, *, written_ms: int, now_ms: int) -> None:
        """Take in one digest of this pipeline; what was read already is passed over."""
        if offset < self.next_offset:
            return
        self._follow_through(offset - 1)
        self.next_offset = offset + 1
        self._closable = digest.part + 1 >= digest.parts
        if digest.shard:
            shard = self._shard(digest.shard, now_ms)
            shard.heard_ms = now_ms
            if not shard.windows.add(digest, offset, expired=self._expired(digest)):
                through_ms = max(shard.windows.floor_ms or 0, self._watermark.value_ms or 0)
                self.counts.late_ms.append(through_ms - digest.pane_start_ms)
                shard.fold_late(digest, offset)
        self._watermark.observe(
            digest.source_partition,
            digest.progress_ms,
            written_ms=written_ms,
            complete=not digest.shard,
        )
        self._follow_through(offset)

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
                taken = shard.windows.next_due(self._watermark.value_ms, idle=idle)
                if taken is None:
                    break
                yield shard.close(*taken, self._moment(now_ms))

    def published(self, close: Close, log_offset: int) -> None:
        """Note that a close stands in the log, at that offset."""
        _, _, last = close.micro_batch.digest_offsets[0]
        self._log.append((log_offset, last))
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
        while self._log and self._log[0][1] < digest_offset:
            self._log.popleft()
        return digest_offset, self._log[0][0] if self._log else self._log_end

    def _expired(self, digest: Digest) -> bool:
        """Whether the digest is a horizon behind the watermark.

        Such a one is late even for a shard of which no close is remembered any more: a window of
        that age may have been closed and forgotten.
        """
        watermark_ms = self._watermark.value_ms
        horizon_ms = self._pipeline.window.horizon_ms
        return watermark_ms is not None and digest.pane_end_ms + horizon_ms <= watermark_ms

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
                if not shard.follow(logged, chunk):
                    self.counts.conflicts.append(logged.micro_batch.micro_batch_id)
