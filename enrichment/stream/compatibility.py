"""BACKWARD compatibility: what a reader with the new JSON Schema cannot read of old data.

Compares the part of JSON Schema that msgspec generates; anything else that differs is reported
rather than guessed at. Two readings of the standard are ours:

- An object or array schema that says nothing of further properties or items is *closed*: released
  data were written by our writers, which write what the schema names and nothing else. With
  `additionalProperties: true` (events, which others write) it is open, and a property added to it
  must take whatever may have stood there.
- A changed default is a break: writers leave defaults out, so old data would be misread.
- Text in `format` or `contentEncoding` is taken at its word, though few readers check it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from enrichment.stream.alternatives import (
    ANNOTATIONS,
    ANYTHING,
    FIXED,
    Alternative,
    IncomparableError,
    accepts,
    alternatives,
)

# Bounds that may only be loosened: keyword -> whether a smaller value is looser.
BOUNDS: Final = {
    "minimum": True,
    "exclusiveMinimum": True,
    "minLength": True,
    "minItems": True,
    "minProperties": True,
    "maximum": False,
    "exclusiveMaximum": False,
    "maxLength": False,
    "maxItems": False,
    "maxProperties": False,
}
STRUCTURE: Final = frozenset(
    {"type", "properties", "required", "additionalProperties", "prefixItems", "items", "enum"}
)


@dataclass(frozen=True, slots=True, order=True)
class Break:
    """One place where old data cannot be read. `path` is a path in the data, `$` its root."""

    path: str
    reason: str

    def __str__(self) -> str:
        """The break as a line."""
        return f"{self.path}: {self.reason}"


def breaks(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Break, ...]:
    """Everything in data of schema `old` that schema `new` does not read; () when compatible."""
    comparison = _Comparison(old, new)
    return tuple(sorted(set(comparison.schemas("$", old, new))))


class _Comparison:
    """One comparison of two documents, with the pairs of definitions that it is inside of."""

    def __init__(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        self._old = old
        self._new = new
        self._open: set[tuple[str, str]] = set()

    def schemas(self, path: str, old: Any, new: Any) -> Iterator[Break]:
        """Breaks between two schemas at one place."""
        pair = (_key(old), _key(new))
        if pair in self._open:
            return  # a recursive definition: what is being shown may be assumed
        self._open.add(pair)
        try:
            accepted = alternatives(new, self._new)
            for each in alternatives(old, self._old):
                yield from self._one_of(path, each, accepted)
        except IncomparableError as error:
            yield Break(path, str(error))
        finally:
            self._open.discard(pair)

    def _one_of(
        self, path: str, old: Alternative, accepted: tuple[Alternative, ...]
    ) -> Iterator[Break]:
        """Breaks of one kind of old value, which one of the new kinds must take."""
        if old.values is not None:
            for value in old.values:
                if not any(accepts(new, value) for new in accepted):
                    yield Break(path, f"{value!r} is no longer a value")
            return
        found = [list(self._pair(path, old, new)) for new in accepted if _may_take(new, old)]
        if any(not each for each in found):
            return
        if len(found) == 1:
            yield from found[0]
        elif found:
            yield Break(path, f"no kind of {old.kind} takes every {old.kind} any more")
        else:
            kinds = sorted({new.kind if new.values is None else "enum" for new in accepted})
            wanted = " or ".join(kinds) or "nothing"
            yield Break(path, f"was {old.kind}, is now {wanted}")

    def _pair(self, path: str, old: Alternative, new: Alternative) -> Iterator[Break]:
        """Breaks between two kinds that are not lists of values."""
        if new.values is not None:
            yield Break(path, f"was any {old.kind}, is now one of {list(new.values)!r}")
            return
        yield from _constraints(path, old, new)
        if new.kind == ANYTHING and STRUCTURE & set(new.schema):
            yield Break(path, "cannot compare a schema that names no type")
        if new.kind == "object":
            yield from self._objects(path, old.schema, new.schema)
        elif new.kind == "array":
            yield from self._arrays(path, old.schema, new.schema)

    def _objects(
        self, path: str, old: Mapping[str, Any], new: Mapping[str, Any]
    ) -> Iterator[Break]:
        """Breaks between two kinds of object."""
        was, now = old.get("properties", {}), new.get("properties", {})
        for name in new.get("required", ()):
            if name not in was:
                yield Break(f"{path}.{name}", "is required, and was not there")
            elif name not in old.get("required", ()):
                yield Break(f"{path}.{name}", "is required, and was optional")
        others_were = old.get("additionalProperties", False)
        others_are = new.get("additionalProperties", True)
        for name, schema in was.items():
            target = now.get(name, others_are)
            if target is False:
                yield Break(f"{path}.{name}", "is no longer allowed")
            else:
                yield from self.schemas(f"{path}.{name}", schema, target)
            if name in now and name not in {*old.get("required", ()), *new.get("required", ())}:
                yield from self._defaults(f"{path}.{name}", schema, now[name])
        if others_were is False:
            return
        for name in sorted(set(now) - set(was)):
            yield from self.schemas(f"{path}.{name}", others_were, now[name])
        if others_are is False:
            yield Break(f"{path}.*", "further properties are no longer allowed")
        else:
            yield from self.schemas(f"{path}.*", others_were, others_are)

    def _defaults(self, path: str, old: Any, new: Any) -> Iterator[Break]:
        """A default that changed, or came to a property whose absence meant nothing."""
        was = old.get("default") if isinstance(old, Mapping) else None
        now = new.get("default") if isinstance(new, Mapping) else None
        if was != now:
            yield Break(path, f"the default was {was!r} and is now {now!r}: old data leave it out")

    def _arrays(self, path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Break]:
        """Breaks between two kinds of array, by position and then for the rest."""
        was, now = old.get("prefixItems", []), new.get("prefixItems", [])
        # Without a word on further items, an array of fixed places is closed and a plain one open.
        rest_was = old.get("items", not was)
        rest_is = new.get("items", True)
        for index in range(max(len(was), len(now))):
            old_item = was[index] if index < len(was) else rest_was
            new_item = now[index] if index < len(now) else rest_is
            if old_item is False:
                continue
            if new_item is False:
                yield Break(f"{path}[{index}]", "is no longer allowed")
            else:
                yield from self.schemas(f"{path}[{index}]", old_item, new_item)
        if rest_was is False:
            return
        if rest_is is False:
            yield Break(f"{path}[*]", "further items are no longer allowed")
        else:
            yield from self.schemas(f"{path}[*]", rest_was, rest_is)


def _constraints(path: str, old: Alternative, new: Alternative) -> Iterator[Break]:
    """Breaks by bounds, patterns and whatever else the new kind demands."""
    for keyword, smaller_is_looser in BOUNDS.items():
        wanted = new.schema.get(keyword)
        if wanted is None:
            continue
        had = _implied(old, keyword)
        if had is None or (wanted > had if smaller_is_looser else wanted < had):
            was = "unbounded" if had is None else str(had)
            yield Break(path, f"{keyword} was {was} and is now {wanted}")
    for keyword in FIXED:
        wanted, had = new.schema.get(keyword), old.schema.get(keyword)
        if wanted is not None and wanted != had:
            yield Break(path, f"{keyword} was {had!r} and is now {wanted!r}")
    known = ANNOTATIONS | STRUCTURE | set(BOUNDS) | set(FIXED)
    for keyword in sorted(set(new.schema) - known):
        if new.schema[keyword] != old.schema.get(keyword):
            yield Break(path, f"cannot compare '{keyword}'")


def _implied(old: Alternative, keyword: str) -> Any:
    """A bound that the old kind had, said or implied."""
    if keyword in old.schema:
        return old.schema[keyword]
    if keyword == "maxItems" and old.kind == "array" and not old.schema.get("items", False):
        places = old.schema.get("prefixItems")
        return None if places is None else len(places)
    return 0 if keyword in {"minLength", "minItems", "minProperties"} else None


def _may_take(new: Alternative, old: Alternative) -> bool:
    """Whether values of the old kind can be of the new kind at all."""
    if new.values is not None:
        return False
    return new.kind in {old.kind, ANYTHING} or (new.kind, old.kind) == ("number", "integer")


def _key(schema: Any) -> str:
    """A text that is equal for equal schemas."""
    return repr(schema)
