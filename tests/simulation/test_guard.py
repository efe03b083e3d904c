"""The simulated Redis does what the real one does with the guard."""

from random import Random

import msgspec
import pytest
import redis

from enrichment.feature.store import GUARD
from enrichment.lab.redis_server import RedisServer
from tests.feature.cached import update
from tests.simulation.cache import Server
from tests.simulation.odds import Odds
from tests.simulation.world import World


@pytest.mark.servers
def test_the_guard_in_memory_is_the_guard_of_redis(own_redis: RedisServer) -> None:
    """Over a thousand random batches: as many are set, and the same values stand."""
    draw = Random(7)
    client = redis.Redis(port=own_redis.port)
    script = client.register_script(GUARD)
    memory = Server(World(7, Odds.of(draw), draw))
    for _ in range(1_000):
        names = draw.sample(("a", "b", "c"), draw.randint(1, 3))
        values = {
            f"features:payments:account:{name}:ring": msgspec.json.encode(
                update(
                    "account", name, "ring", version=draw.randint(0, 9), at_ms=draw.randint(0, 9)
                )
            )
            for name in names
        }
        written = script(keys=list(values), args=[60_000, *values.values()])
        assert memory.guard(values) == written
        keys = sorted(memory.values)
        assert client.mget(keys) == [memory.values[key] for key in keys]
        if draw.random() < 0.1:
            client.flushall()
            memory.flush()
