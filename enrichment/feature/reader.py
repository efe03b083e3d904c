"""The public client of the feature cache: typed values, each with its verdict at read time.

Needs redis and msgspec alone, neither Kafka nor Cirq. It judges by the very rules of the hot path:

    with FeatureReader("redis://127.0.0.1:16379/0", "payments", timeout_ms=20) as reader:
        ring = reader.read("account", "42", "ring")
        if ring.usable:
            print(ring.estimate("quantum", "membership"), ring.verdict.reason)

`AsyncFeatureReader` is the same for asyncio.
"""

import time
from collections.abc import Callable
from typing import Any, Final, Self

import redis

from enrichment.feature.address import Address
from enrichment.feature.carriers import Carrier, KeptReads, PooledReads
from enrichment.feature.cluster import ClusterCache
from enrichment.feature.connection import is_cluster
from enrichment.feature.features import Features
from enrichment.feature.reading import KEYS_MAX, READS_MS, Reading, Values, Wanted
from enrichment.pipelines import Pipeline, load

__all__ = ["KEYS_MAX", "READS_MS", "TIMEOUT_MS", "FeatureReader", "Features"]

TIMEOUT_MS: Final = 1_000  # whoever answers somebody who waits will be less patient

Cache = redis.Redis | redis.RedisCluster | ClusterCache
Answers = Callable[[list[str], float], Values]


class FeatureReader:
    """A reader of one pipeline's features. Any thread may use it.

    `cache` is a URL as in `enrichment.feature.address`, or an open client, which keeps its own
    timeouts. `pipeline` is a shipped pipeline's name, the path of a file, or a loaded one. A call
    ends within `timeout_ms`, and .1 s more where it has to connect. With `keep_max` that many
    values are kept, and only what has changed since is read again; they are none the older for it.
    `clock_ns` is the wall clock, since 1970.
    """

    def __init__(
        self,
        cache: "Cache | Address | str",
        pipeline: Pipeline | str,
        *,
        timeout_ms: int = TIMEOUT_MS,
        keep_max: int = 0,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        definition = load(pipeline) if isinstance(pipeline, str) else pipeline
        self._timeout_s = timeout_ms / 1000
        self._own: Carrier | None = None
        if isinstance(cache, str | Address):
            address = Address.parse(cache) if isinstance(cache, str) else cache
            self._own = carrier(address, self._timeout_s, keep_max)
            self._answers: Answers = self._own.mget
            cluster = address.is_cluster
        else:
            refuse_to_keep(keep_max)
            cluster = is_cluster(cache)
            mget: Callable[[list[str]], Any] = (
                cache.mget_nonatomic if isinstance(cache, redis.RedisCluster) else cache.mget
            )
            self._answers = lambda keys, _: mget(keys)
        self._reading = Reading(definition, cluster=cluster, clock_ns=clock_ns, keep_max=keep_max)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections, if it was given a URL; a client of yours is yours to close."""
        if self._own is not None:
            self._own.close()

    def read(self, kind: str, id_: str, group: str, *, at_ms: int | None = None) -> Features:
        """One group of one entity's features; see `read_many`."""
        [features] = self.read_many([(kind, id_, group)], at_ms=at_ms)
        return features

    def read_many(self, wanted: Wanted, *, at_ms: int | None = None) -> list[Features]:
        """Features by (kind, id, group), in that order, each judged as of now.

        `at_ms` stands for now where the pipeline goes by event time. A cache that does not answer
        in time raises nothing: the verdict says `fallback`, `cache_unavailable`. Raises
        msgspec.DecodeError where it holds what no projector wrote.
        """
        deadline_s = time.monotonic() + self._timeout_s
        exchange = self._reading.begin(wanted, at_ms)
        while exchange.found is None:
            try:
                values = self._answers(exchange.keys, deadline_s)
            except redis.RedisError as error:
                exchange.failed(error)
            else:
                exchange.answered(values)
        return exchange.found


def carrier(address: Address, timeout_s: float, keep_max: int) -> Carrier:
    """What asks the cache at that address. Raises ValueError for a negative number to keep."""
    if keep_max < 0:
        raise ValueError(f"keep_max is how many values are kept, not {keep_max}")
    return KeptReads(address, timeout_s, keep_max) if keep_max else PooledReads(address)


def refuse_to_keep(keep_max: int) -> None:
    """Keep nothing read over somebody else's client. Raises ValueError where that is asked for."""
    if keep_max:
        raise ValueError("keep_max takes a connection of its own: give the cache's URL")
