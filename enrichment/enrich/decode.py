"""From an input record's bytes to the fields that its pipeline needs, or to why it has none."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from enrichment.pipelines import Pipeline
from enrichment.records import DeadLetterReason

ID_MAX: Final = 256  # characters: an id is a key in Redis and in Kafka, not a document
AMOUNT_MAX: Final = 1e12  # major units; its minor units still add up exactly in 64 bits
SINGLE_SHARD: Final = "all"
_LITERAL_NOT_A_NUMBER: Final = re.compile(rb"[:\[,]\s*-?(NaN|Infinity)\b")


@dataclass(frozen=True, slots=True)
class Invalid:
    """Why a record is no event of this stream."""

    reason: DeadLetterReason
    detail: str


@dataclass(slots=True)
class Event:
    """What a stage needs of one event. Amounts are in minor units, times in milliseconds."""

    id: str
    key: str
    occurred_at_ms: int
    amount_minor: int
    shard: str
    # Role -> id; a role that this event lacks is absent.
    entities: dict[str, str]
    # Numeric fields that score terms or aggregates read.
    numbers: dict[str, float]
    # 1 for a bad event, 0 for a good one, None where the stream has no label in it.
    label: float | None
    # The event's JSON as it leaves the enricher.
    payload: bytes


class Decoder:
    """A decoder made for one pipeline: typed, and blind to fields that the pipeline never names."""

    def __init__(self, pipeline: Pipeline, pseudonym: Callable[[str], str] | None = None) -> None:
        """`pseudonym` replaces values of sensitive fields; needed where the pipeline has any."""
        stream = pipeline.stream
        if stream.sensitive and pseudonym is None:
            raise ValueError("a pipeline with sensitive fields needs a key for their pseudonyms")
        self._limits = pipeline.limits
        self._scale = pipeline.stream.amount_scale
        self._pseudonym = pseudonym
        self._sensitive = frozenset(stream.sensitive)
        self._roles = [(role, pipeline.field(role)) for role in pipeline.entities]
        self._key, self._id, self._time, self._amount = (
            stream.key,
            stream.id,
            stream.time,
            stream.amount,
        )
        self._shard = pipeline.window.shard
        self._label = pipeline.labels.field if pipeline.labels else None
        self._label_below = pipeline.labels.positive_below if pipeline.labels else None
        self._numbers = sorted(
            {a.field for a in pipeline.aggregates if a.field != "label"}
            | {
                reference.removeprefix("event.")
                for term in pipeline.score.terms
                for reference in (term.value, term.over)
                if reference is not None and reference.startswith("event.")
            }
        )
        self._decoder = msgspec.json.Decoder(self._struct())

    def _struct(self) -> type[Any]:
        """The typed shape of an event, from the pipeline's declarations."""
        text = str | int
        fields: dict[str, Any] = dict.fromkeys(self._numbers, float)
        fields |= {field: text | None for _, field in self._roles}
        if self._label is not None:
            bears = float | bool | None
            fields[self._label] = float if self._label in fields else bears
        if self._shard is not None:
            fields[self._shard] = text
        if self._amount is not None:
            fields[self._amount] = float
        fields |= {self._key: text, self._id: text, self._time: int | float | str}
        # Field names need not be identifiers: positions stand in for them.
        self._position = {name: f"f{index}" for index, name in enumerate(fields)}
        optional = {self._label} - set(self._numbers)
        return msgspec.defstruct(
            "Event",
            [
                (self._position[name], hint, None)
                if name in optional
                else (self._position[name], hint)
                for name, hint in fields.items()
            ],
            rename={position: name for name, position in self._position.items()},
            kw_only=True,
        )

    def decode(self, value: bytes | None, *, now_ms: int) -> Event | Invalid:
        """The event that `value` holds, or why it holds none."""
        if value is None:
            return Invalid(DeadLetterReason.NOT_JSON, "the record has no value")
        if len(value) > self._limits.size_bytes_max:
            limit = self._limits.size_bytes_max
            detail = f"{len(value)} bytes, the limit is {limit}"
            return Invalid(DeadLetterReason.TOO_LARGE, detail)
        try:
            raw = self._decoder.decode(value)
            if not value.isascii():
                value.decode()  # fields that were skipped must be text too
            payload = self._payload(value)
        except msgspec.ValidationError as error:
            return Invalid(DeadLetterReason.INVALID_FIELD, self._renamed(str(error)))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if _LITERAL_NOT_A_NUMBER.search(value):
                return Invalid(DeadLetterReason.NOT_A_NUMBER, "NaN and Infinity are not JSON")
            return Invalid(DeadLetterReason.NOT_JSON, str(error))
        except RecursionError:
            return Invalid(DeadLetterReason.TOO_DEEP, "nested beyond what can be parsed")
        if value.count(b"[") + value.count(b"{") > self._limits.depth_max:
            depth = nesting_depth(value)
            if depth > self._limits.depth_max:
                detail = f"nested {depth} deep, the limit is {self._limits.depth_max}"
                return Invalid(DeadLetterReason.TOO_DEEP, detail)
        return self._event(raw, payload, now_ms)

    def _event(self, raw: Any, payload: bytes, now_ms: int) -> Event | Invalid:
        """The event behind a well-typed record, its numbers, times and ids checked."""
        position = self._position
        time = getattr(raw, position[self._time])
        occurred_at_ms = time if type(time) is int else _milliseconds(time)
        limits = self._limits
        if occurred_at_ms is None:
            detail = (
                f"{self._time}: wanted integer milliseconds or an RFC 3339 time, found {time!r}"
            )
            return Invalid(DeadLetterReason.ABSURD_TIME, detail)
        if not limits.earliest_ms <= occurred_at_ms <= now_ms + limits.future_ms:
            detail = (
                f"{self._time}: {occurred_at_ms} ms is before the earliest time or in the future"
            )
            return Invalid(DeadLetterReason.ABSURD_TIME, detail)
        numbers: dict[str, float] = {}
        for name in self._numbers:
            number = numbers[name] = getattr(raw, position[name])
            if not abs(number) <= AMOUNT_MAX:
                return _out_of_range(name, number)
        amount = 0.0 if self._amount is None else getattr(raw, position[self._amount])
        if not abs(amount) <= AMOUNT_MAX:
            return _out_of_range(self._amount, amount)
        entities: dict[str, str] = {}
        for role, field in self._roles:
            id_ = getattr(raw, position[field])
            if id_ is not None:
                entities[role] = str(id_)
        event_id = str(getattr(raw, position[self._id]))
        key = str(getattr(raw, position[self._key]))
        shard = SINGLE_SHARD if self._shard is None else str(getattr(raw, position[self._shard]))
        for text in (event_id, key, shard, *entities.values()):
            if not 0 < len(text) <= ID_MAX:
                detail = f"an id of {len(text)} characters, wanted 1 to {ID_MAX}"
                return Invalid(DeadLetterReason.INVALID_FIELD, detail)
        event = Event(
            id=event_id,
            key=key,
            occurred_at_ms=occurred_at_ms,
            amount_minor=round(amount * self._scale),
            shard=shard,
            entities=entities,
            numbers=numbers,
            label=self._labelled(raw),
            payload=payload,
        )
        return self._concealed(event) if self._sensitive else event

    def _labelled(self, raw: Any) -> float | None:
        """The label as 1 or 0, or None."""
        if self._label is None:
            return None
        label = getattr(raw, self._position[self._label])
        if label is None:
            return None
        return float(bool(label) if self._label_below is None else label < self._label_below)

    def _concealed(self, event: Event) -> Event:
        """The event with pseudonyms for ids. Their lengths were checked: any pseudonym is good."""
        event.key = self._hidden(self._key, event.key)
        if self._shard is not None:
            event.shard = self._hidden(self._shard, event.shard)
        event.entities = {
            role: self._hidden(field, event.entities[role])
            for role, field in self._roles
            if role in event.entities
        }
        return event

    def _hidden(self, field: str, text: str) -> str:
        """The text, or its pseudonym where the field is sensitive."""
        if self._pseudonym is not None and field in self._sensitive:
            return self._pseudonym(text)
        return text

    def _payload(self, value: bytes) -> bytes:
        """The event's own bytes, or without its sensitive values where it has any.

        Raises msgspec.DecodeError on numbers that fit no double, in fields that are otherwise
        skipped: it has to read the whole event.
        """
        if not self._sensitive or self._pseudonym is None:
            return value
        event = msgspec.json.decode(value)
        for field in self._sensitive & event.keys():
            if event[field] is not None:
                event[field] = self._pseudonym(str(event[field]))
        return msgspec.json.encode(event)

    def _renamed(self, message: str) -> str:
        """An error message that names the event's fields and not our positions."""
        return message.replace("`$.", "`")


def _out_of_range(field: str | None, number: float) -> Invalid:
    """Why a number cannot be used."""
    finite = math.isfinite(number)
    reason = DeadLetterReason.INVALID_FIELD if finite else DeadLetterReason.NOT_A_NUMBER
    return Invalid(reason, f"{field}: {number!r}, wanted at most {AMOUNT_MAX:.0e} in size")


def _milliseconds(time: float | str) -> int | None:
    """Milliseconds since 1970 of an RFC 3339 time with its offset, else None."""
    if isinstance(time, float):
        return int(time) if math.isfinite(time) and time.is_integer() else None
    try:
        moment = datetime.fromisoformat(time)
        return None if moment.tzinfo is None else round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def nesting_depth(value: bytes) -> int:
    """How deep a valid JSON text nests, brackets within strings not counted."""
    deepest = depth = 0
    in_string = escaped = False
    for byte in value:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest
