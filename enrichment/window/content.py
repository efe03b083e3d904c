"""The content of a window: what digests said, added up exactly, in whatever order they come.

Every count and sum is an integer and every time enters by `max`, so that merging is commutative
and associative: other batches in the enrichers give the same merged content, and the same hash.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, Final

import msgspec

from enrichment.records import Aggregate, Digest, Link, Tally
from enrichment.records.horizon_slice import SliceTally

HASH_DIGITS: Final = 32  # 128 bits: two contents of one window do not meet by chance
# What slides over event time leaves in so many steps at least: coarse, since each step of each
# entry takes memory.
STEPS_MIN: Final = 64

# An entry is [events or count, amount or sum, newest event time].
Entry = list[int]

_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class Content:
    """What digests of one window of one shard said."""

    __slots__ = ("aggregates", "end_ms", "links", "newest_ms", "panes", "start_ms", "tallies")

    def __init__(self, start_ms: int, end_ms: int) -> None:
        """The window's bounds in event time."""
        self.start_ms = start_ms
        self.end_ms = end_ms
        self.newest_ms = start_ms
        # Start of each pane that digests told of -> its events.
        self.panes: dict[int, int] = {}
        # Link name -> a -> b -> entry; entity kind -> id -> entry; aggregate name -> id -> entry.
        self.links: dict[str, dict[str, dict[str, Entry]]] = {}
        self.tallies: dict[str, dict[str, Entry]] = {}
        self.aggregates: dict[str, dict[str, Entry]] = {}

    @property
    def events(self) -> int:
        """How many events were counted."""
        return sum(self.panes.values())

    def add(self, digest: Digest) -> None:
        """Count one digest in."""
        pane_ms = digest.pane_start_ms
        self.panes[pane_ms] = self.panes.get(pane_ms, 0) + digest.events
        for name, links in digest.links.items():
            _add_links(self.links.setdefault(name, {}), links)
        for kind, tallies in digest.tallies.items():
            newest_ms = _add_tallies(self.tallies.setdefault(kind, {}), tallies)
            self.newest_ms = max(self.newest_ms, newest_ms)
        for name, aggregates in digest.aggregates.items():
            _add_aggregates(self.aggregates.setdefault(name, {}), aggregates)

    def entities(self) -> Iterator[SliceTally]:
        """Kind and id of each entity, its events and amount."""
        for kind, tallies in self.tallies.items():
            for id_, (events, amount_minor, _) in tallies.items():
                yield kind, id_, events, amount_minor

    def hash(self) -> str:
        """A hash of what was counted, the same for every order and batching of the digests."""
        counted: tuple[Any, ...] = (
            self.start_ms, self.end_ms, sorted(self.panes.items()), self.links, self.tallies,
            self.aggregates,
        )  # fmt: skip
        return sha256(_ENCODER.encode(counted)).hexdigest()[:HASH_DIGITS]


def step_ms(span_ms: int, size_ms: int) -> int:
    """In slices of how many milliseconds, whole windows, what slides over that span is kept."""
    return max(1, span_ms // STEPS_MIN // size_ms) * size_ms


# These loops are most of what reading digests costs: nothing is called in them.


def _add_links(into: dict[str, dict[str, Entry]], links: Iterable[Link]) -> None:
    for link in links:
        row = into.get(link.a)
        if row is None:
            row = into[link.a] = {}
        entry = row.get(link.b)
        if entry is None:
            row[link.b] = [link.events, link.amount_minor, link.newest_ms]
        else:
            entry[0] += link.events
            entry[1] += link.amount_minor
            if link.newest_ms > entry[2]:
                entry[2] = link.newest_ms


def _add_tallies(into: dict[str, Entry], tallies: Iterable[Tally]) -> int:
    """The newest event time among them as well."""
    newest_ms = 0
    for tally in tallies:
        at_ms = tally.newest_ms
        entry = into.get(tally.id)
        if entry is None:
            into[tally.id] = [tally.events, tally.amount_minor, at_ms]
        else:
            entry[0] += tally.events
            entry[1] += tally.amount_minor
            if at_ms > entry[2]:
                entry[2] = at_ms
        if at_ms > newest_ms:
            newest_ms = at_ms
    return newest_ms


def _add_aggregates(into: dict[str, Entry], aggregates: Iterable[Aggregate]) -> None:
    for value in aggregates:
        entry = into.get(value.id)
        if entry is None:
            into[value.id] = [value.count, value.sum_micro, value.newest_ms]
        else:
            entry[0] += value.count
            entry[1] += value.sum_micro
            if value.newest_ms > entry[2]:
                entry[2] = value.newest_ms
