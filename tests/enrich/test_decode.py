"""The decoder: every record is an event or has a reason, and no bytes whatever stop a partition."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from enrichment.enrich.decode import Decoder, Invalid
from enrichment.enrich.events import Event
from enrichment.pipelines import Pipeline
from enrichment.records import DeadLetterReason as Reason
from enrichment.stream.nesting import nesting_depth
from tests.enrich.streams import (
    CARD,
    CARDS,
    PAYMENT,
    PAYMENTS,
    RATING,
    TRUST,
    event,
    payment,
    pseudonym,
    sensitive,
)
from tests.feature.cached import NOW_MS

DECODER = Decoder(PAYMENTS)
HIDING = Decoder(sensitive(PAYMENTS, "account_id", "device_id", "region", "note"), pseudonym)
DAY_MS = 86_400_000


def with_raw(field: str, literal: bytes) -> bytes:
    """A payment in which a field has this literal, JSON or not."""
    return payment(**{field: ...})[:-1] + b',"%s":%s}' % (field.encode(), literal)


BAD: dict[str, tuple[bytes | None, Reason]] = {
    "no value": (None, Reason.NOT_JSON),
    "empty": (b"", Reason.NOT_JSON),
    "text": (b"hello", Reason.NOT_JSON),
    "cut off": (payment()[:-1], Reason.NOT_JSON),
    "two values": (payment() + payment(), Reason.NOT_JSON),
    "array": (b"[]", Reason.INVALID_FIELD),
    "null": (b"null", Reason.INVALID_FIELD),
    "id missing": (payment(event_id=...), Reason.INVALID_FIELD),
    "key missing": (payment(account_id=...), Reason.INVALID_FIELD),
    "time missing": (payment(occurred_at=...), Reason.INVALID_FIELD),
    "amount missing": (payment(amount=...), Reason.INVALID_FIELD),
    "shard missing": (payment(region=...), Reason.INVALID_FIELD),
    "key null": (payment(account_id=None), Reason.INVALID_FIELD),
    "amount as text": (payment(amount="12.34"), Reason.INVALID_FIELD),
    "amount a boolean": (payment(amount=True), Reason.INVALID_FIELD),
    "id a list": (payment(event_id=["e1"]), Reason.INVALID_FIELD),
    "device a fraction": (payment(device_id=1.5), Reason.INVALID_FIELD),
    "id empty": (payment(event_id=""), Reason.INVALID_FIELD),
    "device empty": (payment(device_id=""), Reason.INVALID_FIELD),
    "account empty": (payment(account_id=""), Reason.INVALID_FIELD),
    "region empty": (payment(region=""), Reason.INVALID_FIELD),
    "id too long": (payment(event_id="e" * 257), Reason.INVALID_FIELD),
    "id of 5,000 digits": (with_raw("event_id", b"1" * 5_000), Reason.INVALID_FIELD),
    "NaN": (with_raw("amount", b"NaN"), Reason.NOT_A_NUMBER),
    "Infinity": (with_raw("amount", b"Infinity"), Reason.NOT_A_NUMBER),
    "minus Infinity, nested": (with_raw("note", b'{"x": [1, -Infinity]}'), Reason.NOT_A_NUMBER),
    "amount beyond a double": (with_raw("amount", b"1e999"), Reason.INVALID_FIELD),
    "absurd amount": (payment(amount=1e13), Reason.INVALID_FIELD),
    "absurd debit": (payment(amount=-1e13), Reason.INVALID_FIELD),
    "before 2000": (payment(occurred_at=946_684_799_999), Reason.ABSURD_TIME),
    "in seconds": (payment(occurred_at=NOW_MS // 1000), Reason.ABSURD_TIME),
    "in the future": (payment(occurred_at=NOW_MS + DAY_MS + 1), Reason.ABSURD_TIME),
    "time as words": (payment(occurred_at="yesterday"), Reason.ABSURD_TIME),
    "time without offset": (payment(occurred_at="2026-01-01T00:00:00"), Reason.ABSURD_TIME),
    "time of year 1": (payment(occurred_at="0001-01-01T00:00:00+14:00"), Reason.ABSURD_TIME),
    "time a fraction": (payment(occurred_at=NOW_MS - 0.5), Reason.ABSURD_TIME),
    "time of 300 digits": (with_raw("occurred_at", b"1e300"), Reason.ABSURD_TIME),
    "too large": (payment(note="x" * 65_536), Reason.TOO_LARGE),
    "too deep": (with_raw("note", b"[" * 16 + b"]" * 16), Reason.TOO_DEEP),
    "too deep to parse": (with_raw("note", b"[" * 30_000 + b"]" * 30_000), Reason.TOO_DEEP),
    "not UTF-8 in an id": (with_raw("event_id", b'"\xff"'), Reason.NOT_JSON),
    "not UTF-8 in a skipped field": (with_raw("other", b'"\xff"'), Reason.NOT_JSON),
    "not UTF-8 in a skipped name": (payment()[:-1] + b',"\xc3":1}', Reason.NOT_JSON),
    "half a surrogate pair": (with_raw("event_id", b'"\\ud800"'), Reason.NOT_JSON),
}


@pytest.mark.parametrize("decoder", [DECODER, HIDING], ids=["open", "sensitive"])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_has_its_reason(name: str, decoder: Decoder) -> None:
    """Each kind of bad record gets the reason that fits, whether or not fields are sensitive."""
    value, reason = BAD[name]
    decoded = decoder.decode(value, now_ms=NOW_MS)
    assert isinstance(decoded, Invalid)
    assert decoded.reason is reason
    assert decoded.detail


def test_reasons_are_all_tested() -> None:
    """No reason for a dead letter is left without an example."""
    # What surrounds an event is opened before it is decoded: see test_records_in.py.
    assert {reason for _, reason in BAD.values()} == set(Reason) - {Reason.INVALID_ENVELOPE}


@pytest.mark.parametrize("literal", [b"1e999", b"1" * 5_000])
def test_a_number_that_fits_no_double_is_no_trap_for_sensitive_pipelines(literal: bytes) -> None:
    """In a field that is only carried along it goes through as bytes, or ends as a dead letter."""
    value = with_raw("other", literal)
    carried = DECODER.decode(value, now_ms=NOW_MS)
    assert isinstance(carried, Event)
    assert carried.payload == value
    decoded = HIDING.decode(value, now_ms=NOW_MS)
    assert isinstance(decoded, Invalid)
    assert decoded.reason is Reason.INVALID_FIELD


def test_an_error_names_the_events_own_field() -> None:
    """Who reads a dead letter sees the name that stands in the event."""
    decoded = DECODER.decode(payment(amount="1"), now_ms=NOW_MS)
    assert isinstance(decoded, Invalid)
    assert "amount" in decoded.detail


def test_a_payment_is_read() -> None:
    """Amounts come in minor units, entities by role, and the event's bytes as they were."""
    value = payment()
    decoded = DECODER.decode(value, now_ms=NOW_MS)
    assert isinstance(decoded, Event)
    assert (decoded.id, decoded.key, decoded.shard) == ("e1", "a1", "eu")
    assert decoded.occurred_at_ms == NOW_MS - 5
    assert decoded.amount_minor == 1234
    assert decoded.entities == {"account": "a1", "device": "d1", "beneficiary": "b1"}
    assert decoded.numbers == {"amount": 12.34}
    assert decoded.label is None
    assert decoded.payload is value


@pytest.mark.parametrize(("amount", "minor"), [(0.29, 29), (1.15, 115), (-0.29, -29), (5, 500)])
def test_no_cent_is_lost_to_a_fraction_of_it(amount: float, minor: int) -> None:
    """Amounts that no double holds exactly come as the nearest minor unit."""
    decoded = DECODER.decode(payment(amount=amount), now_ms=NOW_MS)
    assert isinstance(decoded, Event)
    assert decoded.amount_minor == minor


def test_an_event_may_lack_an_entity_that_is_not_its_key() -> None:
    """A payment without a device is a payment; the role is absent."""
    decoded = DECODER.decode(payment(device_id=None), now_ms=NOW_MS)
    assert isinstance(decoded, Event)
    assert decoded.entities == {"account": "a1", "beneficiary": "b1"}


@pytest.mark.parametrize(
    ("pipeline", "value", "label"),
    [
        (CARDS, event(CARD), 0.0),
        (CARDS, event(CARD, is_fraud=1), 1.0),
        (CARDS, event(CARD, is_fraud=True), 1.0),
        (CARDS, event(CARD, is_fraud=...), None),
        (TRUST, event(RATING), 0.0),
        (TRUST, event(RATING, rating=-10), 1.0),
    ],
)
def test_labels_are_read_where_the_pipeline_says(
    pipeline: Pipeline, value: bytes, label: float | None
) -> None:
    """A flag where it is true, a rating where it is negative; ids may be numbers."""
    decoded = Decoder(pipeline).decode(value, now_ms=NOW_MS)
    assert isinstance(decoded, Event)
    assert decoded.label == label


def test_both_forms_of_time_are_one() -> None:
    """Integer milliseconds and an RFC 3339 time of the same moment decode to the same."""
    decoded = [
        DECODER.decode(payment(occurred_at=time), now_ms=NOW_MS)
        for time in (1_767_225_600_250, "2026-01-01T01:00:00.250+01:00", 1_767_225_600_250.0)
    ]
    assert all(isinstance(each, Event) for each in decoded)
    assert len({each.occurred_at_ms for each in decoded if isinstance(each, Event)}) == 1


def test_brackets_in_strings_are_no_nesting() -> None:
    """Only real nesting counts towards the limit."""
    decoded = DECODER.decode(payment(note='[{"' * 500), now_ms=NOW_MS)
    assert isinstance(decoded, Event)


def test_sensitive_fields_leave_as_pseudonyms_alone() -> None:
    """No raw value of a sensitive field is in what a decoded event carries."""
    decoded = HIDING.decode(
        payment(account_id="raw-a", device_id="raw-d", region="raw-r", note={"raw": 1}),
        now_ms=NOW_MS,
    )
    assert isinstance(decoded, Event)
    assert "raw" not in repr(decoded)
    assert decoded.entities["account"] == decoded.key == pseudonym("raw-a")
    assert decoded.shard == pseudonym("raw-r")
    assert json.loads(decoded.payload)["device_id"] == pseudonym("raw-d")
    assert decoded.entities["beneficiary"] == "b1"


def test_a_sensitive_pipeline_needs_a_key() -> None:
    """Without a pseudonym nothing is decoded at all."""
    with pytest.raises(ValueError, match="key"):
        Decoder(sensitive(PAYMENTS, "account_id"))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([NOW_MS, "2026-01-01T00:00:00Z", "eu", 10**400, -0.0, "\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(max_examples=300)
@given(value=st.binary(max_size=200))
@example(value=b"\xef\xbb\xbf" + payment())
def test_arbitrary_bytes_never_raise(value: bytes) -> None:
    """Whatever bytes come, the decoder answers with a value."""
    for decoder in (DECODER, HIDING):
        assert isinstance(decoder.decode(value, now_ms=NOW_MS), Event | Invalid)


@settings(max_examples=300)
@given(changes=st.dictionaries(st.sampled_from([*PAYMENT, "other"]), JSON, max_size=4))
def test_payments_with_arbitrary_fields_never_raise(changes: dict[str, Any]) -> None:
    """Near-valid events decode to events whose ids and numbers are within limits, or to reasons."""
    value = json.dumps({**PAYMENT, **changes}).encode()
    for decoder in (DECODER, HIDING):
        decoded = decoder.decode(value, now_ms=NOW_MS)
        assert isinstance(decoded, Event | Invalid)
        if isinstance(decoded, Event):
            assert all(0 < len(id_) <= 256 for id_ in decoded.entities.values())
            assert 946_684_800_000 <= decoded.occurred_at_ms <= NOW_MS + DAY_MS
            msgspec.json.decode(decoded.payload)


@settings(max_examples=300)
@given(start=st.integers(0, 200), length=st.integers(0, 20), inserted=st.binary(max_size=10))
def test_damaged_payments_never_raise(start: int, length: int, inserted: bytes) -> None:
    """An event with any stretch of bytes replaced is answered."""
    good = payment()
    value = good[:start] + inserted + good[start + length :]
    for decoder in (DECODER, HIDING):
        assert isinstance(decoder.decode(value, now_ms=NOW_MS), Event | Invalid)


@given(value=JSON)
def test_the_nesting_of_json_is_that_of_its_value(value: Any) -> None:
    """The depth counted in bytes is the depth of the decoded value."""

    def depth(of: Any) -> int:
        if isinstance(of, dict):
            return 1 + max(map(depth, of.values()), default=0)
        return 1 + max(map(depth, of), default=0) if isinstance(of, list) else 0

    assert nesting_depth(json.dumps(value).encode()) == depth(value)
