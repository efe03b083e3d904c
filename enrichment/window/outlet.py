"""Publishing what a close gives: features, awaited, and then the micro-batch that makes it known.

librdkafka's producer, not Faust's: a close of ten thousand accounts has as many features, which
aiokafka takes 30 µs each to send, and this one three (measured).
"""

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from enrichment.records import FeatureUpdate, MicroBatch
from enrichment.records.horizon_slice import HorizonSlice
from enrichment.stream.framing import Framing
from enrichment.stream.headers import Headers, cloud_event
from enrichment.stream.topics import (
    FEATURES,
    HORIZONS,
    MESSAGE_BYTES_MAX,
    MICRO_BATCHES,
    partition_for,
    shard_key,
)

QUEUE_MAX: Final = 200_000  # messages: several closes of the largest kind
DELIVERY_MS: Final = 60_000  # a broker that is away for longer: the worker ends, and starts again
LOOK_S: Final = 0.001  # how often acknowledgements are looked for


class UndeliveredError(RuntimeError):
    """Something could not be published: what it came from will be read again."""


class Outlet:
    """The producer of one worker. One close at a time."""

    def __init__(
        self, bootstrap: str, pipeline: str, *, feature_partitions: int, framing: Framing
    ) -> None:
        self._pipeline = pipeline
        self._feature_partitions = feature_partitions
        self._framing = framing
        self._source = f"/enrichment/window/{pipeline}"
        self._encode = msgspec.json.Encoder().encode
        self._failure: KafkaError | None = None
        self._offset = -1
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "client.id": "window",
                "log_level": 2,
                "enable.idempotence": True,
                "linger.ms": 1,
                "compression.type": "lz4",
                "message.max.bytes": MESSAGE_BYTES_MAX,
                "message.timeout.ms": DELIVERY_MS,
                "queue.buffering.max.messages": QUEUE_MAX,
            }
        )

    async def features(self, updates: Iterable[FeatureUpdate]) -> None:
        """Publish feature updates, and wait until all are acknowledged. Raises UndeliveredError."""
        for update in updates:
            key = f"{self._pipeline}|{update.entity}|{update.id}|{update.group}"
            headers = cloud_event(
                "feature-update", self._source, f"{key}|{update.version}", update.computed_at_ms
            )
            number = partition_for(key, self._feature_partitions)
            await self._produce(FEATURES, number, key, self._encode(update), headers)
        await self._acknowledged()

    async def micro_batch(self, batch: MicroBatch, partition: int) -> int:
        """Publish a micro-batch; its offset in the log of closes. Raises UndeliveredError."""
        key = shard_key(batch.pipeline, batch.shard)
        id_ = batch.micro_batch_id
        headers = cloud_event("micro-batch", self._source, id_, batch.closed_at_ms)
        await self._produce(MICRO_BATCHES, partition, key, self._encode(batch), headers)
        await self._acknowledged()
        return self._offset

    async def horizons(
        self, changes: Iterable[tuple[str, HorizonSlice | None]], partition: int
    ) -> None:
        """Keep slices of horizons, None deletes; wait for all. Raises UndeliveredError."""
        for key, slice_ in changes:
            if slice_ is None:
                await self._queue(HORIZONS, partition, key, None, [])
            else:
                headers = cloud_event("horizon-slice", self._source, key, slice_.horizon_ms)
                await self._produce(HORIZONS, partition, key, self._encode(slice_), headers)
        await self._acknowledged()

    async def _produce(
        self, topic: str, partition: int, key: str, value: bytes, headers: Headers
    ) -> None:
        await self._queue(topic, partition, key, *self._framing.framed(topic, value, headers))

    async def _queue(
        self, topic: str, partition: int, key: str, value: bytes | None, headers: Headers
    ) -> None:
        """Queue one record; where the queue is full, wait for room."""
        while True:
            try:
                self._producer.produce(
                    topic, value, key, partition, on_delivery=self._delivered, headers=headers
                )
            except BufferError:
                self._producer.poll(0)
                await asyncio.sleep(LOOK_S)
            else:
                return

    async def _acknowledged(self) -> None:
        """Wait for every acknowledgement; each record has one, or a failure, within its time."""
        while len(self._producer):
            if self._producer.poll(0) == 0:
                await asyncio.sleep(LOOK_S)
        if self._failure is not None:
            raise UndeliveredError(f"not published: {self._failure.str()}")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = error
        else:
            self._offset = message.offset() or 0
