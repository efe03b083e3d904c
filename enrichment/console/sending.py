"""Callers' micro-batches on their topic: acknowledged by the brokers before anybody says so."""

import threading
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from enrichment.console.limits import DELIVERY_S
from enrichment.records import MicroBatch
from enrichment.stream.framing import Framing
from enrichment.stream.headers import cloud_event
from enrichment.stream.topics import (
    MESSAGE_BYTES_MAX,
    MICRO_BATCHES,
    partition_for,
    shard_key,
)

POLL_S: Final = 0.02
GRACE_S: Final = 1.0  # the client's own clock says when a record's time is over; this is beyond it


class Sender:
    """A producer of micro-batches, of any number of threads; it connects when it is first asked."""

    def __init__(self, kafka: Mapping[str, Any], framing: Framing) -> None:
        self._framing = framing
        self._encode = msgspec.json.Encoder().encode
        self._partitions = 0
        self._producer = Producer(
            {
                **kafka,
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 0,  # a call goes alone: it has nothing to wait for
                "message.max.bytes": MESSAGE_BYTES_MAX,
                "message.timeout.ms": int(DELIVERY_S * 1000),
            }
        )

    def publish(self, batch: MicroBatch) -> None:
        """Publish it, and wait until it is acknowledged.

        Raises KafkaException or TimeoutError where nobody can tell: then it may be there, or come.
        """
        key = shard_key(batch.pipeline, batch.shard)
        event = cloud_event(
            "micro-batch",
            f"/enrichment/console/{batch.pipeline}",
            batch.micro_batch_id,
            batch.closed_at_ms,
        )
        value, headers = self._framing.framed(MICRO_BATCHES, self._encode(batch), event)
        told = threading.Event()
        said: list[KafkaError | None] = []

        def reported(error: KafkaError | None, _: Message) -> None:
            said.append(error)
            told.set()

        self._producer.produce(
            MICRO_BATCHES,
            value,
            key.encode(),
            partition_for(key, self._count()),
            on_delivery=reported,
            headers=list(headers),
        )
        waits = int((DELIVERY_S + GRACE_S) / POLL_S)
        while waits and not told.is_set():
            # Another thread's poll may be the one that is told of ours.
            self._producer.poll(POLL_S)
            waits -= 1
        if not said:
            raise TimeoutError(f"{MICRO_BATCHES}: not acknowledged within {DELIVERY_S:.0f} s")
        if said[0] is not None:
            raise KafkaException(said[0])

    def close(self) -> None:
        """Let what was given go out, as far as that goes at once."""
        self._producer.flush(GRACE_S)

    def _count(self) -> int:
        """How many partitions the topic has: asked once."""
        if not self._partitions:
            found = self._producer.list_topics(MICRO_BATCHES, timeout=DELIVERY_S)
            topic = found.topics[MICRO_BATCHES]
            if topic.error is not None:
                raise KafkaException(topic.error)
            self._partitions = len(topic.partitions)
        return self._partitions
