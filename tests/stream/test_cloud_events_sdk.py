"""What CloudEvents' own Python SDK writes, we read, and what we write, it reads."""

import json
from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from enrichment.stream.envelope import read_envelope
from enrichment.stream.headers import cloud_event

EVENT = {"event_id": "e1", "amount": 1.5}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def event(data: dict[str, object] | bytes) -> CloudEvent:
    """An event with extensions, as the SDK has it."""
    return CloudEvent(
        attributes={
            "id": "été-1", "source": "/shop", "type": "payment",
            "datacontenttype": "application/json",
            "time": datetime(2026, 1, 2, tzinfo=UTC), "traceparent": TRACE, "correlationid": "c-1",
        },
        data=data,
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["binary", "structured", "structured, binary data"])
def test_what_the_sdk_writes_is_opened(mode: str) -> None:
    """In both modes, `data_base64` included: the event, its id, trace and correlation."""
    if mode == "binary":
        message = kafka.to_binary(event(dict(EVENT)), JSONFormat())
    else:
        data = json.dumps(EVENT).encode() if "binary" in mode else dict(EVENT)
        message = kafka.to_structured(event(data), JSONFormat())
    envelope = read_envelope(list(message.headers.items()), message.value)
    assert envelope.problem is None
    assert json.loads(envelope.value or b"") == EVENT
    assert envelope.event_id.decode() == "été-1"
    assert envelope.traceparent == TRACE.encode()
    assert envelope.correlation_id == b"c-1"


def test_what_we_write_is_read_by_the_sdk() -> None:
    """Every attribute arrives as what it was."""
    headers = dict(cloud_event("digest", "/enrichment/payments", "d-1", 1_700_000_000_123))
    message = kafka.KafkaMessage(headers=headers, key=None, value=b'{"a":1}')
    read = kafka.from_binary(message, JSONFormat())
    assert (read.get_id(), read.get_source()) == ("d-1", "/enrichment/payments")
    assert read.get_type() == "enrichment.digest.v1"
    assert read.get_time() == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
    assert read.get_data() == {"a": 1}
