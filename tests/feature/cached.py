"""What the cache may hold, and a cache in memory that is read as Redis is."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec
import redis

from enrichment.feature.reads import Read
from enrichment.feature.store import (
    READY,
    REBUILDING,
    SHARD_KIND,
    Layout,
    feature_key,
    partitions_key,
    projection_key,
    update_key,
)
from enrichment.records import Control, FeatureUpdate, Source
from enrichment.rollout.control import in_force
from enrichment.stream.topics import partition_for

NOW_MS: Final = 1_780_000_000_000
PARTITIONS: Final = 4


def update(
    kind: str,
    id_: str,
    group: str,
    *,
    at_ms: int = NOW_MS,
    subgraph: str = "s1",
    pipeline: str = "payments",
    shard: str = "eu",
    version: int = 1,
    values: Mapping[str, float] | None = None,
    estimates: Mapping[str, Mapping[str, float]] | None = None,
) -> FeatureUpdate:
    """A feature update that was true, and computed, at `at_ms`."""
    return FeatureUpdate(
        version=version,
        pipeline=pipeline,
        entity=kind,
        id=id_,
        group=group,
        subgraph=subgraph,
        event_time_ms=at_ms,
        computed_at_ms=at_ms,
        values=dict(values or {}),
        estimates={path: dict(estimate) for path, estimate in (estimates or {}).items()},
        source=Source(backend="window", micro_batch_id=f"{pipeline}|{shard}|0|0", job_id="j1"),
    )


def heartbeat(
    shard: str = "eu", at_ms: int = NOW_MS, pipeline: str = "payments", version: int = 1
) -> FeatureUpdate:
    """The heartbeat of a shard's window stage."""
    return update(
        SHARD_KIND, shard, "graph", at_ms=at_ms, subgraph="", pipeline=pipeline, version=version
    )


def ring(kind: str, id_: str, membership: float, **fields: Any) -> FeatureUpdate:
    """A `ring` update whose quantum estimate is `membership`, the classical one half of it."""
    estimates = {
        "quantum": {"membership": membership},
        "classical": {"membership": membership / 2},
        "random": {"membership": 0.5},
    }
    return update(kind, id_, "ring", estimates=estimates, **fields)


class MemoryCache:
    """A cache of one pipeline, fully projected, that may be told to fail."""

    def __init__(self, *updates: FeatureUpdate, pipeline: str = "payments") -> None:
        self.pipeline = pipeline
        self.tracking = True
        self.changed: set[bytes] | None = None
        self.failure: Exception | None = None
        self.in_time: int | None = None  # of how many keys the values come, None: of all
        self.reads = 0
        self.held: dict[str, bytes] = {partitions_key(pipeline): str(PARTITIONS).encode()}
        for number in range(PARTITIONS):
            self.held[projection_key(pipeline, number)] = READY
        self.put(*updates)

    def put(self, *updates: FeatureUpdate) -> None:
        """Hold these updates."""
        for each in updates:
            key = feature_key(each.pipeline, each.entity, each.id, each.group)
            self.held[key] = msgspec.json.encode(each)
            if self.changed is not None:
                self.changed.add(key.encode())

    def withdraw(self, *controls: Control) -> None:
        """Mirror what these records amount to, as the projector does."""
        state = in_force(self.pipeline, controls)
        self.held[Layout(self.pipeline).control()] = msgspec.json.encode(state)

    def rebuild(self, kind: str, id_: str, group: str) -> None:
        """Say of the partition that this update travels in that it is being projected."""
        partition = partition_for(update_key(self.pipeline, kind, id_, group), PARTITIONS)
        self.held[projection_key(self.pipeline, partition)] = REBUILDING

    def ready(self) -> None:
        """Say of every partition that it is projected."""
        for number in range(PARTITIONS):
            self.held[projection_key(self.pipeline, number)] = READY

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of the keys, None where there is none."""
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        return [self.held.get(key) for key in keys]

    def read(self, keys: Sequence[str]) -> Read:
        """The values of the keys, and what has changed since the last read, as TrackedReads has."""
        values = self.mget(keys)[: self.in_time]
        changed = None if self.changed is None else frozenset(self.changed)
        self.changed = set() if self.tracking else None
        return Read(values, changed, frozenset() if self.tracking else None)

    @property
    def client(self) -> redis.Redis:
        """Itself, for who asks for a client: reading is all that they do."""
        return cast("redis.Redis", self)
