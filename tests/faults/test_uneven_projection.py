"""A projector that has a backlog in one partition, and in another none."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from enrichment.feature.reader import FeatureReader
from enrichment.lab.servers import LocalServers
from enrichment.records import FeatureUpdate, VerdictName
from enrichment.stream.topics import FEATURES, partition_for
from enrichment.wiring import now_ms
from tests.feature.cached import PARTITIONS, heartbeat, ring, update
from tests.integration.stages import Stream, eventually
from tests.integration.test_project import Projection

pytestmark = [pytest.mark.servers, pytest.mark.slow]

LONG_AGO_MS = 60_000  # twice as long as a shard of payments may be silent
BACKLOG = 300_000  # a second's work, so that it can be seen


@pytest.fixture
def projection(servers: LocalServers, tmp_path: Path) -> Iterator[Projection]:
    """A stream with its projector."""
    stream = Stream(
        tmp_path, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
    )
    yield Projection(stream)
    stream.close()


def told(name: str, account: str, subgraph: str, changed_ms: int) -> list[FeatureUpdate]:
    """The account's graph and ring, as of that time."""
    graph = update("account", account, "graph", at_ms=changed_ms, pipeline=name)
    made = ring("account", account, 0.8, at_ms=changed_ms, pipeline=name)
    return [
        msgspec.structs.replace(each, subgraph=subgraph, version=changed_ms)
        for each in (graph, made)
    ]


def behind(projection: Projection, beat: int) -> tuple[str, int]:
    """An account whose graph and ring travel in one partition, and not in that of the heartbeat."""
    for id_ in map(str, range(1_000)):
        graph, made = (
            partition_for(projection.key("account", id_, group), PARTITIONS)
            for group in ("graph", "ring")
        )
        if graph == made != beat:
            return id_, graph
    raise AssertionError("no such account")


def test_a_heartbeat_does_not_overtake_what_it_vouches_for(projection: Projection) -> None:
    """While a partition is behind, its old values are not called fresh by a shard's new word."""
    name, now = projection.stream.name, now_ms()
    beat = partition_for(projection.key("shard", "eu", "graph"), PARTITIONS)
    account, partition = behind(projection, beat)
    stage = projection.start()
    eventually("ready", projection.ready)
    projection.publish(heartbeat(at_ms=now - LONG_AGO_MS, pipeline=name, version=1))
    projection.publish(*told(name, account, "old", now - LONG_AGO_MS))
    reader = FeatureReader(projection.cache, projection.stream.pipeline)
    eventually("old", lambda: reader.read("account", account, "ring").subgraph == "old")
    assert reader.read("account", account, "ring").verdict.name is VerdictName.STALE
    assert stage.end() == 0

    config = {"linger.ms": 20, "queue.buffering.max.messages": 2 * BACKLOG}
    producer = Producer({"bootstrap.servers": projection.stream.bootstrap, **config})
    for number in range(BACKLOG):
        producer.produce(FEATURES, b"{}", f"other|account|{number}|graph", partition)
        producer.poll(0)
    assert producer.flush(60) == 0
    projection.publish(*told(name, account, "new", now - LONG_AGO_MS + 1_000))
    projection.publish(heartbeat(at_ms=now_ms(), pipeline=name, version=2))
    projection.start()
    seen: set[tuple[str, VerdictName]] = set()

    def caught_up() -> bool:
        found = reader.read("account", account, "ring")
        seen.add((found.subgraph, found.verdict.name))
        return found.subgraph == "new"

    eventually("new", caught_up)
    assert ("old", VerdictName.FRESH) not in seen
