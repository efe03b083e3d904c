"""A review: an event whose decision is somebody's to make, with what they need to open it."""

import msgspec

from enrichment.records.enriched import Level, Origin, Path, Reason, Verdict


class Review(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event that waits for an analyst, who answers with an outcome about it.

    It is the part of an enriched event that is read first; `origin` is the input record of both.
    Everything is as it leaves the enricher: pseudonyms where the pipeline says so.
    """

    event_id: str
    pipeline: str
    origin: Origin
    occurred_at_ms: int
    decided_at_ms: int
    # The served score, 0 to 100, and the path that it rests on.
    score: float
    path: Path
    level: Level
    reasons: tuple[Reason, ...]
    verdict: Verdict
    # Role -> id, for every role that the event names: who the outcome will be about.
    entities: dict[str, str]
    # The answer travels in the partition of this shard.
    shard: str
    score_version: str
    amount_minor: int = 0
    correlation_id: str = ""
