"""What is said to the stage beside its micro-batches: outcomes of events, orders about jobs.

A shard's outcomes and its jobs' orders are in the partition number of its micro-batches. They are
read by assignment, each partition from its beginning when it is taken over, and no offset is kept:
the last word on everything is the same however often one hears it, and what it changed is in the
cases; an order that was carried out is in its job.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from enrichment.stream.errors import is_fatal
from enrichment.stream.framing import unframed
from enrichment.telemetry.log import logger

RECORDS_MAX: Final = 1_000
"""Records a turn: some 20 ms, so that polling for micro-batches never waits long for them."""

Said = TypeVar("Said", bound=msgspec.Struct)


class Hearing(Generic[Said]):
    """One topic's records of one kind, partition by partition."""

    def __init__(
        self,
        kafka: Mapping[str, Any],
        pipeline: str,
        topic: str,
        kind: type[Said],
        *,
        prefix: bytes = b"",
    ) -> None:
        """Nothing is read yet; `kafka` is what every client is told.

        Only records whose key begins with `prefix` are ours.
        """
        self.topic = topic
        self._prefix = prefix
        self._decode = msgspec.json.Decoder(kind).decode
        # Partition -> the offset that comes next.
        self._next: dict[int, int] = {}
        self._consumer = Consumer(
            {
                **kafka,
                "group.id": f"enrichment.sample.{pipeline}",  # demanded; not joined from here
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 100,
            }
        )

    def follow(self, offsets: Mapping[int, int]) -> None:
        """Hear these partitions, too, from these offsets on."""
        self._next.update(offsets)
        self._assign()

    def leave(self, partition: int) -> None:
        """Hear a partition no more."""
        if self._next.pop(partition, None) is not None:
            self._assign()

    def news(self) -> Iterator[tuple[int, Said]]:
        """What has come, with the partition that it came in; waits for nothing."""
        if not self._next:
            return
        for record in self._consumer.consume(RECORDS_MAX, timeout=0):
            error = record.error()
            if error is not None:
                if is_fatal(error):
                    raise KafkaException(error)
                logger().warning("the consumer reports", topic=self.topic, error=str(error))
                continue
            partition = record.partition() or 0
            if partition not in self._next:
                continue
            self._next[partition] = (record.offset() or 0) + 1
            said = self.read(record)
            if said is not None:
                yield partition, said

    def read(self, record: KafkaMessage) -> Said | None:
        """The record decoded; None where it is not ours or, and that is said, no such record.

        Others publish here, too.
        """
        if not (record.key() or b"").startswith(self._prefix):
            return None
        try:
            return self._decode(unframed(record.value() or b""))
        except (msgspec.MsgspecError, ValueError) as problem:
            logger().warning(
                "passed over: it cannot be read",
                topic=self.topic,
                partition=record.partition(),
                offset=record.offset(),
                error=str(problem),
            )
            return None

    def close(self) -> None:
        """Hear nothing more."""
        self._consumer.close()

    def _assign(self) -> None:
        if not self._next:
            self._consumer.unassign()
            return
        self._consumer.assign(
            [TopicPartition(self.topic, *where) for where in sorted(self._next.items())]
        )
