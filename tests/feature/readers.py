"""Every way to read features, driven alike: blocking, awaited, kept, over a client of one's own."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from redis.asyncio import RedisCluster

from enrichment.feature import AsyncFeatureReader, FeatureReader, Features
from enrichment.feature.address import Address
from enrichment.feature.async_connection import AsyncCache, OpenedCache, open_async_cache
from enrichment.feature.connection import open_cache
from tests.feature.cached import NOW_MS

KEPT: Final = 10_000


class Reads:
    """A reader that is asked and answers, whether it blocks or is awaited."""

    def __init__(self, reader: FeatureReader | AsyncFeatureReader, runner: asyncio.Runner) -> None:
        self.reader = reader
        self.runner = runner

    def many(self, wanted: Iterable[tuple[str, str, str]], **when: Any) -> list[Features]:
        """As `read_many`."""
        if isinstance(self.reader, FeatureReader):
            return self.reader.read_many(wanted, **when)
        return self.runner.run(self.reader.read_many(wanted, **when))

    def one(self, kind: str, id_: str, group: str, **when: Any) -> Features:
        """As `read`."""
        if isinstance(self.reader, FeatureReader):
            return self.reader.read(kind, id_, group, **when)
        return self.runner.run(self.reader.read(kind, id_, group, **when))


Way = Callable[..., contextlib.AbstractContextManager[Reads]]


@contextlib.contextmanager
def blocking(url: str, **options: Any) -> Iterator[Reads]:
    """FeatureReader with a URL."""
    with _runner() as runner, FeatureReader(url, **_told(options)) as reader:
        yield Reads(reader, runner)


@contextlib.contextmanager
def awaited(url: str, **options: Any) -> Iterator[Reads]:
    """AsyncFeatureReader with a URL."""
    with _runner() as runner:
        reader = AsyncFeatureReader(url, **_told(options))
        try:
            yield Reads(reader, runner)
        finally:
            runner.run(reader.aclose())


def blocking_kept(url: str, **options: Any) -> contextlib.AbstractContextManager[Reads]:
    """The same that keeps what it reads."""
    return blocking(url, **{"keep_max": KEPT} | options)


def awaited_kept(url: str, **options: Any) -> contextlib.AbstractContextManager[Reads]:
    """The same that keeps what it reads."""
    return awaited(url, **{"keep_max": KEPT} | options)


@contextlib.contextmanager
def own_client(url: str, **options: Any) -> Iterator[Reads]:
    """FeatureReader with an open client."""
    timeout_s = options.get("timeout_ms", 1_000) / 1_000
    client = open_cache(url, timeout_s, retries=1)
    with _runner() as runner:
        yield Reads(FeatureReader(client, **_told(options)), runner)
    client.close()


@contextlib.contextmanager
def own_async_client(url: str, **options: Any) -> Iterator[Reads]:
    """AsyncFeatureReader with an open client of redis.asyncio."""
    timeout_s = options.get("timeout_ms", 1_000) / 1_000
    address = Address.parse(url)
    opened: RedisCluster | OpenedCache
    if address.is_cluster:
        [(host, port), *_] = address.hosts
        client: AsyncCache = (opened := RedisCluster(host=host, port=port))
    else:
        opened = open_async_cache(address, timeout_s)
        client = opened.client
    with _runner() as runner:
        yield Reads(AsyncFeatureReader(client, **_told(options)), runner)
        runner.run(opened.aclose())


BY_URL: Final[tuple[Way, ...]] = (blocking, awaited, blocking_kept, awaited_kept)
WAYS: Final[tuple[Way, ...]] = (*BY_URL, own_client, own_async_client)


def _runner() -> asyncio.Runner:
    return asyncio.Runner()


def _told(options: dict[str, Any]) -> dict[str, Any]:
    """The options, with payments and a clock that stands where nothing else is said."""
    return {"pipeline": "payments", "clock_ns": lambda: NOW_MS * 1_000_000} | options
