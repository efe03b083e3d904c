"""Opens the feature cache that a URL names, whatever answers there.

A single server, a socket and sentinels give a `redis.Redis`, a cluster a `ClusterCache`: both with
`ping`, `mget`, `get`, `set`, `delete` and `close`, and with redis.RedisError for what fails.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from enrichment.feature.address import Address, Kind, Login
from enrichment.feature.cluster import ClusterCache
from enrichment.feature.store import GUARD

CONNECT_S: Final = 0.1  # a new connection takes three trips, and a batch waits for it once


class Cache(Protocol):
    """What both kinds of client have."""

    def ping(self) -> Any:
        """Whether it answers."""

    def mget(self, keys: Any) -> Any:
        """Values in the order of the keys, None where there is none."""

    def get(self, name: str, /) -> Any:
        """One value."""

    def set(self, name: str, value: Any, /, *, px: int | None = None) -> Any:
        """Set one value, for ever or for `px` milliseconds."""

    def delete(self, *names: str) -> Any:
        """Delete keys; how many were there."""

    def close(self) -> None:
        """Let go of all connections."""


def open_cache(
    where: Address | str, timeout_s: float, *, connect_s: float = CONNECT_S, retries: int = 0
) -> redis.Redis | ClusterCache:
    """A client whose every call ends within about `timeout_s`; it connects when first used.

    A call that must connect first may take `connect_s` more. Nothing is tried twice, since whoever
    calls decides whether there is time to, unless `retries` over a new connection are asked for
    where the old one is found closed. Raises AddressError for a bad URL, redis.ConnectionError for
    files of keys or certificates that cannot be used.
    """
    address = Address.parse(where) if isinstance(where, str) else where
    connect_s = max(timeout_s, connect_s)
    if address.is_cluster:
        return ClusterCache(address, timeout_s=timeout_s, connect_s=connect_s, retries=retries)
    limits: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": connect_s,
        "retry": Retry(NoBackoff(), retries, supported_errors=(redis.ConnectionError,)),
    }
    options = limits | login_options(address.login) | {"db": address.db}
    if address.kind is Kind.SOCKET:
        del options["socket_connect_timeout"]
        return redis.Redis(unix_socket_path=address.path, **options)
    tls = tls_options(address)
    if address.kind is Kind.SERVER:
        [(host, port)] = address.hosts
        return redis.Redis(host, port, **options, **tls)
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        address.hosts,
        sentinel_kwargs=limits | login_options(address.sentinel_login) | tls,
        **options,
        **tls,
    )
    client: redis.Redis = sentinels.master_for(  # type: ignore[no-untyped-call]
        address.service
    )
    return client


def login_options(login: Login) -> dict[str, Any]:
    """A login as redis-py's clients take it."""
    return {"username": login.username, "password": login.password}


def tls_options(address: Address) -> dict[str, Any]:
    """What an address says of TLS, as redis-py's clients take it: nothing where it says none."""
    if address.tls is None:
        return {}
    return {
        "ssl": True,
        "ssl_ca_certs": address.tls.ca_file,
        "ssl_certfile": address.tls.cert_file,
        "ssl_keyfile": address.tls.key_file,
        "ssl_check_hostname": address.tls.check_hostname,
    }


def is_cluster(cache: object) -> bool:
    """Whether keys carry a bucket there: see `store.Layout`."""
    return isinstance(cache, ClusterCache | redis.RedisCluster)


class Writer:
    """Writes of values that never go back to an older version, to a cache of either kind."""

    def __init__(self, cache: redis.Redis | ClusterCache) -> None:
        self._cache = cache
        # A script that is registered is loaded again by a server that has lost it.
        self._guard = None if isinstance(cache, ClusterCache) else cache.register_script(GUARD)

    def write(self, values: Mapping[str, bytes], ttl_ms: int) -> int:
        """Set each key whose stored version is lower; how many were. See `store.GUARD`."""
        if isinstance(self._cache, ClusterCache):
            return self._cache.guard(values, ttl_ms)
        if self._guard is None:
            raise AssertionError("a single server's writer has registered its script")
        arguments: Sequence[Any] = [ttl_ms, *values.values()]
        return int(self._guard(keys=list(values), args=arguments))


class Script:
    """One Lua script on a cache of either kind. Its keys must all be in one slot."""

    def __init__(self, cache: redis.Redis | ClusterCache, text: str) -> None:
        self._cache = cache
        self._text = text
        self._registered = None if isinstance(cache, ClusterCache) else cache.register_script(text)

    def __call__(self, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        """Run it; its reply. Raises redis.RedisError."""
        if isinstance(self._cache, ClusterCache):
            return self._cache.script(self._text, keys, arguments)
        if self._registered is None:
            raise AssertionError("a single server's script has been registered")
        return self._registered(keys=list(keys), args=list(arguments))
