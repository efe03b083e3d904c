"""The public client of the feature cache: typed values, each with its verdict at read time.

Needs redis and msgspec alone, neither Kafka nor Cirq. It judges by the very rules of the hot path:

    reader = FeatureReader("redis://127.0.0.1:16379/0", "payments")
    ring = reader.read("account", "42", "ring")
    if ring.usable:
        print(ring.estimate("quantum", "membership"), ring.verdict.reason)
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import redis

from enrichment.feature.cluster import ClusterCache
from enrichment.feature.connection import is_cluster, open_cache
from enrichment.feature.mirror import MirroredWithdrawals
from enrichment.feature.store import (
    READY,
    SHARD_KIND,
    Layout,
    update_key,
)
from enrichment.feature.verdict import (
    REBUILDING,
    UNAVAILABLE,
    USABLE,
    Judged,
    Rules,
    decayed,
    judge_graph,
    judge_ring,
)
from enrichment.pipelines import Pipeline, load
from enrichment.records import FeatureUpdate, Source, Verdict, VerdictName
from enrichment.rollout.control import Withdrawals
from enrichment.stream.topics import partition_for

GRAPH: Final = "graph"
SINGLE_SHARD: Final = "all"  # the shard of a stream that is not divided
READ_S: Final = 1.0  # a client of one's own may be less patient
READS_MS: Final = 2_000  # both reads that it takes, answered at the last moment
READS_MAX: Final = 3  # attempts at that: a cache that is slower is as good as away
KEYS_MAX: Final = 500  # per MGET, of which a read of a `ring` takes two


class EntityGroup(NamedTuple):
    """What can be read: one group of one entity's features."""

    kind: str
    id: str
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """One group of one entity's features, and how far it may be trusted now.

    `values` and `estimates` are as they were computed; they are empty unless the verdict is fresh
    or stale, and for an entity in no subgraph. `value` and `estimate` take age into account.
    """

    kind: str
    id: str
    group: str
    verdict: Verdict
    age_ms: int
    half_life_ms: int
    version: int = 0
    subgraph: str = ""
    event_time_ms: int = 0
    computed_at_ms: int = 0
    values: Mapping[str, float]
    # Path (`quantum`, `classical`, `random`) -> feature -> estimate.
    estimates: Mapping[str, Mapping[str, float]]
    source: Source | None = None

    @property
    def usable(self) -> bool:
        """Whether it is fresh or stale: else only priors come out."""
        return self.verdict.name in USABLE

    def value(self, name: str, prior: float = 0.0) -> float:
        """A feature of the subgraph, decayed towards the prior where it is stale."""
        return self._decayed(self.values, name, prior)

    def estimate(self, path: str, name: str, prior: float = 0.0) -> float:
        """What the sampler of that path made of it, decayed towards the prior where stale."""
        return self._decayed(self.estimates.get(path, {}), name, prior)

    def _decayed(self, features: Mapping[str, float], name: str, prior: float) -> float:
        found = features.get(name)
        if found is None:
            return prior
        age_ms = self.age_ms if self.verdict.name is VerdictName.STALE else 0
        return decayed(found, prior, age_ms, self.half_life_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What one read brought: values by what they are of, and what is still being projected."""

    values: dict[EntityGroup, FeatureUpdate]
    partitions: int
    ready: frozenset[int]
    withdrawals: Withdrawals | None

    def rebuilding(self, key: str) -> bool:
        """Whether the partition that this update key travels in is not fully projected."""
        return not self.partitions or partition_for(key, self.partitions) not in self.ready


class FeatureReader:
    """A reader of one pipeline's features. `clock_ns` is the wall clock, since 1970.

    `cache` is a URL as in `enrichment.feature.address`, or an open client. `pipeline` is a shipped
    pipeline's name, the path of a file, or a loaded one.
    """

    def __init__(
        self,
        cache: "redis.Redis | redis.RedisCluster | ClusterCache | str",
        pipeline: Pipeline | str,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._own: redis.Redis | ClusterCache | None = None
        if isinstance(cache, str):
            self._own = cache = open_cache(cache, READ_S, retries=1)
        self._mget: Callable[[list[str]], Any] = (
            cache.mget_nonatomic if isinstance(cache, redis.RedisCluster) else cache.mget
        )
        definition = load(pipeline) if isinstance(pipeline, str) else pipeline
        self._pipeline = definition.name
        self._layout = Layout(definition.name, cluster=is_cluster(cache))
        self._sharded = definition.window.shard is not None
        self._rules = Rules.of(definition)
        self._clock_ns = clock_ns
        self._decoder = msgspec.json.Decoder(FeatureUpdate)
        self._mirror = MirroredWithdrawals()
        self._partitions = 0

    def close(self) -> None:
        """Let go of the connections, if it was given a URL; a client of yours is yours to close."""
        if self._own is not None:
            self._own.close()

    def read(self, kind: str, id_: str, group: str, *, at_ms: int | None = None) -> Features:
        """One group of one entity's features; see `read_many`."""
        [features] = self.read_many([(kind, id_, group)], at_ms=at_ms)
        return features

    def read_many(
        self, wanted: Iterable[tuple[str, str, str]], *, at_ms: int | None = None
    ) -> list[Features]:
        """Features by (kind, id, group), in that order, each judged as of now.

        `at_ms` stands for now where the pipeline goes by event time. A cache that does not answer
        raises nothing: the verdict says `fallback`, `cache_unavailable`. Raises
        msgspec.DecodeError where it holds what no projector wrote.
        """
        groups = [EntityGroup(*parts) for parts in wanted]
        found: list[Features] = []
        # A `ring` is judged beside the `graph` of the same entity.
        for start in range(0, len(groups), KEYS_MAX // 2):
            found += self._read(groups[start : start + KEYS_MAX // 2], at_ms)
        return found

    def _read(self, groups: list[EntityGroup], at_ms: int | None) -> list[Features]:
        for _ in range(READS_MAX):
            began_ms = self._clock_ns() // 1_000_000
            try:
                seen = self._seen(groups)
                heard = self._heard(seen)
            except redis.RedisError:
                break
            # Read after the values: none of them can seem to be from the future because of us.
            now_ms = self._clock_ns() // 1_000_000
            # A heartbeat says nothing of values that were read long before it: we stood still.
            if now_ms - began_ms <= READS_MS:
                now_ms = now_ms if at_ms is None else at_ms
                return [
                    self._features(
                        group, seen.values.get(group), self._judged(group, seen, heard, now_ms)
                    )
                    for group in groups
                ]
        return [self._features(group, None, Judged(verdict=UNAVAILABLE)) for group in groups]

    def _seen(self, groups: list[EntityGroup]) -> _Seen:
        """One MGET of the values and of what says whether they are all there."""
        beside = (EntityGroup(group.kind, group.id, GRAPH) for group in groups)
        parts = list(dict.fromkeys([*groups, *beside]))
        keys = [self._layout.feature(*part) for part in parts]
        while True:
            count = self._partitions
            markers = [self._layout.projection(number) for number in range(count)]
            heads = [self._layout.partitions(), self._layout.control()]
            raw: list[Any] = self._mget([*heads, *markers, *keys])
            self._partitions = int(raw[0] or 0)
            # The first read of all, or partitions were added: the markers were not all read.
            if self._partitions == count:
                break
        ready = frozenset(number for number in range(count) if raw[2 + number] == READY)
        values = self._decoded(dict(zip(parts, raw[2 + count :], strict=True)))
        gone = self._mirror.of(raw[1])
        return _Seen(values=values, partitions=count, ready=ready, withdrawals=gone)

    def _heard(self, seen: _Seen) -> dict[str, FeatureUpdate]:
        """The heartbeats of the shards that these values come from."""
        shards = {self._shard(value) for value in seen.values.values()}
        wanted = [EntityGroup(SHARD_KIND, shard, GRAPH) for shard in shards if shard is not None]
        if not wanted:
            return {}
        raw: list[Any] = self._mget([self._layout.feature(*part) for part in wanted])
        beats = self._decoded(dict(zip(wanted, raw, strict=True)))
        return {part.id: beat for part, beat in beats.items()}

    def _decoded(self, raw: dict[EntityGroup, Any]) -> dict[EntityGroup, FeatureUpdate]:
        """The values that are there. Raises msgspec.DecodeError where one is not ours."""
        return {
            part: self._decoder.decode(value) for part, value in raw.items() if value is not None
        }

    def _shard(self, value: FeatureUpdate) -> str | None:
        """The shard whose window stage stands behind the value, as its micro-batch's id says."""
        if not self._sharded:
            return SINGLE_SHARD
        if value.source is None:
            return None
        # `{pipeline}|{shard}|{window_start_ms}|{sequence}`, and a shard may hold the separator.
        return value.source.micro_batch_id.partition("|")[2].rpartition("|")[0].rpartition("|")[0]

    def _judged(
        self, group: EntityGroup, seen: _Seen, heard: dict[str, FeatureUpdate], now_ms: int
    ) -> Judged:
        for name in {group.group, GRAPH}:
            if seen.rebuilding(update_key(self._pipeline, group.kind, group.id, name)):
                return Judged(verdict=REBUILDING)
        value = seen.values.get(group)
        graph = seen.values.get(EntityGroup(group.kind, group.id, GRAPH))
        shard = self._shard(graph) if graph is not None else None
        beat = heard.get(shard) if shard is not None else None
        if group.group == GRAPH:
            return judge_graph(
                graph, beat, self._rules, now_ms=now_ms, withdrawals=seen.withdrawals
            )
        return judge_ring(
            value, graph, beat, self._rules, now_ms=now_ms, withdrawals=seen.withdrawals
        )

    def _features(
        self, group: EntityGroup, value: FeatureUpdate | None, judged: Judged
    ) -> Features:
        if value is None or not judged.usable:
            return Features(
                **group._asdict(), verdict=judged.verdict, age_ms=judged.age_ms,
                half_life_ms=self._rules.half_life_ms, values={}, estimates={},
            )  # fmt: skip
        return Features(
            **group._asdict(),
            verdict=judged.verdict,
            age_ms=judged.age_ms,
            half_life_ms=self._rules.half_life_ms,
            version=value.version,
            subgraph=value.subgraph,
            event_time_ms=value.event_time_ms,
            computed_at_ms=value.computed_at_ms,
            values=value.values,
            estimates=value.estimates,
            source=value.source,
        )
