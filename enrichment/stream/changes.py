"""`enrichment.changes`: records of change appended and read back.

All of them are in one partition, whatever the topic has: their order is what happened.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, Producer, TopicPartition

from enrichment.records import Change
from enrichment.stream.framing import BARE, Framing, unframed
from enrichment.stream.headers import cloud_event
from enrichment.stream.reviews import UnwrittenError
from enrichment.stream.to_end import scan_to_end
from enrichment.stream.topics import CHANGES
from enrichment.stream.transaction import Message

PARTITION: Final = 0
SOURCE: Final = "/enrichment/changes"
CALL_S: Final = 5.0
READ_S: Final = 30.0  # a writer that was killed may hide the end for as long as it may be open
FLUSH_S: Final = 10.0


def new_change_id(at_ms: int) -> str:
    """An id for a change of that time: ids sort by time, and tell it."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{at:%Y%m%d-%H%M%S}.{at_ms % 1000:03d}-{secrets.token_hex(4)}"


def message_of(change: Change, framing: Framing = BARE) -> Message:
    """The record to be produced. KeyError where there is a registry and it was not asked."""
    headers = cloud_event("change", SOURCE, change.change_id, change.changed_at_ms)
    value, headers = framing.framed(CHANGES, msgspec.json.encode(change), headers)
    key = change.change_id.encode()
    return Message(topic=CHANGES, partition=PARTITION, key=key, value=value, headers=headers)


def missing(producer: Producer) -> str:
    """Why no change can be written, or "". Raises KafkaException where no broker answers."""
    found = producer.list_topics(CHANGES, timeout=CALL_S).topics[CHANGES]
    if found.error is None and found.partitions:
        return ""
    if found.error is None or found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        return f"there is no topic {CHANGES}: `enrichment topics apply`"
    return f"{CHANGES}: {found.error.str()}"


def append(kafka: Mapping[str, Any], changes: Sequence[Change], framing: Framing = BARE) -> None:
    """Append changes that no other record goes with, and wait until Kafka has them.

    Raises UnwrittenError where it does not confirm all of them, and KafkaException.
    """
    producer = Producer({**kafka, "acks": "all", "enable.idempotence": True, "linger.ms": 0})
    if why := missing(producer):
        raise UnwrittenError(f"the change is not recorded: {why}")
    failed: list[str] = []

    def delivered(error: object, _: Any) -> None:
        if error is not None:
            failed.append(str(error))

    for change in changes:
        one = message_of(change, framing)
        producer.produce(
            one.topic, one.value, one.key, one.partition, delivered, headers=one.headers
        )
    left = producer.flush(FLUSH_S)
    if failed or left:
        said = failed[0] if failed else f"Kafka has not taken it in {FLUSH_S:.0f} s"
        raise UnwrittenError(f"the change is not known to be recorded: {said}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Every change, the oldest first, and how many records of the topic are none."""

    changes: list[Change]
    foreign: int = 0


def recorded(kafka: Mapping[str, Any], timeout_s: float = READ_S) -> Recorded:
    """What is on record now. Raises KafkaException, and TimeoutError where no end comes."""
    decode = msgspec.json.Decoder(Change).decode
    changes: list[Change] = []
    foreign = 0
    for record in scan_to_end(kafka, [TopicPartition(CHANGES, PARTITION)], timeout_s):
        try:
            changes.append(decode(unframed(record.value() or b"")))
        except msgspec.DecodeError:
            foreign += 1
    return Recorded(changes=changes, foreign=foreign)
