"""The public client of the feature cache for asyncio: what `FeatureReader` says, awaited.

async with AsyncFeatureReader("redis://127.0.0.1:16379/0", "payments", timeout_ms=20) as reader:
    ring = await reader.read("account", "42", "ring")
    if ring.usable:
        print(ring.estimate("quantum", "membership"), ring.verdict.reason)
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Self

import redis
from redis.asyncio import RedisCluster

from enrichment.feature.address import Address
from enrichment.feature.async_connection import AsyncCache, OpenedCache, open_async_cache
from enrichment.feature.carriers import Carrier
from enrichment.feature.connection import CONNECT_S
from enrichment.feature.features import Features
from enrichment.feature.reader import TIMEOUT_MS, carrier, refuse_to_keep
from enrichment.feature.reading import Reading, Values, Wanted
from enrichment.pipelines import Pipeline, load

# Connections at a time, and tasks beyond that wait their turn: one Redis serves no more at once.
CONNECTIONS_MAX: Final = 32
THREADS_MAX: Final = 8  # reads of a cluster at a time, of which Python decodes one at a time anyway

Answers = Callable[[list[str], float], Awaitable[Values]]


class AsyncFeatureReader:
    """A reader of one pipeline's features, for the tasks of one event loop.

    Arguments as of `FeatureReader`; an open client is one of `redis.asyncio`, and its calls too are
    given up after `timeout_ms`. What is kept is read by a thread of its own, a cluster by a few:
    redis-py's own client for it asks for rights that a reader has no use for.
    """

    def __init__(
        self,
        cache: AsyncCache | Address | str,
        pipeline: Pipeline | str,
        *,
        timeout_ms: int = TIMEOUT_MS,
        keep_max: int = 0,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        definition = load(pipeline) if isinstance(pipeline, str) else pipeline
        self._timeout_s = timeout_ms / 1000
        self._turns = asyncio.Semaphore(CONNECTIONS_MAX)
        self._connect_s = 0.0
        self._own: OpenedCache | _Threaded | None = None
        if isinstance(cache, str | Address):
            address = Address.parse(cache) if isinstance(cache, str) else cache
            cluster = address.is_cluster
            answers: Answers
            if keep_max or cluster:
                threads = 1 if keep_max else THREADS_MAX
                blocking = carrier(address, self._timeout_s, keep_max)
                self._own = threaded = _Threaded(blocking, threads)
                answers = threaded.mget
            else:
                self._connect_s = CONNECT_S
                self._own = opened = open_async_cache(address, self._timeout_s)
                answers = _client(opened.client)
        else:
            refuse_to_keep(keep_max)
            cluster = isinstance(cache, RedisCluster)
            answers = _client(cache)
        self._answers = answers
        self._reading = Reading(definition, cluster=cluster, clock_ns=clock_ns, keep_max=keep_max)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of the connections, if it was given a URL; a client of yours is yours to close."""
        if self._own is not None:
            await self._own.aclose()

    async def read(self, kind: str, id_: str, group: str, *, at_ms: int | None = None) -> Features:
        """One group of one entity's features; see `read_many`."""
        [features] = await self.read_many([(kind, id_, group)], at_ms=at_ms)
        return features

    async def read_many(self, wanted: Wanted, *, at_ms: int | None = None) -> list[Features]:
        """Features by (kind, id, group), in that order; see `FeatureReader.read_many`."""
        deadline_s = time.monotonic() + self._timeout_s
        exchange = self._reading.begin(wanted, at_ms)
        while exchange.found is None:
            try:
                values = await self._answered(exchange.keys, deadline_s)
            except redis.RedisError as error:
                exchange.failed(error)
            else:
                exchange.answered(values)
        return exchange.found

    async def _answered(self, keys: list[str], deadline_s: float) -> Values:
        # Whoever finds no open connection may connect; what that takes is bounded here too.
        left_s = max(0.0, deadline_s - time.monotonic()) + self._connect_s
        try:
            async with asyncio.timeout(left_s), self._turns:
                return await self._answers(keys, deadline_s)
        except TimeoutError:
            raise redis.TimeoutError(f"no answer within {left_s:.3f} s") from None


def _client(cache: AsyncCache) -> Answers:
    """The answers of a client of redis-py; whoever awaits them keeps the deadline."""
    mget: Callable[[list[str]], Any] = (
        cache.mget_nonatomic if isinstance(cache, RedisCluster) else cache.mget
    )

    return lambda keys, _: mget(keys)


class _Threaded:
    """A carrier that blocks, on threads of its own."""

    def __init__(self, blocking: Carrier, threads: int) -> None:
        self._blocking = blocking
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="feature-reader")

    async def mget(self, keys: list[str], deadline_s: float) -> Values:
        """The values that it brings."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._blocking.mget, keys, deadline_s)

    async def aclose(self) -> None:
        """Let go of its connections and of the threads."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._blocking.close)
        self._threads.shutdown()
