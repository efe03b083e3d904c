"""What surrounds an input event: CloudEvents 1.0 (binary and structured mode), framing, tracing.

Follows the Kafka protocol binding and the JSON event format of CloudEvents 1.0.2, read as its
sections 3 and 3.1 have it: a `content-type` that begins with `application/cloudevents`, in any
case, means structured mode; a record with a `ce_specversion` claims to be a CloudEvent in binary
mode and must then be one; anything else is a record of its own, and its value is the event.

Header names are matched in any case, though the binding writes them small. Of a repeated header the
first counts. Nothing that is found here is ever repeated in a `problem`: it may be sensitive.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from enrichment.stream.framing import FRAMED_CONTENT_TYPE, unframed
from enrichment.stream.headers import PROGRESS, REPLAY_OF, Headers
from enrichment.telemetry.trace import valid_traceparent

ID_BYTES_MAX: Final = 1024  # 256 characters of four bytes: as long as an id of an event may be
TRACESTATE_BYTES_MAX: Final = 512  # what W3C asks everyone to carry
PROGRESS_DIGITS_MAX: Final = 15  # milliseconds to the year 9999 and beyond; Python parses 4,300
REPLAY_BYTES_MAX: Final = 300  # a topic's 249 characters, a partition, an offset

CORRELATION: Final = "ce_correlationid"
# In this order: the extension attribute of CloudEvents, then what services without it use.
CORRELATION_HEADERS: Final = (CORRELATION, "correlation-id", "x-correlation-id")

# What a String of CloudEvents may not hold: control characters and noncharacters of the plane.
FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_UUID: Final = re.compile(rb"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_TRACESTATE: Final = re.compile(rb"[\x20-\x7e]{1,512}")
_REPLAY: Final = re.compile(rb"[a-zA-Z0-9._-]{1,249}/[0-9]{1,10}/[0-9]{1,19}")
_WANTED: Final = (
    f"%s: wanted UTF-8 text of 1 to {ID_BYTES_MAX} bytes: CloudEvents require the attribute"
)


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """An input record without what surrounds it.

    `problem` says in one line why it cannot be opened: the record is then a dead letter. `value` is
    what is to be decoded, and meaningless where there is a problem.
    """

    value: bytes | None
    traceparent: bytes | None = None
    tracestate: bytes | None = None
    correlation_id: bytes = b""
    # The input's own `ce_id`: what a correlation id falls back on. Never an output's id.
    event_id: bytes = b""
    # Set on a record that is no event but a source's word on how far it has come.
    progress_ms: int | None = None
    # The dead letter, `topic/partition/offset`, that this record was published again from.
    replay_of: bytes | None = None
    problem: str | None = None

    def carried(self, pseudonym: Callable[[str], str] | None = None) -> Headers:
        """The headers that an output of this input bears beside its own.

        `pseudonym` is given where the stream has sensitive fields: text that others chose, and that
        may hold anything, then leaves as a keyed hash or not at all. A UUID leaves as it is.
        """
        carried: Headers = []
        if self.traceparent is not None:
            carried.append(("traceparent", self.traceparent))
            if self.tracestate is not None and pseudonym is None:
                carried.append(("tracestate", self.tracestate))
        if id_ := self.correlation_id:
            if pseudonym is not None and _UUID.fullmatch(id_) is None:
                id_ = pseudonym(id_.decode()).encode()
            carried.append((CORRELATION, id_))
        if self.replay_of is not None:
            carried.append((REPLAY_OF, self.replay_of))
        return carried


class _Structured(msgspec.Struct, frozen=True, gc=False):
    """A CloudEvent in structured mode, as far as it is looked at."""

    specversion: str
    id: str
    source: str
    type: str
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None
    datacontenttype: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    correlationid: str | None = None


_decode: Final = msgspec.json.Decoder(_Structured).decode


def read_envelope(
    headers: Sequence[tuple[str, bytes | None]] | None, value: bytes | None
) -> Envelope:
    """Open one input record. Never raises, whatever the headers hold.

    Without headers it does no more than `unframed`, which a caller in a hurry calls itself.
    """
    if value is not None:
        value = unframed(value)
    if not headers:
        return Envelope(value)
    found = dict(headers[::-1])
    if not "".join(found).islower():
        found = {name.lower(): content for name, content in headers[::-1]}
    kind = _JSON
    if content_type := found.get("content-type"):
        kind = _kind_of(content_type) if len(content_type) <= ID_BYTES_MAX else _OTHER
    if kind == _STRUCTURED:
        return _structured(found, value)
    if kind in _REFUSED:
        return _opened(found, None, _REFUSED[kind])
    if "ce_specversion" in found:
        opened = _opened(found, value, _binary_problem(found, kind))
        if opened.event_id or opened.problem is not None:
            return opened
        return _opened(found, None, _WANTED % "ce_id")
    return _opened(found, value, None)


def _opened(
    found: Mapping[str, bytes | None], value: bytes | None, problem: str | None
) -> Envelope:
    """The envelope of a record whose attributes are in its headers."""
    get = found.get
    traceparent = get("traceparent") or get("ce_traceparent")
    tracestate = get("tracestate") or get("ce_tracestate")
    replay_of = get(REPLAY_OF)
    stated = get(PROGRESS)
    id_ = get("ce_id")
    event_id = _text(id_) if id_ else b""
    correlation_id = event_id
    for name in CORRELATION_HEADERS:
        if (text := get(name)) and (text := _text(text)):
            correlation_id = text
            break
    return Envelope(
        value,
        valid_traceparent(traceparent) if traceparent else None,
        tracestate if tracestate and _TRACESTATE.fullmatch(tracestate) else None,
        correlation_id,
        event_id,
        _progress(stated) if stated else None,
        replay_of if replay_of and _REPLAY.fullmatch(replay_of) else None,
        problem,
    )


def _binary_problem(found: Mapping[str, bytes | None], kind: int) -> str | None:
    """What is wrong with a CloudEvent in binary mode, its id left aside, or None."""
    get = found.get
    version, source, type_ = get("ce_specversion"), get("ce_source"), get("ce_type")
    size = len(version or b"") + len(source or b"") + len(type_ or b"")
    judge = _known_producer if size <= ID_BYTES_MAX else _producer_problem
    return judge(version, source, type_, kind) or None


def _producer_problem(
    version: bytes | None, source: bytes | None, type_: bytes | None, kind: int
) -> str:
    """What is wrong with the attributes that are the same in every record of one producer."""
    if not _is_version_1(version):
        return "ce_specversion: wanted 1.0"
    if not _text(source):
        return _WANTED % "ce_source"
    if not _text(type_):
        return _WANTED % "ce_type"
    if kind == _OTHER:
        return "content-type: wanted application/json, or none: events are JSON"
    return ""


# Whoever sends ever new ones pays for it himself, and 256 small entries are all that it keeps.
_known_producer: Final = lru_cache(maxsize=256)(_producer_problem)


def _structured(found: dict[str, bytes | None], value: bytes | None) -> Envelope:
    """The envelope of a CloudEvent whose attributes are in its value."""
    if value is None:
        return _opened(found, None, "structured CloudEvent: the record has no value")
    try:
        event = _decode(value)
        if not value.isascii():
            value.decode()  # what was skipped must be text too
        attributes = _attributes(event)
        data, problem = _data(event)
    except msgspec.ValidationError as error:
        return _opened(found, None, f"structured CloudEvent: {error}")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _opened(found, None, "structured CloudEvent: the value is not JSON in UTF-8")
    # Headers may repeat the attributes (section 3.3.3): the value is the event's own word.
    return _opened(found | attributes, data, problem)


def _attributes(event: _Structured) -> dict[str, bytes | None]:
    """What is carried through, named as in binary mode. Raises UnicodeError."""
    attributes: dict[str, bytes | None] = {"ce_id": event.id.encode()}
    if event.traceparent is not None:
        attributes["ce_traceparent"] = event.traceparent.encode()
    if event.tracestate is not None:
        attributes["ce_tracestate"] = event.tracestate.encode()
    if event.correlationid is not None:
        attributes[CORRELATION] = event.correlationid.encode()
    return attributes


def _data(event: _Structured) -> tuple[bytes | None, str | None]:
    """The event itself, and what is wrong. Raises UnicodeError."""
    if not (event.specversion == "1.0" or _is_version_1(event.specversion.encode())):
        return None, "structured CloudEvent: specversion: wanted 1.0"
    if not (event.id and event.source and event.type):
        return None, "structured CloudEvent: id, source and type: wanted text that is not empty"
    declared = event.datacontenttype
    if declared is not None and _kind_of(declared.encode()[:ID_BYTES_MAX]) != _JSON:
        return None, "structured CloudEvent: datacontenttype: wanted application/json, or none"
    if event.data_base64 is None:
        if not event.data:
            return None, "structured CloudEvent: there is no data"
        return bytes(event.data), None
    if event.data:
        return None, "structured CloudEvent: wanted data or data_base64, found both"
    try:
        return unframed(b64decode(event.data_base64, validate=True)), None
    except (Base64Error, ValueError):
        return None, "structured CloudEvent: data_base64: wanted base64"


# What a content type says of a record.
_JSON: Final = 0
_OTHER: Final = 1
_STRUCTURED: Final = 2
_BATCH: Final = 3
_FORMAT: Final = 4
_REFUSED: Final = {
    _BATCH: "content-type: batches of CloudEvents have no place in Kafka: one event a record",
    _FORMAT: "content-type: of the formats of structured CloudEvents only "
    "application/cloudevents+json is read",
}


@lru_cache(maxsize=256)  # producers have one each; whoever invents new ones pays for it himself
def _kind_of(content_type: bytes) -> int:
    """What a media type says, its parameters left aside."""
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type.startswith(b"application/cloudevents"):
        if media_type == b"application/cloudevents+json":
            return _STRUCTURED
        return _BATCH if media_type.startswith(b"application/cloudevents-batch") else _FORMAT
    subtype = media_type.partition(b"/")[2]
    if subtype == b"json" or subtype.endswith(b"+json") or media_type == FRAMED_CONTENT_TYPE:
        return _JSON
    return _OTHER


@lru_cache(maxsize=16)
def _is_version(specversion: bytes) -> bool:
    return re.fullmatch(rb"1\.[0-9]{1,3}", specversion) is not None


def _is_version_1(specversion: bytes | None) -> bool:
    """Whether it is 1.0, or a later 1.x, which adds to it and takes nothing away."""
    return specversion is not None and len(specversion) <= 5 and _is_version(specversion)


def _text(content: bytes | None) -> bytes:
    """The header as it came where it is text that an attribute may hold, else nothing."""
    if not content or len(content) > ID_BYTES_MAX:
        return b""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return b""
    return content if text.isprintable() or FORBIDDEN.search(text) is None else b""


def _progress(stated: bytes) -> int | None:
    return int(stated) if len(stated) <= PROGRESS_DIGITS_MAX and stated.isdigit() else None
