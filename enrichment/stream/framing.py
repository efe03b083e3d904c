"""Confluent's framing of values: a zero byte and a schema's id before the JSON, or nothing.

JSON never begins with a zero byte, so whoever reads takes framed and bare values alike: a registry
can be added to a stream that flows, and taken away again.
"""

from collections.abc import Mapping
from typing import Final

from enrichment.stream.headers import CONTENT_TYPE, Headers

MAGIC: Final = 0
FRAME_BYTES: Final = 5  # the magic byte, and the schema's id as a big-endian 32-bit number
# JSON behind a Confluent frame. No `+json`: what begins with a zero byte no JSON parser takes.
FRAMED_CONTENT_TYPE: Final = b"application/vnd.confluent.json"

_BARE: Final = CONTENT_TYPE.encode()


class Framing:
    """What stands before the values of each topic: resolved once, when a process starts."""

    __slots__ = ("_prefixes",)

    def __init__(self, schema_ids: Mapping[str, int] | None = None) -> None:
        """`schema_ids` by topic; None where there is no registry, and values stay bare."""
        self._prefixes = {
            topic: bytes([MAGIC]) + id_.to_bytes(4, "big")
            for topic, id_ in (schema_ids or {}).items()
        }

    def prefix(self, topic: str) -> bytes:
        """What to put before a value of that topic: nothing without a registry.

        Raises KeyError with a registry, for a topic that was not resolved: its readers could not
        tell what they get.
        """
        return self._prefixes[topic] if self._prefixes else b""

    def content_type(self) -> bytes:
        """The media type of what is produced, for the `content-type` header."""
        return FRAMED_CONTENT_TYPE if self._prefixes else _BARE

    def framed(self, topic: str, value: bytes, headers: Headers) -> tuple[bytes, Headers]:
        """Value and headers as they go out; the very same objects without a registry."""
        if not self._prefixes:
            return value, headers
        kept = [pair for pair in headers if pair[0] != "content-type"]
        return self._prefixes[topic] + value, [*kept, ("content-type", FRAMED_CONTENT_TYPE)]


BARE: Final = Framing()


def unframed(value: bytes) -> bytes:
    """The JSON of a value that may be framed. The schema's id is not looked at.

    What is framed and shorter than a frame stays as it is: no JSON either way.
    """
    return value[FRAME_BYTES:] if value[:1] == b"\0" and len(value) >= FRAME_BYTES else value
