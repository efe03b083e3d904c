"""The hot path's read: bounded, and a cache that fails is left alone for a while."""

import pytest
import redis

from enrichment.enrich.lookup import Found, Lookup
from enrichment.feature.breaker import FAILURES_MAX, OPEN_MS
from enrichment.feature.store import Layout
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
    return Lookup(cache, Layout("payments"), PARTITIONS, clock)


def read(lookup: Lookup) -> Found | None:
    """One read of a shard and the two accounts."""
    return lookup.read(["eu"], WANTED)


def test_values_come_in_the_order_in_which_they_are_asked_for(lookup: Lookup) -> None:
    """What is there can be decoded, what is not is None, and the shard was heard."""
    found = read(lookup)
    assert found is not None
    there, missing = found.values
    assert there is not None
    assert lookup.decoded(there) == update("account", "a1", "graph")
    assert missing is None
    assert found.heard == {"eu": heartbeat()}
    assert not found.rebuilding


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
    """Failures in a row open the breaker; then one read probes it, and one that works closes it."""
    cache.failure = failure
    for _ in range(FAILURES_MAX):
        assert read(lookup) is None
    for step_ms in (0, 1, OPEN_MS - 2):
        clock.now_ms += step_ms
        assert read(lookup) is None
    assert cache.reads == FAILURES_MAX
    clock.now_ms += 1
    assert read(lookup) is None
    assert read(lookup) is None
    assert cache.reads == FAILURES_MAX + 1
    cache.failure = None
    clock.now_ms += 2 * OPEN_MS
    assert read(lookup) is not None
    assert read(lookup) is not None
    assert cache.reads == FAILURES_MAX + 3


def test_a_read_that_works_forgives_those_before(lookup: Lookup, cache: MemoryCache) -> None:
    """Failures that are not in a row never open the breaker: every read is tried."""
    for _ in range(3 * FAILURES_MAX):
        cache.failure = redis.TimeoutError("slow")
        assert read(lookup) is None
        cache.failure = None
        assert read(lookup) is not None
    assert cache.reads == 6 * FAILURES_MAX


def test_a_bug_is_not_taken_for_an_outage(lookup: Lookup, cache: MemoryCache) -> None:
    """Only what Redis or its connection says opens the breaker."""
    cache.failure = TypeError("a bug")
    with pytest.raises(TypeError):
        read(lookup)


def test_a_partition_that_is_not_ready_is_rebuilding(lookup: Lookup, cache: MemoryCache) -> None:
    """A marker that is missing, or says otherwise, puts its partition in doubt."""
    cache.rebuild("account", "a1", "graph")
    found = read(lookup)
    assert found is not None
    assert len(found.rebuilding) == 1
    flushed = MemoryCache()
    flushed.held.clear()
    found = read(Lookup(flushed, Layout("payments"), PARTITIONS, lambda: NOW_MS))
    assert found is not None
    assert found.rebuilding == frozenset(range(PARTITIONS))


@pytest.mark.parametrize("cluster", [False, True])
def test_changes_come_as_entities(clock: Clock, cluster: bool) -> None:
    """A key that changed names its entity, whatever its id and the layout; other keys name none."""
    layout = Layout("payments", cluster=cluster)
    cache = MemoryCache()
    lookup = Lookup(cache, layout, PARTITIONS, clock)
    first = lookup.read([], [])
    assert first is not None
    assert first.changed is None
    keys = [layout.feature("account", id_, "ring") for id_ in ("a1", "a:{b}:c", "{7}")]
    others = ["features:payments:projection", "features:other:account:a1:ring", "x"]
    cache.changed = {key.encode() for key in (*keys, *others)} | {b"\xff"}
    second = lookup.read([], [])
    assert second is not None
    assert second.changed == {("account", "a1"), ("account", "a:{b}:c"), ("account", "{7}")}
