"""A digest: the compact residue of what one source partition showed of one shard in one pane."""

import msgspec


class Link(msgspec.Struct, frozen=True, array_like=True):
    """Two entities that appeared in the same events: how often, for how much, and when last."""

    a: str
    b: str
    events: int
    amount_minor: int
    newest_ms: int


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """One entity's events in the pane: how many, for how much, and when last."""

    id: str
    events: int
    amount_minor: int
    newest_ms: int


class Aggregate(msgspec.Struct, frozen=True, array_like=True):
    """One entity's values of one `[[aggregates]]` field in the pane.

    The sum is in millionths, an integer, so that merging is exact in any order.
    """

    id: str
    count: int
    sum_micro: int
    newest_ms: int


class Digest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one transaction of one enricher saw of one shard in one pane of event time.

    `links` is keyed by link name (`account~device`, `source>target`), `tallies` by entity kind,
    `aggregates` by aggregate name. A digest without events is *progress*: it says only how far its
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
    events: int = 0
    part: int = 0
    parts: int = 1
    links: dict[str, tuple[Link, ...]] = {}
    tallies: dict[str, tuple[Tally, ...]] = {}
    aggregates: dict[str, tuple[Aggregate, ...]] = {}
