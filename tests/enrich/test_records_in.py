"""Input records: plain JSON, binary and structured CloudEvents, and a source's word on progress."""

import json
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME

from enrichment.enrich.loop import record_of
from tests.enrich.streams import PAYMENT, dead_letter, enricher, payment
from tests.enrich.streams import PAYMENTS as PIPELINE
from tests.feature.cached import NOW_MS

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STRUCTURED = ("content-type", b"application/cloudevents+json; charset=UTF-8")


class Message:
    """A record as the consumer hands it over."""

    def __init__(self, value: bytes | None, *headers: tuple[str, bytes | None]) -> None:
        self._value, self._headers = value, list(headers) or None

    def value(self) -> bytes | None:
        """The record's value."""
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """The record's headers, None where it has none."""
        return self._headers

    def key(self) -> bytes | None:
        """The record's key."""
        return b"k"

    def topic(self) -> str:
        """Where it came from."""
        return "payments.events"

    def partition(self) -> int:
        """Where it came from."""
        return 1

    def offset(self) -> int:
        """Where it came from."""
        return 5

    def timestamp(self) -> tuple[int, int]:
        """When it was created, by its producer's clock."""
        return TIMESTAMP_CREATE_TIME, NOW_MS


def structured(**changes: Any) -> bytes:
    """A payment as a structured CloudEvent."""
    envelope = {"specversion": "1.0", "id": "e1", "type": "t", "source": "/s", "data": PAYMENT}
    return json.dumps({**envelope, **changes}).encode()


def test_plain_json_is_taken_as_it_is() -> None:
    """Without headers the value is the event."""
    record = record_of(Message(payment()))
    assert record.value == payment()
    assert (record.topic, record.partition, record.offset) == ("payments.events", 1, 5)
    assert record.envelope is None
    assert record.timestamp_ms == NOW_MS


def test_a_binary_cloud_event_is_its_value() -> None:
    """Attributes are in the headers, and the trace is carried on."""
    headers = (("ce_id", b"e1"), ("content-type", b"application/json"), ("other", None))
    record = record_of(Message(payment(), *headers, ("traceparent", TRACE.encode())))
    assert record.value == payment()
    assert record.envelope is not None
    assert record.envelope.traceparent == TRACE.encode()


def test_a_structured_cloud_event_is_unwrapped() -> None:
    """The event is `data`, and the trace may be an attribute of the envelope."""
    record = record_of(Message(structured(traceparent=TRACE), STRUCTURED))
    assert record.event is not None
    assert json.loads(record.event) == PAYMENT
    assert record.envelope is not None
    assert record.envelope.traceparent == TRACE.encode()
    outputs = enricher(PIPELINE).process([record])
    assert len(outputs.enriched) == 1


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"nonsense",
        structured(specversion=1),
        b'{"specversion":"1.0"}',
        b'{"specversion":"1.0","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"specversion":"1.0","data":"\xff"}',
        structured(traceparent=5),
    ],
    ids=["none", "text", "version", "no data", "deep", "not UTF-8", "trace"],
)
def test_what_is_no_structured_event_is_a_dead_letter(value: bytes | None) -> None:
    """A damaged envelope is answered like any other record, and stops nothing."""
    outputs = enricher(PIPELINE).process([record_of(Message(value, STRUCTURED))])
    [output] = outputs.dead_letters
    assert dead_letter(output).offset == 5


def test_a_framed_value_is_taken_for_what_it_frames() -> None:
    """A schema's id before the event, with or without headers, is taken off."""
    framed = b"\0\0\0\0\7" + payment()
    assert record_of(Message(framed)).event == payment()
    assert record_of(Message(framed, ("other", b"x"))).event == payment()
