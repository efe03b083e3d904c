"""A dead letter: an input record that could not be enriched, with reason and whereabouts."""

from enum import Enum

import msgspec


class DeadLetterReason(Enum):
    """Why a record could not be enriched."""

    NOT_JSON = "not_json"
    INVALID_FIELD = "invalid_field"
    NOT_A_NUMBER = "not_a_number"
    ABSURD_TIME = "absurd_time"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    # It claims to be a CloudEvent, and breaks the rules of CloudEvents.
    INVALID_ENVELOPE = "invalid_envelope"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One invalid input record; its payload only where nothing in the stream is sensitive.

    With payload and headers it can be published again from itself, else from its origin alone.
    """

    pipeline: str
    reason: DeadLetterReason
    detail: str
    topic: str
    partition: int
    offset: int
    failed_at_ms: int
    size_bytes: int
    # Base64 of the record's value, or null: then the origin's offset is the only copy.
    payload: bytes | None = None
    key: str | None = None
    # Base64 of the record's key: `key` is for readers, cut, and text whatever its bytes were.
    key_bytes: bytes | None = None
    # Name and base64 of each header, in order; null where they are not kept.
    headers: tuple[tuple[str, bytes | None], ...] | None = None
    # The record's timestamp, 0 where it is not known.
    published_at_ms: int = 0
    # The dead letter, `topic/partition/offset`, that the record was published again from.
    replay_of: str = ""
