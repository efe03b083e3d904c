"""The laboratory's servers for real: what they hold outlives them, and a crash."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import typer
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from enrichment.cli import servers as commands
from enrichment.lab.kafka_server import resolve_jars
from enrichment.lab.ports import free_port
from enrichment.lab.servers import LocalServers, ServerError, ServerState
from enrichment.settings import Settings
from tests.servers import LIBS_DIR

pytestmark = pytest.mark.servers

TOPIC = "kept"


@pytest.fixture
def app() -> typer.Typer:
    """A top-level application with nothing but the three commands."""
    app = typer.Typer()
    commands.register(app)
    return app


@pytest.fixture
def command_line(app: typer.Typer, tmp_path: Path) -> Iterator[list[str]]:
    """Options for `up` and `status`: free ports and a folder that borrows the repository's jars."""
    (tmp_path / "state" / "kafka").mkdir(parents=True)
    (tmp_path / "state" / "kafka" / "libs").symlink_to(resolve_jars(LIBS_DIR))
    state = ["--state", str(tmp_path / "state")]
    ports = ["--kafka-port", str(free_port(span=2)), "--redis-port", str(free_port())]
    yield [*ports, *state]
    CliRunner().invoke(app, ["down", *state])


def write(servers: LocalServers, value: str) -> None:
    """One record on the topic, made if need be, and the same value in Redis."""
    admin = AdminClient({"bootstrap.servers": servers.bootstrap})
    if TOPIC not in admin.list_topics(timeout=10).topics:
        admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result(10)
    producer = Producer({"bootstrap.servers": servers.bootstrap})
    producer.produce(TOPIC, value.encode())
    assert producer.flush(10) == 0
    with redis.Redis.from_url(servers.redis_url) as cache:
        cache.rpush(TOPIC, value)


def read(servers: LocalServers) -> tuple[list[str], list[str]]:
    """What the topic and what Redis hold, in order."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers.bootstrap,
            "group.id": "test-servers",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    records = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error() is not None:
            break
        records.append((message.value() or b"").decode())
    consumer.close()
    with redis.Redis.from_url(servers.redis_url, decode_responses=True) as cache:
        return records, list(cache.lrange(TOPIC, 0, -1))


def test_data_survives_down_and_up(fresh_servers: Callable[[], LocalServers]) -> None:
    """Stopped in order and started again, both hold what they held, and take more."""
    servers = fresh_servers()
    write(servers, "before")
    assert servers.down() == ("kafka", "redis")
    assert [status.state for status in servers.status()] == [ServerState.DOWN, ServerState.DOWN]
    assert [status.state for status in servers.up()] == [ServerState.UP, ServerState.UP]
    write(servers, "after")
    assert read(servers) == (["before", "after"], ["before", "after"])


def test_data_survives_a_killed_broker(fresh_servers: Callable[[], LocalServers]) -> None:
    """After kill -9 of both, `up` finds the pid files stale, and the records still there."""
    servers = fresh_servers()
    write(servers, "before")
    time.sleep(1.1)  # Redis writes its file out every second: what is older must be there
    servers.kafka.process.kill()
    servers.redis.process.kill()
    servers.up()
    assert read(servers) == (["before"], ["before"])


def test_up_twice_starts_nothing_anew(fresh_servers: Callable[[], LocalServers]) -> None:
    """A second `up` finds them; one with other ports says which they run on and what to do."""
    servers = fresh_servers()
    before = [status.pid for status in servers.status()]
    assert [status.pid for status in servers.up()] == before
    other = LocalServers(
        servers.state_dir, kafka_port=free_port(span=2), redis_port=servers.redis.port
    )
    with pytest.raises(ServerError, match=f"runs on port {servers.kafka.port}.*enrichment down"):
        other.up()
    assert other.bootstrap == servers.bootstrap


def test_a_broker_that_cannot_start_shows_why(fresh_servers: Callable[[], LocalServers]) -> None:
    """With its metadata spoilt the message quotes the broker's log, and no process is left."""
    servers = fresh_servers()
    servers.down()
    meta = servers.kafka.data_dir / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=2"))
    with pytest.raises(ServerError) as caught:
        servers.up()
    assert "Kafka ended while it was starting" in str(caught.value)
    assert str(servers.kafka.log_path) in str(caught.value)
    assert "configured node id" in str(caught.value)
    assert servers.kafka.process.running() is None


def test_topics_are_not_made_by_a_slip(servers: LocalServers) -> None:
    """Asking the shared broker for a topic that nobody made does not make it."""
    admin = AdminClient({"bootstrap.servers": servers.bootstrap})
    admin.list_topics("mistyped", timeout=10)
    time.sleep(0.5)
    assert "mistyped" not in admin.list_topics(timeout=10).topics


def test_a_test_leaves_nothing_behind(tmp_path: Path) -> None:
    """Servers for a test take their processes and their folder with them when discarded."""
    servers = LocalServers.on_free_ports(tmp_path / "state", libs_dir=LIBS_DIR)
    servers.up()
    pids = [status.pid for status in servers.status()]
    servers.discard()
    assert not (tmp_path / "state").exists()
    assert not any(pid and Path(f"/proc/{pid}").exists() for pid in pids)


def test_the_commands_start_show_and_stop(app: typer.Typer, command_line: list[str]) -> None:
    """`up` outlives its process' interest, `status --json` says where, `down` ends both."""
    run = CliRunner()
    started = run.invoke(app, ["up", *command_line], obj=Settings())
    assert started.exit_code == 0, started.output
    shown = run.invoke(app, ["status", "--json", *command_line])
    assert shown.exit_code == 0
    status = json.loads(shown.stdout)
    assert {name: server["state"] for name, server in status.items()} == {
        "kafka": "up",
        "redis": "up",
    }
    assert status["kafka"]["address"] == f"127.0.0.1:{command_line[1]}"
    stopped = run.invoke(app, ["down", *command_line[4:]])
    assert stopped.stdout == "stopped: kafka, redis\n"
    assert run.invoke(app, ["status", *command_line]).exit_code == 3
