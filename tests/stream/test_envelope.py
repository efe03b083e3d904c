"""What surrounds an input: the rules of CloudEvents' Kafka binding, and bytes that keep none."""

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.stream.envelope import (
    ID_BYTES_MAX,
    TRACESTATE_BYTES_MAX,
    Envelope,
    read_envelope,
)
from enrichment.stream.headers import PROGRESS, REPLAY_OF

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UUID = b"0b6b1c52-7e4a-4c58-9b7a-5f7a6a0c1d11"
EVENT = {"event_id": "e1", "amount": 1.5}
VALUE = json.dumps(EVENT).encode()
JSON_TYPE = ("content-type", b"application/cloudevents+json; charset=UTF-8")
BINARY: dict[str, bytes | None] = {
    "ce_specversion": b"1.0",
    "ce_type": b"com.example.payment",
    "ce_source": b"/shop/1",
    "ce_id": b"1234-1234",
    "ce_time": b"2018-04-05T03:56:24Z",
    "content-type": b"application/json; charset=utf-8",
}


def binary(**changes: bytes | None) -> list[tuple[str, bytes | None]]:
    """The headers of a CloudEvent in binary mode; `ce_id=None` leaves one out."""
    changed = BINARY | {name.replace("__", "-"): content for name, content in changes.items()}
    return [pair for pair in changed.items() if pair[1] is not None]


def structured(**changes: Any) -> bytes:
    """The value of a CloudEvent in structured mode; `id=...` leaves one out."""
    event = {"specversion": "1.0", "id": "e-9", "type": "t", "source": "/s", "data": EVENT}
    changed = {name: each for name, each in {**event, **changes}.items() if each is not ...}
    return json.dumps(changed).encode()


def test_plain_json_is_taken_as_it_is() -> None:
    """Without headers, or with none that mean anything, the value is the event."""
    assert read_envelope(None, VALUE) == Envelope(VALUE)
    assert read_envelope([("other", b"\xff"), ("none", None)], VALUE) == Envelope(VALUE)
    assert read_envelope([("content-type", b"text/plain")], VALUE) == Envelope(VALUE)
    assert read_envelope([], None) == Envelope(None)


def test_the_example_of_the_binding_in_binary_mode() -> None:
    """Attributes are in `ce_` headers, `content-type` is the data's, the value is the data."""
    envelope = read_envelope(binary(), VALUE)
    assert envelope == Envelope(VALUE, correlation_id=b"1234-1234", event_id=b"1234-1234")


@pytest.mark.parametrize(
    "changes",
    [
        {"ce_time": None, "content__type": None},
        {"ce_specversion": b"1.1"},
        {"content__type": b"text/json"},
        {"content__type": b"application/vnd.shop+json"},
        {"ce_comexampleextension1": b"value", "ce_comexampleothervalue": b"5"},
        {"ce_id": "été".encode(), "ce_subject": b""},
        {"ce_id": "a\u200bb\u00a0".encode()},
    ],
    ids=["optional", "later version", "text/json", "+json", "extensions", "UTF-8", "format"],
)
def test_what_the_binding_allows_is_no_problem(changes: dict[str, bytes | None]) -> None:
    """Optional attributes, extensions of any name, later minor versions, any JSON."""
    envelope = read_envelope(binary(**changes), VALUE)
    assert envelope.problem is None
    assert envelope.value == VALUE


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"ce_specversion": b"0.3"}, "ce_specversion: wanted 1.0"),
        ({"ce_specversion": b"2.0"}, "ce_specversion: wanted 1.0"),
        ({"ce_specversion": b"\xff"}, "ce_specversion: wanted 1.0"),
        ({"ce_specversion": b""}, "ce_specversion: wanted 1.0"),
        ({"ce_id": None}, "ce_id: wanted UTF-8"),
        ({"ce_id": b""}, "ce_id: wanted UTF-8"),
        ({"ce_id": b"a\x00b"}, "ce_id: wanted UTF-8"),
        ({"ce_id": "a\x85b".encode()}, "ce_id: wanted UTF-8"),
        ({"ce_id": "\ufffe".encode()}, "ce_id: wanted UTF-8"),
        ({"ce_source": b"\xff"}, "ce_source: wanted UTF-8"),
        ({"ce_type": b"x" * (ID_BYTES_MAX + 1)}, "ce_type: wanted UTF-8"),
        ({"content__type": b"application/avro"}, "content-type: wanted application/json"),
        ({"content__type": b"application/cloudevents+avro"}, "only application/cloudevents+json"),
        ({"content__type": b"application/cloudevents"}, "only application/cloudevents+json"),
        ({"content__type": b"application/cloudevents-batch+json"}, "one event a record"),
    ],
)
def test_who_claims_to_be_a_cloud_event_must_be_one(
    changes: dict[str, bytes | None], problem: str
) -> None:
    """A `ce_specversion` is the claim; what is wrong is named, and what was found is not."""
    envelope = read_envelope(binary(**changes), VALUE)
    assert envelope.problem is not None
    assert problem in envelope.problem


def test_some_attributes_alone_are_no_claim() -> None:
    """Without a `ce_specversion` a record is its own, as section 3 has it."""
    envelope = read_envelope([("ce_id", b"e1"), ("ce_type", b"")], VALUE)
    assert envelope == Envelope(VALUE, correlation_id=b"e1", event_id=b"e1")


def test_a_structured_event_is_unwrapped() -> None:
    """Its attributes are the event's word, whatever headers repeat of them."""
    value = structured(traceparent=TRACE.decode(), tracestate="a=b", correlationid="c-1")
    envelope = read_envelope([JSON_TYPE, ("ce_id", b"header")], value)
    assert envelope == Envelope(VALUE, TRACE, b"a=b", correlation_id=b"c-1", event_id=b"e-9")


@pytest.mark.parametrize(
    "content_type", [b"application/CloudEvents+JSON", b"application/cloudevents+json"]
)
def test_structured_mode_is_told_in_any_case(content_type: bytes) -> None:
    """`matched case-insensitively`, says the binding."""
    assert read_envelope([("Content-Type", content_type)], structured()).value == VALUE


def test_binary_data_in_a_structured_event_is_decoded() -> None:
    """`data_base64` holds the bytes of the event."""
    value = structured(data=..., data_base64=b64encode(VALUE).decode())
    assert read_envelope([JSON_TYPE], value).value == VALUE


def test_unset_attributes_may_be_null() -> None:
    """`null` is the same as left out."""
    value = structured(datacontenttype=None, traceparent=None, data_base64=None, subject=None)
    assert read_envelope([JSON_TYPE], value).value == VALUE


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "has no value"),
        (b"nonsense", "not JSON"),
        (structured()[:-1] + b',"subject":"\xff"}', "not JSON"),
        (b'{"data":' + b"[" * 100_000, "not JSON"),
        (b"[]", "Expected `object`"),
        (structured(id=...), "missing required field `id`"),
        (structured(source=...), "missing required field `source`"),
        (structured(id=""), "id, source and type"),
        (structured(specversion=1), "Expected `str`"),
        (structured(specversion="0.3"), "specversion: wanted 1.0"),
        (structured(data=...), "no data"),
        (structured(data_base64="AAAA"), "found both"),
        (structured(data=..., data_base64="*"), "wanted base64"),
        (structured(data=..., data_base64="é"), "wanted base64"),
        (structured(datacontenttype="application/xml"), "datacontenttype"),
    ],
)
def test_a_damaged_structured_event_says_what_is_wrong(value: bytes | None, problem: str) -> None:
    """And its value is not looked at any further."""
    envelope = read_envelope([JSON_TYPE], value)
    assert envelope.value is None
    assert envelope.problem is not None
    assert problem in envelope.problem


@pytest.mark.parametrize("mode", ["plain", "binary", "structured", "base64"])
def test_a_frame_is_taken_off_in_every_mode(mode: str) -> None:
    """Producers with a registry frame what they send, and the schema's id is not looked at."""
    frame = b"\x00\x00\x00\x00\x07"
    base64 = structured(data=..., data_base64=b64encode(frame + VALUE).decode())
    headers, value = {
        "plain": ([], frame + VALUE),
        "binary": (binary(content__type=b"application/vnd.confluent.json"), frame + VALUE),
        "structured": ([JSON_TYPE], frame + structured()),
        "base64": ([JSON_TYPE], base64),
    }[mode]
    envelope = read_envelope(headers, value)  # type: ignore[arg-type]
    assert envelope.problem is None
    assert envelope.value == VALUE


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("ce_correlationid", b"a"), ("correlation-id", b"b"), ("ce_id", b"c")], b"a"),
        ([("X-Correlation-Id", b"b"), ("ce_id", b"c")], b"b"),
        ([("correlation-id", b"b"), ("x-correlation-id", b"d")], b"b"),
        ([("ce_correlationid", b"\xff"), ("correlation-id", b"")], b""),
        ([("ce_correlationid", b"x" * (ID_BYTES_MAX + 1)), ("ce_id", b"c")], b"c"),
        ([("correlation-id", b"line\nbreak")], b""),
        ([("correlation-id", b"1"), ("correlation-id", b"2")], b"1"),
    ],
)
def test_the_correlation_id(headers: list[tuple[str, bytes | None]], expected: bytes) -> None:
    """The extension, then what others use, then the event's own id; what is no text is not used."""
    assert read_envelope(headers, VALUE).correlation_id == expected


@pytest.mark.parametrize(
    "trace",
    [
        b"", b"00-zz-00-01", TRACE + b"-x", TRACE + b"\n", b"\xff", b"ff" + TRACE[2:],
        b"00-" + b"0" * 32 + TRACE[35:],
    ],
)  # fmt: skip
def test_a_damaged_trace_is_not_carried_on(trace: bytes) -> None:
    """A header that is no traceparent is dropped, its tracestate too, and the event is not."""
    envelope = read_envelope([("traceparent", trace), ("tracestate", b"a=b")], VALUE)
    assert envelope.traceparent is None
    assert envelope.value == VALUE
    assert envelope.carried() == []


def test_the_trace_of_the_last_hop_is_carried_on() -> None:
    """The header comes before the extension, which names the start of the whole way."""
    start = b"00" + TRACE[2:-2] + b"00"
    carried = read_envelope([("ce_traceparent", start), ("traceparent", TRACE)], VALUE).carried()
    assert carried == [("traceparent", TRACE)]
    assert read_envelope([("ce_traceparent", start)], VALUE).traceparent == start
    long = b"x" * (TRACESTATE_BYTES_MAX + 1)
    assert read_envelope([("traceparent", TRACE), ("tracestate", long)], VALUE).tracestate is None


def test_in_a_stream_with_sensitive_fields_foreign_text_is_not_repeated() -> None:
    """A correlation id may be a card number: it leaves as a hash unless it is a UUID."""
    headers = [("traceparent", TRACE), ("tracestate", b"a=4111"), ("correlation-id", b"4111")]
    assert read_envelope(headers, VALUE).carried() == [
        ("traceparent", TRACE), ("tracestate", b"a=4111"), ("ce_correlationid", b"4111"),
    ]  # fmt: skip
    hidden = read_envelope(headers, VALUE).carried(lambda text: f"h({text})")
    assert hidden == [("traceparent", TRACE), ("ce_correlationid", b"h(4111)")]
    uuid = read_envelope([("correlation-id", UUID)], VALUE).carried(lambda _: "h")
    assert uuid == [("ce_correlationid", UUID)]


def test_the_mark_of_a_replay_is_carried_on() -> None:
    """So that a record that fails again refers to the dead letter it came from."""
    mark = b"payments.dead-letters/3/17"
    assert read_envelope([(REPLAY_OF, mark)], VALUE).carried() == [(REPLAY_OF, mark)]
    for damaged in (b"", b"payments/3", b"\xff/1/1", mark + b"\n", None):
        assert read_envelope([(REPLAY_OF, damaged)], VALUE).replay_of is None


@pytest.mark.parametrize(
    ("stated", "progress_ms"),
    [
        (b"1780000000000", 1_780_000_000_000),
        (b"", None), (b"-1", None), (b"soon", None), (b"9" * 5_000, None), (None, None),
        ("²".encode(), None),
    ],
)  # fmt: skip
def test_progress_is_a_number_of_milliseconds(
    stated: bytes | None, progress_ms: int | None
) -> None:
    """Anything else under that header makes a record like any other."""
    assert read_envelope([(PROGRESS, stated)], None).progress_ms == progress_ms


NAMES = [
    *BINARY, PROGRESS, REPLAY_OF, "traceparent", "tracestate", "ce_traceparent", "ce_tracestate",
    "ce_correlationid", "correlation-id", "x-correlation-id", "Content-Type", "CE_ID",
]  # fmt: skip
CONTENTS = [
    *BINARY.values(), TRACE, b"application/cloudevents+json", b"application/cloudevents-batch",
    b"application/", b"1." + b"9" * 50, b"\x00", b"\xed\xa0\x80", b"\xff" * 3_000,
]  # fmt: skip
headers_of_any_kind = st.lists(
    st.tuples(
        st.sampled_from(NAMES) | st.text(),
        st.none() | st.binary(max_size=64) | st.sampled_from(CONTENTS) | st.text().map(str.encode),
    ),
    max_size=12,
)
VALUES = [VALUE, structured(), structured(id=1), structured(data=..., data_base64="ab")]
values_of_any_kind = st.none() | st.binary(max_size=64) | st.sampled_from(VALUES)


@given(headers=headers_of_any_kind, value=values_of_any_kind)
def test_no_bytes_can_raise(headers: list[tuple[str, bytes | None]], value: bytes | None) -> None:
    """Invalid UTF-8, no value, huge, repeated: an envelope comes out, and its text is text."""
    envelope = read_envelope(headers, value)
    for name, content in envelope.carried() + envelope.carried(lambda text: text[::-1]):
        assert name
        assert content.decode()
    assert envelope.problem is None or envelope.problem.isascii()
