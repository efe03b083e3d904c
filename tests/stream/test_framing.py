"""Confluent's frame before a value, put on by whoever produces and taken off by whoever reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.stream.framing import BARE, Framing, unframed
from enrichment.stream.headers import cloud_event

FRAMING = Framing({"payments.enriched": 7, "features.updates": 2**31 - 1})


def test_without_a_registry_values_stay_as_they_are() -> None:
    """Not a byte is put before them, whatever the topic, and the content type says JSON."""
    headers = cloud_event("enriched", "/s", "e1", 0)
    assert BARE.prefix("any.topic") == b""
    value, kept = BARE.framed("any.topic", b"{}", headers)
    assert value == b"{}"
    assert kept is headers
    assert dict(headers)["content-type"] == BARE.content_type() == b"application/json"


def test_with_one_a_frame_names_the_schema() -> None:
    """A zero byte and the id, big-endian; the content type tells it, once."""
    assert FRAMING.prefix("payments.enriched") == b"\x00\x00\x00\x00\x07"
    headers = cloud_event("enriched", "/s", "e1", 0)
    value, framed = FRAMING.framed("features.updates", b"{}", headers)
    assert value == b"\x00\x7f\xff\xff\xff{}"
    assert [content for name, content in framed if name == "content-type"] == [
        b"application/vnd.confluent.json"
    ]
    assert len(framed) == len(headers)


def test_a_topic_without_a_schema_is_an_error_where_others_have_one() -> None:
    """Half a framed topic would be worse than none."""
    with pytest.raises(KeyError):
        FRAMING.prefix("unknown")


@given(value=st.binary(max_size=50), id_=st.integers(0, 2**32 - 1))
def test_what_was_framed_comes_off_again(value: bytes, id_: int) -> None:
    """For every value and id; and JSON, which begins with no zero byte, is left alone."""
    assert unframed(Framing({"t": id_}).prefix("t") + value) == value
    if not value.startswith(b"\x00"):
        assert unframed(value) is value
    elif len(value) < 5:
        assert unframed(value) == value
