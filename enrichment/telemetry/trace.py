"""W3C trace context: what is carried through from an input record to its outputs."""

import re
from typing import Final

# Version ff and ids of nothing but zeros are what the standard calls invalid.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


def valid_traceparent(value: bytes | None) -> bytes | None:
    """The `traceparent` as it came, or None where it is not one."""
    return value if value is not None and _TRACEPARENT.fullmatch(value) else None
