"""Kept answers in Redis, in a timebox and behind a breaker: what is not had in time is not there.

How much there may be is bounded by what is paid for: an entry is some 2 kB for 1,000 shots of 12
variables and lives a day, so that ten thousand paid problems a day are 20 MB. Where Redis is told
not to evict (as it should be for the feature cache) and is full, nothing more is kept.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

import redis

from enrichment.feature.breaker import Breaker
from enrichment.feature.connection import Cache
from enrichment.telemetry.log import logger

TIMEBOX_S: Final = 0.1
"""One call for 64 entries of 2 kB takes a millisecond: what takes longer is a Redis in trouble."""


class RedisAnswers:
    """An `AnswerStore` in Redis; any thread may use it."""

    def __init__(self, cache: Cache) -> None:
        """Use a client whose calls end within about TIMEBOX_S; it is the caller's to close."""
        self._cache = cache
        self._breaker = Breaker()
        self._lock = threading.Lock()

    def get(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Return an entry for each key, None where there is none to be had."""
        nothing: Sequence[bytes | None] = [None] * len(keys)
        if not self._allowed():
            return nothing
        try:
            found: Sequence[bytes | None] = self._cache.mget(list(keys))
        except redis.RedisError as error:
            self._failed(error)
            return nothing
        self._succeeded()
        return found

    def put(self, values: Mapping[str, bytes], ttl_ms: int) -> None:
        """Keep entries for so long, or not."""
        if not self._allowed():
            return
        try:
            for key, value in values.items():
                self._cache.set(key, value, px=ttl_ms)
        except redis.RedisError as error:
            self._failed(error)
            return
        self._succeeded()

    def _allowed(self) -> bool:
        with self._lock:
            return self._breaker.allows(_now_ms())

    def _succeeded(self) -> None:
        with self._lock:
            self._breaker.succeeded()

    def _failed(self, error: redis.RedisError) -> None:
        logger().warning("kept answers: Redis does not answer", error=str(error))
        with self._lock:
            self._breaker.failed(_now_ms())


def _now_ms() -> int:
    """The breaker's clock, which never goes back."""
    return time.monotonic_ns() // 1_000_000
