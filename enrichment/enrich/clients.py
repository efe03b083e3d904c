"""The Kafka clients of one enricher process, and how they are configured."""

from dataclasses import dataclass
from typing import Any, Final, Self

from confluent_kafka import Consumer, Producer

from enrichment.stream.transaction import TransactionalProducer

SESSION_MS: Final = 6_000
QUEUE_MESSAGES_MAX: Final = 200_000  # a hundred batches of the default size: some 400 MB at most


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """How one enricher process consumes and produces."""

    stream: str
    # Client configuration common to consumer and producer.
    client: dict[str, Any]
    group_id: str
    # Stable across restarts of the same instance, so that a new one fences the old one at once.
    instance: str
    exactly_once: bool
    batch_events_max: int
    batch_ms_max: int
    digest_partitions: int


@dataclass(frozen=True, slots=True)
class Clients:
    """What one enricher process consumes and produces with.

    The producer of exactly-once delivery has a transactional id, and has initialised it. The asker
    is of the consumer's group, but no member of it: it is asked what is committed. Asked of the
    consumer, that would be answered behind its joining anew, which in a rebalance takes as long as
    the slowest member's heartbeat (measured), and nothing would be answered of what does not move.
    """

    consumer: Consumer
    producer: Producer
    asker: Consumer

    @classmethod
    def open(cls, config: LoopConfig) -> Self:
        """Clients of the broker. Raises KafkaException where it does not answer."""
        consumer = Consumer(
            config.client
            | {
                "group.id": config.group_id,
                "group.instance.id": config.instance,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": SESSION_MS,
                "heartbeat.interval.ms": SESSION_MS // 4,
                "fetch.wait.max.ms": 100,
                "queued.min.messages": 10_000,
                # A full queue is looked at again after a second by default: with batches as fast
                # as ours that second is the limit, 10,000 events of each partition (measured).
                "fetch.queue.backoff.ms": 5,
            }
        )
        asker = Consumer(config.client | {"group.id": config.group_id})
        producing = config.client | {
            "enable.idempotence": True,
            "linger.ms": 1,
            "compression.type": "lz4",
            "partitioner": "consistent",
            "queue.buffering.max.messages": QUEUE_MESSAGES_MAX,
            # Nothing is called back for a message that was delivered.
            "delivery.report.only.error": True,
        }
        if config.exactly_once:
            transactions = TransactionalProducer.open(producing, config.instance)
            return cls(consumer, transactions.producer, asker)
        return cls(consumer, Producer(producing), asker)
