"""The public reader: typed values, and a verdict that no age, flush or outage can fool."""

import msgspec
import pytest
import redis

from enrichment.feature.reader import FeatureReader
from enrichment.feature.reading import KEYS_MAX, SHARDS_MAX
from enrichment.feature.store import projection_key
from enrichment.pipelines import load
from enrichment.records import Verdict, VerdictName
from tests.feature.cached import NOW_MS, PARTITIONS, MemoryCache, heartbeat, ring, update

HOUR_MS = 3_600_000


def reader(cache: MemoryCache, *, now_ms: int = NOW_MS) -> FeatureReader:
    """A reader of that cache whose clock stands."""
    return FeatureReader(cache.client, cache.pipeline, clock_ns=lambda: now_ms * 1_000_000)


@pytest.fixture
def cache() -> MemoryCache:
    """An account in a subgraph that was sampled, in a shard that is heard."""
    return MemoryCache(
        heartbeat(),
        update("account", "42", "graph", values={"density": 0.5, "subgraph_since_ms": NOW_MS}),
        ring("account", "42", 0.8, version=7),
    )


def test_a_fresh_ring_is_read(cache: MemoryCache) -> None:
    """Verdict, estimates by path, and where they come from."""
    found = reader(cache).read("account", "42", "ring")
    assert found.verdict == Verdict(VerdictName.FRESH, "subgraph_unchanged")
    assert found.usable
    assert found.estimate("quantum", "membership") == 0.8
    assert found.estimate("classical", "membership") == 0.4
    assert (found.version, found.subgraph, found.computed_at_ms) == (7, "s1", NOW_MS)
    assert found.source is not None
    assert found.source.job_id == "j1"


def test_a_graph_is_read(cache: MemoryCache) -> None:
    """Values of the group `graph` are as fresh as their shard."""
    found = reader(cache).read("account", "42", "graph")
    assert found.verdict == Verdict(VerdictName.FRESH, "shard_heard")
    assert found.value("density") == 0.5
    assert found.value("unheard_of", prior=0.25) == 0.25


def test_a_stale_value_decays_towards_the_callers_prior(cache: MemoryCache) -> None:
    """An hour after the change half of the distance is gone; what was computed stays readable."""
    since = {"subgraph_since_ms": NOW_MS - HOUR_MS}
    cache.put(update("account", "42", "graph", subgraph="s2", values=since))
    found = reader(cache).read("account", "42", "ring")
    assert found.verdict == Verdict(VerdictName.STALE, "subgraph_changed")
    assert found.estimate("quantum", "membership") == pytest.approx(0.4)
    assert found.estimate("quantum", "membership", prior=0.2) == pytest.approx(0.5)
    assert found.estimates["quantum"]["membership"] == 0.8


def test_a_silent_shard_is_noticed(cache: MemoryCache) -> None:
    """The heartbeat is that of the shard which computed the graph, found without being told."""
    later = reader(cache, now_ms=NOW_MS + HOUR_MS)
    assert later.read("account", "42", "ring").verdict.reason == "shard_silent"
    cache.put(heartbeat("us", NOW_MS + HOUR_MS))
    assert later.read("account", "42", "ring").verdict.reason == "shard_silent"
    cache.put(heartbeat("eu", NOW_MS + HOUR_MS))
    assert later.read("account", "42", "ring").verdict.reason == "subgraph_unchanged"


def test_a_shard_may_bear_any_name() -> None:
    """Even the separator of a micro-batch's id in it does not hide its heartbeat."""
    cache = MemoryCache(
        heartbeat("a|1|2", NOW_MS + HOUR_MS),
        update("account", "42", "graph", shard="a|1|2"),
    )
    found = reader(cache, now_ms=NOW_MS + HOUR_MS).read("account", "42", "graph")
    assert found.verdict.reason == "shard_heard"


def test_who_left_every_subgraph_has_no_estimate(cache: MemoryCache) -> None:
    """What was sampled of a ring that is gone is not handed out, heard or silent."""
    cache.put(update("account", "42", "graph", subgraph=""))
    for now_ms in (NOW_MS, NOW_MS + HOUR_MS):
        found = reader(cache, now_ms=now_ms).read("account", "42", "ring")
        assert found.estimates == {}
        assert found.estimate("quantum", "membership", prior=0.1) == 0.1


def test_unknown_is_missing_and_old_is_fallback(cache: MemoryCache) -> None:
    """Never seen and too old are different answers, and neither gives values."""
    much_later = reader(cache, now_ms=NOW_MS + 3 * 86_400_000)
    old, new = much_later.read_many([("account", "42", "ring"), ("account", "43", "ring")])
    assert old.verdict == Verdict(VerdictName.FALLBACK, "too_old")
    assert new.verdict == Verdict(VerdictName.MISSING, "never_seen")
    assert not old.usable
    assert not new.usable
    assert old.estimates == new.estimates == {}


@pytest.mark.parametrize("group", ["ring", "graph"])
def test_half_a_replay_is_not_trusted(cache: MemoryCache, group: str) -> None:
    """While the partition of either group is projected again, the verdict is `rebuilding`."""
    cache.rebuild("account", "42", group)
    found = reader(cache).read("account", "42", "ring")
    assert found.verdict == Verdict(VerdictName.FALLBACK, "rebuilding")
    assert found.estimates == {}


def test_a_flushed_cache_says_rebuilding_and_not_missing(cache: MemoryCache) -> None:
    """An empty cache has not been filled yet: that an entity is unknown cannot be said."""
    reading = reader(cache)
    assert reading.read("account", "42", "ring").usable
    cache.held.clear()
    assert reading.read("account", "42", "ring").verdict.reason == "rebuilding"


def test_added_partitions_are_noticed(cache: MemoryCache) -> None:
    """The count of partitions is read with the values; new ones count once they are ready."""
    reading = reader(cache)
    assert reading.read("account", "42", "ring").usable
    cache.held["features:payments:projection"] = b"64"
    assert reading.read("account", "42", "ring").verdict.reason == "rebuilding"
    for number in range(64):
        cache.held[projection_key("payments", number)] = b"ready"
    assert reading.read("account", "42", "ring").usable


def test_without_redis_the_verdict_says_so(cache: MemoryCache) -> None:
    """No exception: whoever scores goes on without features."""
    cache.failure = redis.ConnectionError("gone")
    found = reader(cache).read("account", "42", "ring")
    assert found.verdict == Verdict(VerdictName.FALLBACK, "cache_unavailable")


def test_a_value_that_no_projector_wrote_raises(cache: MemoryCache) -> None:
    """Damage is not mistaken for absence."""
    cache.held["features:payments:account:42:ring"] = b'{"version":1}'
    with pytest.raises(msgspec.DecodeError):
        reader(cache).read("account", "42", "ring")


def test_many_are_read_in_order_and_in_pieces() -> None:
    """Answers stand where the questions stood, repeated ones included; MGETs stay small."""
    sizes: list[int] = []

    class Measuring(MemoryCache):
        def mget(self, keys: list[str]) -> list[bytes | None]:  # type: ignore[override]
            sizes.append(len(keys))
            return super().mget(keys)

    ids = [str(number) for number in range(KEYS_MAX)]
    cache = Measuring(heartbeat(), *(update("account", id_, "graph") for id_ in ids))
    wanted = [("account", id_, group) for id_ in [*ids, "0"] for group in ("graph", "ring")]
    found = reader(cache).read_many(wanted)
    assert [(each.kind, each.id, each.group) for each in found] == wanted
    assert {each.verdict.name for each in found if each.group == "graph"} == {VerdictName.FRESH}
    assert max(sizes) <= KEYS_MAX + 10
    assert reader(cache).read_many([]) == []


def test_one_question_is_enough_once_the_shards_are_known(cache: MemoryCache) -> None:
    """Values, marks, what is withdrawn and heartbeats come together."""
    reading = reader(cache)
    reading.read("account", "42", "ring")
    before = cache.reads
    assert reading.read("account", "42", "ring").usable
    assert cache.reads == before + 1


def test_more_shards_than_are_remembered_are_all_heard() -> None:
    """Those that are not remembered take a second question; what is remembered is bounded."""
    longest = 0

    class Measuring(MemoryCache):
        def mget(self, keys: list[str]) -> list[bytes | None]:  # type: ignore[override]
            nonlocal longest
            longest = max(longest, len(keys))
            return super().mget(keys)

    shards = [f"s{number}" for number in range(3 * SHARDS_MAX)]
    cache = Measuring(
        *(heartbeat(shard, NOW_MS + HOUR_MS) for shard in shards),
        *(update("account", shard, "graph", shard=shard) for shard in shards),
    )
    reading = reader(cache, now_ms=NOW_MS + HOUR_MS)
    for _ in range(2):
        for shard in shards:
            found = reading.read("account", shard, "graph")
            assert found.verdict == Verdict(VerdictName.FRESH, "shard_heard")
    assert longest <= SHARDS_MAX + PARTITIONS + 3


def test_figures_are_decoded_when_they_are_looked_at(cache: MemoryCache) -> None:
    """Once; and what no projector wrote among them raises then, not as if it were absent."""
    found = reader(cache).read("account", "42", "ring")
    assert found.estimates is found.estimates
    key = "features:payments:account:42:ring"
    cache.held[key] = cache.held[key].replace(b'"membership":0.8', b'"membership":"high"')
    damaged = reader(cache).read("account", "42", "ring")
    assert damaged.usable
    for _ in range(2):
        with pytest.raises(msgspec.DecodeError):
            damaged.estimate("quantum", "membership")


def test_what_is_shown_of_features_is_short(cache: MemoryCache) -> None:
    """Who, what and how far to trust it, in a log or a notebook."""
    assert repr(reader(cache).read("account", "42", "ring")) == (
        "Features(account '42' ring: fresh, subgraph_unchanged)"
    )


def test_a_replay_is_read_as_of_its_own_time() -> None:
    """For a pipeline that goes by event time, `at_ms` says when now is."""
    at_ms = 1_522_540_800_000
    cache = MemoryCache(
        heartbeat("all", at_ms, "cards"),
        update("customer", "1", "graph", pipeline="cards", shard="all", at_ms=at_ms),
        pipeline="cards",
    )
    reading = FeatureReader(cache.client, load("cards"), clock_ns=lambda: NOW_MS * 1_000_000)
    assert (
        reading.read("customer", "1", "graph", at_ms=at_ms + 1_000).verdict.reason == "shard_heard"
    )
    assert reading.read("customer", "1", "graph", at_ms=at_ms - 9_000).verdict.reason == (
        "from_the_future"
    )
    assert reading.read("customer", "1", "graph").verdict.reason == "too_old"
