"""The cache's contract, whatever answers: alone, on a socket, over TLS, sentinels or a cluster."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enrichment.feature import reads as module
from enrichment.feature import routing
from enrichment.feature.address import Address
from enrichment.feature.cluster import ClusterCache
from enrichment.feature.connection import Writer, is_cluster, open_cache
from enrichment.feature.reader import FeatureReader
from enrichment.feature.reads import TrackedReads
from enrichment.feature.store import READY, Layout
from enrichment.records import FeatureUpdate
from tests.feature import deployments
from tests.feature.cached import NOW_MS, PARTITIONS, heartbeat, ring, update
from tests.feature.deployments import Deployment, eventually, running
from tests.feature.readers import WAYS, Way

pytestmark = pytest.mark.servers

Cache = redis.Redis | ClusterCache
FORMS: dict[str, Callable[[Path], Deployment]] = {
    "single": deployments.single,
    "unix": deployments.unix,
    "tls": deployments.tls,
    "sentinel": deployments.sentinel,
    "cluster": deployments.cluster,
}
shared_between_examples = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module", params=FORMS)
def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Servers of each form in turn."""
    with running(FORMS[request.param], tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture
def cache(deployment: Deployment) -> Iterator[Cache]:
    """A client of a cache that holds nothing."""
    client = open_cache(deployment.url, 5.0)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def reads(deployment: Deployment, cache: Cache) -> Iterator[TrackedReads]:
    """Tracked reads that have not read yet; requested after the flush."""
    assert cache.ping()
    tracked = TrackedReads(Address.parse(deployment.url), 5.0)
    tracked.connect(5.0)
    yield tracked
    tracked.close()


@pytest.fixture
def keys(cache: Cache) -> list[str]:
    """Fifty keys; on a cluster, in most buckets and on all nodes."""
    layout = Layout("payments", cluster=is_cluster(cache))
    return [layout.feature("account", str(number), "ring") for number in range(50)]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands and flights so small that fifty keys need several."""
    monkeypatch.setattr(module, "KEYS_MAX", 3)
    monkeypatch.setattr(routing, "KEYS_MAX", 3)
    monkeypatch.setattr(module, "IN_FLIGHT_MAX", 10)


@shared_between_examples
@given(places=st.lists(st.integers(0, 49), max_size=120))
@pytest.mark.usefixtures("small_parts")
def test_values_stand_where_their_keys_stood(
    cache: Cache, reads: TrackedReads, keys: list[str], places: list[int]
) -> None:
    """Repeated keys, absent ones, none at all; however many commands it takes."""
    held = {key: b"%d" % number for number, key in enumerate(keys) if number % 3}
    for key, value in held.items():
        cache.set(key, value)
    wanted = [keys[place] for place in places]
    assert reads.read(wanted).values == [held.get(key) for key in wanted]
    assert cache.mget(wanted) == [held.get(key) for key in wanted] if wanted else True


def test_the_first_read_says_that_nothing_is_known(reads: TrackedReads, keys: list[str]) -> None:
    """And those after it that nothing has changed, if nothing has."""
    assert reads.read(keys).changed is None
    assert reads.tracking
    for wanted in (keys, keys[:1], []):
        read = reads.read(wanted)
        assert (read.changed, read.overtaken) == (frozenset(), frozenset())


@pytest.mark.parametrize("change", ["set", "guard", "delete", "expire", "first written"])
def test_a_small_read_tells_of_every_change(
    cache: Cache, reads: TrackedReads, keys: list[str], change: str
) -> None:
    """Of any key that was read before, on any node, once; and of no other."""
    if change != "first written":
        for key in keys:
            cache.set(key, b"old")
    reads.read(keys)
    changed = keys[10:20]
    if change == "guard":
        Writer(cache).write(dict.fromkeys(changed, b'{"version":1,"x":1}'), 60_000)
    elif change == "delete":
        cache.delete(*changed)
    elif change == "expire" and isinstance(cache, redis.Redis):
        for key in changed:
            cache.pexpire(key, 30)
    else:
        for key in changed:
            cache.set(key, b"new")
    cache.set(Layout("other").feature("account", "1", "ring"), b"never read")
    told: set[bytes] = set()
    expected = {key.encode() for key in changed}

    def complete() -> bool:
        read = reads.read([])
        assert read.changed is not None
        assert read.overtaken is not None
        told.update(read.changed, read.overtaken)
        return told == expected

    if change == "expire":
        eventually("all are told of", complete)
    else:
        assert complete()
    assert reads.read(keys[:1]).changed == frozenset()


def test_a_flush_makes_everything_unknown(
    cache: Cache, reads: TrackedReads, keys: list[str]
) -> None:
    """On one server or on every node."""
    reads.read(keys)
    assert reads.read([]).changed == frozenset()
    cache.flushall()
    assert reads.read(keys[:1]).changed is None
    assert reads.read(keys[:1]).changed == frozenset()


def test_a_killed_connection_costs_no_read(
    deployment: Deployment, cache: Cache, reads: TrackedReads, keys: list[str]
) -> None:
    """The same read is answered over a new one, and says that everything is unknown."""
    cache.set(keys[0], b"1")
    reads.read(keys)
    for server in deployment.servers:
        with server.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
    read = reads.read(keys[:1])
    assert (read.values, read.changed) == ([b"1"], None)


@pytest.mark.usefixtures("small_parts")
def test_a_kept_copy_is_never_older_than_a_read_of_everything(
    deployment: Deployment, cache: Cache, reads: TrackedReads, keys: list[str]
) -> None:
    """While versions rise: after one small read the copy is at least what anyone saw before it."""
    stop = threading.Event()
    versions = dict.fromkeys(keys, 0)

    def hammer() -> None:
        draw = random.Random(7)
        writer = open_cache(deployment.url, 5.0)
        while not stop.is_set():
            key = draw.choice(keys)
            versions[key] += 1
            writer.set(key, b"%d" % versions[key])
            if draw.random() < 0.05:
                time.sleep(0.002)
        writer.close()

    thread = threading.Thread(target=hammer)
    thread.start()
    kept: dict[str, int] = {}
    rounds = served = told = 0
    try:
        until_s = time.monotonic() + 1.0
        while time.monotonic() < until_s:
            before = cache.mget(keys)
            missing = [key for key in keys[1:] if key not in kept]
            read = reads.read([keys[0], *missing])
            read.forget_changed(kept)
            kept |= zip([keys[0], *missing], (int(v or 0) for v in read.values), strict=True)
            for key, seen in zip(keys, before, strict=True):
                assert kept.get(key, versions[key]) >= int(seen or 0)
            served += len(kept) - len(missing) - 1
            read.forget_overtaken(kept)
            told += len(read.changed or ()) + len(read.overtaken or ())
            rounds += 1
    finally:
        stop.set()
        thread.join()
    assert rounds > 20
    assert told > 20
    assert served > 100


@shared_between_examples
@given(
    batches=st.lists(
        st.dictionaries(st.integers(0, 49), st.integers(0, 2**53), min_size=1, max_size=20),
        max_size=4,
    ),
    flushed=st.booleans(),
)
def test_versions_never_go_back(
    deployment: Deployment,
    cache: Cache,
    keys: list[str],
    batches: list[dict[int, int]],
    flushed: bool,
) -> None:
    """In batches across slots and nodes, even where servers have lost their scripts."""
    writer = Writer(cache)
    cache.delete(*keys)
    highest: dict[int, int] = {}
    for batch in batches:
        if flushed:
            for server in deployment.servers:
                with server.client() as client:
                    client.script_flush()
        values = {keys[n]: b'{"version":%d,"x":1}' % version for n, version in batch.items()}
        expected = sum(version > highest.get(n, -1) for n, version in batch.items())
        assert writer.write(values, 60_000) == expected
        highest |= {n: max(version, highest.get(n, -1)) for n, version in batch.items()}
    held = cache.mget(keys)
    assert {n: msgspec.json.decode(v)["version"] for n, v in enumerate(held) if v} == highest


def fill(cache: Cache, *updates: FeatureUpdate) -> None:
    """Hold these updates in a cache that is fully projected."""
    layout = Layout("payments", cluster=is_cluster(cache))
    cache.set(layout.partitions(), PARTITIONS)
    for number in range(PARTITIONS):
        cache.set(layout.projection(number), READY)
    values = {layout.feature(u.entity, u.id, u.group): msgspec.json.encode(u) for u in updates}
    assert Writer(cache).write(values, 60_000) == len(values)


@pytest.fixture
def accounts(cache: Cache) -> list[str]:
    """Two hundred accounts in a subgraph that was sampled."""
    found = [str(number) for number in range(200)]
    fill(
        cache,
        heartbeat(),
        *(update("account", id_, "graph") for id_ in found),
        *(ring("account", id_, 0.5) for id_ in found),
    )
    return found


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_public_readers_read_it(deployment: Deployment, accounts: list[str], way: Way) -> None:
    """By the URL or with a client that is there already, blocking and awaited, kept or not."""
    with way(deployment.url, timeout_ms=5_000) as reads:
        for _ in range(2):
            found = reads.many([("account", id_, "ring") for id_ in accounts])
            assert {each.verdict.reason for each in found} == {"subgraph_unchanged"}
            assert {each.estimate("quantum", "membership") for each in found} == {0.5}


def test_a_client_of_redis_py_for_clusters_will_do(
    deployment: Deployment, cache: Cache, accounts: list[str]
) -> None:
    """Its own MGET would refuse keys of several slots."""
    if not is_cluster(cache):
        pytest.skip("one server has no client of that kind")
    with redis.RedisCluster(host="127.0.0.1", port=deployment.servers[0].port) as client:
        reader = FeatureReader(client, "payments", clock_ns=lambda: NOW_MS * 1_000_000)
        found = reader.read_many(("account", id_, "ring") for id_ in accounts)
        assert {each.verdict.reason for each in found} == {"subgraph_unchanged"}
