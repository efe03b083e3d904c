"""The cache's contract: the hot path and the public reader say the same, in memory or in Redis."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enrichment.enrich.decode import Decoder
from enrichment.enrich.events import Event
from enrichment.enrich.features import FeaturePlan
from enrichment.enrich.known import KnownFeatures
from enrichment.enrich.lookup import Lookup
from enrichment.enrich.score import Scorer
from enrichment.feature.reader import FeatureReader
from enrichment.feature.reads import Read
from enrichment.feature.store import Layout
from enrichment.lab.servers import LocalServers
from enrichment.records import FeatureUpdate, FeatureUsed
from enrichment.rollout.control import ControlState
from tests.enrich.streams import PAYMENTS, columns, payment
from tests.feature.cached import NOW_MS, PARTITIONS, MemoryCache, heartbeat, ring, update

pytestmark = pytest.mark.servers

Filled = Callable[[MemoryCache], redis.Redis]


class Reads:
    """Complete reads of a client, as of a server that tells of no changes."""

    tracking = False

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def read(self, keys: Sequence[str]) -> Read:
        """The values."""
        values: list[Any] = self._client.mget(keys)
        return Read(values, None, None)


def used_by_the_hot_path(client: redis.Redis) -> list[FeatureUsed]:
    """The features of the event as the hot path sees them."""
    lookup = Lookup(Reads(client), Layout("payments"), PARTITIONS, lambda: NOW_MS)
    nothing = ControlState(pipeline="payments")
    plan, scorer = FeaturePlan(PAYMENTS), Scorer(PAYMENTS)
    known = KnownFeatures(plan, scorer, lookup, lambda: NOW_MS, lambda: nothing)
    _, [views] = known.views(columns(decoded()))
    return [used for view in views for used in view.used]


@pytest.fixture(params=["memory", "redis"])
def filled(request: pytest.FixtureRequest, servers: LocalServers) -> Filled:
    """A function that makes a client of a cache which holds just what the one in memory does."""
    if request.param == "memory":
        return lambda cache: cache.client
    client = redis.Redis.from_url(servers.redis_url)

    def fill(cache: MemoryCache) -> redis.Redis:
        if old := client.keys("features:payments:*"):
            client.delete(*old)
        if cache.held:
            client.mset(cache.held)
        return client

    return fill


def decoded() -> Event:
    """The event of all these tests."""
    event = Decoder(PAYMENTS).decode(payment(), now_ms=NOW_MS)
    assert isinstance(event, Event)
    return event


AGES = st.sampled_from([-5_000, -500, 0, 10_000, 40_000, 3_600_000, 90_000_000])
SUBGRAPHS = st.sampled_from(["s1", "s2", ""])
ENTITIES = [("account", "a1"), ("device", "d1"), ("beneficiary", "b1")]
GRAPHS = st.builds(
    lambda entity, subgraph, age_ms, since_ms: update(
        entity[0],
        entity[1],
        "graph",
        subgraph=subgraph,
        at_ms=NOW_MS - age_ms,
        values={"density": 0.5, "subgraph_since_ms": NOW_MS - age_ms - since_ms},
    ),
    st.sampled_from(ENTITIES),
    SUBGRAPHS,
    AGES,
    st.sampled_from([0, 3_600_000]),
)
RINGS = st.builds(
    lambda entity, membership, age_ms: ring(
        entity[0], entity[1], membership, at_ms=NOW_MS - age_ms
    ),
    st.sampled_from(ENTITIES),
    st.floats(0, 1),
    AGES,
)
BEATS = st.builds(lambda age_ms: heartbeat(at_ms=NOW_MS - age_ms), AGES)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    updates=st.lists(GRAPHS | RINGS | BEATS, max_size=8),
    rebuilt=st.none() | st.tuples(st.sampled_from(ENTITIES), st.sampled_from(["graph", "ring"])),
)
def test_the_hot_path_and_the_reader_agree(
    filled: Filled,
    updates: list[FeatureUpdate],
    rebuilt: tuple[tuple[str, str], str] | None,
) -> None:
    """Of every entity and group: the same verdict, age and version, and the same decayed values."""
    cache = MemoryCache(*updates)
    if rebuilt is not None:
        cache.rebuild(*rebuilt[0], rebuilt[1])
    client = filled(cache)
    reader = FeatureReader(client, PAYMENTS, clock_ns=lambda: NOW_MS * 1_000_000)
    for used in used_by_the_hot_path(client):
        read = reader.read(used.kind, used.id, used.group)
        assert (read.verdict, read.age_ms) == (used.verdict, used.age_ms)
        assert read.version == used.version
        for path, estimates in used.estimates.items():
            for name, value in estimates.items():
                assert read.estimate(path, name) == value
        for name, value in used.values.items():
            assert read.value(name) == value
        assert set(used.estimates) == set(read.estimates)


def test_an_empty_cache_is_rebuilding_to_both(filled: Filled) -> None:
    """Before anything was projected, nobody says that an entity was never seen."""
    empty = MemoryCache()
    empty.held.clear()
    client = filled(empty)
    reasons = {used.verdict.reason for used in used_by_the_hot_path(client)}
    reader = FeatureReader(client, PAYMENTS, clock_ns=lambda: NOW_MS * 1_000_000)
    reasons.add(reader.read("account", "a1", "ring").verdict.reason)
    assert reasons == {"rebuilding"}
