"""The hot path's read: one MGET for a batch, within a timebox, behind a circuit breaker."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import redis

from enrichment.feature.store import READY, feature_key, projection_key
from enrichment.records import FeatureUpdate
from enrichment.stream.topics import partition_for
from enrichment.telemetry import metrics
from enrichment.telemetry.log import logger

KEYS_MAX: Final = 2_000  # per MGET: about a millisecond of Redis' only thread
# One read that a busy machine delayed says nothing of the next; so many in a row do, and cost the
# batches that made them no more than that many timeboxes.
FAILURES_MAX: Final = 3
OPEN_MS: Final = 1_000  # how long a broken cache is left alone before it is probed again

EntityGroup = tuple[str, str, str]  # kind, id, group


class Found:
    """What one read brought: values by (kind, id, group), and why others may not be trusted."""

    def __init__(
        self, values: dict[EntityGroup, FeatureUpdate], rebuilding: frozenset[int], partitions: int
    ) -> None:
        self._values = values
        self._rebuilding = rebuilding
        self._partitions = partitions

    def get(self, kind: str, id_: str, group: str) -> FeatureUpdate | None:
        """The value, or None where the cache has none."""
        return self._values.get((kind, id_, group))

    @property
    def complete(self) -> bool:
        """Whether every partition is projected."""
        return not self._rebuilding

    def rebuilding(self, update_key: str) -> bool:
        """Whether the partition that this key travels in is still being projected."""
        if not self._rebuilding:
            return False
        return partition_for(update_key, self._partitions) in self._rebuilding


class Lookup:
    """Reads of one pipeline's features. `now_ms` is the clock that the breaker goes by."""

    def __init__(
        self, client: redis.Redis, pipeline: str, partitions: int, now_ms: Callable[[], int]
    ) -> None:
        self._client = client
        self._pipeline = pipeline
        self._partitions = partitions
        self._now_ms = now_ms
        self._open_until_ms = 0
        self._failures = 0
        self._decoder = msgspec.json.Decoder(FeatureUpdate)
        self._markers = [projection_key(pipeline, number) for number in range(partitions)]

    def read(self, wanted: Sequence[EntityGroup]) -> Found | None:
        """The values of these groups; None where the cache did not answer in time."""
        if self._now_ms() < self._open_until_ms:
            return None
        keys = self._markers + [feature_key(self._pipeline, *parts) for parts in wanted]
        raw: list[Any] = []
        try:
            for start in range(0, len(keys), KEYS_MAX):
                raw += self._client.mget(keys[start : start + KEYS_MAX])
        except redis.RedisError as error:
            self._failures += 1
            if self._failures >= FAILURES_MAX:
                self._open_until_ms = self._now_ms() + OPEN_MS
            metrics.read_failures.add(1)
            logger().warning("the feature cache does not answer", error=str(error))
            return None
        self._failures = 0
        rebuilding = frozenset(number for number in range(self._partitions) if raw[number] != READY)
        values: dict[EntityGroup, FeatureUpdate] = {}
        for parts, value in zip(wanted, raw[self._partitions :], strict=True):
            if value is not None:
                try:
                    values[parts] = self._decoder.decode(value)
                except msgspec.DecodeError as error:
                    # Somebody else wrote it. No event may go unanswered because of it.
                    metrics.read_failures.add(1)
                    logger().warning("not a feature", kind=parts[0], error=str(error))
        return Found(values, rebuilding, self._partitions)
