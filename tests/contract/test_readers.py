"""The client's contract: blocking or awaited, kept or not, it says the same, and in time."""

import asyncio
import contextlib
import random
import signal
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest
import redis

from enrichment.feature import AsyncFeatureReader, FeatureReader, Features
from enrichment.feature.reading import KEYS_MAX
from enrichment.feature.store import Layout, projection_key
from enrichment.records import Verdict, VerdictName
from tests.feature import deployments
from tests.feature.cached import NOW_MS, MemoryCache, heartbeat, ring, update
from tests.feature.deployments import Server, eventually
from tests.feature.readers import BY_URL, WAYS, Reads, Way, awaited_kept, blocking, blocking_kept
from tests.rollout.controls import control

pytestmark = pytest.mark.servers

HOUR_MS = 3_600_000
UNAVAILABLE = Verdict(VerdictName.FALLBACK, "cache_unavailable")
# What a call may take beyond its timebox on a machine that others keep busy: far less than hanging.
SLACK_S = 1.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One Redis for the file."""
    with deployments.running(deployments.single, tmp_path_factory.mktemp("redis")) as made:
        yield made.servers[0]


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    """A client of a Redis that holds the account 42 in a subgraph that was sampled."""
    with server.client() as made:
        hold(made, stock())
        yield made


@pytest.fixture
def url(server: Server) -> str:
    """Where it is."""
    return f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def reads(request: pytest.FixtureRequest, client: redis.Redis, url: str) -> Iterator[Reads]:
    """Each way to read, once there is something to read."""
    assert client.ping()
    with request.param(url) as made:
        yield made


def stock() -> MemoryCache:
    """An account in a subgraph that was sampled, in a shard that is heard."""
    return MemoryCache(
        heartbeat(),
        update("account", "42", "graph", values={"density": 0.5, "subgraph_since_ms": NOW_MS}),
        ring("account", "42", 0.8, version=7),
    )


def hold(client: redis.Redis, cache: MemoryCache) -> None:
    """Hold just what that cache does."""
    client.flushall()
    client.mset(cache.held)


def put(client: redis.Redis, cache: MemoryCache, *keys: str) -> None:
    """Hold what has become of these keys, as a projector writes them."""
    for key in keys:
        client.set(key, cache.held[key])


def test_one_is_read_with_its_types_and_its_verdict(reads: Reads) -> None:
    """Estimates by path, facts, where they come from, and how far they may be trusted."""
    found = reads.one("account", "42", "ring")
    assert found.verdict == Verdict(VerdictName.FRESH, "subgraph_unchanged")
    assert found.usable
    assert found.estimate("quantum", "membership") == 0.8
    assert found.estimates["classical"] == {"membership": 0.4}
    assert (found.version, found.subgraph, found.computed_at_ms) == (7, "s1", NOW_MS)
    assert found.source is not None
    assert found.source.job_id == "j1"
    graph = reads.one("account", "42", "graph")
    assert graph.verdict == Verdict(VerdictName.FRESH, "shard_heard")
    assert (graph.value("density"), graph.value("unheard_of", prior=0.25)) == (0.5, 0.25)


def test_many_are_read_in_order(client: redis.Redis, reads: Reads) -> None:
    """Repeated ones, unknown ones, more than one question holds, none at all."""
    ids = [str(number) for number in range(KEYS_MAX)]
    hold(client, MemoryCache(heartbeat(), *(update("account", id_, "graph") for id_ in ids)))
    wanted = [("account", id_, group) for id_ in [*ids, "x", "0"] for group in ("graph", "ring")]
    for _ in range(2):
        found = reads.many(wanted)
        assert [(each.kind, each.id, each.group) for each in found] == wanted
        unknown = {each.id for each in found if each.verdict.reason == "never_seen"}
        assert unknown == {"x"}
    assert reads.many([]) == []


def test_a_change_shows_in_the_next_read(client: redis.Redis, reads: Reads) -> None:
    """Of a value, of what is withdrawn, of a heartbeat, of a mark: what was kept is let go of."""
    cache, layout = stock(), Layout("payments")
    assert reads.one("account", "42", "ring").usable
    since = {"subgraph_since_ms": NOW_MS - HOUR_MS}
    cache.put(update("account", "42", "graph", subgraph="s2", values=since))
    put(client, cache, layout.feature("account", "42", "graph"))
    found = reads.one("account", "42", "ring")
    assert found.verdict == Verdict(VerdictName.STALE, "subgraph_changed")
    assert found.estimate("quantum", "membership", prior=0.2) == pytest.approx(0.5)
    cache.withdraw(control("withdraw.job.j1", job_id="j1"))
    put(client, cache, layout.control())
    found = reads.one("account", "42", "ring")
    assert found.verdict == Verdict(VerdictName.FALLBACK, "withdrawn")
    assert (found.usable, found.estimates, found.source) == (False, {}, None)
    client.delete(layout.control())
    assert reads.one("account", "42", "ring").usable
    cache.rebuild("account", "42", "ring")
    put(client, cache, *(projection_key("payments", number) for number in range(4)))
    assert reads.one("account", "42", "ring").verdict.reason == "rebuilding"
    client.flushall()
    assert reads.one("account", "42", "ring").verdict.reason == "rebuilding"
    hold(client, stock())
    assert reads.one("account", "42", "ring").usable


def test_added_partitions_are_noticed(client: redis.Redis, reads: Reads) -> None:
    """Their count is read with the values; new ones count once they are ready."""
    assert reads.one("account", "42", "ring").usable
    client.set("features:payments:projection", 64)
    assert reads.one("account", "42", "ring").verdict.reason == "rebuilding"
    client.mset({projection_key("payments", number): b"ready" for number in range(64)})
    assert reads.one("account", "42", "ring").usable


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_silent_shard_is_noticed(client: redis.Redis, url: str, way: Way) -> None:
    """And that it speaks again, in the very next read."""
    later_ms = NOW_MS + HOUR_MS
    with way(url, clock_ns=lambda: later_ms * 1_000_000) as reads:
        assert reads.one("account", "42", "ring").verdict.reason == "shard_silent"
        cache = MemoryCache(heartbeat("eu", later_ms))
        put(client, cache, Layout("payments").feature("shard", "eu", "graph"))
        assert reads.one("account", "42", "ring").verdict.reason == "subgraph_unchanged"


def test_damage_is_not_absence(client: redis.Redis, reads: Reads) -> None:
    """A value that no projector wrote raises, and goes on raising until it is written again."""
    client.set("features:payments:account:42:ring", b'{"version":1}')
    for _ in range(2):
        with pytest.raises(msgspec.DecodeError):
            reads.one("account", "42", "ring")
    hold(client, stock())
    assert reads.one("account", "42", "ring").usable


def test_a_closed_connection_costs_no_read(client: redis.Redis, reads: Reads) -> None:
    """Closed by a failover or a proxy while nobody looked: the same read is answered."""
    for _ in range(3):
        assert reads.one("account", "42", "ring").usable
        client.client_kill_filter(_type="normal", skipme=True)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_all_ways_agree_whatever_happens(client: redis.Redis, url: str, way: Way) -> None:
    """After each of two hundred random changes a reader says what one says that has just begun."""
    draw = random.Random(11)
    accounts = [str(number) for number in range(6)]
    wanted = [("account", id_, group) for id_ in accounts for group in ("graph", "ring")]
    cache = stock()
    reasons: set[str] = set()
    with way(url) as reads:
        for version in range(200):
            _changed(client, cache, draw, version)
            with FeatureReader(client, "payments", clock_ns=lambda: NOW_MS * 1_000_000) as first:
                expected = [_told(each) for each in first.read_many(wanted)]
            assert [_told(each) for each in reads.many(wanted)] == expected
            reasons |= {each[0].reason for each in expected}
    assert reasons >= {"subgraph_unchanged", "subgraph_changed", "never_seen", "rebuilding"}


def _changed(client: redis.Redis, cache: MemoryCache, draw: random.Random, version: int) -> None:
    """One thing that may happen to a cache."""
    before = dict(cache.held)
    account = str(draw.randrange(6))
    match draw.randrange(8):
        case 0 | 1 | 2:
            subgraph = draw.choice(["s1", "s2", ""])
            cache.put(update("account", account, "graph", subgraph=subgraph, version=version))
        case 3 | 4:
            cache.put(ring("account", account, draw.random(), version=version))
        case 5:
            cache.rebuild("account", account, "ring")
        case 6:
            cache.ready()
        case _:
            cache.withdraw(*([control("x", job_id="j1")] if draw.random() < 0.3 else []))
    client.mset({k: v for k, v in cache.held.items() if before.get(k) != v} or {"x": b""})


def _told(found: Features) -> tuple[Verdict, int, object, object, int]:
    """What a reader says of one group."""
    return (found.verdict, found.age_ms, found.values, found.estimates, found.version)


@pytest.mark.parametrize("way", [blocking_kept, awaited_kept], ids=lambda way: way.__name__)
def test_what_is_kept_is_not_asked_for_again(client: redis.Redis, url: str, way: Way) -> None:
    """A hundred unchanged accounts cost the server one key; beyond the cap nothing is kept."""
    ids = [str(number) for number in range(100)]
    rings = [ring("account", id_, 0.5) for id_ in ids]
    graphs = [update("account", id_, "graph") for id_ in ids]
    hold(client, MemoryCache(heartbeat(), *graphs, *rings))
    wanted = [("account", id_, "ring") for id_ in ids]
    for keep_max, expected in ((1_000, 1), (50, 100)):
        with way(url, keep_max=keep_max) as reads:
            reads.many(wanted)
            before = looked_up(client)
            assert {each.verdict.reason for each in reads.many(wanted)} == {"subgraph_unchanged"}
            asked = looked_up(client) - before
            assert asked == expected if expected == 1 else asked > expected


def looked_up(client: redis.Redis) -> int:
    """How many keys the server was asked for since it began."""
    stats = client.info("stats")
    return int(stats["keyspace_hits"]) + int(stats["keyspace_misses"])


@pytest.mark.usefixtures("client")
def test_what_is_kept_is_never_older_than_a_read_of_everything(url: str) -> None:
    """While another process writes as fast as it can, by several threads over one reader."""
    key = Layout("payments").feature("account", "42", "ring")
    written, stop = [7], threading.Event()

    def write() -> None:
        with contextlib.closing(redis.Redis.from_url(url)) as writer:
            while not stop.is_set():
                writer.set(
                    key, msgspec.json.encode(ring("account", "42", 0.8, version=written[-1] + 1))
                )
                written.append(written[-1] + 1)

    failures: list[str] = []

    def read(reader: FeatureReader) -> None:
        until_s = time.monotonic() + 1.0
        while time.monotonic() < until_s:
            least = written[-1]
            found = reader.read("account", "42", "ring")
            if found.version < least:
                failures.append(f"{found.version} after {least}: {found.verdict}")

    with FeatureReader(
        url, "payments", keep_max=100, clock_ns=lambda: NOW_MS * 1_000_000
    ) as reader:
        threads = [threading.Thread(target=read, args=(reader,)) for _ in range(3)]
        writer = threading.Thread(target=write)
        for thread in (writer, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        writer.join()
    assert failures == []
    assert len(written) > 50


def test_threads_and_tasks_get_what_they_asked_for(client: redis.Redis, url: str) -> None:
    """Many at once over one reader: nobody is handed another's answer."""
    ids = [str(number) for number in range(200)]
    values = [ring("account", id_, int(id_) / 1_000) for id_ in ids]
    hold(client, MemoryCache(heartbeat(), *(update("account", i, "graph") for i in ids), *values))

    def right(found: list[Features]) -> bool:
        return all(each.estimate("quantum", "membership") == int(each.id) / 1_000 for each in found)

    def parts(seed: int) -> list[list[tuple[str, str, str]]]:
        draw = random.Random(seed)
        return [[("account", id_, "ring") for id_ in draw.sample(ids, 5)] for _ in range(40)]

    said: list[bool] = []
    for keep_max in (0, 1_000):
        with FeatureReader(
            url, "payments", keep_max=keep_max, clock_ns=lambda: NOW_MS * 1_000_000
        ) as reader:
            threads = [
                threading.Thread(
                    target=lambda seed, reader: said.extend(
                        right(reader.read_many(part)) for part in parts(seed)
                    ),
                    args=(seed, reader),
                )
                for seed in range(6)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    async def tasks(keep_max: int) -> None:
        async with AsyncFeatureReader(
            url, "payments", keep_max=keep_max, clock_ns=lambda: NOW_MS * 1_000_000
        ) as reader:
            found = await asyncio.gather(*(reader.read_many(p) for n in range(3) for p in parts(n)))
            said.extend(right(each) for each in found)

    for keep_max in (0, 1_000):
        asyncio.run(tasks(keep_max))
    assert len(said) == 2 * (240 + 120)
    assert all(said)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_cache_that_hangs_or_is_gone_is_no_exception(
    tmp_path_factory: pytest.TempPathFactory, way: Way
) -> None:
    """The verdict says so within the timebox, and the first read after it is back is right."""
    with deployments.running(deployments.single, tmp_path_factory.mktemp("own")) as made:
        [server] = made.servers
        with server.client() as client:
            hold(client, stock())
        with way(made.url, timeout_ms=100) as reads:
            eventually("a first read", lambda: reads.one("account", "42", "ring").usable)
            server.signal(signal.SIGSTOP)
            began_s = time.monotonic()
            found = reads.many([("account", "42", "ring"), ("account", "43", "ring")])
            took_s = time.monotonic() - began_s
            server.signal(signal.SIGCONT)
            assert [each.verdict for each in found] == [UNAVAILABLE, UNAVAILABLE]
            assert took_s < 0.2 + SLACK_S
            eventually("it is back", lambda: reads.one("account", "42", "ring").usable)
            server.kill()
            assert reads.one("account", "42", "ring").verdict == UNAVAILABLE
            server.start()
            eventually("it answers", server.answers)
            eventually(
                "it is seen to be empty",
                lambda: reads.one("account", "42", "ring").verdict.reason == "rebuilding",
            )


def test_a_forked_process_reads_over_connections_of_its_own(
    client: redis.Redis, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes on one connection would take each other's answers."""
    for way in (blocking, blocking_kept):
        with way(url) as reads:
            assert reads.one("account", "42", "ring").usable
            before = connections(client)
            monkeypatch.setattr("enrichment.feature.carriers.os.getpid", lambda: -1)
            assert reads.one("account", "42", "ring").usable
            monkeypatch.undo()
            assert connections(client) - before, way.__name__


@pytest.mark.parametrize("way", BY_URL, ids=lambda way: way.__name__)
def test_what_was_opened_is_closed(client: redis.Redis, url: str, way: Way) -> None:
    """A reader that is closed leaves no connection behind."""
    before = connections(client)
    with way(url) as reads:
        assert reads.one("account", "42", "ring").usable
        assert connections(client) - before
    eventually("they are closed", lambda: not connections(client) - before)


def connections(client: redis.Redis) -> set[str]:
    """The ids of those that the server has open."""
    return {each["id"] for each in client.client_list()}


def test_what_cannot_be_kept_is_refused(client: redis.Redis, url: str) -> None:
    """Over a client of one's own, and less than nothing: said at once, not at the first read."""
    with pytest.raises(ValueError, match="give the cache's URL"):
        FeatureReader(client, "payments", keep_max=10)
    with pytest.raises(ValueError, match="not -1"):
        FeatureReader(url, "payments", keep_max=-1)
    with pytest.raises(ValueError, match="not -1"):
        AsyncFeatureReader(url, "payments", keep_max=-1)
