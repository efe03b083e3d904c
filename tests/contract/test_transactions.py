"""What the hot path relies on of transactions and groups, of Kafka and of the one in memory."""

import secrets
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any, Protocol

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.lab.servers import LocalServers
from enrichment.stream.errors import is_fatal
from enrichment.stream.transaction import Outcome, TransactionalProducer
from tests.faults.answers import scan
from tests.integration.stages import eventually
from tests.memory_kafka import Entry, MemoryConsumer, MemoryKafka, MemoryProducer, Process

pytestmark = pytest.mark.servers

CLOSE_S = 3.0


class Ground(Protocol):
    """A topic `source` with two partitions and a topic `target` with one, and clients of them."""

    source: str
    target: str

    def consumer(self, instance: str) -> Any:
        """A member of the group, subscribed to the source."""

    def producer(self, id_: str, queue_max: int = 1_000) -> Any:
        """A producer that has initialised its transactions."""

    def publish(self, *values: bytes) -> None:
        """Records on the first partition of the source."""

    def read(self) -> list[bytes]:
        """What a committed reader finds on the target."""


class InMemory:
    """Over the Kafka in memory."""

    source, target = "source", "target"

    def __init__(self) -> None:
        self._kafka = MemoryKafka({"source": 2, "target": 1})

    def consumer(self, instance: str) -> MemoryConsumer:
        """A member of the group, subscribed to the source."""
        consumer = MemoryConsumer(self._kafka, Process(), instance)
        consumer.subscribe([self.source])
        return consumer

    def producer(self, id_: str, queue_max: int = 1_000) -> MemoryProducer:
        """A producer that has initialised its transactions."""
        producer = MemoryProducer(self._kafka, Process(), id_, queue_max)
        producer.init_transactions()
        return producer

    def publish(self, *values: bytes) -> None:
        """Records on the first partition of the source."""
        for value in values:
            self._kafka.append(self.source, 0, Entry(None, value, None, 0, None))

    def read(self) -> list[bytes]:
        """What a committed reader finds on the target."""
        return [entry.value or b"" for entry in self._kafka.committed(self.target)]


class OnBroker:
    """Over a broker."""

    def __init__(self, bootstrap: str) -> None:
        self._client = {"bootstrap.servers": bootstrap, "log_level": 2}
        name = secrets.token_hex(4)
        self.source, self.target, self._name = f"{name}.source", f"{name}.target", name
        topics = [NewTopic(self.source, 2, 1), NewTopic(self.target, 1, 1)]
        admin = AdminClient(self._client)
        for future in admin.create_topics(topics).values():
            future.result(30)
        self._consumers: list[Consumer] = []

    def consumer(self, instance: str) -> Consumer:
        """A member of the group, subscribed to the source."""
        consumer = Consumer(
            self._client
            | {
                "group.id": self._name,
                "group.instance.id": instance,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": 6_000,
                "heartbeat.interval.ms": 500,
            }
        )
        consumer.subscribe([self.source])
        self._consumers.append(consumer)
        return consumer

    def producer(self, id_: str, queue_max: int = 1_000) -> Producer:
        """A producer that has initialised its transactions."""
        config = self._client | {"queue.buffering.max.messages": queue_max}
        return TransactionalProducer.open(config, f"{self._name}.{id_}").producer

    def publish(self, *values: bytes) -> None:
        """Records on the first partition of the source."""
        producer = Producer(self._client)
        for value in values:
            producer.produce(self.source, value, partition=0)
        assert producer.flush(30) == 0

    def read(self) -> list[bytes]:
        """What a committed reader finds on the target."""
        return [each.value() for each in scan(self._client["bootstrap.servers"], self.target)]  # type: ignore[arg-type]

    def close(self) -> None:
        """Leave the group, as far as the client lets us.

        A close in the middle of a rebalance may never come back, nor may dropping the last
        reference (librdkafka issue 4041; both seen here), and no signal gets through: threads do
        it, which end with the process at the latest.
        """
        closing = [Thread(target=each.close, daemon=True) for each in self._consumers]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join(CLOSE_S)


@pytest.fixture(params=["memory", "broker"])
def ground(request: pytest.FixtureRequest, servers: LocalServers) -> Iterator[Ground]:
    """Each of the two, in turn."""
    if request.param == "memory":
        yield InMemory()
        return
    made = OnBroker(servers.bootstrap)
    yield made
    made.close()


def take(consumer: Any, count: int) -> list[Any]:
    """That many records, errors that the client mends left out."""
    found: list[Any] = []

    def enough() -> bool:
        found.extend(each for each in consumer.consume(10, 0.1) if each.error() is None)
        return len(found) >= count

    eventually(f"{count} records", enough)
    return found


def ends(ground: Ground, records: list[Any]) -> list[TopicPartition]:
    """The offset behind the last record."""
    return [TopicPartition(ground.source, 0, records[-1].offset() + 1)]


def refused(call: Callable[[], object]) -> KafkaError:
    """The error with which the call fails."""
    with pytest.raises(KafkaException) as caught:
        call()
    error: KafkaError = caught.value.args[0]
    return error


def test_outputs_and_offsets_come_together(ground: Ground) -> None:
    """Before the commit neither is seen, behind it both; the next of that name reads on there."""
    ground.publish(b"a", b"b", b"c")
    consumer, producer = ground.consumer("one"), ground.producer("one")
    first = take(consumer, 3)[:2]
    producer.begin_transaction()
    producer.produce(ground.target, b"A")
    producer.flush(3)
    producer.send_offsets_to_transaction(ends(ground, first), consumer.consumer_group_metadata(), 3)
    assert ground.read() == []
    producer.commit_transaction(3)
    # The broker answers before every partition has heard of it.
    eventually("the output is seen", lambda: ground.read() == [b"A"])
    assert [each.value() for each in take(ground.consumer("one"), 1)] == [b"c"]


def test_an_aborted_transaction_leaves_nothing(ground: Ground) -> None:
    """Neither outputs nor offsets; by a seek to what is committed the batch comes again."""
    ground.publish(b"a", b"b")
    consumer, producer = ground.consumer("one"), ground.producer("one")
    records = take(consumer, 2)
    producer.begin_transaction()
    producer.produce(ground.target, b"A")
    producer.flush(3)
    producer.send_offsets_to_transaction(
        ends(ground, records), consumer.consumer_group_metadata(), 3
    )
    producer.abort_transaction(3)
    assert ground.read() == []
    committed = consumer.committed(consumer.assignment(), timeout=10)
    assert {each.offset < 0 for each in committed} == {True}
    consumer.seek(TopicPartition(ground.source, 0, 0))
    assert [each.value() for each in take(consumer, 2)] == [b"a", b"b"]


def test_a_second_producer_of_the_id_fences_the_first(ground: Ground) -> None:
    """What the first had open is aborted, its commit is refused, and it has lost its id."""
    first = TransactionalProducer(ground.producer("one"))
    first.begin()
    first.producer.produce(ground.target, b"A")
    first.producer.flush(3)
    second = ground.producer("one")
    assert first.commit() is Outcome.LOST
    second.begin_transaction()
    second.produce(ground.target, b"B")
    second.commit_transaction(3)
    eventually("the output is seen", lambda: ground.read() == [b"B"])
    assert refused(first.producer.begin_transaction).fatal()


def test_a_member_that_was_replaced_commits_no_offsets(ground: Ground) -> None:
    """Its offsets are refused, so that it has to abort; and it hears that it is over."""
    ground.publish(b"a")
    first, producer = ground.consumer("one"), ground.producer("other")
    records = take(first, 1)
    metadata = first.consumer_group_metadata()
    second = ground.consumer("one")
    assert [each.value() for each in take(second, 1)] == [b"a"]
    producer.begin_transaction()
    producer.produce(ground.target, b"A")
    error = refused(
        lambda: producer.send_offsets_to_transaction(ends(ground, records), metadata, 3)
    )
    assert error.txn_requires_abort()
    producer.abort_transaction(3)
    assert ground.read() == []

    def over() -> bool:
        errors = [each.error() for each in first.consume(10, 0.1) if each.error() is not None]
        return any(is_fatal(error) for error in errors)

    eventually("the first hears that it was replaced", over)


def test_a_full_queue_says_so_until_there_is_room(ground: Ground) -> None:
    """BufferError, as long as nobody has polled or flushed; nothing of what was queued is lost."""
    producer = ground.producer("one", queue_max=2)
    producer.begin_transaction()
    producer.produce(ground.target, b"A")
    producer.produce(ground.target, b"B")

    def fill() -> None:
        for _ in range(1_000):  # a broker that is quick makes room in between
            producer.produce(ground.target, b"C")

    with pytest.raises(BufferError):
        fill()
    producer.flush(5)
    producer.produce(ground.target, b"D")
    producer.commit_transaction(3)
    eventually("all are seen", lambda: ground.read()[-1:] == [b"D"])
    assert ground.read()[:2] == [b"A", b"B"]


def test_partitions_move_only_while_their_owner_consumes(ground: Ground) -> None:
    """A second member gets its share when the first consumes again, not while it is busy."""
    ground.publish(b"a")
    first = ground.consumer("b")
    take(first, 1)
    assert len(first.assignment()) == 2
    second = ground.consumer("a")
    for _ in range(10):
        assert second.consume(10, 0.1) == []
        assert second.assignment() == []

    def shared() -> bool:
        first.consume(10, 0.1)
        second.consume(10, 0.1)
        return len(first.assignment()) == len(second.assignment()) == 1

    eventually("each has one", shared)
