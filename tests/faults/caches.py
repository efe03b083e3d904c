"""Redis hurt: flushed, killed, started again empty, out of memory."""

import shutil
import time
from collections.abc import Callable
from typing import Final

import pytest
import redis

from enrichment.stream.topics import FEATURES
from tests.faults.brokers import own_servers
from tests.faults.fault import Fault, Figures, Terms
from tests.faults.probe import cached
from tests.faults.world import World

FULL_S: Final = 4.0  # long enough for a dozen rounds of the projector
AWAY_S: Final = 2.0
BACK_S: Final = 30.0
TERMS: Final = Terms(every_s=0.25)


def flushed(world: World) -> None:
    """FLUSHALL."""
    with _client(world) as client:
        client.flushall()


def killed(world: World) -> None:
    """Kill -9, and a start with the file that it has kept."""
    server = world.ground.servers.redis
    server.process.kill()
    time.sleep(AWAY_S)
    server.start(within_s=BACK_S)


def emptied(world: World) -> None:
    """Kill -9, and a start without it: a machine that was replaced."""
    server = world.ground.servers.redis
    server.process.kill()
    shutil.rmtree(server.data_dir)
    time.sleep(AWAY_S)
    server.start(within_s=BACK_S)


def hurt_twice(hurt: Callable[[World], None]) -> Callable[[World], Figures]:
    """Under load, and once more when all is quiet: what was lost comes from the topic alone."""

    def do(world: World) -> Figures:
        hurt(world)
        fresh_s = _fresh_again_s(world)
        _quiet(world)
        hurt(world)
        return {"fresh_again_s": fresh_s, "whole_again_s": _whole_again_s(world)}

    return do


def out_of_memory(world: World) -> Figures:
    """Every write is refused while `maxmemory` is a byte, the last ones there are among them."""
    with _client(world) as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            client.set("faults:probe", "1")
        time.sleep(FULL_S)
        _quiet(world)
        client.config_set("maxmemory", "0")
    return {"whole_again_s": _whole_again_s(world)}


def _client(world: World) -> redis.Redis:
    return redis.Redis.from_url(world.ground.servers.redis_url, socket_timeout=5.0)


def _quiet(world: World) -> None:
    """Nothing more is written to the topics."""
    world.source.stop()
    world.until("all jobs end", lambda: world.watch.terminal(world.source.sent), BACK_S)


def _fresh_again_s(world: World) -> float:
    """How long until readers are told of something that was computed after this moment."""
    began_ms = time.time_ns() // 1_000_000

    def fresh() -> bool:
        return any(
            one.verdict == "fresh" and one.computed_at_ms > began_ms
            for one in tuple(world.probe.readings[-100:])
        )

    return world.until("fresh readings again", fresh, BACK_S)


def _whole_again_s(world: World) -> float:
    """How long until the cache holds the newest version of all that the topic holds."""
    newest: dict[str, int] = {}
    for one in world.watch.of(FEATURES, 0):
        newest[one.key] = max(one.head.version, newest.get(one.key, 0))
    url = world.ground.servers.redis_url
    return world.until(
        "the cache whole again", lambda: cached(url, world.name, newest) == newest, BACK_S
    )


FAULTS: Final = tuple(
    Fault(name=name, what=what, do=do, terms=TERMS, ground=own_servers)
    for name, what, do in (
        ("Redis flushed", "FLUSHALL, under load and in quiet", hurt_twice(flushed)),
        (
            "Redis killed",
            "kill -9 of Redis, started again with its file, under load and in quiet",
            hurt_twice(killed),
        ),
        (
            "Redis emptied",
            "kill -9 of Redis, started again without its file, under load and in quiet",
            hurt_twice(emptied),
        ),
        (
            "Redis out of memory",
            "maxmemory of a byte for some seconds, the last writes among those refused",
            out_of_memory,
        ),
    )
)
