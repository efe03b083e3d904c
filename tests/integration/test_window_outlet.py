"""Publishing what closes give, on a real broker: what stands there, and what a failure does."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from zlib import crc32

import msgspec
import pytest
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.lab.servers import LocalServers
from enrichment.records import Cause, FeatureUpdate, MicroBatch
from enrichment.records.feature import Source
from enrichment.records.horizon_slice import HorizonSlice
from enrichment.stream.framing import BARE, FRAMED_CONTENT_TYPE, Framing
from enrichment.stream.headers import cloud_event
from enrichment.stream.to_end import read_to_end
from enrichment.stream.topics import (
    FEATURES,
    HORIZONS,
    MESSAGE_BYTES_MAX,
    MICRO_BATCHES,
    partition_for,
)
from enrichment.window import outlet as outlets
from enrichment.window.outlet import Outlet, UndeliveredError
from tests.integration.cloud_events import breaches

PARTITIONS = 4
TOPICS = (FEATURES, MICRO_BATCHES, HORIZONS)
FRAMED = Framing(dict.fromkeys(TOPICS, 7))
NOW_MS = 1_700_000_000_123

pytestmark = [pytest.mark.servers, pytest.mark.timeout(90)]


def make_topics(servers: LocalServers) -> None:
    """The topics that an outlet publishes to, unless another test has made them."""
    admin = AdminClient({"bootstrap.servers": servers.bootstrap})
    known = admin.list_topics(timeout=20).topics
    wanted = [NewTopic(topic, PARTITIONS, 1) for topic in TOPICS if topic not in known]
    for future in admin.create_topics(wanted).values() if wanted else ():
        future.result(20)


class Field:
    """A pipeline that only one test knows, its outlet, and what stands on the topics of it."""

    def __init__(self, servers: LocalServers, framing: Framing = BARE) -> None:
        self.name = f"t{secrets.token_hex(4)}"
        self._bootstrap = servers.bootstrap
        self.outlet = Outlet(
            servers.bootstrap, self.name, feature_partitions=PARTITIONS, framing=framing
        )

    def updates(self, count: int, version: int = 1, **changes: Any) -> Iterator[FeatureUpdate]:
        """Feature updates of that many entities, drawn one by one."""
        for number in range(count):
            fields: dict[str, Any] = {
                "version": version,
                "pipeline": self.name,
                "entity": "account",
                "id": f"ä{number}",
                "group": "graph",
                "subgraph": "f00d",
                "event_time_ms": NOW_MS - 1,
                "computed_at_ms": NOW_MS,
                "values": {"events": number, "density": number / 7},
                "source": Source(backend="window", micro_batch_id="m"),
            }
            yield FeatureUpdate(**(fields | changes))

    def batch(self) -> MicroBatch:
        """A micro-batch without problems."""
        return MicroBatch(
            micro_batch_id=f"{self.name}|north|0|0",
            pipeline=self.name,
            shard="north",
            window_start_ms=0,
            window_end_ms=1,
            sequence=0,
            cause=Cause.WATERMARK,
            watermark_ms=1,
            closed_at_ms=NOW_MS,
            content_hash="",
            events=0,
            digest_offsets=((0, 0, 0),),
        )

    def published(self, topic: str) -> list[Message]:
        """This pipeline's records, in order by partition."""
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        records = read_to_end({"bootstrap.servers": self._bootstrap}, partitions, 30)
        prefix = f"{self.name}|".encode()
        return [record for record in records if (record.key() or b"").startswith(prefix)]


@pytest.fixture
def field(servers: LocalServers) -> Callable[..., Field]:
    """A factory of fields on the shared broker."""
    make_topics(servers)
    return lambda framing=BARE: Field(servers, framing)


@pytest.mark.parametrize("framing", [BARE, FRAMED], ids=["bare", "framed"])
def test_each_record_is_what_the_contract_says(
    field: Callable[..., Field], framing: Framing
) -> None:
    """Key, partition, headers in order and value of each, whatever records share while queued."""
    one = field(framing)
    updates = [
        *one.updates(50),
        *one.updates(50, version=2),
        *one.updates(1, version=3, computed_at_ms=NOW_MS + 1_000, entity="device"),
        *one.updates(50, version=4, source=None),
    ]
    asyncio.run(one.outlet.features(updates))
    expected: dict[int, list[Any]] = {number: [] for number in range(PARTITIONS)}
    for update in updates:
        key = f"{one.name}|{update.entity}|{update.id}|{update.group}"
        source = f"/enrichment/window/{one.name}"
        id_ = f"{key}|{update.version}"
        event = cloud_event("feature-update", source, id_, update.computed_at_ms)
        value, headers = framing.framed(FEATURES, msgspec.json.encode(update), event)
        assert crc32(key.encode()) % PARTITIONS == partition_for(key, PARTITIONS)
        expected[partition_for(key, PARTITIONS)].append((key.encode(), value, headers))
    found: dict[int, list[Any]] = {number: [] for number in range(PARTITIONS)}
    for record in one.published(FEATURES):
        found[record.partition() or 0].append((record.key(), record.value(), record.headers()))
        assert list(breaches(record)) == []
    assert found == expected
    start = b'{"version":1,' if framing is BARE else b'\0\0\0\0\7{"version":1,'
    assert all(
        value.startswith(start) for values in expected.values() for _, value, _ in values[:1]
    )


def test_all_are_acknowledged_when_it_returns(field: Callable[..., Field]) -> None:
    """Nothing is in a queue any more, and the broker has each once; so it is at once for few."""
    one = field()
    for version, count in enumerate((3_000, 1, 0, 3_000), start=1):
        asyncio.run(one.outlet.features(one.updates(count, version)))
        assert len(one.outlet._many) == 0
        versions = [
            b"%d" % version in (record.value() or b"")[:13] for record in one.published(FEATURES)
        ]
        assert sum(versions) == count


def test_a_micro_batch_has_the_offset_that_was_returned(field: Callable[..., Field]) -> None:
    """In the partition that was asked for, with its own key and headers."""
    one = field(FRAMED)

    offsets = []
    for version in range(3):
        asyncio.run(one.outlet.features(one.updates(10, version)))
        offsets.append(asyncio.run(one.outlet.micro_batch(one.batch(), 2)))
    records = one.published(MICRO_BATCHES)
    assert [record.offset() for record in records] == offsets
    assert {record.partition() for record in records} == {2}
    assert {record.key() for record in records} == {f"{one.name}|north".encode()}
    headers = dict(records[0].headers() or [])
    assert headers["ce_id"] == f"{one.name}|north|0|0".encode()
    assert headers["content-type"] == FRAMED_CONTENT_TYPE


def test_slices_of_horizons_stand_in_their_order(field: Callable[..., Field]) -> None:
    """Each with its own headers; None is a tombstone without any."""
    one = field()
    slice_ = HorizonSlice(
        pipeline=one.name, shard="north", structure="graph", start_ms=0,
        horizon_ms=NOW_MS, closes=1, digests=1, version=(1, 1),
    )  # fmt: skip
    changes = [(f"{one.name}|a", slice_), (f"{one.name}|b", slice_), (f"{one.name}|a", None)]
    asyncio.run(one.outlet.horizons(changes, 3))
    records = one.published(HORIZONS)
    assert [record.partition() for record in records] == [3, 3, 3]
    assert [(record.key() or b"").decode() for record in records] == [key for key, _ in changes]
    encoded = msgspec.json.encode(slice_)
    assert [record.value() for record in records] == [encoded, encoded, None]
    ids = [dict(record.headers() or []).get("ce_id") for record in records]
    assert ids == [f"{one.name}|a".encode(), f"{one.name}|b".encode(), None]


def test_a_full_queue_waits_and_loses_nothing(
    field: Callable[..., Field], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue of a hundredth: each record is there once, and those of a partition in order."""
    monkeypatch.setattr(outlets, "QUEUE_MAX", 20)
    one = field()
    updates = list(one.updates(2_000))
    asyncio.run(one.outlet.features(updates))
    places: dict[int, list[str]] = {number: [] for number in range(PARTITIONS)}
    for update in updates:
        key = f"{one.name}|account|{update.id}|graph"
        places[partition_for(key, PARTITIONS)].append(key)
    found: dict[int, list[str]] = {number: [] for number in range(PARTITIONS)}
    for record in one.published(FEATURES):
        found[record.partition() or 0].append((record.key() or b"").decode())
    assert found == places


def test_the_event_loop_has_its_turns(
    field: Callable[..., Field], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other tasks run while many are published, before the last is drawn."""
    monkeypatch.setattr(outlets, "STRETCH_S", 0.001)
    one = field()
    turns = [0]

    def slowly() -> Iterator[FeatureUpdate]:
        for update in one.updates(100):
            time.sleep(0.001)
            yield update
        turns.append(turns[0])

    async def other() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    async def publish() -> None:
        task = asyncio.create_task(other())
        await one.outlet.features(slowly())
        task.cancel()

    asyncio.run(publish())
    assert turns[1] >= 50


@pytest.fixture
def own(fresh_servers: Callable[[], LocalServers]) -> Field:
    """A field on a broker that only this test knows, with the limits of a new topic."""
    servers = fresh_servers()
    make_topics(servers)
    return Field(servers)


@pytest.mark.slow
def test_what_the_broker_refuses_raises(own: Field) -> None:
    """One of many that is too large for the topic; and then nothing is published any more."""
    limit_bytes = 1_048_588  # a topic's, by default
    large = next(own.updates(1, version=2, subgraph=secrets.token_hex(limit_bytes)))

    async def publish(updates: Iterable[FeatureUpdate]) -> None:
        await own.outlet.features(updates)

    asyncio.run(publish(own.updates(300)))
    with pytest.raises(UndeliveredError, match="size"):
        asyncio.run(publish([*own.updates(300, 3), large, *own.updates(300, 4)]))
    with pytest.raises(UndeliveredError):
        asyncio.run(publish(own.updates(1, 5)))
    with pytest.raises(UndeliveredError):
        asyncio.run(own.outlet.micro_batch(own.batch(), 2))
    versions = {record.value()[:13] for record in own.published(FEATURES)}
    assert b'{"version":1,' in versions
    assert not {b'{"version":2,', b'{"version":5,'} & versions
    assert own.published(MICRO_BATCHES) == []


def test_what_the_client_refuses_raises(field: Callable[..., Field]) -> None:
    """A record that is larger than any topic takes does not even get into the queue."""
    one = field()
    large = one.updates(1, subgraph="x" * MESSAGE_BYTES_MAX)
    with pytest.raises(UndeliveredError, match="size"):
        asyncio.run(one.outlet.features(large))


@pytest.mark.slow
@pytest.mark.parametrize("queue_max", [20, 2_000], ids=["full", "wide"])
def test_a_broker_that_stays_away_raises_within_the_delivery_time(
    fresh_servers: Callable[[], LocalServers], monkeypatch: pytest.MonkeyPatch, queue_max: int
) -> None:
    """Once the first has had its time, whether the rest has found room or not."""
    monkeypatch.setattr(outlets, "DELIVERY_MS", 3_000)
    monkeypatch.setattr(outlets, "QUEUE_MAX", queue_max)
    servers = fresh_servers()
    make_topics(servers)
    one = Field(servers)
    asyncio.run(one.outlet.features(one.updates(5)))
    servers.kafka.process.kill()
    started_s = time.monotonic()
    with pytest.raises(UndeliveredError, match="timed out"):
        asyncio.run(one.outlet.features(one.updates(1_000)))
    assert time.monotonic() - started_s < 20
