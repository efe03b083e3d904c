"""Topics read from their beginning to their end of now, transactions respected."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

CALL_S: Final = 10.0
POLL_S: Final = 0.05
LEADER_S: Final = 0.2  # between questions to a partition that was just created
QUESTIONS_MAX: Final = 25  # five seconds: by then it has a leader, or is in trouble
MOVING: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
    }
)
"""A partition that gets or changes its leader. By code: of what a broker answered to a question the
client says `retriable()` never, whatever the code (measured, confluent-kafka 2.16)."""


def read_to_end(
    kafka: Mapping[str, Any], partitions: Sequence[TopicPartition], timeout_s: float
) -> list[Message]:
    """All of `scan_to_end` at once, for topics whose records fit into memory."""
    return list(scan_to_end(kafka, partitions, timeout_s))


def scan_to_end(
    kafka: Mapping[str, Any], partitions: Sequence[TopicPartition], timeout_s: float
) -> Iterator[Message]:
    """Every committed record of these partitions up to their ends of now, in order by partition.

    From the beginning, or from the partition's `offset` where that is given.
    The end is an end-of-partition event at or past the high watermark: before that, an open
    transaction, whosever, hides records that are committed. Raises TimeoutError where that does not
    come within `timeout_s`.
    """
    ends = _ends(kafka, partitions)
    reader = Consumer(
        {
            **kafka,
            "group.id": "enrichment.reader",  # demanded by librdkafka; nothing is joined
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            # The word that a partition has ended waits for this, half a second by default.
            "fetch.wait.max.ms": 20,
        }
    )
    try:
        if partitions:
            # Who assigns before there is a connection waits for half a second (measured).
            _end(reader, partitions[0])
        reader.assign(
            [
                TopicPartition(
                    p.topic, p.partition, p.offset if p.offset >= 0 else OFFSET_BEGINNING
                )
                for p in partitions
            ]
        )
        waited_s = 0.0
        while ends:
            found = reader.consume(1_000, timeout=POLL_S)
            waited_s += POLL_S
            if waited_s > timeout_s:
                raise TimeoutError(f"no end of {sorted(ends)} in {timeout_s} s")
            for record in found:
                error = record.error()
                if error is None:
                    waited_s = 0.0
                    yield record
                elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  # so named
                    if not _is_moving(error):
                        raise KafkaException(error)
                else:
                    waited_s = 0.0
                    where = (record.topic() or "", record.partition() or 0)
                    if where in ends and (record.offset() or 0) >= ends[where]:
                        del ends[where]
    finally:
        reader.close()


def since(
    kafka: Mapping[str, Any], topics: Sequence[str], from_ms: int
) -> tuple[list[TopicPartition], int]:
    """Where each partition's records from that time on begin, and how many there are, about.

    By the records' timestamps; partitions without any are left out, and so are topics that there
    are not.
    """
    asker = Consumer({**kafka, "group.id": "enrichment.reader"})
    try:
        found = asker.list_topics(timeout=CALL_S).topics
        wanted = [
            TopicPartition(topic, number, max(0, from_ms))
            for topic in topics
            if topic in found
            for number in sorted(found[topic].partitions)
        ]
        begins = asker.offsets_for_times(wanted, timeout=CALL_S) if wanted else []
        starts, records = [], 0
        for begin in begins:
            if begin.error is not None:
                raise KafkaException(begin.error)
            if begin.offset >= 0:
                starts.append(TopicPartition(begin.topic, begin.partition, begin.offset))
                records += max(0, _end(asker, begin) - begin.offset)
        return starts, records
    finally:
        asker.close()


def _ends(
    kafka: Mapping[str, Any], partitions: Sequence[TopicPartition]
) -> dict[tuple[str, int], int]:
    """The high watermarks, by topic and partition.

    A committed reader is told the last stable offset instead, which is where the oldest open
    transaction begins: a reading to there would miss what others have committed since (measured).
    """
    asker = Consumer(
        {**kafka, "group.id": "enrichment.reader", "isolation.level": "read_uncommitted"}
    )
    try:
        return {(wanted.topic, wanted.partition): _end(asker, wanted) for wanted in partitions}
    finally:
        asker.close()


def _end(reader: Consumer, wanted: TopicPartition) -> int:
    """The high watermark; a partition without a leader yet is asked again."""
    for left in reversed(range(QUESTIONS_MAX)):
        try:
            return int(reader.get_watermark_offsets(wanted, CALL_S)[1])
        except KafkaException as error:
            if not _is_moving(error.args[0]) or left == 0:
                raise
            time.sleep(LEADER_S)
    raise AssertionError("unreachable: the last question raises")


def _is_moving(error: KafkaError) -> bool:
    """Whether the same question may be answered in a moment."""
    return bool(error.retriable()) or error.code() in MOVING
