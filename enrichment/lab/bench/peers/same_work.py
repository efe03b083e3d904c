"""Our own pure code for one record at a time, in the runtime of a peer: only the runtime differs.

Left out, to the peers' gain: digests, dead letters, and the markers of a cache that is rebuilt.
"""

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from enrichment.enrich.decode import Decoder, Event, Invalid
from enrichment.enrich.features import FeaturePlan, verdict_of
from enrichment.enrich.lookup import EntityGroup, Found
from enrichment.enrich.score import Scorer
from enrichment.feature.store import feature_key
from enrichment.pipelines import Pipeline, load
from enrichment.records import Enriched, FeatureUpdate, Origin
from enrichment.stream.headers import Headers, cloud_event

PARTITIONS: Final = 1  # of the cache's projection: all of it is ready


class SameWork:
    """Decode, keys to read, and the answer, for one pipeline's events."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._decoder = Decoder(pipeline)
        self._plan = FeaturePlan(pipeline)
        self._scorer = Scorer(pipeline)
        self._update = msgspec.json.Decoder(FeatureUpdate)
        self._encode = msgspec.json.Encoder().encode
        self._source = f"/enrichment/{pipeline.name}"

    @classmethod
    def of(cls, name: str) -> "SameWork":
        """The work of a shipped pipeline."""
        return cls(load(name))

    def event(self, value: bytes) -> Event:
        """The event in a record. Raises ValueError on what would be a dead letter."""
        event = self._decoder.decode(value, now_ms=now_ms())
        if isinstance(event, Invalid):
            raise ValueError(  # noqa: TRY004  # the record is wrong, not our call
                f"{event.reason.value}: {event.detail}"
            )
        return event

    def wanted(self, events: Sequence[Event]) -> list[EntityGroup]:
        """The distinct groups that these events' scores read."""
        wanted: dict[EntityGroup, None] = {}
        for event in events:
            wanted.update(dict.fromkeys(self._plan.keys(event)))
        return list(wanted)

    def keys(self, wanted: Sequence[EntityGroup]) -> list[str]:
        """Their keys in Redis."""
        return [feature_key(self._pipeline.name, *parts) for parts in wanted]

    def found(self, wanted: Sequence[EntityGroup], values: Sequence[Any]) -> Found:
        """What Redis answered, as the score reads it."""
        decoded = {
            parts: self._update.decode(value)
            for parts, value in zip(wanted, values, strict=True)
            if value is not None
        }
        return Found(decoded, frozenset(), PARTITIONS)

    def answer(self, event: Event, found: Found, origin: Origin) -> tuple[bytes, Headers]:
        """The enriched record's value and headers."""
        at_ms = now_ms()
        used = self._plan.used(event, found, now_ms=at_ms)
        scored = self._scorer.score(event.numbers, {(u.role, u.group): u for u in used})
        value = self._encode(
            Enriched(
                event_id=event.id,
                pipeline=self._pipeline.name,
                origin=origin,
                occurred_at_ms=event.occurred_at_ms,
                decided_at_ms=at_ms,
                event=msgspec.Raw(event.payload),
                verdict=verdict_of(used),
                path=scored.path,
                scores=scored.scores,
                level=scored.level,
                decision=scored.decision,
                reasons=scored.reasons,
                features=tuple(used),
                pipeline_version=self._pipeline.version,
                score_version=self._pipeline.score.version,
            )
        )
        return value, cloud_event("enriched", self._source, event.id, event.occurred_at_ms)


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000
