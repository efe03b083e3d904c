"""Parts of topics on a real broker: what is committed in them, and nothing else."""

import secrets
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.lab.servers import LocalServers
from enrichment.stream.slices import CHUNK_FIRST, Reader

pytestmark = [pytest.mark.servers, pytest.mark.timeout(60)]

RECORDS = 2 * CHUNK_FIRST + 500
STEP_MS = 1_000
START_MS = 1_700_000_000_000


@pytest.fixture(scope="module")
def topic(servers: LocalServers) -> str:
    """Two partitions of numbered records a second apart, in transactions; every tenth aborted."""
    name = f"slices-{secrets.token_hex(4)}"
    client = {"bootstrap.servers": servers.bootstrap}
    admin = AdminClient(client)
    admin.create_topics([NewTopic(name, 2, 1)])[name].result(20)
    producer = Producer(client | {"transactional.id": name})
    producer.init_transactions(20)
    for first in range(0, RECORDS, RECORDS // 10):
        producer.begin_transaction()
        for number in range(first, min(first + RECORDS // 10, RECORDS)):
            producer.produce(
                name,
                str(number).encode(),
                partition=number % 2,
                timestamp=START_MS + number * STEP_MS,
            )
        producer.flush(20)
        if first // (RECORDS // 10) == 4:
            producer.abort_transaction(20)
        else:
            producer.commit_transaction(20)
    return name


@pytest.fixture
def reader(servers: LocalServers) -> Iterator[Reader]:
    """A reader of that broker."""
    with Reader({"bootstrap.servers": servers.bootstrap}, timeout_s=10) as one:
        yield one


def committed() -> set[int]:
    """The numbers of all records that were committed."""
    tenth = RECORDS // 10
    return set(range(RECORDS)) - set(range(4 * tenth, 5 * tenth))


def numbers(records: object) -> list[int]:
    """What the records say."""
    return [int(record.value()) for record in records]  # type: ignore[attr-defined]


def test_the_whole_topic_is_what_was_committed(reader: Reader, topic: str) -> None:
    """Every committed record once, and again by the same reader; markers and aborted ones never."""
    for _ in range(2):
        found = numbers(reader.read(topic, reader.spans(topic, range(2))))
        assert len(found) == len(committed())
        assert set(found) == committed()


def test_the_newest_come_first_and_the_rest_is_not_read(reader: Reader, topic: str) -> None:
    """A search for what is new reads a chunk; one for what is old goes back to the beginning."""
    spans = reader.spans(topic, range(2))
    newest = reader.newest(topic, spans, lambda record: int(record.value() or b"0") % 7 == 0)
    assert newest is not None
    assert numbers([newest]) == [max(n for n in committed() if n % 7 == 0)]
    chunks = list(reader.newest_first(topic, spans, lambda _: True))
    assert len(chunks) > 1
    whole = [number for chunk in chunks for number in numbers(chunk)]
    assert len(whole) == len(committed())
    assert set(whole) == committed()
    assert reader.newest(topic, spans, lambda record: record.value() == b"0") is not None
    assert reader.newest(topic, spans, lambda _: False) is None


def test_a_time_bounds_what_is_read(reader: Reader, topic: str) -> None:
    """Records from one time to another, half open; a time beyond the newest gives nothing."""
    since_ms, until_ms = START_MS + 10 * STEP_MS, START_MS + 20 * STEP_MS
    spans = reader.spans(topic, range(2), since_ms, until_ms)
    assert sorted(numbers(reader.read(topic, spans))) == list(range(10, 20))
    beyond = reader.spans(topic, range(2), START_MS + (RECORDS + 1) * STEP_MS)
    assert numbers(reader.read(topic, beyond)) == []


def test_one_place_is_a_record_or_nothing(reader: Reader, topic: str) -> None:
    """At an offset: what is committed there; not a marker, an aborted record, or the future."""
    found = reader.at(topic, 0, 3)
    assert found is not None
    assert numbers([found]) == [6]
    tenth = RECORDS // 10
    marker = tenth // 2  # behind the records of the first transaction in that partition
    assert reader.at(topic, 0, marker) is None
    assert reader.at(topic, 0, 10 * RECORDS) is None
    assert reader.partitions("no-such-topic") == 0


def test_an_open_transaction_is_waited_for_and_then_said(servers: LocalServers, topic: str) -> None:
    """What lies behind one is not known to be nothing: TimeoutError, not an empty answer."""
    client = {"bootstrap.servers": servers.bootstrap}
    name = f"{topic}-open"
    admin = AdminClient(client)
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(20)
    producer = Producer(client | {"transactional.id": name})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(name, b"1", partition=0)
    producer.flush(20)
    with Reader(client, timeout_s=0.5) as reader:
        spans = reader.spans(name, range(1))
        with pytest.raises(TimeoutError, match="no end"):
            list(reader.read(name, spans))
        producer.commit_transaction(20)
        assert numbers(reader.read(name, reader.spans(name, range(1)))) == [1]
