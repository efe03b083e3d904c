"""A seeded world around one digest partition: sources, a log, and a worker that crashes.

Sources emit events in some disorder; some fall silent, one may have a wrong clock. Enrichers batch
them into transactions of digests, which interleave in the log with the wall-clock times at which
they were written. A worker reads the log, late or in time, ticks, publishes into the log of closes,
keeps its horizons, commits what is safe, and is killed now and then, between any two of these.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final
from unittest.mock import patch

from enrichment.pipelines import Pipeline
from enrichment.records import Digest, MicroBatch
from enrichment.records.horizon_slice import HorizonSlice
from enrichment.window.close import Chunk
from enrichment.window.content import Content
from enrichment.window.horizon import Horizon
from enrichment.window.partition import Log, Partition
from enrichment.window.snapshot import Snapshot
from enrichment.window.watermark import NOTHING_KNOWN, WatermarkState
from tests.window import sketch
from tests.window.sketch import PANE_MS, SIZE_MS, Event, TieKey, digest, pipeline, progress

SHARDS: Final = "stu"
START_MS: Final = 1_000_000
KEEP_SHARE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the digests topic."""

    offset: int
    written_ms: int
    digest: Digest
    # Whether its transaction ends with it.
    last: bool


@dataclass(slots=True)
class World:
    """What happens, drawn from a seed: the digests, in the order of the log.

    In an `orderly` one all clocks are right, and nothing comes later than the lateness allows.
    """

    seed: int
    orderly: bool = False
    entries: list[Entry] = field(default_factory=list)
    spec: Pipeline = field(init=False)

    def __post_init__(self) -> None:
        draw = Random(self.seed)
        self.spec = pipeline(
            lateness_ms=80 if self.orderly else draw.choice([0, 20, 80, 80]),
            idle_close_ms=draw.choice([60, 1_000, 1_000]),
            # A close by count makes late what comes for the windows before.
            events_max=1_000 if self.orderly else draw.choice([4, 20, 1_000]),
            open_max_ms=draw.choice([100, 30_000]),
            ahead_max_ms=1_000,
            horizon_ms=draw.choice([400, 6_400]),
        )
        sources = [list(self._source(draw, number)) for number in range(draw.randint(1, 4))]
        now_ms, offset = START_MS, 0
        while any(sources):
            left = [number for number, mine in enumerate(sources) if mine]
            number = draw.choice(left)
            if self.orderly or draw.random() < 0.7:  # else one lags behind the others
                number = min(left, key=lambda one: sources[one][0][0])
            due_ms, transaction = sources[number].pop(0)
            now_ms = max(now_ms, due_ms) + draw.choice([0, 0, 1, 5])
            for one in transaction:
                self.entries.append(Entry(offset, now_ms, one, one is transaction[-1]))
                offset += draw.choice([1, 1, 2])  # markers and other pipelines lie between
            offset += 1

    def _source(self, draw: Random, number: int) -> Iterator[tuple[int, list[Digest]]]:
        """The transactions of one source partition, each with when it is due."""
        now_ms = START_MS
        progress_ms = 0
        wrong_ms = 0 if self.orderly else draw.choice([*[0] * 8, -500, 500, 3_000])  # its clock
        for _ in range(draw.randint(10, 80)):
            now_ms += draw.choice([*[1, 5, 5, 20, 60, 60] * 4, 2_500])
            events: dict[tuple[str, int], list[Event]] = {}
            for _ in range(draw.choice([0, 1, 1, 3, 8])):
                behind_ms = draw.choice([*[0, 0, 3, 15] * 4, 50, 50 if self.orderly else 200])
                at_ms = max(0, now_ms + wrong_ms - behind_ms)
                account = draw.choice("abcdefgh")
                shard = draw.choice(SHARDS)
                event = (at_ms, account, f"d{draw.randint(0, 3)}", "", draw.randint(1, 99))
                events.setdefault((shard, at_ms // PANE_MS), []).append(event)
                progress_ms = max(progress_ms, min(at_ms, now_ms))
            transaction = [
                digest(mine, source=number, shard=shard, progress_ms=progress_ms)
                for (shard, _), mine in events.items()
            ]
            if progress_ms and (not transaction or draw.random() < 0.5):
                transaction.append(progress(progress_ms, source=number))
            if transaction:
                yield now_ms, transaction


@dataclass(slots=True)
class Committed:
    """What stands in the broker for the next worker."""

    start: int = 0
    log_start: int = 0
    watermark: WatermarkState = NOTHING_KNOWN


@dataclass(slots=True)
class Outcome:
    """What became of it all."""

    closes: list[tuple[int, MicroBatch]] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    # Digest offset -> the identity of the close that holds it, None where it came late or was
    # quarantined: by the last worker that read it.
    where: dict[int, tuple[str, int, int] | None] = field(default_factory=dict)
    crashes: int = 0
    # The topic that keeps horizons, compacted; and whoever worked last.
    kept: dict[str, HorizonSlice] = field(default_factory=dict)
    worker: Partition | None = None


def run(world: World, *, crash_share: float = 0.01, backlog: bool | None = None) -> Outcome:
    """Let workers read the whole log, and close what is left by the clock.

    A `backlog` is read hours later, all at once; where it is False, each transaction is read before
    the next comes, and no time passes meanwhile. Otherwise time passes, and nothing is certain.
    """
    draw = Random(world.seed + 1_000_003)
    outcome, committed = Outcome(), Committed()
    now_ms = START_MS + (7_200_000 if backlog else 0)
    position = 0
    worker = _worker(world, committed, outcome, now_ms)
    while position < len(world.entries):
        entry = world.entries[position]
        position += 1
        if backlog is None:
            now_ms = max(now_ms, entry.written_ms) + draw.choice([0, 0, 0, 2])
        with _noted(outcome):
            apart = len(worker.counts.late_ms) + len(worker.counts.ahead_ms)
            worker.receive(entry.digest, entry.offset, written_ms=entry.written_ms, now_ms=now_ms)
            if len(worker.counts.late_ms) + len(worker.counts.ahead_ms) > apart:
                outcome.where[entry.offset] = None
        if entry.last and (draw.random() < 0.3 if backlog is None else not backlog):
            worker.settle()
        if backlog is None and draw.random() < 0.2:
            now_ms += draw.choice([1, 50, 200])
        survived = _publish(worker, outcome, now_ms, draw, crash_share)
        if draw.random() < 0.2:
            start, log_start = worker.safe()
            committed = Committed(start, log_start, worker.watermark())
        if survived and backlog is None and draw.random() < KEEP_SHARE:
            survived = _keep(worker, outcome, draw, crash_share)
        if not survived or draw.random() < crash_share:
            outcome.crashes += 1
            outcome.conflicts += worker.counts.conflicts
            worker = _worker(world, committed, outcome, now_ms)
            position = next(
                (n for n, each in enumerate(world.entries) if each.offset >= worker.next_offset),
                len(world.entries),
            )
    worker.settle()
    _publish(worker, outcome, now_ms, draw, 0.0)
    _publish(worker, outcome, now_ms + 10_000, draw, 0.0)
    outcome.conflicts += worker.counts.conflicts
    outcome.worker = worker
    return outcome


def _worker(world: World, committed: Committed, outcome: Outcome, now_ms: int) -> Partition:
    worker = Partition(world.spec, 0, start=committed.start)
    snapshot = Snapshot(world.spec.name)
    for key, value in outcome.kept.items():
        snapshot.read(key, value)
    worker.load(snapshot, now_ms=now_ms)
    closes = tuple(entry for entry in outcome.closes if entry[0] >= committed.log_start)
    worker.follow(
        Log(closes=closes, end=len(outcome.closes), watermark=committed.watermark), now_ms=now_ms
    )
    return worker


def _publish(
    worker: Partition, outcome: Outcome, now_ms: int, draw: Random, crash_share: float
) -> bool:
    """Publish what is due; False where the worker died in the middle of it."""
    for close in worker.due(now_ms):
        if draw.random() < crash_share:
            return False  # before it stood in the log
        outcome.closes.append((len(outcome.closes), close.micro_batch))
        if draw.random() < crash_share:
            return False  # after it, and before the worker knew
        worker.published(close, len(outcome.closes) - 1)
    return True


def _keep(worker: Partition, outcome: Outcome, draw: Random, crash_share: float) -> bool:
    """Keep what has changed of the horizons; False where the worker died in the middle of it."""
    for key, value in worker.changes():
        if draw.random() < crash_share:
            return False
        if value is None:
            outcome.kept.pop(key, None)
        else:
            outcome.kept[key] = value
    worker.kept()
    return True


def _noted(outcome: Outcome) -> Any:
    """Note into which close each digest goes."""
    add = Chunk.add

    def noted(self: Chunk, one: Digest, at: int, written_ms: int) -> None:
        outcome.where[at] = (one.shard, self.window_start_ms, self.sequence)
        add(self, one, at, written_ms)

    return patch.object(Chunk, "add", noted)


def identity(batch: MicroBatch) -> tuple[str, int, int]:
    """A close's identity within its pipeline."""
    return batch.shard, batch.window_start_ms, batch.sequence


def graph(worker: Partition) -> dict[tuple[str, TieKey], tuple[int, int, int]]:
    """The worker's ties by shard: events, amount and newest time."""
    return {
        (name, key): (tie.events, tie.amount_minor, tie.newest_ms)
        for name in SHARDS
        for key, tie in sketch.ties(worker.horizon(name)).items()
    }


def graph_of(world: World, worker: Partition) -> dict[tuple[str, TieKey], tuple[int, int, int]]:
    """The same by one who has read each digest once, and stands at the same times."""
    found = {}
    for name in SHARDS:
        horizon = Horizon(world.spec)
        for entry in world.entries:
            one = entry.digest
            ahead_ms = one.pane_start_ms - entry.written_ms
            if one.shard == name and ahead_ms <= world.spec.window.ahead_max_ms:
                start_ms = one.pane_start_ms // SIZE_MS * SIZE_MS
                content = Content(start_ms, start_ms + SIZE_MS)
                content.add(one)
                horizon.fold(content, entry.offset)
        horizon.advance(worker.horizon(name).now_ms)
        for key, tie in sketch.ties(horizon).items():
            found[name, key] = (tie.events, tie.amount_minor, tie.newest_ms)
    return found
