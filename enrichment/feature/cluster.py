"""A Redis Cluster's feature cache as one client, with the methods of redis.Redis that we use."""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import redis

from enrichment.feature.address import Address
from enrichment.feature.routing import Make, Router, mget
from enrichment.feature.store import GUARD, GUARD_SHA
from enrichment.feature.wire import Command, Reply

T = TypeVar("T")


class ClusterCache:
    """A client of a cluster's feature cache, with what of redis.Redis this room uses.

    Connects when it is first used. Any thread may use it; calls take turns. Each ends within about
    `timeout_s`, one that has to connect first within `connect_s` more.
    """

    def __init__(
        self, address: Address, *, timeout_s: float, connect_s: float, retries: int = 0
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._connect_s = connect_s
        self._retries = retries
        self._router: Router | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"ClusterCache({self._address})"

    def close(self) -> None:
        """Let go of all connections; the next call connects again."""
        with self._lock:
            self._drop()

    def ping(self) -> bool:
        """True once every primary answers. Raises redis.RedisError."""

        def ping(router: Router, deadline_s: float) -> bool:
            for wire in router.wires.values():
                [reply] = wire.ask([("PING",)], deadline_s)
                if isinstance(reply, redis.RedisError):
                    raise reply
            return True

        return self._with_router(ping)

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of keys of any slots, None where there is none."""

        def read(router: Router, deadline_s: float) -> list[bytes | None]:
            found: list[bytes | None] = [None] * len(keys)
            for call, values in router.execute(router.calls(mget, keys), deadline_s):
                for place, value in zip(call.places, values, strict=True):
                    found[place] = value
            return found

        return self._with_router(read)

    def get(self, key: str) -> bytes | None:
        """The value of one key."""
        return self.mget([key])[0]

    def set(
        self, key: str, value: str | bytes | int, *, px: int | None = None, xx: bool = False
    ) -> bool:
        """Set one key, for ever or for `px` milliseconds; whether it was set.

        With `xx` only where it is there already.
        """
        options = (*(() if px is None else ("PX", px)), *(("XX",) if xx else ()))
        [reply] = self._run(lambda keys, _: ("SET", keys[0], value, *options), [key])
        return reply is not None

    def mset(self, values: Mapping[str, bytes]) -> bool:
        """Set keys of any slots. Unlike on one server, not all at one moment."""

        def make(keys: list[str], values: list[bytes]) -> Command:
            pairs = zip(keys, values, strict=True)
            return ("MSET", *(part for pair in pairs for part in pair))

        self._run(make, list(values), list(values.values()))
        return True

    def delete(self, *keys: str) -> int:
        """Delete keys of any slots; how many were there."""
        return sum(self._run(lambda keys, _: ("DEL", *keys), keys))

    def flushall(self) -> bool:
        """Forget everything, on every node."""

        def flush(router: Router, deadline_s: float) -> bool:
            for wire in router.wires.values():
                [reply] = wire.ask([("FLUSHALL",)], deadline_s)
                if isinstance(reply, redis.RedisError):
                    raise reply
            return True

        return self._with_router(flush)

    def guard(self, values: Mapping[str, bytes], ttl_ms: int) -> int:
        """Set each key whose stored version is lower; how many were set. See `store.GUARD`."""

        def make(*script: str) -> Make:
            return lambda keys, values: (*script, len(keys), *keys, ttl_ms, *values)

        def write(router: Router, deadline_s: float) -> int:
            calls = router.calls(make("EVALSHA", GUARD_SHA), values, list(values.values()))
            for call in calls:
                # A node that is new, or has lost its scripts, learns it by this.
                call.otherwise = make("EVAL", GUARD)
            return sum(reply for _, reply in router.execute(calls, deadline_s))

        return self._with_router(write)

    def script(self, text: str, keys: Sequence[str], arguments: Sequence[str | int]) -> Reply:
        """Run a Lua script whose keys are all in the slot of the first."""
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

        def make(*how: str) -> Make:
            # Whatever becomes of the call on its way, the script is given all of its keys.
            return lambda _keys, _values: (*how, len(keys), *keys, *arguments)

        def run(router: Router, deadline_s: float) -> Reply:
            [call] = router.calls(make("EVALSHA", sha), keys[:1])
            call.otherwise = make("EVAL", text)
            [(_, reply)] = router.execute([call], deadline_s)
            return reply

        return self._with_router(run)

    def _run(
        self,
        make: Make,
        keys: Sequence[str],
        values: Sequence[bytes] = (),
    ) -> list[Reply]:
        def run(router: Router, deadline_s: float) -> list[Reply]:
            calls = router.calls(make, keys, values)
            return [reply for _, reply in router.execute(calls, deadline_s)]

        return self._with_router(run)

    def _with_router(self, use: Callable[[Router, float], T]) -> T:
        for left in range(self._retries, -1, -1):
            try:
                return self._once(use)
            except redis.ConnectionError:
                if not left:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _once(self, use: Callable[[Router, float], T]) -> T:
        with self._lock:
            if self._router is None:
                router = Router(self._address, track=False)
                try:
                    router.connect(time.monotonic() + self._connect_s)
                except BaseException:
                    router.close()
                    raise
                self._router = router
            try:
                return use(self._router, time.monotonic() + self._timeout_s)
            except BaseException:
                self._drop()
                raise

    def _drop(self) -> None:
        if self._router is not None:
            self._router.close()
            self._router = None
