"""The content of a window: what digests said, added up exactly, in whatever order they come.

Every count and sum is an integer and every time enters by `max`, so that merging is commutative
and associative: other batches in the enrichers give the same merged content, and the same hash.
"""

from collections.abc import Iterable
from hashlib import sha256
from itertools import chain
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from enrichment.records import Digest
from enrichment.records.digest import in_columns
from enrichment.window.entities import Numbers
from enrichment.window.pairs import packed, sorted_runs, unpacked

# Before each hash: one that was made otherwise, as 0.1.0 did, cannot be held against ours.
HASH_SCHEME: Final = "2."
HASH_DIGITS: Final = 32  # 128 bits: two contents of one window do not meet by chance
# What slides over event time leaves in so many steps at least: coarse, since each step of each
# entry takes memory.
STEPS_MIN: Final = 64
# Rows that wait to be added up; or as many as there are sums, so that each is sorted a few times.
WAITING_MIN: Final = 8_192

_ENCODER: Final = msgspec.json.Encoder(order="deterministic")

Column = NDArray[np.int64]


class LinkSums(NamedTuple):
    """Columns of links: the numbers of both ends, events, amount, newest event time."""

    a: Numbers
    b: Numbers
    events: Column
    amount_minor: Column
    newest_ms: Column


class TallySums(NamedTuple):
    """Columns of entities of one kind: their numbers, events, amount."""

    numbers: Numbers
    events: Column
    amount_minor: Column


class Content:
    """What digests of one window of one shard said. Ids are numbered in the order they came."""

    __slots__ = (
        "_links", "_numbers", "_tallies", "aggregates", "end_ms", "newest_ms", "panes", "start_ms",
    )  # fmt: skip

    def __init__(self, start_ms: int, end_ms: int) -> None:
        """The window's bounds in event time."""
        self.start_ms = start_ms
        self.end_ms = end_ms
        self.newest_ms = start_ms
        # Start of each pane that digests told of -> its events.
        self.panes: dict[int, int] = {}
        # Aggregate name -> id -> [count, sum]: of any size, unlike what is in columns.
        self.aggregates: dict[str, dict[str, list[int]]] = {}
        self._numbers = _Numbered()
        self._links: dict[str, _Sums] = {}
        self._tallies: dict[str, _Sums] = {}

    @property
    def events(self) -> int:
        """How many events were counted."""
        return sum(self.panes.values())

    @property
    def ids(self) -> list[str]:
        """The ids by their numbers."""
        return list(self._numbers)

    @property
    def links(self) -> dict[str, LinkSums]:
        """The sums of each pair, by link name."""
        return {name: LinkSums(*sums.columns()) for name, sums in self._links.items()}

    @property
    def tallies(self) -> dict[str, TallySums]:
        """The sums of each entity, by kind."""
        found = {}
        for kind, sums in self._tallies.items():
            numbers, _, events, amount_minor, _ = sums.columns()
            found[kind] = TallySums(numbers, events, amount_minor)
        return found

    def add(self, digest: Digest) -> None:
        """Count one digest in."""
        digest = in_columns(digest)
        pane_ms = digest.pane_start_ms
        self.panes[pane_ms] = self.panes.get(pane_ms, 0) + digest.events
        self.newest_ms = max(self.newest_ms, digest.newest_ms)
        number = self._numbers.__getitem__
        for name, links in digest.link_columns.items():
            if (sums := self._links.get(name)) is None:
                sums = self._links[name] = _Sums(paired=True)
            ends = map(number, links.a), map(number, links.b)
            sums.extend(*ends, links.events, links.amount_minor, links.newest_ms)
        for kind, tallies in digest.tally_columns.items():
            if (sums := self._tallies.get(kind)) is None:
                sums = self._tallies[kind] = _Sums(paired=False)
            sums.extend(map(number, tallies.ids), (), tallies.events, tallies.amount_minor, ())
        for name, aggregates in digest.aggregate_columns.items():
            columns = (aggregates.ids, aggregates.count, aggregates.sum_micro)
            add_up(self.aggregates.setdefault(name, {}), zip(*columns, strict=True))

    def hash(self) -> str:
        """A hash of what was counted, the same for every order and batching of the digests.

        Of ids, names and panes as JSON, and of columns as they are in memory (64 bits, little
        endian), each row where its ids stand among all ids in order.
        """
        ids = self.ids
        order = sorted(range(len(ids)), key=ids.__getitem__)
        rank = np.empty(len(ids), np.int64)
        rank[order] = np.arange(len(ids))
        tables = [
            (field, name, sums.ranked(rank))
            for field, named in (("links", self._links), ("tallies", self._tallies))
            for name, sums in sorted(named.items())
        ]
        head = (
            self.start_ms, self.end_ms, sorted(self.panes.items()), [ids[n] for n in order],
            [(field, name, len(columns[0])) for field, name, columns in tables], self.aggregates,
        )  # fmt: skip
        found = sha256(_ENCODER.encode(head))
        for column in chain.from_iterable(columns for _, _, columns in tables):
            found.update(column.astype("<i8", copy=False).tobytes())
        return HASH_SCHEME + found.hexdigest()[:HASH_DIGITS]


def step_ms(span_ms: int, size_ms: int) -> int:
    """In slices of how many milliseconds, whole windows, what slides over that span is kept."""
    return max(1, span_ms // STEPS_MIN // size_ms) * size_ms


class _Numbered(dict[str, int]):
    """Id -> number, in the order in which they are first asked for."""

    __slots__ = ()

    def __missing__(self, id_: str) -> int:
        number = self[id_] = len(self)
        return number


class _Sums:
    """Sums by pair of numbers, of single numbers where the second is left out.

    Rows wait in lists, which take them fastest, and are added up now and then.
    """

    __slots__ = ("_columns", "_paired", "_waiting")

    def __init__(self, *, paired: bool) -> None:
        self._paired = paired
        self._columns: tuple[Column, ...] = tuple(np.empty(0, np.int64) for _ in range(5))
        self._waiting: tuple[list[int], ...] = ([], [], [], [], [])

    def extend(self, *columns: object) -> None:
        """Add rows: first and second number, events, amount, newest time; () where left out."""
        for waiting, column in zip(self._waiting, columns, strict=True):
            waiting.extend(column)  # type: ignore[arg-type]  # each an iterable of integers
        if len(self._waiting[0]) > max(WAITING_MIN, len(self._columns[0])):
            self.columns()

    def columns(self) -> tuple[Column, ...]:
        """The five columns, each pair once, in the order of the pairs."""
        rows = len(self._waiting[0])
        if rows:
            both = [
                np.concatenate((sums, np.array(waiting or [0] * rows, np.int64)))
                for sums, waiting in zip(self._columns, self._waiting, strict=True)
            ]
            self._columns = _added_up(*both)
            self._waiting = ([], [], [], [], [])
        return self._columns

    def ranked(self, rank: Numbers) -> tuple[Column, ...]:
        """The five columns by those ranks of the numbers, in order."""
        a, b, *sums = self.columns()
        a, b = rank[a], rank[b] if self._paired else b
        order = np.lexsort((b, a))
        return tuple(column[order] for column in (a, b, *sums))


def _added_up(
    a: Column, b: Column, events: Column, amount_minor: Column, newest_ms: Column
) -> tuple[Column, ...]:
    pairs, order, begins = sorted_runs(packed(a, b))
    return (
        *unpacked(pairs),
        np.add.reduceat(events[order], begins),
        np.add.reduceat(amount_minor[order], begins),
        np.maximum.reduceat(newest_ms[order], begins),
    )


def add_up(into: dict[str, list[int]], rows: Iterable[tuple[str, int, int]]) -> None:
    """Add ids with a count and a sum each to [count, sum] by id."""
    for id_, count, total in rows:
        entry = into.get(id_)
        if entry is None:
            into[id_] = [count, total]
        else:
            entry[0] += count
            entry[1] += total
