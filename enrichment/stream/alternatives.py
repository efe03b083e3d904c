"""A JSON Schema as the kinds of value it takes: references followed, unions laid flat."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

ANYTHING: Final = "anything"
DEPTH_MAX: Final = 50  # references that only lead to references are no schema
# What says something to people and nothing about data.
ANNOTATIONS: Final = frozenset(
    {"$schema", "$id", "$defs", "title", "description", "default", "examples", "$comment"}
)
# Constraints that may be dropped, and not otherwise changed.
FIXED: Final = ("pattern", "format", "contentEncoding", "multipleOf", "uniqueItems")


class IncomparableError(ValueError):
    """A schema outside of the part of the standard that is understood here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """One kind of value: a JSON type with its constraints, or a list of values."""

    kind: str
    schema: Mapping[str, Any]
    values: tuple[Any, ...] | None = None


def alternatives(schema: Any, document: Mapping[str, Any]) -> tuple[Alternative, ...]:
    """The kinds of value that a schema takes; () for one that takes none.

    Raises IncomparableError for a reference that leads nowhere, and for what is not understood.
    """
    return tuple(_alternatives(schema, document, 0))


def _alternatives(schema: Any, document: Mapping[str, Any], depth: int) -> Iterator[Alternative]:
    if depth > DEPTH_MAX:
        raise IncomparableError("a reference leads back to itself")
    if schema is False:
        return
    schema = {} if schema is True else schema
    _require_alone(schema)
    if "$ref" in schema:
        yield from _alternatives(_resolved(schema["$ref"], document), document, depth + 1)
    elif "anyOf" in schema:
        for each in schema["anyOf"]:
            yield from _alternatives(each, document, depth + 1)
    elif "const" in schema:
        yield Alternative(kind="enum", schema=schema, values=(schema["const"],))
    elif "enum" in schema:
        yield Alternative(kind="enum", schema=schema, values=tuple(schema["enum"]))
    else:
        kinds = schema.get("type", ANYTHING)
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            yield Alternative(kind=kind, schema=schema)


def _require_alone(schema: Mapping[str, Any]) -> None:
    """References, unions and lists of values say everything, or are not understood here."""
    for keyword in ("$ref", "anyOf", "const", "enum"):
        beside = sorted(set(schema) - ANNOTATIONS - {keyword})
        if keyword in schema and beside:
            raise IncomparableError(f"cannot compare '{beside[0]}' beside '{keyword}'")


def _resolved(reference: str, document: Mapping[str, Any]) -> Any:
    """What a reference within the document points to."""
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        if not reference.startswith("#/") or step not in found:
            raise IncomparableError(f"the reference {reference!r} leads nowhere")
        found = found[step]
    return found


def accepts(new: Alternative, value: Any) -> bool:
    """Whether a plain value (text, number, boolean, null) is of that kind."""
    if new.values is not None:
        return any(type(each) is type(value) and each == value for each in new.values)
    if new.kind not in {ANYTHING, *_kinds(value)}:
        return False
    schema = new.schema
    if any(keyword in schema for keyword in FIXED):
        return False  # said on the safe side: a listed value is rarely held to a pattern as well
    if isinstance(value, str):
        shortest, longest = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        return bool(shortest <= len(value) <= longest)
    if isinstance(value, int | float) and not isinstance(value, bool):
        least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        above = schema.get("exclusiveMinimum", -math.inf)
        below = schema.get("exclusiveMaximum", math.inf)
        return bool(least <= value <= most and above < value < below)
    return True


def _kinds(value: Any) -> tuple[str, ...]:
    """The JSON types of a plain value."""
    if value is None:
        return ("null",)
    if isinstance(value, bool):
        return ("boolean",)
    if isinstance(value, int):
        return ("integer", "number")
    if isinstance(value, float):
        return ("integer", "number") if value.is_integer() else ("number",)
    return ("string",) if isinstance(value, str) else ("object", "array")
