"""The limit that the hot path is measured against: consume, produce the same bytes, commit.

A confluent-kafka loop as short as it can be made with the same promise as ours: at least once, or
exactly once in transactions. Run as a process: `python -m enrichment.lab.bench.pass_through`.
"""

import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from confluent_kafka import (
    Consumer,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from enrichment.lab.bench.peers.arguments import Told

CALL_S: Final = 30.0

Commit = Callable[[list[TopicPartition]], None]


def clients(bootstrap: str, group: str, *, exactly_once: bool) -> tuple[Consumer, Producer]:
    """A consumer and a producer configured as the hot path's are."""
    client = {"bootstrap.servers": bootstrap, "log_level": 3}
    consumer = Consumer(
        client
        | {
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 100,
            # As ours: a full queue is looked at again at once, and not after a second.
            "fetch.queue.backoff.ms": 5,
        }
    )
    producing: dict[str, Any] = client | {
        "enable.idempotence": True,
        "linger.ms": 1,
        "compression.type": "lz4",
        "partitioner": "consistent",
        "queue.buffering.max.messages": 200_000,
    }
    if exactly_once:
        # A transaction is flushed by the loop: lingering would only delay its commit.
        producing |= {"transactional.id": group, "linger.ms": 0}
    producer = Producer(producing)
    if exactly_once:
        producer.init_transactions(CALL_S)
    return consumer, producer


def pass_on(messages: list[Message], producer: Producer, target: str) -> list[TopicPartition]:
    """Produce every message's key and value, and give the offsets behind them."""
    ends: dict[tuple[str, int], int] = {}
    for message in messages:
        if (error := message.error()) is not None:
            raise KafkaException(error)
        # The queue is a hundred batches long: it is empty again before each.
        producer.produce(target, message.value(), message.key())
        ends[message.topic(), message.partition()] = message.offset() + 1
    return [TopicPartition(*where, end) for where, end in ends.items()]


def loop(
    consumer: Consumer,
    producer: Producer,
    target: str,
    batch: tuple[int, float],
    *,
    exactly_once: bool,
    stop: threading.Event,
) -> None:
    """Pass batches of (events at most, seconds at most) on until told to stop."""
    while not stop.is_set():
        messages = consumer.consume(*batch)
        if not messages:
            continue
        if exactly_once:
            producer.begin_transaction()
        offsets = pass_on(messages, producer, target)
        if producer.flush(CALL_S):
            raise RuntimeError("the broker does not take what is passed on")
        if exactly_once:
            group = consumer.consumer_group_metadata()
            producer.send_offsets_to_transaction(offsets, group, CALL_S)
            producer.commit_transaction(CALL_S)
        else:
            consumer.commit(offsets=offsets, asynchronous=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Pass events on until SIGTERM."""
    given = Told.parse(__doc__, arguments)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    consumer, producer = clients(given.bootstrap, given.group, exactly_once=given.exactly_once)
    try:
        consumer.subscribe([given.source])
        loop(
            consumer,
            producer,
            given.target,
            (given.batch_events, given.batch_ms / 1000),
            exactly_once=given.exactly_once,
            stop=stop,
        )
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
