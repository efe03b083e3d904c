"""The hot path's reads of the feature cache: within a timebox, behind a circuit breaker."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec
import redis

from enrichment.feature.breaker import Breaker
from enrichment.feature.store import READY, SHARD_KIND, feature_key, projection_key
from enrichment.records import FeatureUpdate
from enrichment.telemetry import metrics
from enrichment.telemetry.log import logger

EntityGroup = tuple[str, str, str]  # kind, id, group


class Reads(Protocol):
    """Values by key, and which keys read before have changed since: None is any of them."""

    tracking: bool

    def read(self, keys: Sequence[str]) -> tuple[list[bytes | None], frozenset[bytes] | None]:
        """The values, in order. Raises redis.RedisError where they do not come in time."""


class Beats(msgspec.Struct, frozen=True):
    """What one small read before each batch tells."""

    heard: dict[str, FeatureUpdate]
    rebuilding: frozenset[int]
    # (kind, id) of entities that have changed since the last time, None for all of them.
    changed: set[tuple[str, str]] | None


class Lookup:
    """Reads of one pipeline's features. `now_ms` is the clock that the breaker goes by."""

    def __init__(
        self, reads: Reads, pipeline: str, partitions: int, now_ms: Callable[[], int]
    ) -> None:
        self._reads = reads
        self._pipeline = pipeline
        self.partitions = partitions
        self._now_ms = now_ms
        self._breaker = Breaker()
        self._decode = msgspec.json.Decoder(FeatureUpdate).decode
        self._markers = [projection_key(pipeline, number) for number in range(partitions)]
        self._prefix = f"features:{pipeline}:"
        # Entities that changed since the last beat, None for any of them.
        self._changed: set[tuple[str, str]] | None = None

    @property
    def tracking(self) -> bool:
        """Whether the cache says what has changed. If not, everything is to be read each time."""
        return self._reads.tracking

    def beats(self, shards: Iterable[str]) -> Beats | None:
        """How the cache stands; None where it did not answer in time."""
        if not self._breaker.allows(self._now_ms()):
            return None
        asked = list(shards)
        keys = [feature_key(self._pipeline, SHARD_KIND, shard, "graph") for shard in asked]
        values = self._read(self._markers + keys)
        if values is None:
            return None
        count = self.partitions
        heard = {}
        for shard, value in zip(asked, values[count:], strict=True):
            if value is not None and (update := self.decoded(value)) is not None:
                heard[shard] = update
        changed, self._changed = self._changed, set()
        return Beats(
            heard, frozenset(n for n in range(count) if values[n] != READY), changed
        )

    def values(self, wanted: Sequence[EntityGroup]) -> list[bytes | None] | None:
        """The values of these groups; None where the cache did not answer in time."""
        return self._read([feature_key(self._pipeline, *parts) for parts in wanted])

    def _read(self, keys: Sequence[str]) -> list[bytes | None] | None:
        try:
            values, changed = self._reads.read(keys)
        except redis.RedisError as error:
            self._breaker.failed(self._now_ms())
            metrics.read_failures.add(1)
            logger().warning("the feature cache does not answer", error=str(error))
            return None
        self._breaker.succeeded()
        if changed is None:
            self._changed = None
        elif self._changed is not None:
            self._changed.update(filter(None, map(self._entity, changed)))
        return values

    def _entity(self, key: bytes) -> tuple[str, str] | None:
        """The entity whose features stand at that key; None for what is no entity's."""
        try:
            text = key.decode()
        except UnicodeDecodeError:
            return None
        if not text.startswith(self._prefix):
            return None
        parts = text.removeprefix(self._prefix).split(":")
        if parts[0].startswith("{"):
            parts = parts[1:]
        return (parts[0], ":".join(parts[1:-1])) if len(parts) >= 3 else None

    def decoded(self, value: bytes) -> FeatureUpdate | None:
        """The update, or None where somebody else wrote something else."""
        try:
            return self._decode(value)
        except msgspec.DecodeError as error:
            # No event may go unanswered because of it.
            metrics.read_failures.add(1)
            logger().warning("not a feature", error=str(error))
            return None
