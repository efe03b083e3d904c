"""A slice of a shard's horizon, kept so that a restart need not read all digests again."""

import msgspec

from enrichment.records.digest import Aggregates, Links, Tallies


class HorizonSlice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one structure of a shard's horizon holds of one slice of event time, or a part of that.

    `structure` is `graph`, a span (`events_1m`) or an aggregate's name. It holds the closes before
    offset `closes` of the log of closes, and late digests before offset `digests`; `horizon_ms` is
    the event time at which the horizon stood. All parts of one writing bear the same of these.
    `ties` is keyed by the kind of the attribute, or `>` for direct links.
    """

    pipeline: str
    shard: str
    structure: str
    start_ms: int
    horizon_ms: int
    closes: int
    digests: int
    # Rises from writing to writing of a slice; the keys of one writing bear it.
    version: tuple[int, int]
    # Offsets of late digests behind that which it holds too.
    late: tuple[int, ...] = ()
    part: int = 0
    parts: int = 1
    ties: dict[str, Links] = {}
    tallies: dict[str, Tallies] = {}
    aggregates: dict[str, Aggregates] = {}
