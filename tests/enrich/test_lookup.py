"""The hot path's read: bounded, and a cache that fails is left alone for a while."""

from typing import Any

import pytest
import redis

from enrichment.enrich.lookup import FAILURES_MAX, KEYS_MAX, OPEN_MS, Lookup
from tests.feature.cached import NOW_MS, PARTITIONS, MemoryCache, heartbeat, update

WANTED = [("account", "a1", "graph"), ("account", "a2", "graph")]


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        """The time that it stands at."""
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    """The breaker's clock."""
    return Clock()


@pytest.fixture
def cache() -> MemoryCache:
    """A cache that knows one of the two accounts."""
    return MemoryCache(heartbeat(), update("account", "a1", "graph"))


@pytest.fixture
def lookup(cache: MemoryCache, clock: Clock) -> Lookup:
    """A lookup in that cache."""
    return Lookup(cache.client, "payments", PARTITIONS, clock)


def test_values_come_by_what_they_are_of(lookup: Lookup) -> None:
    """What is there is typed, what is not is None, and nothing is being rebuilt."""
    found = lookup.read(WANTED)
    assert found is not None
    assert found.get(*WANTED[0]) == update("account", "a1", "graph")
    assert found.get(*WANTED[1]) is None
    assert not found.rebuilding("payments|account|a1|graph")


@pytest.mark.parametrize(
    "failure",
    [
        redis.TimeoutError("slow"),
        redis.ConnectionError("gone"),
        redis.exceptions.BusyLoadingError("loading"),
        redis.exceptions.AuthenticationError("who?"),
        redis.ResponseError("out of memory"),
    ],
)
def test_a_failing_cache_is_left_alone_and_then_probed(
    lookup: Lookup, cache: MemoryCache, clock: Clock, failure: Exception
) -> None:
    """Failures in a row open the breaker; then one read is tried every OPEN_MS, until one works."""
    cache.failure = failure
    for _ in range(FAILURES_MAX):
        assert lookup.read(WANTED) is None
    for step_ms in (0, 1, OPEN_MS - 2):
        clock.now_ms += step_ms
        assert lookup.read(WANTED) is None
    assert cache.reads == FAILURES_MAX
    clock.now_ms += 1
    assert lookup.read(WANTED) is None
    assert lookup.read(WANTED) is None
    assert cache.reads == FAILURES_MAX + 1
    cache.failure = None
    clock.now_ms += OPEN_MS
    assert lookup.read(WANTED) is not None
    assert lookup.read(WANTED) is not None
    assert cache.reads == FAILURES_MAX + 3


def test_a_read_that_works_forgives_those_before(lookup: Lookup, cache: MemoryCache) -> None:
    """Failures that are not in a row never open the breaker: every read is tried."""
    for _ in range(3 * FAILURES_MAX):
        cache.failure = redis.TimeoutError("slow")
        assert lookup.read(WANTED) is None
        cache.failure = None
        assert lookup.read(WANTED) is not None
    assert cache.reads == 6 * FAILURES_MAX


def test_a_bug_is_not_taken_for_an_outage(lookup: Lookup, cache: MemoryCache) -> None:
    """Only what Redis or its connection says opens the breaker."""
    cache.failure = TypeError("a bug")
    with pytest.raises(TypeError):
        lookup.read(WANTED)


def test_a_partition_that_is_not_ready_is_rebuilding(lookup: Lookup, cache: MemoryCache) -> None:
    """Of a marker that is missing or says otherwise, all keys of that partition are in doubt."""
    cache.rebuild("account", "a1", "graph")
    found = lookup.read(WANTED)
    assert found is not None
    assert found.rebuilding("payments|account|a1|graph")
    flushed = MemoryCache()
    flushed.held.clear()
    found = Lookup(flushed.client, "payments", PARTITIONS, lambda: NOW_MS).read(WANTED)
    assert found is not None
    assert all(found.rebuilding(f"payments|account|{n}|graph") for n in range(20))


def test_a_large_read_is_cut_in_pieces(clock: Clock) -> None:
    """No MGET has more than KEYS_MAX keys, and the pieces join in order."""
    sizes: list[int] = []

    class Measuring(MemoryCache):
        def mget(self, keys: Any) -> list[bytes | None]:
            sizes.append(len(keys))
            return super().mget(keys)

    ids = [str(number) for number in range(KEYS_MAX * 2)]
    cache = Measuring(*(update("account", id_, "graph", version=int(id_)) for id_ in ids))
    wanted = [("account", id_, "graph") for id_ in ids]
    found = Lookup(cache.client, "payments", PARTITIONS, clock).read(wanted)
    assert found is not None
    versions = [value.version for each in wanted if (value := found.get(*each)) is not None]
    assert versions == [int(id_) for id_ in ids]
    assert max(sizes) <= KEYS_MAX
