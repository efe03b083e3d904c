"""CloudEvents 1.0.2 in Kafka's binary mode, written from the specification and not from our code.

Each rule names its section: `spec.md` (context attributes, type system, naming) or the Kafka
protocol binding (section 3.2).
"""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from confluent_kafka import Message

REQUIRED: Final = ("id", "source", "specversion", "type")
NAME: Final = re.compile(r"[a-z0-9]+")
NAME_LENGTH_MAX: Final = 20  # SHOULD NOT exceed
# spec.md, type system: what a String must not hold.
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
RFC3339: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.IGNORECASE
)
MEDIA_TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+(;.*)?")


def breaches(message: Message) -> Iterator[str]:
    """Every rule that a message breaks, in a line each."""
    attributes: dict[str, str] = {}
    content_type = ""
    seen: set[str] = set()
    for name, content in message.headers() or ():
        if name in seen:
            yield f"3.2.3: {name} is there twice: an attribute is mapped to one header"
        seen.add(name)
        if content is None:
            yield f"3.2.3: {name} has no value, and values are UTF-8 strings"
            continue
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            yield f"3.2.3: {name} is not UTF-8"
            continue
        if name == "content-type":
            content_type = text
        elif name.startswith("ce_"):
            attributes[name.removeprefix("ce_")] = text
    yield from _attributes(attributes)
    yield from _data(content_type, message.value())


def _attributes(attributes: dict[str, str]) -> Iterator[str]:
    for name in REQUIRED:
        if not attributes.get(name):
            yield f"spec, required attributes: {name} is missing or empty"
    if attributes.get("specversion") != "1.0":
        yield "spec, specversion: MUST be 1.0 in this version"
    for forbidden in ("data", "datacontenttype"):
        if forbidden in attributes:
            yield f"3.2.1, 3.2.3: ce_{forbidden} is no header"
    for name, text in attributes.items():
        if NAME.fullmatch(name) is None or len(name) > NAME_LENGTH_MAX:
            yield f"spec, naming: {name}: lower case letters and digits, at most 20"
        if CONTROL.search(text):
            yield f"spec, type system: {name} holds a character that a String may not"
    yield from _special(attributes)


def _special(attributes: dict[str, str]) -> Iterator[str]:
    """What single attributes must be beside text."""
    source = attributes.get("source", "")
    if re.search(r'[\s<>"{}|\\^`]', source) or not _is_uri_reference(source):
        yield "spec, source: a non-empty URI-reference"
    if "time" in attributes:
        if RFC3339.fullmatch(attributes["time"]) is None:
            yield "spec, time: RFC 3339"
        else:
            datetime.fromisoformat(attributes["time"])
    if "subject" in attributes and not attributes["subject"]:
        yield "spec, subject: not empty where it is there"


def _data(content_type: str, value: bytes | None) -> Iterator[str]:
    if MEDIA_TYPE.fullmatch(content_type) is None:
        yield "3.2.1: content-type: RFC 2046"
    if content_type.lower().startswith("application/cloudevents"):
        yield "3: that content-type says structured mode"
    if value is not None and content_type.partition(";")[0] == "application/json":
        json.loads(value)


def _is_uri_reference(text: str) -> bool:
    try:
        urlsplit(text)
    except ValueError:
        return False
    return True
