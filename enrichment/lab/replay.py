"""Replay: a file's rows published as events, at a rate, as fast as may be, or in lockstep.

Rows and the count of rows published are one Kafka transaction, so that a replay that was killed
goes on where it stopped and no event id is published twice.
"""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, TopicPartition

from enrichment.lab.lockstep import Lockstep, Window
from enrichment.lab.publish import Pace, Publisher, PublishError, publishing
from enrichment.lab.rows import Row, RowReader
from enrichment.pipelines import Pipeline
from enrichment.stream.headers import PROGRESS
from enrichment.stream.topics import StreamTopics
from enrichment.stream.transaction import Outcome, TransactionalProducer

CHUNK_ROWS: Final = 1_000  # per transaction when nothing else ends one
CHUNK_S: Final = 0.1  # at a given rate a chunk is as many rows as come in this time
LOCKSTEP: Final = "lockstep"
MAX: Final = "max"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay did."""

    rows: int
    published: int
    # Rows published by an earlier run of the same file, and rows whose id had come before.
    already: int
    repeated: int
    invalid: int
    windows: int
    seconds: float


class Replay:
    """One file on its way into one stream's events topic."""

    def __init__(
        self, client: dict[str, Any], pipeline: Pipeline, path: Path, *, restart: bool = False
    ) -> None:
        """`restart` publishes the whole file again, ids and all."""
        self._pipeline = pipeline
        self._path = path
        self._topic = StreamTopics(pipeline.name).events
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""
        self._name = f"enrichment.replay.{pipeline.name}.{digest}"
        self._client = client
        # Holds how many rows are published, as the offset of partition 0 of a group of its own.
        self._bookmark = Consumer(client | {"group.id": self._name, "enable.auto.commit": False})
        self._partitions = self._bookmark.list_topics(self._topic, timeout=10).topics[self._topic]
        if self._partitions.error is not None:
            raise PublishError(f"there is no topic {self._topic}: `enrichment topics apply`")
        self._transactions = TransactionalProducer.open(publishing(client), self._name)
        self._publisher = Publisher(self._transactions.producer)
        self._already = 0 if restart else self._published()
        self._repeated = self._invalid = 0

    def run(
        self, rate: float | str, stop: threading.Event, on_progress: Callable[[float], None]
    ) -> Replayed:
        """Publish at `rate` events per second, at MAX, or in LOCKSTEP, until done or told to stop.

        Raises TableError, PublishError, LockstepError.
        """
        started_s = time.monotonic()
        lockstep = Lockstep(self._client, self._pipeline.name) if rate == LOCKSTEP else None
        pace, rows_max = None, CHUNK_ROWS
        if isinstance(rate, float):
            pace, rows_max = Pace(rate), max(1, min(CHUNK_ROWS, int(rate * CHUNK_S)))
        rows = published = windows = 0
        last_ms = -1
        try:
            for chunk in self._chunks(on_progress, rows_max, by_window=lockstep is not None):
                rows = chunk[-1].number + 1
                new = [row for row in chunk if row.number >= self._already]
                if not new:
                    continue
                ends_ms = self._window_end_ms(new[-1], last_ms)
                last_ms = max(last_ms, ends_ms)
                # In lockstep every chunk is a window, and its end is stated to the stages.
                self._publish(new, rows, last_ms if lockstep else None)
                published += len(new)
                if lockstep is not None:
                    if expected := self._expected(new):
                        lockstep.wait(expected)
                    windows += 1
                if pace is not None:
                    pace.wait(published)
                if stop.is_set():
                    break
            else:
                if published and lockstep is None:
                    self._publish([], rows, last_ms)
        finally:
            self._close(lockstep)
        return Replayed(
            rows=rows,
            published=published,
            already=min(self._already, rows),
            repeated=self._repeated,
            invalid=self._invalid,
            windows=windows,
            seconds=round(time.monotonic() - started_s, 3),
        )

    def _chunks(
        self, on_progress: Callable[[float], None], rows_max: int, *, by_window: bool
    ) -> Iterator[list[Row]]:
        """The rows in chunks that one transaction takes: by count, or window by window."""
        encode = msgspec.json.Encoder().encode
        seen: set[bytes] = set()
        chunk: list[Row] = []
        window_ms = -1
        for row in RowReader(self._pipeline).read(self._path, encode, on_progress):
            id_ = str(row.event.get(self._pipeline.stream.id)).encode()
            # Eight bytes an id: a file of ten million ids takes under a gigabyte.
            fingerprint = hashlib.blake2b(id_, digest_size=8).digest()
            if fingerprint in seen:
                self._repeated += 1
                continue
            seen.add(fingerprint)
            if row.decoded is None:
                self._invalid += 1
            start_ms = window_ms if row.decoded is None else self._window_ms(row)
            full = start_ms > window_ms >= 0 if by_window else len(chunk) >= rows_max
            if full and chunk:
                yield chunk
                chunk = []
            window_ms = max(window_ms, start_ms)
            chunk.append(row)
        if chunk:
            yield chunk

    def _publish(self, rows: list[Row], rows_done: int, progress_ms: int | None) -> None:
        """One transaction: the rows, a source's word on how far it is, and the bookmark."""
        self._transactions.begin()
        encode = msgspec.json.encode
        key = self._pipeline.stream.key
        for row in rows:
            self._publisher.publish(self._topic, str(row.event.get(key)), encode(row.event))
        if progress_ms is not None:
            stated = [(PROGRESS, str(progress_ms).encode())]
            for partition in self._partitions.partitions:
                self._publisher.publish(
                    self._topic, None, None, partition=partition, headers=stated
                )
        bookmark = [TopicPartition(self._topic, 0, rows_done)]
        group = self._bookmark.consumer_group_metadata()
        if self._transactions.commit(bookmark, group) is not Outcome.COMMITTED:
            raise PublishError("Kafka did not take the rows; run the same command again to go on")

    def _expected(self, rows: list[Row]) -> Counter[Window]:
        """How many events each window of the chunk will show, late rows left out."""
        valid = [row for row in rows if row.decoded is not None]
        newest_ms = max((self._window_ms(row) for row in valid), default=-1)
        return Counter(
            (row.decoded.shard, newest_ms)
            for row in valid
            if row.decoded is not None and self._window_ms(row) == newest_ms
        )

    def _window_ms(self, row: Row) -> int:
        """The start of the row's window."""
        size_ms = self._pipeline.window.size_ms
        return 0 if row.decoded is None else row.decoded.occurred_at_ms // size_ms * size_ms

    def _window_end_ms(self, row: Row, otherwise_ms: int) -> int:
        """The end of the row's window."""
        if row.decoded is None:
            return otherwise_ms
        return self._window_ms(row) + self._pipeline.window.size_ms

    def _published(self) -> int:
        """How many of the file's rows an earlier run has published."""
        [position] = self._bookmark.committed([TopicPartition(self._topic, 0)], timeout=10)
        return max(0, int(position.offset))

    def _close(self, lockstep: Lockstep | None) -> None:
        self._transactions.close()
        self._bookmark.close()
        if lockstep is not None:
            lockstep.close()


def parse_rate(text: str) -> float | str:
    """`lockstep`, `max`, or events per second. Raises ValueError."""
    if text in {LOCKSTEP, MAX}:
        return text
    try:
        rate = float(text)
    except ValueError:
        raise ValueError(f"wanted a number, 'max' or 'lockstep', found '{text}'") from None
    if not 0 < rate < 1e9:
        raise ValueError(f"wanted a rate above 0, found {text}")
    return rate
