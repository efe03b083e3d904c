"""Kept answers in a real Redis: there for a while, and nobody's trouble where Redis has some."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from enrichment.feature.connection import open_cache
from enrichment.lab.redis_server import RedisServer
from enrichment.provider.contract import Result
from enrichment.provider.kept import KEPT_MS, Kept
from enrichment.provider.kept_store import TIMEBOX_S, RedisAnswers
from enrichment.provider.pool import Pool
from tests.feature.deployments import cluster, running
from tests.provider.requests import now_ms, request_of, result_of, until
from tests.provider.slow_device import SlowDevice

pytestmark = pytest.mark.servers

RULES = ("~kept:*", "+mget", "+set")
"""What docs/devices.md says that the sampler needs of Redis for this."""


@pytest.fixture
def pool() -> Iterator[Pool]:
    """A pool that is not needed: no twins are asked for."""
    pool = Pool(workers=1)
    yield pool
    pool.close()


def answers_at(url: str) -> RedisAnswers:
    """The store as the sampler opens it."""
    return RedisAnswers(open_cache(url, TIMEBOX_S))


def test_answers_outlive_the_process_and_not_their_time(own_redis: RedisServer, pool: Pool) -> None:
    """Another process finds them, by a user who may do nothing else; Redis lets go of them."""
    admin = redis.Redis.from_url(f"redis://{own_redis.address}")
    admin.acl_setuser("sample", enabled=True, passwords=["+secret"])
    admin.execute_command("ACL", "SETUSER", "sample", *RULES)  # type: ignore[no-untyped-call]
    device = SlowDevice(pool, now_ms)
    url = f"redis://sample:secret@{own_redis.address}"
    first = result_of(Kept(device, answers_at(url), pool, now_ms), request_of("first"))
    until(lambda: admin.dbsize() == 2)
    second = result_of(Kept(device, answers_at(url), pool, now_ms), request_of("second"))
    assert device.accepted == 1
    for old, new in zip(first.sets, second.sets, strict=True):
        assert new.kept is not None
        assert (old.bits == new.bits).all()
    keys = admin.keys("kept:1:*")
    assert len(keys) == 2
    assert all(0 < admin.pttl(key) <= KEPT_MS for key in keys)
    assert all(admin.strlen(key) < 1_000 for key in keys)
    admin.flushall()
    result_of(Kept(device, answers_at(url), pool, now_ms), request_of("third"))
    assert device.accepted == 2


def test_a_redis_that_is_full_away_or_hung_costs_no_job(own_redis: RedisServer, pool: Pool) -> None:
    """Jobs run and are paid as if nothing had been kept, none later than by three timeboxes."""
    admin = redis.Redis.from_url(f"redis://{own_redis.address}")
    device = SlowDevice(pool, now_ms)
    kept = Kept(device, answers_at(f"redis://{own_redis.address}"), pool, now_ms)
    admin.config_set("maxmemory", "1")
    assert isinstance(result_of(kept, request_of("full")), Result)
    admin.config_set("maxmemory", "0")
    admin.client_pause(3_000, all=True)
    for number in range(3):
        began = time.monotonic()
        result_of(kept, request_of(f"hung-{number}"))
        assert time.monotonic() - began < 4 * TIMEBOX_S
    own_redis.process.stop()
    for number in range(3):
        began = time.monotonic()
        result_of(kept, request_of(f"away-{number}"))
        assert time.monotonic() - began < 4 * TIMEBOX_S
    assert device.accepted == 7


def test_a_cluster_keeps_them_too(tmp_path: Path, pool: Pool) -> None:
    """The answers of one job lie on several nodes, for as long."""
    device = SlowDevice(pool, now_ms)
    with running(cluster, tmp_path) as deployment:
        answers = answers_at(deployment.url)
        keys = [f"kept:1:{number}" for number in range(64)]
        answers.put({key: key.encode() for key in keys}, 60_000)
        assert answers.get([*keys, "kept:1:none"]) == [*(key.encode() for key in keys), None]
        kept = Kept(device, answers, pool, now_ms)
        result_of(kept, request_of("first"))
        until(lambda: result_of(kept, request_of(f"{time.monotonic()}")).cost == 0.0)
