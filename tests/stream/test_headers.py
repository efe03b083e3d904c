"""Headers of outputs, and of what inputs carry."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.stream.headers import cloud_event, header, rfc3339


def test_an_output_is_a_cloud_event_in_binary_mode() -> None:
    """It has every attribute that CloudEvents 1.0 requires, and the time in UTC."""
    assert dict(cloud_event("digest", "enrich/payments", "d-1", 1_700_000_000_123)) == {
        "ce_specversion": b"1.0",
        "ce_type": b"enrichment.digest.v1",
        "ce_source": b"enrich/payments",
        "ce_id": b"d-1",
        "ce_time": b"2023-11-14T22:13:20.123Z",
        "content-type": b"application/json",
    }


@given(time_ms=st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_a_time_survives_being_written(time_ms: int) -> None:
    """Every millisecond of the years 1 to 9999 is told exactly."""
    moment = datetime.fromisoformat(rfc3339(time_ms).decode())
    epoch = datetime.fromisoformat("1970-01-01T00:00:00.000Z")
    difference = moment - epoch
    assert (difference.days * 86_400 + difference.seconds) * 1000 + (
        difference.microseconds // 1000
    ) == time_ms


def test_a_time_beyond_the_calendar_is_an_error() -> None:
    """The year 10000 has no RFC 3339 form."""
    with pytest.raises(OverflowError):
        rfc3339(253_402_300_800_000)


def test_the_first_header_of_a_name_counts() -> None:
    """A repeated header is not an error, and a missing one is None."""
    carried: list[tuple[str, bytes | None]] = [("a", b"1"), ("a", b"2"), ("b", None)]
    assert [header(carried, name) for name in ("a", "b", "c")] == [b"1", None, None]
    assert header(None, "a") is None
