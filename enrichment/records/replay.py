"""A replay: the mark that the record behind a dead letter was published again."""

import msgspec


class Replay(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One dead letter's record, published again: written in the transaction that published it."""

    pipeline: str
    # The dead letter, `topic/partition/offset`: the key of this record.
    dead_letter: str
    # Where it was published again.
    topic: str
    partition: int
    replayed_at_ms: int
    replayed_by: str = ""
