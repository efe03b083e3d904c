"""Redis hurt: flushed, killed, started again empty, out of memory."""

import shutil
import time
from typing import Final

import pytest
import redis

from tests.faults.brokers import own_servers
from tests.faults.fault import Fault, Figures, Terms
from tests.faults.world import World

FULL_S: Final = 4.0  # long enough for a dozen rounds of the projector
AWAY_S: Final = 2.0
BACK_S: Final = 30.0
TERMS: Final = Terms(every_s=0.25)


def flushed(world: World) -> Figures:
    """FLUSHALL, under a reader that goes on asking."""
    with _client(world) as client:
        client.flushall()
    return _read_again(world)


def killed(world: World) -> Figures:
    """Kill -9, and a start with the file that it has kept."""
    server = world.ground.servers.redis
    server.process.kill()
    time.sleep(AWAY_S)
    server.start(within_s=BACK_S)
    return _read_again(world)


def emptied(world: World) -> Figures:
    """Kill -9, and a start without it: a machine that was replaced."""
    server = world.ground.servers.redis
    server.process.kill()
    shutil.rmtree(server.data_dir)
    time.sleep(AWAY_S)
    server.start(within_s=BACK_S)
    return _read_again(world)


def out_of_memory(world: World) -> Figures:
    """Every write is refused while `maxmemory` is a byte; what is there can still be read."""
    with _client(world) as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            client.set("faults:probe", "1")
        time.sleep(FULL_S)
        client.config_set("maxmemory", "0")
    return _read_again(world)


def _client(world: World) -> redis.Redis:
    return redis.Redis.from_url(world.ground.servers.redis_url, socket_timeout=5.0)


def _read_again(world: World) -> Figures:
    """How long until readers are told of something that was computed after this moment."""
    began_ms = time.time_ns() // 1_000_000

    def fresh() -> bool:
        return any(
            one.verdict == "fresh" and one.computed_at_ms > began_ms
            for one in tuple(world.probe.readings[-100:])
        )

    return {"fresh_again_s": world.until("fresh readings again", fresh, BACK_S)}


FAULTS: Final = tuple(
    Fault(name=name, what=what, do=do, terms=TERMS, ground=own_servers)
    for name, what, do in (
        ("Redis flushed", "FLUSHALL while it is read and written", flushed),
        ("Redis killed", "kill -9 of Redis, started again with its file", killed),
        ("Redis emptied", "kill -9 of Redis, started again without its file", emptied),
        (
            "Redis out of memory",
            "maxmemory of a byte for 4 s: every write is refused",
            out_of_memory,
        ),
    )
)
