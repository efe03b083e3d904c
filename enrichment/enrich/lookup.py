"""The hot path's reads of the feature cache: within a timebox, behind a circuit breaker."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import redis

from enrichment.enrich.features import GRAPH
from enrichment.feature.breaker import Breaker
from enrichment.feature.reads import Read
from enrichment.feature.store import READY, SHARD_KIND, Layout
from enrichment.records import FeatureUpdate
from enrichment.telemetry import metrics
from enrichment.telemetry.log import logger

EntityGroup = tuple[str, str, str]  # kind, id, group


# Entities by (kind, id), None for any of them.
Changed = set[tuple[str, str]] | None


class Reads(Protocol):
    """What `feature.reads.TrackedReads` is, as far as the hot path looks at it."""

    @property
    def tracking(self) -> bool:
        """Whether it is told of changes: if not, every read has to be complete."""

    def read(self, keys: Sequence[str]) -> Read:
        """The values, in order. Raises redis.RedisError where none of them come in time."""


class Found(msgspec.Struct, frozen=True):
    """What one read brought."""

    heard: dict[str, FeatureUpdate]
    # Partitions of the updates' topic that are being projected.
    rebuilding: frozenset[int]
    # Of what was wanted; of the first of it where the rest did not come in time.
    values: list[bytes | None]
    # What had changed before these values were read, and what changed after.
    changed: Changed
    overtaken: Changed


class Lookup:
    """Reads of one pipeline's features. `now_ms` is the clock that the breaker goes by."""

    def __init__(
        self, reads: Reads, layout: Layout, partitions: int, now_ms: Callable[[], int]
    ) -> None:
        self._reads = reads
        self._layout = layout
        self.partitions = partitions
        self._now_ms = now_ms
        self._breaker = Breaker()
        self._spent_s = 0.0
        self._decode = msgspec.json.Decoder(FeatureUpdate).decode
        self._markers = [layout.projection(number) for number in range(partitions)]

    @property
    def tracking(self) -> bool:
        """Whether the cache says what has changed. If not, everything is to be read each time."""
        return self._reads.tracking

    def read(self, shards: Sequence[str], wanted: Sequence[EntityGroup]) -> Found | None:
        """How the cache stands, and these values; None where it did not answer in time."""
        if not self._breaker.allows(self._now_ms()):
            return None
        key = self._layout.feature
        keys = [*self._markers, *[key(SHARD_KIND, shard, GRAPH) for shard in shards]]
        keys += [key(*parts) for parts in wanted]
        began_s = time.perf_counter()
        try:
            values, changed, overtaken = self._reads.read(keys)
        except redis.RedisError as error:
            self._breaker.failed(self._now_ms())
            metrics.read_failures.add(1)
            logger().warning("the feature cache does not answer", error=str(error))
            return None
        finally:
            self._spent_s += time.perf_counter() - began_s
        self._breaker.succeeded()
        beats = self.partitions + len(shards)
        if late := len(keys) - len(values):
            metrics.read_failures.add(1)
            logger().warning("the feature cache answers in part", keys=len(keys), late=late)
        heard = {
            shard: update
            for shard, value in zip(shards, values[self.partitions : beats], strict=False)
            if value is not None and (update := self.decoded(value)) is not None
        }
        return Found(
            heard,
            frozenset(
                number for number, value in enumerate(values[: self.partitions]) if value != READY
            ),
            values[beats:],
            self._entities(changed),
            self._entities(overtaken),
        )

    def spent_ms(self) -> float:
        """What has been waited for the cache since this was last asked."""
        spent_s, self._spent_s = self._spent_s, 0.0
        return spent_s * 1000

    def _entities(self, keys: frozenset[bytes] | None) -> Changed:
        """The entities whose features stand at these keys."""
        return None if keys is None else set(filter(None, map(self._layout.entity_of, keys)))

    def decoded(self, value: bytes) -> FeatureUpdate | None:
        """The update, or None where somebody else wrote something else."""
        try:
            return self._decode(value)
        except msgspec.DecodeError as error:
            # No event may go unanswered because of it.
            metrics.read_failures.add(1)
            logger().warning("not a feature", error=str(error))
            return None
