"""The window stage's own logic in the world: real partitions, fed with digests of real ties.

What is Faust's in the stage (`window/agents.py`) is done here in its order: features of a close,
then its micro-batch; horizons kept now and then; offsets committed now and then, with their note.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import ClassVar, Final

import msgspec

from enrichment.pipelines import Pipeline
from enrichment.records import Digest, Links, MicroBatch, Tallies
from enrichment.records.horizon_slice import HorizonSlice
from enrichment.stream.topics import (
    DIGESTS,
    FEATURES,
    HORIZONS,
    MICRO_BATCHES,
    partition_for,
    shard_key,
)
from enrichment.window.partition import Log, Partition
from enrichment.window.snapshot import Snapshot
from enrichment.window.watermark import NOTHING_KNOWN, WatermarkState
from tests.memory_kafka import Entry
from tests.sample.streams import PIPELINE
from tests.simulation.broker import Broker
from tests.simulation.stage import Stage
from tests.simulation.world import Instance, Violation, World

BEAT_MS: Final = 1_000

TAKEN: Final = 5
"""Digests that are read in one turn."""

LAST: Final = 6
"""Transactions of digests that come when all trouble is over."""

Event = tuple[int, str, str, str, str]
"""Time, shard, account, device, beneficiary."""

_encode: Final = msgspec.json.Encoder().encode
_digest: Final = msgspec.json.Decoder(Digest).decode
_batch: Final = msgspec.json.Decoder(MicroBatch).decode
_slice: Final = msgspec.json.Decoder(HorizonSlice).decode


class EnrichStage(Stage):
    """One enricher: transactions of digests, each once."""

    def __init__(
        self, world: World, broker: Broker, spec: Pipeline, shards: tuple[str, ...]
    ) -> None:
        super().__init__(world, "enrich")
        self._broker = broker
        self._spec = spec
        self._shards = shards
        self._left = LAST + world.draw.randint(5, 30)
        self._due_ms = 0
        self._newest_ms = 0
        self.held_back = LAST

    @property
    def done(self) -> bool:
        """Whether everything that is to come by now has come."""
        return self._left <= self.held_back

    def open(self, instance: Instance) -> None:
        """Exactly-once as it is, it goes on where it was."""
        del instance

    def turn(self) -> None:
        """What some events have left, in one transaction; of a quiet source its progress."""
        world, draw, now_ms = self.world, self.world.draw, self.world.now_ms
        if self.done or now_ms < self._due_ms:
            return
        found: defaultdict[tuple[str, int], list[Event]] = defaultdict(list)
        pane_ms = self._spec.window.pane_ms
        for _ in range(draw.choice((0, 1, 3, 6))):
            at_ms = now_ms - draw.choice((0, 0, 50, 400, 3_000))
            shard = draw.choice(self._shards)
            account = f"{shard}-{draw.choice('abcdef')}"
            device, payee = f"{shard}-d{draw.randrange(2)}", f"{shard}-p{draw.randrange(3)}"
            found[shard, at_ms // pane_ms].append((at_ms, shard, account, device, payee))
            self._newest_ms = max(self._newest_ms, at_ms)
        digests = [self._of(events) for _, events in sorted(found.items())]
        assert self.instance is not None
        self.instance.call("publish", lambda: self._write(digests))
        self._left -= 1
        self._due_ms = now_ms + draw.choice((50, 300, 1_000, 3_000))
        world.met["digests"] += len(digests)

    def _write(self, digests: list[Digest]) -> None:
        count = self._broker.topics[DIGESTS]
        for one in digests:
            number = partition_for(shard_key(PIPELINE, one.shard), count)
            self._append(number, one)
        for number in range(count):
            self._append(number, self._progress())

    def _append(self, number: int, one: Digest) -> None:
        key = shard_key(PIPELINE, one.shard).encode()
        self._broker.append(
            DIGESTS, number, Entry(key, _encode(one), None, self.world.now_ms, None)
        )

    def _progress(self) -> Digest:
        start_ms = self._newest_ms // self._spec.window.pane_ms * self._spec.window.pane_ms
        return self._digest("", start_ms, {})

    def _of(self, events: list[Event]) -> Digest:
        start_ms = events[0][0] // self._spec.window.pane_ms * self._spec.window.pane_ms
        columns = {
            "link_columns": {
                "account~device": _links([(e[2], e[3], e[0]) for e in events]),
                "account~beneficiary": _links([(e[2], e[4], e[0]) for e in events]),
            },
            "tally_columns": {
                kind: Tallies([str(e[at]) for e in events], [1] * len(events), [100] * len(events))
                for kind, at in (("account", 2), ("device", 3), ("beneficiary", 4))
            },
            "events": len(events),
            "newest_ms": max(e[0] for e in events),
        }
        return self._digest(events[0][1], start_ms, columns)

    def _digest(self, shard: str, start_ms: int, columns: dict[str, object]) -> Digest:
        return msgspec.convert(
            {
                "pipeline": PIPELINE,
                "shard": shard,
                "pane_start_ms": start_ms,
                "pane_end_ms": start_ms + self._spec.window.pane_ms,
                "source_partition": 0,
                "offset_first": 0,
                "offset_last": 0,
                "progress_ms": self._newest_ms,
                **columns,
            },
            Digest,
        )


def _links(rows: list[tuple[str, str, int]]) -> Links:
    a, b, at_ms = ([row[n] for row in rows] for n in range(3))
    return Links(a, b, [1] * len(rows), [100] * len(rows), at_ms)  # type: ignore[arg-type]


@dataclass(slots=True)
class Books:
    """What is committed of a digest partition: where to read from, and the note beside it."""

    start: int = 0
    log_start: int = 0
    watermark: WatermarkState = field(default_factory=lambda: NOTHING_KNOWN)


class WindowsStage(Stage):
    """One worker of the window stage, with all digest partitions."""

    TURNS_MS: ClassVar[tuple[int, ...]] = (20, 50, 200)

    def __init__(self, world: World, broker: Broker, spec: Pipeline, enrich: EnrichStage) -> None:
        super().__init__(world, "window")
        self._broker = broker
        self._spec = spec
        self._enrich = enrich
        self._books: defaultdict[int, Books] = defaultdict(Books)
        self._partitions: dict[int, Partition] = {}
        self._kept_ms: dict[int, int] = {}
        self._moved_ms = 0

    @property
    def held_back(self) -> int:
        """What comes when all trouble is over."""
        return self._enrich.held_back

    @held_back.setter
    def held_back(self, left: int) -> None:
        self._enrich.held_back = left

    @property
    def done(self) -> bool:
        """Whether all digests are read, and no window is open any more."""
        window = self._spec.window
        quiet_ms = window.size_ms + window.lateness_ms + 2 * window.idle_close_ms
        return (
            self._enrich.done
            and len(self._partitions) == self._broker.topics[DIGESTS]
            and all(one.next_offset >= self._end(n) for n, one in self._partitions.items())
            and self.world.now_ms >= self._moved_ms + quiet_ms
        )

    def open(self, instance: Instance) -> None:
        """Have every partition as topics leave it."""
        del instance
        self._partitions = {
            number: self._taken_over(number) for number in range(self._broker.topics[DIGESTS])
        }

    def turn(self) -> None:
        """Read some digests, publish what is due, and keep what is worth it."""
        for number, partition in self._partitions.items():
            self._read(number, partition)
            self._publish_due(number, partition)
            now_ms = self.world.now_ms
            for beat in partition.heartbeats(BEAT_MS, now_ms):
                self._publish(FEATURES, None, f"shard|{beat.id}|graph", beat)
            if now_ms - self._kept_ms[number] >= self._spec.window.keep_ms:
                self._kept_ms[number] = now_ms
                for key, value in partition.changes():
                    self._publish(HORIZONS, number, key, value)
                partition.kept()
            if self.world.chance(0.1):
                start, log_start = partition.safe()
                self._books[number] = Books(start, log_start, partition.watermark())
            if partition.counts.conflicts:
                raise Violation(f"a logged close is another now: {partition.counts.conflicts}")

    def _end(self, number: int) -> int:
        return len(self._broker.logs[DIGESTS, number])

    def _taken_over(self, number: int) -> Partition:
        books, now_ms = self._books[number], self.world.now_ms
        partition = Partition(self._spec, number, start=books.start)
        snapshot = Snapshot(PIPELINE)
        for entry in self._broker.logs[HORIZONS, number]:
            key = (entry.key or b"").decode()
            snapshot.read(key, None if entry.value is None else _slice(entry.value))
        partition.load(snapshot, now_ms=now_ms)
        log = self._broker.logs[MICRO_BATCHES, number]
        closes = tuple(
            (at, _batch(log[at].value or b"")) for at in range(books.log_start, len(log))
        )
        partition.follow(Log(closes=closes, end=len(log), watermark=books.watermark), now_ms=now_ms)
        self._kept_ms[number] = now_ms
        return partition

    def _read(self, number: int, partition: Partition) -> None:
        log = self._broker.logs[DIGESTS, number]
        taken = log[partition.next_offset : partition.next_offset + TAKEN]
        if not taken:
            partition.settle()
        for at, entry in enumerate(taken, partition.next_offset):
            self._moved_ms = self.world.now_ms
            partition.receive(
                _digest(entry.value or b""),
                at,
                written_ms=entry.timestamp_ms,
                now_ms=self.world.now_ms,
            )
            self._publish_due(number, partition)

    def _publish_due(self, number: int, partition: Partition) -> None:
        while (close := next(partition.due(self.world.now_ms), None)) is not None:
            self._moved_ms = self.world.now_ms
            for update in close.features:
                name = f"{update.entity}|{update.id}|{update.group}"
                self._publish(FEATURES, None, name, update)
            batch = close.micro_batch
            self._publish(MICRO_BATCHES, number, batch.shard, batch)
            partition.published(close, len(self._broker.logs[MICRO_BATCHES, number]) - 1)
            self.world.met["windows closed"] += 1

    def _publish(
        self, topic: str, number: int | None, name: str, value: msgspec.Struct | None
    ) -> None:
        """One record, acknowledged; without a number its key decides where it goes."""
        key = name if topic == HORIZONS else f"{PIPELINE}|{name}"
        place = partition_for(key, self._broker.topics[topic]) if number is None else number
        encoded = None if value is None else _encode(value)
        entry = Entry(key.encode(), encoded, None, self.world.now_ms, None)
        assert self.instance is not None
        self.instance.call("publish", lambda: self._broker.append(topic, place, entry))
