"""A digest: the compact residue of what one source partition showed of one shard in one pane.

What it counts stands in columns: a reader takes each at once, in a fifth of the time that a record
per entity takes.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

import msgspec

TRACES_MAX: Final = 4
"""Sampled events whose trace a digest carries on: 60 bytes each, and a window has many digests."""

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Link(msgspec.Struct, frozen=True, array_like=True):
    """Two entities that appeared in the same events, as 0.1.0 wrote it."""

    a: str
    b: str
    events: int
    amount_minor: int
    newest_ms: int


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """One entity's events in the pane, as 0.1.0 wrote it."""

    id: str
    events: int
    amount_minor: int
    newest_ms: int


class Aggregate(msgspec.Struct, frozen=True, array_like=True):
    """One entity's values of one `[[aggregates]]` field, as 0.1.0 wrote it."""

    id: str
    count: int
    sum_micro: int
    newest_ms: int


class Columns(msgspec.Struct, frozen=True, array_like=True):
    """Columns of one length: what stands at one place of each is a row."""

    def __post_init__(self) -> None:
        """Raise ValueError where a row is not whole."""
        if len(set(map(len, msgspec.structs.astuple(self)))) > 1:
            raise ValueError("columns of different lengths")

    def __len__(self) -> int:
        """How many rows."""
        return len(msgspec.structs.astuple(self)[0])


class Links(Columns, frozen=True):
    """Pairs of entities that appeared in the same events: how often, for how much, when last."""

    a: list[str]
    b: list[str]
    events: list[Int64]
    amount_minor: list[Int64]
    newest_ms: list[Int64]


class Tallies(Columns, frozen=True):
    """Entities of one kind, each with its events and their amount."""

    ids: list[str]
    events: list[Int64]
    amount_minor: list[Int64]


class Aggregates(Columns, frozen=True):
    """Entities, each with the values of one `[[aggregates]]` field: their number and sum.

    The sum is in millionths, an integer, so that merging is exact in any order.
    """

    ids: list[str]
    count: list[int]
    sum_micro: list[int]


class Digest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one transaction of one enricher saw of one shard in one pane of event time.

    Links are keyed by link name (`account~device`, `source>target`), tallies by entity kind,
    aggregates by aggregate name. A digest without events is *progress*: it says only how far its
    source partition has come. A pane too large for one message is split into `parts`.
    """

    pipeline: str
    shard: str
    pane_start_ms: int
    pane_end_ms: int
    source_partition: int
    offset_first: int
    offset_last: int
    # The largest event time that the source partition has shown so far, in any shard.
    progress_ms: int
    # The largest event time in the digest itself.
    newest_ms: int = 0
    events: int = 0
    part: int = 0
    parts: int = 1
    # `traceparent` of the first of its events that their senders had sampled: in the first part.
    traces: tuple[str, ...] = ()
    link_columns: dict[str, Links] = {}
    tally_columns: dict[str, Tallies] = {}
    aggregate_columns: dict[str, Aggregates] = {}
    # The same row by row, as 0.1.0 wrote it: read, and no longer written.
    links: dict[str, tuple[Link, ...]] = {}
    tallies: dict[str, tuple[Tally, ...]] = {}
    aggregates: dict[str, tuple[Aggregate, ...]] = {}


def in_columns(digest: Digest) -> Digest:
    """The digest as it is written now: itself, unless it was written by 0.1.0."""
    if not (digest.links or digest.tallies or digest.aggregates):
        return digest
    newest_ms = [t.newest_ms for tallies in digest.tallies.values() for t in tallies]
    return msgspec.structs.replace(
        digest,
        newest_ms=max(newest_ms, default=0),
        link_columns={name: Links(*_columns(rows, 5)) for name, rows in digest.links.items()},
        tally_columns={kind: Tallies(*_columns(rows, 3)) for kind, rows in digest.tallies.items()},
        aggregate_columns={
            name: Aggregates(*_columns(rows, 3)) for name, rows in digest.aggregates.items()
        },
        links={},
        tallies={},
        aggregates={},
    )


def in_parts(
    named: Iterable[tuple[str, str, Sequence[Sequence[Any]]]], rows_max: int
) -> list[dict[str, dict[str, Sequence[Sequence[Any]]]]]:
    """Columns by field and name, in parts of at most so many rows in all; one part at least."""
    parts: list[dict[str, dict[str, Sequence[Sequence[Any]]]]] = [{}]
    room = rows_max
    for field, name, columns in named:
        at, rows = 0, len(columns[0])
        while at < rows:
            if room == 0:
                parts.append({})
                room = rows_max
            taken = min(room, rows - at)
            whole = taken == rows
            parts[-1].setdefault(field, {})[name] = (
                columns if whole else tuple(column[at : at + taken] for column in columns)
            )
            at += taken
            room -= taken
    return parts


def _columns(rows: Iterable[msgspec.Struct], columns: int) -> list[list[Any]]:
    """The first columns of these rows."""
    found = [msgspec.structs.astuple(row)[:columns] for row in rows]
    return [[row[at] for row in found] for at in range(columns)]
