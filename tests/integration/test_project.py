"""The projector against real servers: the compacted topic is the truth, and Redis follows it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from enrichment.feature.connection import is_cluster, open_cache
from enrichment.feature.reader import FeatureReader
from enrichment.feature.store import READY, Layout, feature_key, update_key
from enrichment.lab.redis_server import RedisServer
from enrichment.lab.servers import LocalServers
from enrichment.records import FeatureUpdate
from enrichment.stream.topics import FEATURES, partition_for
from enrichment.wiring.clock import now_ms
from tests.feature import deployments
from tests.feature.cached import PARTITIONS, heartbeat, ring, update
from tests.integration.stages import Stage, Stream, eventually

pytestmark = pytest.mark.servers


class Projection:
    """A stream like payments with its Redis: what is published, and what comes of it."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.cache = open_cache(stream.redis_url, 5.0)
        self.layout = Layout(stream.name, cluster=is_cluster(self.cache))

    def start(self) -> Stage:
        """A projector."""
        return self.stream.start("project")

    def publish(self, *updates: FeatureUpdate) -> None:
        """Updates on the compacted topic, as the window stage and the sampler publish them."""
        for each in updates:
            self.produce(self.key(each.entity, each.id, each.group), msgspec.json.encode(each))

    def produce(self, key: str, value: bytes | None) -> None:
        """Any value under any key, in the partition of the key."""
        self.stream.produce(FEATURES, key, value, partition_for(key, PARTITIONS))

    def key(self, kind: str, id_: str, group: str) -> str:
        """The key of features on the topic."""
        return update_key(self.stream.name, kind, id_, group)

    def account(self, id_: str, version: int) -> FeatureUpdate:
        """A version of the `graph` of an account."""
        return update("account", id_, "graph", version=version, pipeline=self.stream.name)

    def version(self, id_: str) -> int | None:
        """The version of that `graph` in Redis."""
        value = self.cache.get(self.layout.feature("account", id_, "graph"))
        assert value is None or isinstance(value, bytes)
        return None if value is None else int(msgspec.json.decode(value)["version"])

    def ready(self) -> bool:
        """Whether Redis calls every partition fully projected."""
        keys = [self.layout.projection(number) for number in range(PARTITIONS)]
        return self.cache.mget(keys) == [READY] * PARTITIONS

    def await_versions(self, **versions: int | None) -> None:
        """Wait until the accounts have these versions."""
        eventually(
            f"{versions}, found {[self.version(id_) for id_ in versions]}",
            lambda: all(self.version(id_) == wanted for id_, wanted in versions.items()),
        )


@pytest.fixture
def make_projection(servers: LocalServers, tmp_path: Path) -> Iterator[Callable[..., Projection]]:
    """A factory of projections over the shared Kafka."""
    made: list[Stream] = []

    def make(redis_url: str = servers.redis_url) -> Projection:
        stream = Stream(tmp_path, like="payments", bootstrap=servers.bootstrap, redis_url=redis_url)
        made.append(stream)
        return Projection(stream)

    yield make
    for stream in made:
        stream.close()


def test_updates_come_to_redis_and_never_go_back(
    make_projection: Callable[..., Projection],
) -> None:
    """The highest version wins whatever the order; a tombstone deletes; others' keys are not ours.

    What is no feature update is skipped, and holds up nothing behind it.
    """
    projection = make_projection()
    stage = projection.start()
    eventually("ready", projection.ready)
    projection.publish(projection.account("a", 5), projection.account("b", 1))
    projection.await_versions(a=5, b=1)
    projection.publish(projection.account("a", 3), projection.account("b", 2))
    projection.await_versions(a=5, b=2)
    key = projection.key("account", "a", "graph")
    for value in (b"junk", b"", b'{"version":"6"}'):
        projection.produce(key, value)
    projection.produce(f"{projection.stream.name}|no-such-key", b'{"version":1,"x":1}')
    other = update("account", "a", "graph", version=9, pipeline="other")
    projection.produce("other|account|a|graph", msgspec.json.encode(other))
    projection.publish(projection.account("a", 6))
    projection.produce(projection.key("account", "b", "graph"), None)
    projection.await_versions(a=6, b=None)
    assert projection.cache.get(feature_key("other", "account", "a", "graph")) is None
    assert stage.end() == 0
    assert "Traceback" not in stage.said()
    assert stage.said().count("not a feature update") == 4


def test_what_is_projected_can_be_read(make_projection: Callable[..., Projection]) -> None:
    """From the topic to the public reader: a fresh ring, with its estimates."""
    projection = make_projection()
    pipeline = projection.stream.pipeline
    reader = FeatureReader(projection.cache, pipeline)
    assert reader.read("account", "a", "ring").verdict.reason == "rebuilding"
    projection.start()
    eventually("ready", projection.ready)
    assert reader.read("account", "a", "ring").verdict.reason == "never_seen"
    now = now_ms()
    told = ring("account", "a", 0.8, at_ms=now, pipeline=pipeline.name)
    assert told.source is not None
    source = msgspec.structs.replace(told.source, differences={"energy_gap": 0.1})
    projection.publish(
        heartbeat(at_ms=now, pipeline=pipeline.name),
        update("account", "a", "graph", at_ms=now, pipeline=pipeline.name),
        msgspec.structs.replace(told, source=source),
    )
    eventually(
        "a fresh ring",
        lambda: reader.read("account", "a", "ring").verdict.reason == "subgraph_unchanged",
    )
    assert reader.read("account", "a", "ring").estimate("quantum", "membership") == 0.8
    held = projection.cache.get(projection.layout.feature("account", "a", "ring"))
    assert held == msgspec.json.encode(told), "what lineage alone reads is not in the cache"


def test_a_cluster_is_projected_and_read(
    make_projection: Callable[..., Projection], tmp_path: Path
) -> None:
    """By its URL alone: filled across its nodes, flushed, filled again, read by its reader."""
    with deployments.running(deployments.cluster, tmp_path / "cluster") as cluster:
        projection = make_projection(cluster.url)
        pipeline = projection.stream.pipeline
        stage = projection.start()
        eventually("ready", projection.ready)
        projection.publish(*(projection.account(f"a{number}", 7) for number in range(100)))
        projection.publish(projection.account("a1", 6), projection.account("a2", 8))
        versions: dict[str, int | None] = {f"a{number}": 7 for number in range(100)}
        versions["a2"] = 8
        projection.await_versions(**versions)
        for server in cluster.servers:
            with server.client() as node:
                assert node.dbsize()
        projection.cache.flushall()
        reader = FeatureReader(cluster.url, pipeline)
        assert reader.read("account", "a1", "graph").verdict.reason == "rebuilding"
        projection.await_versions(**versions)
        eventually("ready again", projection.ready)
        now = now_ms()
        projection.publish(
            heartbeat(at_ms=now, pipeline=pipeline.name),
            update("account", "b", "graph", at_ms=now, pipeline=pipeline.name),
            ring("account", "b", 0.8, at_ms=now, pipeline=pipeline.name),
        )
        eventually(
            "a fresh ring",
            lambda: reader.read("account", "b", "ring").verdict.reason == "subgraph_unchanged",
        )
        reader.close()
        assert stage.end() == 0
        assert "Traceback" not in stage.said()


def test_a_flushed_redis_is_filled_again(
    make_projection: Callable[..., Projection], own_redis: RedisServer
) -> None:
    """After FLUSHALL readers are told, everything comes back, and only then is it called ready."""
    projection = make_projection(f"redis://{own_redis.address}/0")
    projection.publish(*(projection.account(f"a{number}", 7) for number in range(20)))
    stage = projection.start()
    eventually("ready", projection.ready)
    versions: dict[str, int | None] = {f"a{number}": 7 for number in range(20)}
    projection.await_versions(**versions)
    projection.cache.flushall()
    reader = FeatureReader(projection.cache, projection.stream.pipeline)
    assert reader.read("account", "a1", "graph").verdict.reason == "rebuilding"
    projection.await_versions(**versions)
    eventually("ready again", projection.ready)
    projection.publish(projection.account("a0", 8))
    projection.await_versions(a0=8)
    assert stage.end() == 0
    assert "rebuilding" in stage.said()


def test_a_killed_projector_goes_on_where_it_was(
    make_projection: Callable[..., Projection],
) -> None:
    """What was published while nobody projected is there after the restart, nothing older."""
    projection = make_projection()
    stage = projection.start()
    projection.publish(projection.account("a", 2))
    projection.await_versions(a=2)
    stage.kill()
    projection.publish(projection.account("a", 1), projection.account("b", 4))
    stage = projection.start()
    projection.await_versions(a=2, b=4)
    assert stage.end() == 0
    assert "Redis has lost" not in stage.said()


def test_an_absent_redis_is_awaited(
    make_projection: Callable[..., Projection], own_redis: RedisServer
) -> None:
    """At the start one line and a retry; in the middle nothing is skipped; no trace, ever."""
    own_redis.process.stop()
    projection = make_projection(f"redis://{own_redis.address}/0")
    stage = projection.start()
    stage.await_said(f"Redis at {own_redis.address} does not answer, trying again in 0.5 s")
    own_redis.start(within_s=20)
    projection.publish(projection.account("a", 1))
    projection.await_versions(a=1)
    own_redis.process.kill()
    projection.publish(projection.account("a", 2), projection.account("b", 1))
    stage.await_said("Redis does not take features, trying again")
    own_redis.start(within_s=20)
    projection.await_versions(a=2, b=1)
    eventually("ready", projection.ready)
    assert stage.end() == 0
    assert "Traceback" not in stage.said()


def test_a_second_of_the_same_name_takes_over(
    make_projection: Callable[..., Projection],
) -> None:
    """The first ends with exit code 1 and one line, without a trace, and does not linger."""
    projection = make_projection()
    first = projection.start()
    eventually("ready", projection.ready)
    second = projection.start()
    assert first.process.wait(30) == 1
    assert "Traceback" not in first.said()
    assert first.said().splitlines()[-1].startswith("error: ")
    projection.publish(projection.account("a", 1))
    projection.await_versions(a=1)
    assert second.end() == 0
