"""The projector and a reader in moments that no server test can hold on to."""

from collections.abc import Iterator, Sequence
from random import Random

import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException

from enrichment.feature.reader import FeatureReader
from enrichment.feature.store import BEHIND, READY, Layout
from enrichment.records import VerdictName
from enrichment.stream.topics import FEATURES
from tests.feature.cached import heartbeat, update
from tests.memory_kafka import Entry, Place
from tests.sample.fakes import payments
from tests.sample.streams import PIPELINE
from tests.simulation.broker import Broker
from tests.simulation.cache import Client, Server
from tests.simulation.odds import Odds
from tests.simulation.run import ROUND_RECORDS, without_servers
from tests.simulation.shipped import ProjectStage
from tests.simulation.world import Instance, World, running

ACCOUNTS = [f"acc-{number}" for number in range(3 * ROUND_RECORDS)]


class Nobody:
    """Sees what is committed, and says nothing."""

    def committed(
        self, id_: str, entries: list[tuple[Place, int, Entry]], offsets: dict[Place, int]
    ) -> None:
        """Nothing is checked."""


class Projection:
    """A projector over one partition, more than one of its rounds behind, and its Redis."""

    def __init__(self) -> None:
        self.world = World(1, Odds.none(), Random(1))
        self.broker = Broker(self.world, {FEATURES: 1}, Nobody())
        self.server = Server(self.world)
        self.stage = ProjectStage(self.world, "project-0", payments(), self.server)
        self.publish(1)

    def publish(self, version: int, accounts: Sequence[str] = ACCOUNTS) -> None:
        """A value for each account."""
        for account in accounts:
            value = msgspec.json.encode(update("account", account, "ring", version=version))
            key = f"{PIPELINE}|account|{account}|ring".encode()
            self.broker.append(FEATURES, 0, Entry(key, value, None, 0, None))

    def run(self, for_ms: int) -> None:
        """Let time pass."""
        self.world.run(for_ms)

    def restart(self) -> None:
        """Kill the projector, and start it again."""
        assert self.stage.instance is not None
        self.stage.instance.kill()
        self.run(10_000)

    def lacks(self) -> list[str]:
        """Whose newest value is not in Redis, though it says that everything is."""
        layout = Layout(PIPELINE)
        assert self.server.values[layout.projection(0)] == READY
        return [
            account
            for account in ACCOUNTS
            if layout.feature("account", account, "ring") not in self.server.values
        ]


@pytest.fixture
def projection() -> Iterator[Projection]:
    """One that has just been started."""
    made = Projection()
    with without_servers(made.world, made.broker):
        made.stage.start()
        yield made


def test_what_was_read_while_redis_was_away_is_read_again(projection: Projection) -> None:
    """Also where Redis does not answer when the projector first tries to go back."""
    projection.run(5_000)
    projection.server.go(away=True)
    projection.publish(2)
    projection.run(700)
    projection.server.go(away=False)
    projection.run(5_000)
    newest = projection.broker.newest(FEATURES)
    layout = Layout(PIPELINE)
    for key, value in newest.items():
        assert projection.server.values[layout.feature_of(key) or ""] == value


def test_a_partition_assigned_while_redis_is_away_is_not_called_ready_half_filled(
    projection: Projection,
) -> None:
    """Its first records were read in vain: they come again."""
    projection.run(5_000)
    projection.server.go(away=True)
    projection.server.flush()
    projection.restart()
    projection.server.go(away=False)
    projection.publish(2, ACCOUNTS[:1])
    projection.run(10_000)
    assert projection.lacks() == []


def test_a_redis_emptied_while_it_is_filled_is_filled_again(projection: Projection) -> None:
    """At whatever moment of it."""
    for wait_ms in range(0, 2_000, 40):
        projection.server.flush()
        projection.run(1_000 + wait_ms)
        projection.server.flush()
        projection.run(10_000)
        assert projection.lacks() == []


def test_who_was_away_does_not_call_ready_what_is_not_caught_up_with(
    projection: Projection,
) -> None:
    """Nobody is told that a value is fresh while a newer one waits to be projected."""
    projection.run(5_000)
    assert projection.stage.instance is not None
    projection.stage.instance.kill()
    projection.publish(2)
    layout, seen = Layout(PIPELINE), set()
    first, last = (layout.feature("account", ACCOUNTS[at], "ring") for at in (0, -1))
    for _ in range(2_000):
        projection.run(10)
        values = projection.server.values
        if values[first] != values[last].replace(ACCOUNTS[-1].encode(), ACCOUNTS[0].encode()):
            seen.add(values[layout.projection(0)])
    assert seen
    assert READY not in seen


def test_who_is_cut_off_for_long_says_that_he_is_behind(
    projection: Projection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From eleven seconds on, until it has caught up: other partitions' heartbeats may be new."""
    projection.run(5_000)
    assert projection.stage is not None
    projector = projection.stage._projector
    assert projector is not None
    consumer, asker = projector._consumer, projector._asker
    marker = Layout(PIPELINE).projection(0)

    def silent(*_: object, **__: object) -> int:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    with monkeypatch.context() as cut:
        cut.setattr(asker, "get_watermark_offsets", silent)
        cut.setattr(consumer, "poll", lambda _: None)
        cut.setattr(consumer, "consume", lambda *_: [])
        projection.run(8_000)
        assert projection.server.values[marker] == READY, "a short silence is not yet told"
        projection.run(4_000)
        assert projection.server.values[marker] == BEHIND
        projection.publish(2)
    layout, seen = Layout(PIPELINE), set()
    first, last = (layout.feature("account", ACCOUNTS[at], "ring") for at in (0, -1))
    for _ in range(400):
        projection.run(10)
        values = projection.server.values
        if values[first] != values[last].replace(ACCOUNTS[-1].encode(), ACCOUNTS[0].encode()):
            seen.add(values[marker])
    assert seen == {BEHIND}
    assert projection.server.values[marker] == READY


def test_a_reader_that_stood_still_between_its_reads_reads_again() -> None:
    """A heartbeat says nothing of values that were read long before it."""
    world = World(1, Odds.none(), Random(1))
    server, process = Server(world), Instance(world, "reader")
    layout = Layout(PIPELINE)
    server.put(layout.partitions(), b"1")
    server.put(layout.projection(0), READY)

    def hold(subgraph: str, version: int) -> None:
        now_ms = world.now_ms
        for one in (
            update("account", "a", "graph", at_ms=now_ms, subgraph=subgraph, version=version),
            heartbeat(at_ms=now_ms, version=version),
        ):
            server.put(layout.feature(one.entity, one.id, one.group), msgspec.json.encode(one))

    class Interrupted(Client):
        """Stands still for a minute before its second read."""

        reads = 0

        def mget(self, keys: list[str]) -> list[bytes | None]:  # type: ignore[override]
            """The values, before or after that."""
            self.reads += 1
            if self.reads == 3:  # the first tells how many partitions there are
                world.run(60_000)
                hold("after", 2)
            return super().mget(keys)

    hold("before", 1)
    ring = update("account", "a", "ring", at_ms=world.now_ms, subgraph="before")
    server.put(layout.feature("account", "a", "ring"), msgspec.json.encode(ring))
    reader = FeatureReader(
        Interrupted(server),  # type: ignore[arg-type]
        payments(),
        clock_ns=lambda: world.now_ms * 1_000_000,
    )
    with running(world, process):
        found = reader.read("account", "a", "ring")
    assert found.verdict.name is VerdictName.STALE
