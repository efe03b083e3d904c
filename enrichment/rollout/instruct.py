"""Instructions to every process: written to `enrichment.control`, lifted, and read back.

A write counts once all in-sync replicas have it, and is never repeated under another key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from enrichment.records import Control
from enrichment.rollout.control import MalformedControlError, control_key, parsed
from enrichment.stream.framing import BARE, Framing, unframed
from enrichment.stream.headers import Headers, cloud_event
from enrichment.stream.to_end import read_to_end
from enrichment.stream.topics import CONTROL, partition_for

READ_S: Final = 30.0
WRITE_S: Final = 10.0  # an operator waits for it
SOURCE: Final = "/enrichment/control"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Where an instruction stands on the topic."""

    key: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the topic holds: valid records by key, and what is wrong with others."""

    controls: dict[str, Control] = field(default_factory=dict)
    malformed: dict[str, str] = field(default_factory=dict)


def standing(kafka: Mapping[str, Any], partitions: int) -> Standing:
    """The newest record of each key. Raises KafkaException, or TimeoutError where no end comes."""
    wanted = [TopicPartition(CONTROL, number) for number in range(partitions)]
    found = Standing()
    for record in read_to_end(kafka, wanted, READ_S):
        raw, value = record.key() or b"", record.value()
        key_bytes = raw.encode() if isinstance(raw, str) else raw
        value_bytes = value.encode() if isinstance(value, str) else value
        key = key_bytes.decode(errors="replace")
        found.controls.pop(key, None)
        found.malformed.pop(key, None)
        if value_bytes is None:
            continue
        try:
            found.controls[key] = parsed(key_bytes, unframed(value_bytes))
        except MalformedControlError as error:
            found.malformed[key] = str(error)
    return found


def instruct(
    kafka: Mapping[str, Any], control: Control, partitions: int, framing: Framing = BARE
) -> Written:
    """Put an instruction in force. Raises KafkaException where it is not known to be written."""
    key = control_key(control.pipeline, control.name)
    value = msgspec.json.encode(control)
    parsed(key.encode(), value)  # nobody would follow what this refuses
    headers = cloud_event("control", SOURCE, f"{key}|{control.issued_at_ms}", control.issued_at_ms)
    value, headers = framing.framed(CONTROL, value, headers)
    return _write(kafka, key, value, headers, partitions)


def lift(kafka: Mapping[str, Any], key: str, partitions: int, *, by: str, reason: str) -> Written:
    """End what stands under the key. Who and why are headers, for a tombstone has no value."""
    headers = [("enrichment-by", by.encode()), ("enrichment-reason", reason.encode())]
    return _write(kafka, key, None, headers, partitions)


def _write(
    kafka: Mapping[str, Any], key: str, value: bytes | None, headers: Headers, partitions: int
) -> Written:
    delivered: list[tuple[KafkaError | None, Message]] = []
    producer = Producer(
        {
            **kafka,
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 0,
            "delivery.timeout.ms": int(WRITE_S * 1000),
        }
    )
    producer.produce(
        CONTROL,
        value,
        key,
        partition_for(key, partitions),
        on_delivery=lambda error, message: delivered.append((error, message)),
        headers=list(headers),
    )
    producer.flush(WRITE_S + 1)
    if not delivered:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001  # so named
    [(error, message)] = delivered
    if error is not None:
        raise KafkaException(error)
    return Written(key=key, partition=message.partition() or 0, offset=message.offset() or 0)
