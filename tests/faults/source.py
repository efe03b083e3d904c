"""What stands for the window stage: micro-batches, the graph features beside them, heartbeats.

Every window the same accounts lie in another subgraph, and it is written down when which was true:
that is what readings of the cache are held against.
"""

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from confluent_kafka import Producer

from enrichment.feature.store import SHARD_KIND
from enrichment.records import FeatureUpdate, MicroBatch
from enrichment.records.feature import Source as Origin
from enrichment.stream.topics import FEATURES, MICRO_BATCHES, partition_for, shard_key
from tests.faults.recorded_producer import RecordedProducer, open_journal
from tests.integration.sampling import PARTITIONS, SHARDS
from tests.sample.streams import batch, problem

SLOW: Final = 2
"""The shard, by its index, that closes a window in SLOW_EVERY only: it has time to be fresh."""

SLOW_EVERY: Final = 5
APART: Final = 100_000  # accounts of one shard and the next
FLUSH_S: Final = 20.0


@dataclass(slots=True)
class Source:
    """A thread that closes a window of each shard every `every_s`, until it is stopped."""

    bootstrap: str
    pipeline: str
    every_s: float
    problems: int
    journals: Path
    sent: list[str] = field(default_factory=list)
    # Key of a `ring` update -> since when which subgraph.
    truths: defaultdict[str, list[tuple[int, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    failure: BaseException | None = None
    _window: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _producer: RecordedProducer | None = None

    def start(self) -> None:
        """Begin, or go on."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End behind the present window. Raises what has ended it before."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(FLUSH_S + 5)
            self._thread = None
        if self.failure is not None:
            raise self.failure

    def close_window(self) -> None:
        """One window of each shard whose turn it is, and a heartbeat of all."""
        if self._producer is None:
            config = {
                "bootstrap.servers": self.bootstrap,
                "linger.ms": 0,
                "enable.idempotence": True,
                "log_level": 2,
            }
            journal = open_journal(self.journals, "source")
            self._producer = RecordedProducer(Producer(config), journal)
        self._window += 1
        now_ms = time.time_ns() // 1_000_000
        for index, shard in enumerate(SHARDS):
            if index != SLOW or self._window % SLOW_EVERY == 1:
                self._close(self._producer, index, shard)
            self._say(self._producer, self._heartbeat(shard, now_ms))
        left = self._producer.flush(FLUSH_S)
        assert left == 0, f"{left} records were not delivered"

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                began_s = time.monotonic()
                self.close_window()
                self._stop.wait(max(0.0, began_s + self.every_s - time.monotonic()))
        except BaseException as failure:  # noqa: BLE001  # raised by `stop`
            self.failure = failure

    def _close(self, producer: RecordedProducer, index: int, shard: str) -> None:
        rings = tuple(
            problem(number, seed=self._window, first=APART * index)
            for number in range(self.problems)
        )
        one = batch(self._window, rings, shard=shard, pipeline=self.pipeline)
        now_ms = time.time_ns() // 1_000_000
        for update in self._graph(one, now_ms):
            self._say(producer, update)
        producer.produce(
            MICRO_BATCHES,
            msgspec.json.encode(one),
            one.micro_batch_id,
            partition_for(shard_key(one.pipeline, one.shard), PARTITIONS),
        )
        self.sent.append(one.micro_batch_id)

    def _say(self, producer: Producer, update: FeatureUpdate) -> None:
        key = f"{update.pipeline}|{update.entity}|{update.id}|{update.group}"
        producer.produce(FEATURES, msgspec.json.encode(update), key, partition_for(key, PARTITIONS))

    def _heartbeat(self, shard: str, now_ms: int) -> FeatureUpdate:
        """That the shard's window stage lives."""
        return FeatureUpdate(
            version=now_ms,
            pipeline=self.pipeline,
            entity=SHARD_KIND,
            id=shard,
            group="graph",
            subgraph="",
            event_time_ms=now_ms,
            computed_at_ms=now_ms,
        )

    def _graph(self, one: MicroBatch, now_ms: int) -> list[FeatureUpdate]:
        """What the window stage says of everybody in the micro-batch."""
        made = []
        for ring in one.problems:
            entities = [(ring.entity, node) for node in ring.nodes]
            entities += [(shared.entity, shared.id) for shared in ring.shared]
            for entity, id_ in entities:
                key = f"{one.pipeline}|{entity}|{id_}|ring"
                self.truths[key].append((now_ms, ring.subgraph))
                made.append(self._update(entity, id_, one, now_ms, ring.subgraph))
        return made

    def _update(
        self, entity: str, id_: str, one: MicroBatch, now_ms: int, subgraph: str
    ) -> FeatureUpdate:
        return FeatureUpdate(
            version=one.version,
            pipeline=one.pipeline,
            entity=entity,
            id=id_,
            group="graph",
            subgraph=subgraph,
            event_time_ms=now_ms,
            computed_at_ms=now_ms,
            values={"subgraph_since_ms": float(now_ms)},
            source=Origin(backend="window", micro_batch_id=one.micro_batch_id),
        )
