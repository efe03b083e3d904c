"""A withdrawal against real servers: two seconds after it was said nobody uses what it covers."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from enrichment.cli.control import register
from enrichment.feature.reader import FeatureReader
from enrichment.feature.store import Layout, update_key
from enrichment.lab.redis_server import RedisServer
from enrichment.lab.servers import LocalServers
from enrichment.records import Enriched, FeatureUpdate, FeatureUsed, Source, Verdict, VerdictName
from enrichment.settings import Settings
from enrichment.stream.topics import FEATURES, partition_for
from enrichment.wiring import now_ms
from tests.cli.commands import runner_of
from tests.enrich.streams import payment
from tests.feature.cached import PARTITIONS, heartbeat, ring, update
from tests.integration.stages import Stream, eventually

pytestmark = pytest.mark.servers

IN_FORCE_MS = 2_000  # what is promised
RATE_S = 0.02
WITHDRAWN = Verdict(VerdictName.FALLBACK, "withdrawn")
UNCHANGED = Verdict(VerdictName.FRESH, "subgraph_unchanged")

command = runner_of(register)


class Withdrawing:
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

    def control(self, action: str, *arguments: str) -> Any:
        """The operator's command, and what it prints as JSON."""
        result = command(
            "control", action, "-p", self.stream.name, *arguments, "--json",
            settings=self._settings,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        return json.loads(result.output)


@pytest.fixture
def withdrawing(
    servers: LocalServers, own_redis: RedisServer, tmp_path: Path
) -> Iterator[Withdrawing]:
    """The stream, with its projector running."""
    made = Withdrawing(servers, tmp_path, f"redis://{own_redis.address}/0")
    made.stream.start("project")
    yield made
    made.stream.close()


def test_public_readers_are_told(withdrawing: Withdrawing) -> None:
    """By job and by time, lifted again; a flushed Redis and another projector change nothing."""
    withdrawing.publish_features()
    told = withdrawing.control("withdraw", "--job", "j1", "--reason", "a bad run")
    assert told["mirrored"]["after_s"] < IN_FORCE_MS / 1000
    assert withdrawing.verdicts() == [WITHDRAWN, UNCHANGED]
    [listed] = withdrawing.control("list")["controls"]
    assert (listed["reason"], listed["withdrawal"]) == ("a bad run", {"job_id": "j1"})

    withdrawing.cache.flushall()
    key = Layout(withdrawing.stream.name).control()
    eventually("mirrored again", lambda: withdrawing.cache.get(key) is not None)
    seen: set[str] = set()

    def rebuilt() -> bool:
        first, second = withdrawing.verdicts()
        seen.add(first.reason)
        return (first, second) == (WITHDRAWN, UNCHANGED)

    eventually("rebuilt", rebuilt)
    assert seen <= {"rebuilding", "never_seen", "withdrawn"}

    told = withdrawing.control("lift", "--job", "j1")
    assert told["mirrored"]["after_s"] < IN_FORCE_MS / 1000
    assert withdrawing.verdicts() == [UNCHANGED, UNCHANGED]
    told = withdrawing.control("withdraw", "--until", "now", "--reason", "to be sure")
    assert told["mirrored"]["after_s"] < IN_FORCE_MS / 1000
    assert withdrawing.verdicts() == [WITHDRAWN, WITHDRAWN]
    withdrawing.cache.delete(key)
    eventually("mirrored again", lambda: withdrawing.verdicts() == [WITHDRAWN, WITHDRAWN])


class Load(threading.Thread):
    """Payments of the two accounts in turn, at a steady rate, until told to stop."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._ended = threading.Event()
        # Event id -> when it was published, in milliseconds of the wall clock.
        self.published_ms: dict[str, int] = {}

    def run(self) -> None:
        """Publish one, and wait."""
        while not self._ended.wait(RATE_S):
            number = len(self.published_ms)
            id_, account = f"e{number}", f"a{1 + number % 2}"
            self.published_ms[id_] = now = now_ms()
            value = payment(event_id=id_, account_id=account, region="eu", occurred_at=now)
            self._stream.publish([value])

    def end(self) -> None:
        """Stop publishing."""
        self._ended.set()
        self.join(30)


def ring_of(event: Enriched) -> FeatureUsed:
    """What the event says of its account's ring."""
    return next(used for used in event.features if (used.kind, used.group) == ("account", "ring"))


@pytest.mark.slow
def test_the_hot_path_obeys_within_two_seconds(withdrawing: Withdrawing) -> None:
    """Under load: events published later than that say `withdrawn`, of the job's account alone."""
    withdrawing.publish_features()
    stream = withdrawing.stream
    stream.start("enrich").await_said('"event": "enriching"')
    load = Load(stream)
    load.start()
    eventually("answers", lambda: len(stream.enriched()) > 10)
    told = withdrawing.control("withdraw", "--job", "j1", "--reason", "a bad run")
    withdrawn_ms = told["control"]["issued_at_ms"]
    in_force_ms = withdrawn_ms + IN_FORCE_MS
    time.sleep(max(0.0, (in_force_ms - now_ms()) / 1000) + 1)
    lifted_ms = now_ms()
    withdrawing.control("lift", "--job", "j1")
    free_ms = now_ms() + IN_FORCE_MS
    time.sleep(max(0.0, (free_ms - now_ms()) / 1000) + 1)
    load.end()
    eventually("all answered", lambda: len(stream.enriched()) == len(load.published_ms))

    counts = Counter[str]()
    for event in stream.enriched():
        at_ms, found = load.published_ms[event.event_id], ring_of(event)
        if found.id == "a2" or event.decided_at_ms < withdrawn_ms:
            assert found.verdict == UNCHANGED
            counts["free"] += 1
        elif in_force_ms < at_ms and event.decided_at_ms < lifted_ms:
            assert found.verdict == event.verdict == WITHDRAWN
            assert not found.estimates
            counts["withdrawn"] += 1
        elif at_ms > free_ms:
            assert found.verdict == UNCHANGED
            counts["lifted"] += 1
    assert len(counts) == 3, counts
