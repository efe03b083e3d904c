"""Redis in memory, as the projector writes it and readers read it: it fails, and forgets."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import redis

from enrichment.feature.store import GUARD, rank_of, version_of
from enrichment.sample.budget import day_of
from tests.sample.memory_counter import MemoryCounter
from tests.simulation.world import Violation, World

PREFIX: Final = "features:"


class Server:
    """The one server; what it holds outlives its clients. The budget's counter is there, too."""

    def __init__(self, world: World, told: Callable[[str, bytes], None] = lambda *_: None) -> None:
        """`told` is called with each feature that is set."""
        self.world = world
        self._told = told
        self.values: dict[str, bytes] = {}
        self.counter = MemoryCounter(lambda: day_of(world.now_ms), lambda: world.now_ms / 1000)
        self.away = False

    def flush(self) -> None:
        """Forget everything."""
        self.world.note("redis", "is empty")
        self.world.met["redis emptied"] += 1
        self.values.clear()
        self.counter.flush()

    def go(self, *, away: bool) -> None:
        """Be away, or back as another run of the server."""
        self.world.note("redis", "is away" if away else "is back")
        self.world.met["redis away"] += away
        if self.away and not away:
            self.counter.restart(self.counter.snapshot())
        self.away = self.counter.away = away

    def put(self, key: str, value: bytes) -> None:
        """Set a value, and see that no feature goes back."""
        old = self.values.get(key)
        if old is not None and (before := version_of(old)) is not None:
            after = version_of(value)
            if after is None or after < before:
                raise Violation(f"redis: {key} goes from version {before} to {after}")
        self.values[key] = value
        self._told(key, value)

    def guard(self, values: Mapping[str, bytes]) -> int:
        """Set each value that is newer than what is stored, by `rank_of`; how many were."""
        written = 0
        for key, value in values.items():
            held = self.values.get(key)
            if held is None or rank_of(value) > rank_of(held):
                self.put(key, value)
                written += 1
        return written


class Client:
    """A client in one process: what it asks is asked in that process' name."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def _ask(self, name: str, effect: Any) -> Any:
        process = self._server.world.running
        assert process is not None
        return process.call(name, lambda: self._answered(effect))

    def _answered(self, effect: Any) -> Any:
        world = self._server.world
        if self._server.away:
            raise redis.ConnectionError("away")
        if world.troubled and world.chance(world.odds.lost / 4):
            if world.chance(0.5):
                effect()
            raise redis.TimeoutError("no answer")
        return effect()

    def get(self, key: str) -> bytes | None:
        """One value."""
        found: bytes | None = self._ask("get", lambda: self._server.values.get(key))
        return found

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Values in the order of the keys."""
        values = self._server.values
        found: list[bytes | None] = self._ask("mget", lambda: [values.get(key) for key in keys])
        return found

    def set(self, key: str, value: bytes | int, *, xx: bool = False) -> bool | None:
        """Set a value, or only where there is one (`xx`); None where it was not set."""
        raw = value if isinstance(value, bytes) else str(value).encode()

        def put() -> bool | None:
            if xx and key not in self._server.values:
                return None
            self._server.put(key, raw)
            return True

        done: bool | None = self._ask("set", put)
        return done

    def delete(self, *keys: str) -> None:
        """Delete keys."""

        def gone() -> None:
            for key in keys:
                self._server.values.pop(key, None)

        self._ask("set", gone)

    def register_script(self, script: str) -> Any:
        """The guard in Python; `tests/simulation/test_guard.py` holds it against the real one."""
        assert script == GUARD

        def guard(keys: list[str], args: Sequence[Any]) -> int:
            pairs = dict(zip(keys, args[1:], strict=True))
            written: int = self._ask("set", lambda: self._server.guard(pairs))
            return written

        return guard
