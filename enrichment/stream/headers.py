"""CloudEvents 1.0 headers of the Kafka protocol binding, binary mode, as our outputs bear them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from operator import methodcaller
from typing import Any, Final

SPECVERSION: Final = "1.0"
CONTENT_TYPE: Final = "application/json"
# Marks an input record that is no event but says: all events before this time have been sent.
PROGRESS: Final = "enrichment-progress-ms"
# Names the dead letter that an input record was published again from.
REPLAY_OF: Final = "enrichment-replay-of"

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # UTC throughout; naive keeps isoformat bare

Headers = list[tuple[str, bytes]]


def cloud_event(
    kind: str, source: str, id_: str, time_ms: int, content_type: bytes = b"application/json"
) -> Headers:
    """The headers of one record. `kind` is a record name, such as `digest`."""
    return [
        *_constant(kind, source, content_type),
        ("ce_id", id_.encode()),
        ("ce_time", rfc3339(time_ms)),
    ]


@lru_cache(maxsize=64)
def _constant(
    kind: str, source: str, content_type: bytes = b"application/json"
) -> tuple[tuple[str, bytes], ...]:
    """The headers that all records of one kind and source share: made once, not per event."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_type", b"enrichment.%s.v1" % kind.encode()),
        ("ce_source", source.encode()),
        ("content-type", content_type),
    )


@lru_cache(maxsize=4096)  # a batch's events lie within a few seconds
def rfc3339(time_ms: int) -> bytes:
    """Milliseconds since 1970 as an RFC 3339 time in UTC.

    Raises OverflowError outside the years 1 to 9999.
    """
    seconds, milliseconds = divmod(time_ms, 1000)
    return b"%s.%03dZ" % (_to_the_second(seconds), milliseconds)


@lru_cache(maxsize=1024)
def _to_the_second(seconds: int) -> bytes:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat(timespec="seconds").encode()


_HEADERS: Final = methodcaller("headers")


class UnreadableHeadersError(ValueError):
    """A record's headers cannot be read: a name is not UTF-8."""


def headers_of(message: Any) -> list[tuple[str, bytes | None]] | None:
    """The headers of a consumed record, None where it has none. Raises UnreadableHeadersError.

    confluent-kafka 2.16 raises SystemError on a name that is not UTF-8, and at a second call gives
    a null pointer for it (measured): after that error nobody may ask again. It is called from C,
    since a call that the interpreter has specialised sees no error, and ends in a crash.
    """
    try:
        headers: list[tuple[str, bytes | None]] | None = _HEADERS(message)
    except (SystemError, UnicodeDecodeError) as error:
        raise UnreadableHeadersError("a header's name is not UTF-8") from error
    return headers


def header(headers: Sequence[tuple[str, bytes | None]] | None, name: str) -> bytes | None:
    """The first value of that header, or None."""
    for key, value in headers or ():
        if key == name:
            return value
    return None
