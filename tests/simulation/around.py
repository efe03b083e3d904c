"""Who stands around the shipped stages: the window stage as a script, and a reader."""

from typing import ClassVar, Final

import msgspec

from enrichment.feature.reader import READS_MS, FeatureReader
from enrichment.records import FeatureUpdate, VerdictName
from enrichment.stream.topics import (
    FEATURES,
    MICRO_BATCHES,
    partition_for,
    shard_key,
)
from tests.memory_kafka import Entry
from tests.sample.streams import PIPELINE
from tests.simulation.broker import Broker
from tests.simulation.cache import Client, Server
from tests.simulation.checks import Checks
from tests.simulation.script import Close
from tests.simulation.stage import Stage
from tests.simulation.world import START_MS, Instance, World

HEARTBEAT_MS: Final = 1_000

HELD_BACK: Final = 2
"""Closes of each shard that come when all trouble is over."""

READ: Final = 4
"""Accounts that are read at once."""

_encode: Final = msgspec.json.Encoder().encode


class WindowStage(Stage):
    """Publishes the closes of a script, each once or twice, and heartbeats."""

    def __init__(
        self, world: World, broker: Broker, closes: dict[str, list[Close]], every_ms: int
    ) -> None:
        super().__init__(world, "window")
        self._broker = broker
        self._closes = closes
        self._every_ms = every_ms
        # The last closes of each shard, which do not come before that is nought.
        self.held_back = HELD_BACK
        self._next_close: dict[str, int] = {}
        self._due_ms: dict[str, int] = {}
        self._beat_ms: dict[str, int] = {}

    @property
    def done(self) -> bool:
        """Whether every close that is to come by now stands in the topic."""
        return all(
            self._published(shard) == len(closes) - self.held_back
            for shard, closes in self._closes.items()
        )

    def open(self, instance: Instance) -> None:
        """Go on behind the last close that stands in the topic."""
        del instance
        for shard in self._closes:
            self._next_close[shard] = self._published(shard)
            self._due_ms[shard] = 0
            self._beat_ms[shard] = 0

    def turn(self) -> None:
        """Publish what is due: features first, then the micro-batch that makes them known."""
        world, now_ms = self.world, self.world.now_ms
        for shard, closes in self._closes.items():
            number = self._next_close[shard]
            if number < len(closes) - self.held_back and now_ms >= self._due_ms[shard]:
                self._due_ms[shard] = now_ms + world.draw.randint(0, 2 * self._every_ms)
                close = closes[number]
                for update in close.features(now_ms, self._beat()):
                    self._publish_feature(update)
                self._publish_batch(close)
                self._next_close[shard] = number + 1
                self._beat_ms[shard] = now_ms
                if number and world.troubled and world.chance(world.odds.repeated):
                    self._publish_batch(closes[world.draw.randrange(number)])
            elif number and now_ms >= self._beat_ms[shard] + HEARTBEAT_MS:
                self._beat_ms[shard] = now_ms
                self._publish_feature(closes[number - 1].heartbeat(now_ms, self._beat()))

    def _beat(self) -> int:
        """What keeps heartbeats in order between two closes: far less than these are apart."""
        return (self.world.now_ms - START_MS) // 100

    def _published(self, shard: str) -> int:
        place = (MICRO_BATCHES, self._partition(shard))
        known = {entry.value for entry in self._broker.logs[place] if entry.key == _key(shard)}
        return len(known)

    def _partition(self, shard: str) -> int:
        return partition_for(shard_key(PIPELINE, shard), self._broker.topics[MICRO_BATCHES])

    def _publish_batch(self, close: Close) -> None:
        self._append(
            MICRO_BATCHES, self._partition(close.shard), _key(close.shard), _encode(close.batch)
        )

    def _publish_feature(self, update: FeatureUpdate) -> None:
        key = f"{PIPELINE}|{update.entity}|{update.id}|{update.group}"
        partition = partition_for(key, self._broker.topics[FEATURES])
        self._append(FEATURES, partition, key.encode(), _encode(update))

    def _append(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        assert self.instance is not None
        entry = Entry(key, value, None, self.world.now_ms, None)
        self.instance.call("publish", lambda: self._broker.append(topic, partition, entry))


def _key(shard: str) -> bytes:
    return shard_key(PIPELINE, shard).encode()


class ReadStage(Stage):
    """Somebody who reads the features of random accounts, and believes what is called fresh."""

    TURNS_MS: ClassVar[tuple[int, ...]] = (50, 200, 500)

    def __init__(
        self, world: World, checks: Checks, server: Server, accounts: tuple[str, ...]
    ) -> None:
        super().__init__(world, "reader")
        self._checks = checks
        self._server = server
        self._accounts = accounts
        self._reader: FeatureReader | None = None

    def open(self, instance: Instance) -> None:
        """A reader that knows Redis alone."""
        self._reader = FeatureReader(
            Client(self._server),  # type: ignore[arg-type]
            self._checks.pipeline,
            clock_ns=lambda: instance.now_ms() * 1_000_000,
        )

    def turn(self) -> None:
        """Read some of them, and hold what is said against what is so."""
        assert self._reader is not None
        features = self._checks.pipeline.features
        accounts = self.world.draw.sample(self._accounts, min(READ, len(self._accounts)))
        read = self._reader.read_many([("account", account, "ring") for account in accounts])
        for found in read:
            self.world.met[f"called {found.verdict.reason}"] += 1
            if found.verdict.name is VerdictName.FRESH:
                within_ms = features.fresh_ms + 2 * features.skew_ms + READS_MS
                self._checks.readings.called_fresh(found.id, found.subgraph, within_ms)
