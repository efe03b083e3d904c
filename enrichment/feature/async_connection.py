"""Opens the feature cache that a URL names for asyncio, with redis-py's own clients."""

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as CacheConnectionError

from enrichment.feature.address import Address, Kind
from enrichment.feature.connection import CONNECT_S, login_options, tls_options

AsyncCache = Redis | RedisCluster


@dataclass(frozen=True, slots=True)
class OpenedCache:
    """A client of a cache, and those of the sentinels that it asks for its primary."""

    client: Redis
    sentinels: tuple[Redis, ...] = ()

    async def aclose(self) -> None:
        """Let go of all connections: a client does not close its sentinels'."""
        for each in (self.client, *self.sentinels):
            await each.aclose()


def open_async_cache(address: Address, timeout_s: float) -> OpenedCache:
    """A client each of whose socket calls ends within `timeout_s`; it connects when first used.

    A connection that is found closed is made anew, once. No cluster's: see `AsyncFeatureReader`.
    """
    if address.is_cluster:
        raise AssertionError("a cluster is read by threads")
    limits: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": max(timeout_s, CONNECT_S),
        "retry": Retry(NoBackoff(), 1, supported_errors=(CacheConnectionError,)),
    }
    login, tls = login_options(address.login), tls_options(address)
    options = limits | login | {"db": address.db}
    if address.kind is Kind.SOCKET:
        return OpenedCache(Redis(unix_socket_path=address.path, **options))
    if address.kind is Kind.SERVER:
        [(host, port)] = address.hosts
        return OpenedCache(Redis(host=host, port=port, **options, **tls))
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        address.hosts,
        sentinel_kwargs=limits | login_options(address.sentinel_login) | tls,
        **options,
        **tls,
    )
    client: Redis = sentinels.master_for(address.service)
    return OpenedCache(client, tuple(sentinels.sentinels))
