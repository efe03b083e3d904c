"""A projector that has a backlog in one partition, and in another none."""

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from enrichment.feature.reader import FeatureReader
from enrichment.lab.servers import LocalServers
from enrichment.records import FeatureUpdate, VerdictName
from enrichment.stream.topics import FEATURES, partition_for
from enrichment.stream.transaction import Message, TransactionalProducer
from enrichment.wiring.clock import now_ms
from tests.feature.cached import PARTITIONS, heartbeat, ring, update
from tests.integration.stages import Stream, eventually
from tests.integration.test_project import Projection

pytestmark = [pytest.mark.servers, pytest.mark.slow]

LONG_AGO_MS = 60_000  # twice as long as a shard of payments may be silent
BACKLOG = 300_000  # a second's work, so that it can be seen
FRESH_MS = 8_000  # a projector notices within half of it; the rest is for a busy machine


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


def test_what_an_open_transaction_holds_back_is_not_vouched_for(
    servers: LocalServers, tmp_path: Path
) -> None:
    """A value that a committed reader cannot see yet makes the one before it no longer fresh."""
    stream = Stream(
        tmp_path,
        like="payments",
        bootstrap=servers.bootstrap,
        redis_url=servers.redis_url,
        changes={"fresh_ms = 30_000": f"fresh_ms = {FRESH_MS}"},
    )
    projection = Projection(stream)
    beat = partition_for(projection.key("shard", "eu", "graph"), PARTITIONS)
    account, partition = behind(projection, beat)
    projection.start()
    eventually("ready", projection.ready)
    projection.publish(heartbeat(at_ms=now_ms(), pipeline=stream.name, version=1))
    projection.publish(*told(stream.name, account, "old", now_ms()))
    reader = FeatureReader(projection.cache, stream.pipeline)

    def is_fresh(subgraph: str) -> bool:
        found = reader.read("account", account, "ring")
        return (found.subgraph, found.verdict.name) == (subgraph, VerdictName.FRESH)

    eventually("fresh", lambda: is_fresh("old"))
    held = TransactionalProducer.open(
        {"bootstrap.servers": stream.bootstrap}, stream.name, timeout_ms=60_000
    )
    held.begin()
    other = f"other|account|{account}|graph".encode()
    held.produce(Message(topic=FEATURES, partition=partition, key=other, value=b"{}"))
    assert held.producer.flush(10) == 0
    changed_ms = now_ms()
    projection.publish(*told(stream.name, account, "new", changed_ms))
    wrong = []
    while (at_ms := now_ms()) < changed_ms + FRESH_MS + 2_000:
        projection.publish(heartbeat(at_ms=at_ms, pipeline=stream.name, version=at_ms))
        if is_fresh("old"):
            wrong.append(at_ms - changed_ms)
        time.sleep(0.2)
    assert wrong, "it was not fresh at any time"
    assert max(wrong) <= FRESH_MS
    held.abort()
    held.close()
    projection.publish(heartbeat(at_ms=now_ms(), pipeline=stream.name, version=now_ms()))
    eventually("new", lambda: is_fresh("new"))
    stream.close()
