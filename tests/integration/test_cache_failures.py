"""The cache's reads while servers hang, die, fail over and move slots: bounded, and never wrong."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from enrichment.feature.address import Address
from enrichment.feature.connection import Writer, open_cache
from enrichment.feature.reads import KEYS_MAX, LATE_MAX_S, Read, TrackedReads
from enrichment.feature.store import Layout
from enrichment.feature.wire import tls_context
from tests.feature import deployments
from tests.feature.deployments import Deployment, Server, eventually, running
from tests.feature.readers import BY_URL
from tests.feature.scripted import GREETING, Scripted

pytestmark = pytest.mark.servers

TIMEBOX_S = 0.1
SLACK_S = 0.15  # what a busy machine may add
KEYS = [f"features:payments:account:{number}:ring" for number in range(100)]
PASSWORD = "p%40ss%2Fw%3Ard"  # noqa: S105  # of the tests' own ACL users, as a URL has it


@pytest.fixture
def make_reads() -> Iterator[Callable[..., TrackedReads]]:
    """A factory of tracked reads, closed afterwards."""
    made: list[TrackedReads] = []

    def make(url: str, timeout_s: float = TIMEBOX_S, within_s: float = 10.0) -> TrackedReads:
        made.append(TrackedReads(Address.parse(url), timeout_s))
        if within_s:
            made[-1].connect(within_s)
        return made[-1]

    yield make
    for reads in made:
        reads.close()


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    """A factory of servers that answer as a test says."""
    made: list[Scripted] = []

    def make(answer: Callable[[bytes, socket.socket], None]) -> Scripted:
        made.append(Scripted(answer))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Deployment]:
    """One server that may be killed."""
    with running(deployments.single, tmp_path / "single") as made:
        yield made


def timed(reads: TrackedReads, keys: list[str]) -> tuple[Read | redis.RedisError, float]:
    """What a read gave, and how long it took."""
    began_s = time.monotonic()
    try:
        return reads.read(keys), time.monotonic() - began_s
    except redis.RedisError as error:
        return error, time.monotonic() - began_s


def answered(reads: TrackedReads, keys: list[str], within_s: float = 15.0) -> Read:
    """The first read that is answered."""
    found: list[Read] = []

    def answers() -> bool:
        read, _ = timed(reads, keys)
        if isinstance(read, Read):
            found.append(read)
        return bool(found)

    eventually("a read is answered", answers, within_s)
    return found[0]


def test_a_hung_server_is_given_up(
    single: Deployment, make_reads: Callable[..., TrackedReads]
) -> None:
    """Each read waits its timebox until the replies are too late; then all fail at once.

    Once it goes on, values are right again: late replies to old questions are not mistaken.
    """
    [server] = single.servers
    reads = make_reads(single.url)
    with server.client() as client:
        client.mset({key: f"value of {key}" for key in KEYS})
    reads.read(KEYS)
    server.signal(signal.SIGSTOP)
    hung_s = time.monotonic()
    while time.monotonic() < hung_s + LATE_MAX_S + TIMEBOX_S:
        outcome, took_s = timed(reads, KEYS[:3])
        assert isinstance(outcome, redis.TimeoutError)
        assert took_s < TIMEBOX_S + SLACK_S
    timed(reads, KEYS)  # waits for a new connection
    outcomes = [timed(reads, KEYS[number:]) for number in range(20)]
    assert all(isinstance(outcome, redis.RedisError) for outcome, _ in outcomes)
    assert sum(took_s for _, took_s in outcomes) < TIMEBOX_S
    server.signal(signal.SIGCONT)
    read = answered(reads, KEYS[7:9])
    assert read.values == [f"value of {key}".encode() for key in KEYS[7:9]]
    assert read.changed is None


def test_a_hiccup_costs_no_more_than_itself(
    single: Deployment, make_reads: Callable[..., TrackedReads]
) -> None:
    """Late replies are let go of, and what was kept is kept but for what has changed."""
    [server] = single.servers
    reads = make_reads(single.url)
    with server.client() as client:
        client.mset({key: f"value of {key}" for key in KEYS})
        reads.read(KEYS)
        client.set(KEYS[1], "changed before")
        server.signal(signal.SIGSTOP)
        late = [timed(reads, KEYS[number:]) for number in (3, 5)]
        assert all(isinstance(outcome, redis.TimeoutError) for outcome, _ in late)
        server.signal(signal.SIGCONT)
        read = answered(reads, KEYS[7:9])
        assert read.values == [f"value of {key}".encode() for key in KEYS[7:9]]
        assert read.changed == frozenset({KEYS[1].encode()})
        # What was read too late is known to the server as read.
        client.set(KEYS[3], "changed after")
        assert reads.read(KEYS[:1]).changed == frozenset({KEYS[3].encode()})


def test_what_comes_in_time_is_used(
    scripted: Callable[..., Scripted], make_reads: Callable[..., TrackedReads]
) -> None:
    """Of two commands the reply to one comes in time, with what changed; the other later."""
    asked, go_on = [], threading.Event()
    changed = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nx\r\n"

    def answer(command: bytes, connection: socket.socket) -> None:
        if command == b"HELLO":
            connection.sendall(GREETING)
        elif command == b"CLIENT":
            connection.sendall(b"+OK\r\n")
        elif command == b"PING":
            connection.sendall(b"+PONG\r\n")
        else:
            asked.append(command)
            count = KEYS_MAX if len(asked) == 1 else 2
            if len(asked) == 2:
                go_on.wait(10)
            connection.sendall(changed + b"*%d\r\n" % count + count * b"$1\r\n1\r\n")

    server = scripted(answer)
    reads = make_reads(f"redis://127.0.0.1:{server.port}")
    assert reads.read([]).changed is None
    read = reads.read([f"k{number}" for number in range(KEYS_MAX + 2)])
    told: frozenset[bytes] = frozenset({b"x"})
    assert read == Read([b"1"] * KEYS_MAX, told, frozenset())
    go_on.set()
    assert reads.read([]) == Read([], told, frozenset())


def test_a_restarted_server_is_found_again(
    single: Deployment, make_reads: Callable[..., TrackedReads]
) -> None:
    """While it is away reads fail at once; what was read before it is unknown."""
    [server] = single.servers
    reads = make_reads(single.url)
    with server.client() as client:
        client.set(KEYS[0], "1")
    reads.read(KEYS)
    server.kill()
    outcomes = [timed(reads, KEYS) for _ in range(20)]
    assert all(isinstance(outcome, redis.ConnectionError) for outcome, _ in outcomes)
    assert sum(took_s for _, took_s in outcomes) < TIMEBOX_S + SLACK_S
    server.start()
    read = answered(reads, KEYS[:1])
    assert (read.values, read.changed) == ([None], None)
    assert reads.read(KEYS[:1]).changed == frozenset()


def test_one_that_was_never_there_is_awaited(
    tmp_path: Path, make_reads: Callable[..., TrackedReads]
) -> None:
    """Started without a server, reads say where they look, and find it when it comes."""
    server = Server(tmp_path / "late")
    server.start()
    server.kill()
    reads = make_reads(f"redis://u:hunter2@127.0.0.1:{server.port}", within_s=0)
    with pytest.raises(redis.ConnectionError, match=f"127.0.0.1:{server.port}") as raised:
        reads.connect(0.2)
    assert "hunter2" not in str(raised.value)
    reads = make_reads(f"redis://127.0.0.1:{server.port}", within_s=0)
    with pytest.raises(redis.ConnectionError):
        reads.read(KEYS)
    server.start()
    try:
        assert answered(reads, KEYS).values == [None] * len(KEYS)
    finally:
        server.kill()


def test_one_deadline_holds_for_the_whole_read(
    scripted: Callable[..., Scripted], make_reads: Callable[..., TrackedReads]
) -> None:
    """A server that lets a byte through now and then does not prolong it."""

    def answer(command: bytes, connection: socket.socket) -> None:
        if command == b"HELLO":
            connection.sendall(GREETING)
        elif command == b"CLIENT":
            connection.sendall(b"+OK\r\n")
        else:
            connection.sendall(b"*1\r\n$1000\r\n")
            while not server.closing.wait(TIMEBOX_S / 10):
                connection.sendall(b"x")

    server = scripted(answer)
    reads = make_reads(f"redis://127.0.0.1:{server.port}")
    outcome, took_s = timed(reads, KEYS[:1])
    assert isinstance(outcome, redis.TimeoutError)
    assert TIMEBOX_S * 0.9 < took_s < TIMEBOX_S + SLACK_S


def test_a_server_that_knows_no_tracking_is_read_in_full(
    scripted: Callable[..., Scripted], make_reads: Callable[..., TrackedReads]
) -> None:
    """Before Redis 6 there is no HELLO: values come, and nothing is said to be unchanged."""

    def answer(command: bytes, connection: socket.socket) -> None:
        replies = {b"AUTH": b"+OK\r\n", b"MGET": b"*2\r\n$1\r\n1\r\n$-1\r\n", b"PING": b"+PONG\r\n"}
        connection.sendall(replies.get(command, b"-ERR unknown command\r\n"))

    server = scripted(answer)
    reads = make_reads(f"redis://:secret@127.0.0.1:{server.port}")
    for _ in range(2):
        assert reads.read(KEYS[:2]) == ([b"1", None], None, None)
    assert not reads.tracking


def test_a_failover_is_followed(tmp_path: Path, make_reads: Callable[..., TrackedReads]) -> None:
    """The sentinels' next primary answers, with what was replicated; clients that write follow."""
    with running(deployments.sentinel, tmp_path / "sentinel") as deployment:
        reads = make_reads(deployment.url)
        cache = open_cache(deployment.url, 1.0)
        cache.set(KEYS[0], "1")
        assert reads.read(KEYS[:1]).values == [b"1"]
        primary, replica = deployment.servers
        with primary.client() as client:
            assert client.wait(1, 5_000) == 1
        primary.kill()
        read = answered(reads, KEYS[:1])
        assert (read.values, read.changed) == ([b"1"], None)

        def written() -> bool:
            try:
                return bool(cache.set(KEYS[0], "2"))
            except redis.RedisError:
                return False

        eventually("a write", written)
        cache.close()
        with replica.client() as client:
            assert client.get(KEYS[0]) == b"2"
        eventually("word of it", lambda: reads.read([]).changed == frozenset({KEYS[0].encode()}))


def bucketed(number: int) -> str:
    """A key with a bucket, as on a cluster."""
    return Layout("payments", cluster=True).feature("account", str(number), "ring")


def test_slots_that_move_are_followed(
    tmp_path: Path, make_reads: Callable[..., TrackedReads]
) -> None:
    """Before, amid and after a move every key is read and written right, and nothing is kept.

    Absent keys too: of a key that never was, the old node would not tell that it came to be.
    """
    with running(deployments.cluster, tmp_path / "cluster") as deployment:
        source, target, _ = deployment.servers
        tag = next(n for n in range(64) if slot_of(f"{{{n}}}") < 5_000)
        keys = [f"features:p:{{{tag}}}:account:{number}:ring" for number in range(20)]
        slot = slot_of(keys[0])
        cache = open_cache(deployment.url, 2.0)
        reads = make_reads(deployment.url, 1.0)
        held = dict.fromkeys(keys[:10], b'{"version":1,"x":1}')
        Writer(cache).write(held, 60_000)
        values = [held.get(key) for key in keys]
        assert reads.read(keys).values == values
        assert reads.read(keys[:1]).changed == frozenset()
        ids = [node_id(server) for server in (source, target)]
        run(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        run(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        assert reads.read([]).changed is None
        run(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys[:5])
        for _ in range(2):
            assert reads.read(keys) == (values, None, None)
        assert cache.mget(keys) == values
        newer = dict.fromkeys([*keys[3:7], keys[15]], b'{"version":2,"x":1}')
        assert Writer(cache).write(newer, 60_000) == 5
        held |= newer
        values = [held.get(key) for key in keys]
        assert reads.read(keys).values == values
        run(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys[5:10])
        for server in deployment.servers:
            run(server, "CLUSTER", "SETSLOT", slot, "NODE", ids[1])
        assert reads.read([]).changed is None
        assert reads.read(keys).values == values
        assert reads.read(keys[:1]).changed == frozenset()
        cache.set(keys[19], b"came to be")
        assert reads.read([]).changed == frozenset({keys[19].encode()})
        cache.close()


def test_a_primary_that_hands_over_is_noticed(
    tmp_path: Path, make_reads: Callable[..., TrackedReads]
) -> None:
    """Its connection stays open, but it is no longer the one that is written to."""
    with running(deployments.cluster, tmp_path / "cluster") as deployment:
        replica = deployments.add_replica(deployment, tmp_path / "cluster" / "r")
        cache = open_cache(deployment.url, 2.0)
        reads = make_reads(deployment.url, 1.0)
        keys = [bucketed(number) for number in range(100)]
        for key in keys:
            cache.set(key, b"1")
        reads.read(keys)
        assert reads.read([]).changed == frozenset()
        primary = deployment.servers[0]
        eventually(
            "the replica has it all", lambda: run(replica, "DBSIZE") == run(primary, "DBSIZE")
        )
        run(replica, "CLUSTER", "FAILOVER", "FORCE")
        eventually("everything is unknown", lambda: reads.read([]).changed is None)
        assert answered(reads, keys).values == [b"1"] * 100
        for key in keys:
            cache.set(key, b"2")
        eventually("settled", lambda: reads.read(keys).changed == frozenset())
        assert reads.read(keys).values == [b"2"] * 100
        cache.close()


def test_a_node_that_dies_fails_over(
    tmp_path: Path, make_reads: Callable[..., TrackedReads]
) -> None:
    """Its replica takes its slots, and reads of all keys are answered again."""
    with running(deployments.cluster, tmp_path / "cluster") as deployment:
        deployments.add_replica(deployment, tmp_path / "cluster" / "r")
        reads = make_reads(deployment.url)
        keys = [bucketed(number) for number in range(100)]
        assert reads.read(keys).values == [None] * 100
        deployment.servers[0].kill()
        assert isinstance(timed(reads, keys)[0], redis.RedisError)
        assert answered(reads, keys).changed is None


@pytest.mark.parametrize("form", ["single", "cluster"])
def test_acl_users_read_what_they_may(
    tmp_path: Path, make_reads: Callable[..., TrackedReads], form: str
) -> None:
    """One that may be told of changes is; one that may not reads everything each time, rightly.

    A wrong password is an error without the password in it.
    """
    forms: dict[str, Callable[[Path], Deployment]] = {
        "single": deployments.single,
        "cluster": deployments.cluster,
    }
    make = forms[form]
    with running(make, tmp_path / form) as deployment:
        cache = open_cache(deployment.url, 2.0)
        url = deployment.url.replace("://", f"://{{}}:{PASSWORD}@")
        told, plain = make_reads(url.format("enrich"), 1.0), make_reads(url.format("reader"), 1.0)
        keys = [bucketed(number) for number in range(100)]
        with contextlib.closing(open_cache(url.format("project"), 2.0)) as projector:
            assert projector.ping()
            assert (
                Writer(projector).write(dict.fromkeys(keys, b'{"version":1,"x":1}'), 1_000) == 100
            )
            assert projector.set(keys[0], b"1")
            assert projector.get(keys[0]) == b"1"
            assert projector.delete(*keys) == 100
        for way in BY_URL:
            with way(url.format("reader"), timeout_ms=2_000) as reader:
                assert reader.one("account", "1", "ring").verdict.reason == "rebuilding"
        for value in (b"1", b"2"):
            for key in keys:
                cache.set(key, value)
            assert told.read(keys).values == [value] * 100
            assert plain.read(keys) == ([value] * 100, None, None)
        assert (told.tracking, plain.tracking) == (True, False)
        with pytest.raises(redis.exceptions.NoPermissionError):
            told.read(["secrets:1"])
        assert told.read(keys[:1]).changed is None
        cache.close()
        for wrong in (url.format("nobody"), deployment.url.replace("://", "://enrich:hunter2@")):
            with pytest.raises(redis.RedisError, match="WRONGPASS") as raised:
                make_reads(wrong, within_s=0.3)
            assert "hunter2" not in str(raised.value)
            assert "p@ss" not in str(raised.value)
            with pytest.raises(redis.RedisError) as raised:
                open_cache(wrong, 1.0).ping()
            assert "hunter2" not in str(raised.value)


def test_a_full_tracking_table_is_no_trouble(
    single: Deployment, make_reads: Callable[..., TrackedReads]
) -> None:
    """What the server no longer remembers it tells of as changed: it is only read again."""
    reads = make_reads(single.url)
    run(single.servers[0], "CONFIG", "SET", "tracking-table-max-keys", 10)
    told: set[bytes] = set()
    reads.read(KEYS)

    def most() -> bool:
        told.update(reads.read([]).changed or ())
        return len(told) >= 90

    eventually("word of most", most)


def test_a_server_must_prove_who_it_is(
    tmp_path: Path, make_reads: Callable[..., TrackedReads]
) -> None:
    """Another's certificate, an unknown authority, or none of ours: no connection, and why."""
    with running(
        lambda folder: deployments.tls(folder, server_certificate="other"), tmp_path / "tls"
    ) as deployment:
        with pytest.raises(redis.ConnectionError, match="not trusted"):
            make_reads(deployment.url, within_s=0.3)
        with pytest.raises(redis.ConnectionError):
            open_cache(deployment.url, 1.0).ping()
        lenient = f"{deployment.url}&ssl_check_hostname=false"
        assert make_reads(lenient).read(KEYS[:1]).values == [None]
        assert open_cache(lenient, 1.0).ping()
        stranger, _, _ = lenient.partition("?")
        with pytest.raises(redis.ConnectionError, match="not trusted"):
            make_reads(stranger, within_s=0.3)
        anonymous = f"{stranger}?ssl_ca_certs={deployment.files['ca.crt']}&ssl_check_hostname=false"
        with pytest.raises(redis.ConnectionError):
            make_reads(anonymous, within_s=0.3)
    with pytest.raises(redis.ConnectionError, match="/no/such/file"):
        tls_context_of("rediss://h?ssl_ca_certs=/no/such/file")


def test_a_cluster_may_be_reached_over_tls(
    tmp_path: Path, make_reads: Callable[..., TrackedReads]
) -> None:
    """By the nodes' ports for TLS, which they tell of, with writes, reads and word of changes."""
    with running(deployments.tls_cluster, tmp_path / "cluster") as deployment:
        keys = [bucketed(number) for number in range(100)]
        reads = make_reads(deployment.url, 2.0)
        with contextlib.closing(open_cache(deployment.url, 2.0)) as cache:
            assert Writer(cache).write(dict.fromkeys(keys, b'{"version":1,"x":1}'), 9_999) == 100
            assert None not in reads.read(keys).values
            cache.set(keys[7], b"new")
        assert reads.read([]).changed == frozenset({keys[7].encode()})


def tls_context_of(url: str) -> object:
    """The context for a URL."""
    tls = Address.parse(url).tls
    assert tls is not None
    return tls_context(tls)


def run(server: Server, *command: Any) -> Any:
    """A command on one server, whatever it is part of."""
    with server.client() as client:
        execute: Any = client.execute_command
        return execute(*command)


def node_id(server: Server) -> str:
    """A node's name within its cluster."""
    return bytes(run(server, "CLUSTER", "MYID")).decode()


def slot_of(key: str) -> int:
    """The slot of a key."""
    return int(redis.crc.key_slot(key.encode()))
