"""The hot path's reads of the feature cache: within a timebox, behind a circuit breaker."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec
import redis

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
        self._decode = msgspec.json.Decoder(FeatureUpdate).decode
        self._markers = [projection_key(pipeline, number) for number in range(partitions)]

    @property
    def tracking(self) -> bool:
        return self._reads.tracking
