"""Our own pure code for one record at a time, in the runtime of a peer: only the runtime differs.

Left out, to the peers' gain: digests, dead letters, and the markers of a cache that is rebuilt.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from enrichment.enrich.answer import Answer, completed
from enrichment.enrich.decode import Decoder, Invalid
from enrichment.enrich.events import Event
from enrichment.enrich.features import GRAPH, Cache, FeaturePlan, Known
from enrichment.enrich.score import Scorer, View
from enrichment.feature.store import SHARD_KIND, feature_key
from enrichment.pipelines import Pipeline, load
from enrichment.records import FeatureUpdate, Origin
from enrichment.stream.headers import Headers, cloud_event

Wanted = tuple[str, str, str]  # kind, id, group
Found = Mapping[Wanted, FeatureUpdate]


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

    def wanted(self, events: Sequence[Event]) -> list[Wanted]:
        """The distinct groups that these events' scores read."""
        wanted: dict[Wanted, None] = {}
        for event in events:
            wanted[SHARD_KIND, event.shard, GRAPH] = None
            for role, id_ in event.entities.items():
                kind = self._plan.kinds[role]
                for group in self._plan.groups.get(kind, ()):
                    wanted[kind, id_, group] = None
        return list(wanted)

    def keys(self, wanted: Sequence[Wanted]) -> list[str]:
        """Their keys in Redis."""
        return [feature_key(self._pipeline.name, *parts) for parts in wanted]

    def found(self, wanted: Sequence[Wanted], values: Sequence[Any]) -> Found:
        """What Redis answered, as the score reads it."""
        return {
            parts: self._update.decode(value)
            for parts, value in zip(wanted, values, strict=True)
            if value is not None
        }

    def answer(self, event: Event, found: Found, origin: Origin) -> tuple[bytes, Headers]:
        """The enriched record's value and headers."""
        at_ms = now_ms()
        judged_at_ms = event.occurred_at_ms if self._plan.rules.by_event_time else at_ms
        beat = found.get((SHARD_KIND, event.shard, GRAPH))
        cache = Cache(heard={} if beat is None else {event.shard: beat})
        views = [self._view(role, event, found, cache, judged_at_ms) for role in self._scorer.roles]
        numbers = {name: [number] for name, number in event.numbers.items()}
        [(base, reasons)] = self._scorer.of_events(numbers, 1)
        [joint] = self._scorer.joints([views], numbers)
        scored = self._scorer.scored(base, reasons, joint)
        answer = self._encode(
            Answer(
                event.id,
                self._pipeline.name,
                origin,
                event.occurred_at_ms,
                at_ms,
                msgspec.Raw(event.payload),
                joint.seen.written,
                scored.path,
                scored.scores,
                scored.level,
                scored.decision,
                scored.reasons,
                self._pipeline.version,
                self._pipeline.score.version,
                "",
            )
        )
        value = completed(answer, scored, self._scorer.route, views)
        return value, cloud_event("enriched", self._source, event.id, event.occurred_at_ms)

    def _view(self, role: str, event: Event, found: Found, cache: Cache, at_ms: int) -> View:
        """What the event's entity in this role comes to."""
        id_ = event.entities.get(role)
        if id_ is None:
            return self._scorer.absent[role]
        kind = self._plan.kinds[role]
        updates = {
            group: found[kind, id_, group]
            for group in self._plan.groups.get(kind, ())
            if (kind, id_, group) in found
        }
        known = Known(updates, at_ms)
        features = self._plan.features(role, id_, known, event.shard, cache, at_ms)
        return self._scorer.view(role, features.used)


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000
