"""Panes: fixed slices of event time, in which digests add up exactly, in whatever order they come.

Every count and sum is an integer and every time enters by `max`, so that merging is commutative
and associative: other batches in the enrichers give the same merged content, and the same hash.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final

import msgspec

from enrichment.records import Digest

HASH_DIGITS: Final = 32  # 128 bits: two contents of one window do not meet by chance
# What slides over event time leaves in so many steps at least: coarse, since each step of each
# entry takes memory.
STEPS_MIN: Final = 64

# An entry is [events or count, amount or sum, newest event time].
Entry = list[int]

_ENCODER: Final = msgspec.json.Encoder()


class Pane:
    """One pane of one shard: what all its digests said, added up."""

    __slots__ = ("aggregates", "end_ms", "events", "links", "newest_ms", "start_ms", "tallies")

    def __init__(self, start_ms: int, end_ms: int) -> None:
        self.start_ms = start_ms
        self.end_ms = end_ms
        self.events = 0
        self.newest_ms = start_ms
        # Link name -> (a, b) -> entry; entity kind -> id -> entry; aggregate name -> id -> entry.
        self.links: dict[str, dict[tuple[str, str], Entry]] = {}
        self.tallies: dict[str, dict[str, Entry]] = {}
        self.aggregates: dict[str, dict[str, Entry]] = {}

    def add(self, digest: Digest) -> None:
        """Count one digest of this pane in."""
        self.events += digest.events
        for name, links in digest.links.items():
            merged_links = self.links.setdefault(name, {})
            for link in links:
                _add(merged_links, (link.a, link.b), link.events, link.amount_minor, link.newest_ms)
        for kind, tallies in digest.tallies.items():
            merged_tallies = self.tallies.setdefault(kind, {})
            for tally in tallies:
                _add(merged_tallies, tally.id, tally.events, tally.amount_minor, tally.newest_ms)
                self.newest_ms = max(self.newest_ms, tally.newest_ms)
        for name, aggregates in digest.aggregates.items():
            merged_aggregates = self.aggregates.setdefault(name, {})
            for value in aggregates:
                _add(merged_aggregates, value.id, value.count, value.sum_micro, value.newest_ms)

    def content(self) -> tuple[Any, ...]:
        """All that was counted, in one fixed order."""
        return (
            self.start_ms,
            self.end_ms,
            self.events,
            [(name, sorted(entries.items())) for name, entries in sorted(self.links.items())],
            [(kind, sorted(entries.items())) for kind, entries in sorted(self.tallies.items())],
            [(name, sorted(entries.items())) for name, entries in sorted(self.aggregates.items())],
        )


def step_ms(span_ms: int, pane_ms: int) -> int:
    """In slices of how many milliseconds, whole panes, what slides over that span is kept."""
    return max(1, span_ms // STEPS_MIN // pane_ms) * pane_ms


def content_hash(panes: Iterable[Pane]) -> str:
    """A hash of what the panes hold, the same for every order and batching of their digests."""
    contents = [pane.content() for pane in sorted(panes, key=lambda pane: pane.start_ms)]
    return sha256(_ENCODER.encode(contents)).hexdigest()[:HASH_DIGITS]


def _add(entries: dict[Any, Entry], key: Any, count: int, total: int, newest_ms: int) -> None:
    entry = entries.get(key)
    if entry is None:
        entries[key] = [count, total, newest_ms]
        return
    entry[0] += count
    entry[1] += total
    if newest_ms > entry[2]:
        entry[2] = newest_ms
