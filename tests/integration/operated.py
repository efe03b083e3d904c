"""A stream with two accounts in rings, a steady load on it, and an operator of it."""

import json
import threading
from pathlib import Path
from typing import Any

import msgspec
import redis
from confluent_kafka import Producer

from enrichment.cli import control, rollout
from enrichment.feature.reader import FeatureReader
from enrichment.feature.store import update_key
from enrichment.lab.servers import LocalServers
from enrichment.records import FeatureUpdate, Source, Verdict, VerdictName
from enrichment.settings import Settings
from enrichment.stream.topics import FEATURES, partition_for
from enrichment.wiring.clock import now_ms
from tests.cli.commands import runner_of
from tests.enrich.streams import payment
from tests.feature.cached import PARTITIONS, heartbeat, ring, update
from tests.integration.stages import Stream, eventually

IN_FORCE_MS = 2_000  # what is promised
RATE_S = 0.02
UNCHANGED = Verdict(VerdictName.FRESH, "subgraph_unchanged")
COMMANDS = {"control": runner_of(control.register), "rollout": runner_of(rollout.register)}


class Operated:
    """A stream like payments with two accounts in rings, and an operator."""

    def __init__(self, servers: LocalServers, folder: Path, redis_url: str) -> None:
        self.stream = Stream(
            folder, like="payments", bootstrap=servers.bootstrap, redis_url=redis_url
        )
        self.cache = redis.Redis.from_url(redis_url)
        self.reader = FeatureReader(self.cache, self.stream.pipeline)
        self._settings = Settings.model_validate(
            {
                "kafka_bootstrap": servers.bootstrap,
                "redis_url": redis_url,
                "pipelines_dir": folder,
            }
        )

    def publish_features(self) -> None:
        """Two accounts, whose rings two jobs computed, in a shard that is heard."""
        at_ms, pipeline = now_ms(), self.stream.name
        self._publish(heartbeat(at_ms=at_ms, pipeline=pipeline))
        for number in ("1", "2"):
            account = f"a{number}"
            self._publish(update("account", account, "graph", at_ms=at_ms, pipeline=pipeline))
            source = Source(
                backend="qsim", micro_batch_id=f"{pipeline}|eu|0|0", job_id=f"j{number}"
            )
            found = ring("account", account, 0.8, at_ms=at_ms, pipeline=pipeline)
            self._publish(msgspec.structs.replace(found, source=source))
        eventually("projected", lambda: self.verdicts() == [UNCHANGED, UNCHANGED])

    def _publish(self, found: FeatureUpdate) -> None:
        key = update_key(found.pipeline, found.entity, found.id, found.group)
        value = msgspec.json.encode(found)
        self.stream.produce(FEATURES, key, value, partition_for(key, PARTITIONS))

    def verdicts(self) -> list[Verdict]:
        """What a public reader is told of the two rings."""
        found = self.reader.read_many([("account", "a1", "ring"), ("account", "a2", "ring")])
        return [each.verdict for each in found]

    def says(self, noun: str, verb: str, *arguments: str) -> Any:
        """The operator's command (`control` or `rollout`), and what it prints as JSON."""
        result = COMMANDS[noun](
            noun, verb, "-p", self.stream.name, *arguments, "--json", settings=self._settings
        )
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


class Load(threading.Thread):
    """Payments of the two accounts in turn, at a steady rate, until told to stop."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._ended = threading.Event()
        # Event id -> when it was published, in milliseconds of the wall clock.
        self.published_ms: dict[str, int] = {}

    def run(self) -> None:
        """Publish one, to each partition in turn, and wait."""
        producer = Producer({"bootstrap.servers": self._stream.bootstrap})
        while not self._ended.wait(RATE_S):
            number = len(self.published_ms)
            id_, account = f"e{number}", f"a{1 + number % 2}"
            self.published_ms[id_] = now = now_ms()
            value = payment(event_id=id_, account_id=account, region="eu", occurred_at=now)
            producer.produce(self._stream.topics.events, value, partition=number % 4)
            producer.poll(0)
        assert producer.flush(30) == 0

    def end(self) -> None:
        """Stop publishing."""
        self._ended.set()
        self.join(30)
