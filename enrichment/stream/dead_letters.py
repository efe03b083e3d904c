"""Dead letters read back: found, told apart, and turned into the records that they stand for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from enrichment.records import DeadLetter, DeadLetterReason
from enrichment.stream.framing import unframed
from enrichment.stream.headers import (
    PROGRESS,
    REPLAY_OF,
    UnreadableHeadersError,
    header,
    headers_of,
)
from enrichment.stream.to_end import scan_to_end

CALL_S: Final = 10.0
FETCH_S: Final = 10.0  # a record that is there comes within milliseconds
SILENCE_S: Final = 30.0

# What reading a record that is no dead letter of ours raises.
FOREIGN: Final = (msgspec.DecodeError, UnreadableHeadersError)

RecordHeaders = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One dead letter, where it stands, and the letter whose replay failed again."""

    topic: str
    partition: int
    offset: int
    record: DeadLetter
    replay_of: str = ""

    @property
    def name(self) -> str:
        """What it is called everywhere: `topic/partition/offset`."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def read(cls, message: Message) -> Self:
        """The letter in a message. Raises what is in FOREIGN on what is none."""
        record = msgspec.json.decode(unframed(message.value() or b""), type=DeadLetter)
        mark = header(headers_of(message), REPLAY_OF) or b""
        return cls(
            topic=message.topic() or "",
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            record=record,
            replay_of=record.replay_of or mark.decode(errors="replace"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which letters are meant."""

    reasons: frozenset[DeadLetterReason] = frozenset()
    since_ms: int = 0

    def __contains__(self, letter: Letter) -> bool:
        """Whether this one is."""
        record = letter.record
        return record.failed_at_ms >= self.since_ms and (
            not self.reasons or record.reason in self.reasons
        )


class Letters:
    """The dead letters of one topic from its beginning to its end of now."""

    def __init__(self, kafka: Mapping[str, Any], topic: str, partitions: int) -> None:
        self._kafka = kafka
        self._everywhere = [TopicPartition(topic, number) for number in range(partitions)]
        # Records that are no dead letters, somebody else's.
        self.foreign = 0

    def read(self, chosen: Chosen) -> Iterator[Letter]:
        """Those that are meant, one at a time: each may hold a megabyte."""
        for message in scan_to_end(self._kafka, self._everywhere, SILENCE_S):
            try:
                letter = Letter.read(message)
            except FOREIGN:
                self.foreign += 1
                continue
            if letter in chosen:
                yield letter


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The record behind a dead letter. `source` is `letter` or `origin`."""

    key: bytes | None
    value: bytes | None
    headers: RecordHeaders
    source: str

    @property
    def is_progress(self) -> bool:
        """Whether it is no event, but a source's word on how far it had come."""
        return header(self.headers, PROGRESS) is not None


class Records:
    """Single records by partition and offset. Close it after use."""

    def __init__(self, kafka: Mapping[str, Any]) -> None:
        self._consumer = Consumer(
            {
                **kafka,
                "group.id": "enrichment.reader",  # demanded by librdkafka; nothing is joined
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",  # what is gone is gone: no other record instead
                "fetch.wait.max.ms": 20,
                "queued.min.messages": 1,  # one record is wanted, and not what follows it
            }
        )

    def at(self, topic: str, partition: int, offset: int) -> Message | None:
        """The committed record there; None where it is not, or not any more.

        Raises KafkaException, and TimeoutError where a broker does not answer.
        """
        where = TopicPartition(topic, partition, offset)
        try:
            low, high = self._consumer.get_watermark_offsets(where, CALL_S)
        except KafkaException as failure:
            if failure.args[0].code() in _NO_SUCH_TOPIC:
                return None
            raise
        if not low <= offset < high:
            return None
        self._consumer.assign([where])
        message = self._consumer.poll(FETCH_S)
        if message is None:
            raise TimeoutError(f"no record of {topic} in {FETCH_S:.0f} s")
        if (error := message.error()) is not None:
            if error.code() in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET):  # noqa: SLF001  # so named
                return None
            raise KafkaException(error)
        return message if message.offset() == offset else None

    def letter(self, topic: str, partition: int, offset: int) -> Letter | None:
        """The dead letter there, or None where there is none."""
        message = self.at(topic, partition, offset)
        try:
            return None if message is None else Letter.read(message)
        except FOREIGN:
            return None

    def original(self, letter: Letter) -> Original | None:
        """The record behind a letter; None where nobody has it any more.

        From the letter itself where that is complete, else from where it came from, else from
        what the letter has. What stands at its origin's place now may be another record, of a topic
        made anew: it is taken only where size and time, as far as they are known, agree.

        Raises UnreadableHeadersError where its headers cannot be read, and so not be written again.
        """
        record = letter.record
        if record.payload is not None and record.headers is not None:
            return _of_letter(record)
        message = self.at(record.topic, record.partition, record.offset)
        if message is not None and _is_same(message, record):
            return Original(
                key=message.key(),
                value=message.value(),
                headers=headers_of(message) or [],
                source="origin",
            )
        return None if record.payload is None else _of_letter(record)

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()


_NO_SUCH_TOPIC: Final = frozenset(
    {
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001  # so named
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


def _of_letter(record: DeadLetter) -> Original:
    key = record.key_bytes
    if key is None and record.key is not None:
        key = record.key.encode()  # a letter of an older version: text was all that it kept
    return Original(
        key=key, value=record.payload, headers=list(record.headers or ()), source="letter"
    )


def _is_same(message: Message, record: DeadLetter) -> bool:
    value = message.value()
    if len(value or b"") != record.size_bytes:
        return False
    if record.payload is not None and record.payload != (value or b""):
        return False
    return record.published_at_ms in (0, message.timestamp()[1])
