"""The heads of values: what a verdict asks of them, without the figures behind. Pure.

A value's figures are most of its bytes, and most callers look at those of a few entities. They are
cut off before decoding, and a batch's heads are decoded together: a third of what it takes to
decode whole values one by one (measured, 100 accounts). Fields stand in the record's order, which
is the projector's; what stands in another is decoded as a whole.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from enrichment.records import FeatureUpdate, Source

_FIGURES: Final = b',"values":{'
# What the first brace but the value's own opens: where an id has one, what is cut is no JSON.
_BEFORE: Final = len(_FIGURES) - 1
_MICRO_BATCH: Final = b'"micro_batch_id":"'  # inside of a text there are no bare quotes
SHARDS_MAX: Final = 1_000  # shards whose names are remembered: a stream has a few


class Head(msgspec.Struct, frozen=True, gc=False):
    """What stands before the figures, as far as anybody asks."""

    version: int
    subgraph: str
    event_time_ms: int
    computed_at_ms: int

    @property
    def group(self) -> str:
        """Nobody's to ask: where anything is withdrawn, whole values are decoded."""
        raise AssertionError("a head does not know its group")

    @property
    def source(self) -> Source | None:
        """Nobody's to ask, for the same reason."""
        raise AssertionError("a head does not know how its value came to be")

    @property
    def values(self) -> Mapping[str, float]:
        """Nobody's to ask: where a subgraph has changed, the whole value is decoded."""
        raise AssertionError("a head does not know figures")


_head: Final = msgspec.json.Decoder(Head).decode
_heads: Final = msgspec.json.Decoder(list[Head]).decode
_update: Final = msgspec.json.Decoder(FeatureUpdate).decode


def head_of(value: bytes) -> Head:
    """One value's head. Raises msgspec.DecodeError where there is none."""
    return _head(value)


def heads_of(values: Sequence[bytes | None]) -> list[Head | None]:
    """The heads of these values, None for None. Raises msgspec.DecodeError where one has none."""
    there = [value for value in values if value is not None] if None in values else values
    try:
        cut = [value[: value.index(b"{", 1) - _BEFORE] for value in there]  # type: ignore[union-attr,index]
        found = _heads(b"[%b}]" % b"},".join(cut)) if cut else []
    except (ValueError, msgspec.DecodeError):
        return [None if value is None else _head(value) for value in values]
    if len(found) == len(values):
        return list(found)
    heads = iter(found)
    return [None if value is None else next(heads) for value in values]


class Shards:
    """Which shard's window stage stands behind a value, as its micro-batch's id says."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}

    def of(self, values: Sequence[bytes | None]) -> list[str | None]:
        """The shard of each; None where a value does not say how it came to be, or is none."""
        known, told, before = self._known, self._told, len(_MICRO_BATCH)
        found: list[str | None] = []
        for value in values:
            if value is None:
                found.append(None)
                continue
            # It ends with `{pipeline}|{shard}|{window_start_ms}|{sequence}"}}`.
            name = value.rsplit(b"|", 2)[0]
            name = name[name.rfind(_MICRO_BATCH) + before :]
            shard = known.get(name)
            found.append(told(name, value) if shard is None else shard)
        return found

    def _told(self, name: bytes, value: bytes) -> str | None:
        source = _update(value).source
        if source is None:
            return None
        if len(self._known) >= SHARDS_MAX:
            self._known.clear()
        shard = source.micro_batch_id.partition("|")[2].rsplit("|", 2)[0]
        self._known[name] = shard
        return shard
