"""Outcomes as they come, for the partitions that a worker owns.

A shard's outcomes are in the partition number of its micro-batches. They are read by assignment,
each partition from its beginning when it is taken over, and no offset is kept: the last word on
everything is the same however often one hears it, and what it changed is in the cases.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from enrichment.records.outcome import Outcome
from enrichment.stream.errors import is_fatal
from enrichment.stream.framing import unframed
from enrichment.stream.topics import StreamTopics
from enrichment.telemetry.log import logger

OUTCOMES_MAX: Final = 1_000
"""Outcomes a turn: some 20 ms, so that polling for micro-batches never waits long for them."""


class Hearing:
    """The outcomes of one stream, partition by partition."""

    def __init__(self, kafka: Mapping[str, Any], pipeline: str) -> None:
        """Nothing is read yet; `kafka` is what every client is told."""
        self.topic = StreamTopics(pipeline).outcomes
        self._decode = msgspec.json.Decoder(Outcome).decode
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

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """What has come, with the partition that it came in; waits for nothing."""
        if not self._next:
            return
        for record in self._consumer.consume(OUTCOMES_MAX, timeout=0):
            error = record.error()
            if error is not None:
                if is_fatal(error):
                    raise KafkaException(error)
                logger().warning("outcomes: the consumer reports", error=str(error))
                continue
            partition = record.partition() or 0
            if partition not in self._next:
                continue
            self._next[partition] = (record.offset() or 0) + 1
            outcome = self.read(record)
            if outcome is not None:
                yield partition, outcome

    def read(self, record: KafkaMessage) -> Outcome | None:
        """The record as an outcome; None, and said, where it is none: others publish here."""
        try:
            return self._decode(unframed(record.value() or b""))
        except (msgspec.MsgspecError, ValueError) as problem:
            logger().warning(
                "outcome passed over: it cannot be read",
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
