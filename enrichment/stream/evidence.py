"""What a dead letter keeps of its record, so that it can be published again. No Kafka in it."""

from collections.abc import Sequence
from typing import Final, TypedDict

KEY_SHOWN_MAX: Final = 1024  # characters of the key that readers are shown


class Evidence(TypedDict, total=False):
    """The fields of a DeadLetter that let its record be published again."""

    payload: bytes | None
    key: str | None
    key_bytes: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] | None


def evidence(
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes | None]] | None,
    *,
    bytes_max: int,
) -> Evidence:
    """What a dead letter keeps of a record where nothing in the stream is sensitive.

    `value` is the record's own, before any envelope is opened. Beyond `bytes_max` in all (base64
    makes a third more of it) only the key is shown, and the origin is the only copy.
    """
    headers = headers or ()
    size = len(key or b"") + len(value or b"")
    size += sum(len(name) + len(content or b"") for name, content in headers)
    shown = key.decode(errors="replace")[:KEY_SHOWN_MAX] if key else None
    if size > bytes_max:
        return {"key": shown}
    return {"key": shown, "key_bytes": key, "payload": value, "headers": tuple(headers)}
