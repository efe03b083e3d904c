"""Publishing what a close gives: features, awaited, and then the micro-batch that makes it known.

librdkafka's producer, not Faust's: a close of ten thousand accounts has as many features, which
aiokafka takes 30 µs each to send, and this one three (measured).

What comes by the thousand, features and slices of horizons, goes through a producer that reports
failures alone: that all else is acknowledged is known from its queue, which is empty then. Of a
micro-batch the offset is wanted, so another producer reports on each.
"""

import asyncio
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Final
from zlib import crc32

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from enrichment.records import FeatureUpdate, MicroBatch
from enrichment.records.horizon_slice import HorizonSlice
from enrichment.stream.framing import Framing
from enrichment.stream.headers import cloud_event
from enrichment.stream.security import PLAIN, Security
from enrichment.stream.topics import (
    FEATURES,
    HORIZONS,
    MESSAGE_BYTES_MAX,
    MICRO_BATCHES,
    shard_key,
)

QUEUE_MAX: Final = 200_000  # messages, several closes of the largest kind; more wait for room
DELIVERY_MS: Final = 60_000  # a broker that is away for longer: the worker ends, and starts again
LOOK_S: Final = 0.001  # how often acknowledgements are looked for
STRETCH_S: Final = 0.005  # of publishing without a pause: then the event loop has its turn

# Value, key, partition, headers. Records may share one dict of headers that changes from one to the
# next: librdkafka has copied them when `produce` returns.
Record = tuple[bytes | None, bytes, int, dict[str, bytes]]


class UndeliveredError(RuntimeError):
    """Something could not be published: what it came from will be read again."""


class Outlet:
    """The producers of one worker. One close at a time; after a failure it publishes no more."""

    def __init__(
        self,
        bootstrap: str,
        pipeline: str,
        *,
        feature_partitions: int,
        framing: Framing,
        security: Security = PLAIN,
    ) -> None:
        self._pipeline = pipeline
        self._feature_partitions = feature_partitions
        self._framing = framing
        self._source = f"/enrichment/window/{pipeline}"
        encoder = msgspec.json.Encoder()
        self._encode, self._encode_into = encoder.encode, encoder.encode_into
        self._failure: str | None = None
        self._offset = -1
        settings = {
            "bootstrap.servers": bootstrap,
            "client.id": "window",
            "log_level": 2,
            "enable.idempotence": True,
            "compression.type": "lz4",  # less time and CPU than zstd, snappy or none (measured)
            "message.max.bytes": MESSAGE_BYTES_MAX,
            "message.timeout.ms": DELIVERY_MS,
            "queue.buffering.max.messages": QUEUE_MAX,
            **security.librdkafka(),
        }
        self._many = Producer(settings | {"linger.ms": 1, "delivery.report.only.error": True})
        # A micro-batch goes alone: it has nothing to linger for.
        self._single = Producer(settings | {"linger.ms": 0})

    async def features(self, updates: Iterable[FeatureUpdate]) -> None:
        """Publish feature updates, and wait until all are acknowledged. Raises UndeliveredError."""
        await self._publish(self._many, FEATURES, self._feature_records(updates))

    async def micro_batch(self, batch: MicroBatch, partition: int) -> int:
        """Publish a micro-batch; its offset in the log of closes. Raises UndeliveredError."""
        id_ = batch.micro_batch_id
        headers = cloud_event("micro-batch", self._source, id_, batch.closed_at_ms)
        value, headers = self._framing.framed(MICRO_BATCHES, self._encode(batch), headers)
        key = shard_key(batch.pipeline, batch.shard).encode()
        record = (value, key, partition, dict(headers))
        await self._publish(self._single, MICRO_BATCHES, [record])
        return self._offset

    async def horizons(
        self, changes: Iterable[tuple[str, HorizonSlice | None]], partition: int
    ) -> None:
        """Keep slices of horizons, None deletes; wait for all. Raises UndeliveredError."""
        await self._publish(self._many, HORIZONS, self._horizon_records(changes, partition))

    def _feature_records(self, updates: Iterable[FeatureUpdate]) -> Iterator[Record]:
        """Records of feature updates; what those of one close share is made once."""
        prefix = self._framing.prefix(FEATURES)
        value, start = bytearray(prefix), len(prefix)
        shared: dict[str, bytes] = {}
        at_ms = version = None
        tail = b""
        for update in updates:
            if update.computed_at_ms != at_ms:
                at_ms = update.computed_at_ms
                event = cloud_event("feature-update", self._source, "", at_ms)
                shared = dict(self._framing.framed(FEATURES, b"", event)[1])
            if update.version != version:
                version = update.version
                tail = b"|%d" % version
            key = f"{self._pipeline}|{update.entity}|{update.id}|{update.group}".encode()
            shared["ce_id"] = key + tail
            self._encode_into(update, value, start)
            # The partition is what `partition_for` gives for the key before it was encoded.
            yield bytes(value), key, crc32(key) % self._feature_partitions, shared

    def _horizon_records(
        self, changes: Iterable[tuple[str, HorizonSlice | None]], partition: int
    ) -> Iterator[Record]:
        for key, slice_ in changes:
            if slice_ is None:
                yield None, key.encode(), partition, {}
            else:
                event = cloud_event("horizon-slice", self._source, key, slice_.horizon_ms)
                value, headers = self._framing.framed(HORIZONS, self._encode(slice_), event)
                yield value, key.encode(), partition, dict(headers)

    async def _publish(self, producer: Producer, topic: str, records: Iterable[Record]) -> None:
        """Queue records, in stretches that leave the event loop its turns, and wait for all."""
        # Local and positional: at this rate each name that is looked up is seen.
        produce, report = producer.produce, self._reported
        self._raise_failure()
        turn_s = monotonic() + STRETCH_S
        for value, key, partition, headers in records:
            while True:
                try:
                    produce(topic, value, key, partition, report, None, 0, headers)
                except BufferError:
                    # Each record in the queue is acknowledged or fails within its time.
                    await self._look(producer)
                except KafkaException as error:  # as too large for any topic
                    self._failure = error.args[0].str()
                    self._raise_failure()
                else:
                    break
            if monotonic() >= turn_s:
                producer.poll(0)  # reports that have come: fewer are left for the end
                await asyncio.sleep(0)
                self._raise_failure()
                turn_s = monotonic() + STRETCH_S
        while len(producer):
            await self._look(producer)
        self._raise_failure()

    async def _look(self, producer: Producer) -> None:
        """Take the reports that have come, or wait a little. Raises UndeliveredError."""
        if producer.poll(0) == 0:
            await asyncio.sleep(LOOK_S)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise UndeliveredError(f"not published: {self._failure}")

    def _reported(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = error.str()
        else:
            self._offset = message.offset() or 0
