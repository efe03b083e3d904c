"""What a demo and a story run on: servers of their own with our topics, and stages that have begun.

Everything started here is ended here.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from enrichment.lab.processes import StageProcesses
from enrichment.lab.servers import LocalServers
from enrichment.stream.manifests import load_manifests
from enrichment.stream.topic_admin import TopicAdmin
from enrichment.stream.topic_plan import differences

TOPICS_S: Final = 30.0  # a broker that has just come up answers slowly at first
READY_S: Final = 90.0  # importing Cirq takes five seconds on a quiet machine
DESCRIBE_S: Final = 1.0  # of groups that nobody has joined the broker says nothing for so long


class LocalRunError(RuntimeError):
    """The run could not go on, said in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where servers and stages keep their files, and where the topic manifests are."""

    state_dir: Path
    topics_dir: Path
    # Of this run alone: gone when it is over.
    work: Path


@contextmanager
def local_servers(folders: Folders, say: Callable[[str], None]) -> Iterator[LocalServers]:
    """A Kafka with our topics and a Redis on free ports, whose data goes when the run does."""
    say("starting Kafka and Redis")
    libs = folders.state_dir / "kafka" / "libs"
    servers = LocalServers.on_free_ports(folders.work, libs_dir=libs)
    try:
        servers.up()
        say("applying topics")
        _apply_topics(servers, folders.topics_dir)
        yield servers
    finally:
        servers.discard()


def _apply_topics(servers: LocalServers, topics_dir: Path) -> None:
    manifests = load_manifests(topics_dir)
    admin = AdminClient({"bootstrap.servers": servers.bootstrap, "log_level": 2})
    topics = TopicAdmin(admin, servers.bootstrap, TOPICS_S)
    found = differences(manifests, topics.states(m.name for m in manifests))
    topics.carry_out(found, {m.name: m for m in manifests}, lambda _: None)
    topics.await_in_step(manifests)


def environment(servers: LocalServers) -> dict[str, str]:
    """What tells our own processes where the servers are."""
    return os.environ | {
        "ENRICHMENT_KAFKA_BOOTSTRAP": servers.bootstrap,
        "ENRICHMENT_REDIS_URL": servers.redis_url,
    }


def await_stages(
    client: dict[str, Any],
    processes: StageProcesses,
    groups: Sequence[str],
    stop: threading.Event,
    say: Callable[[str], None],
) -> None:
    """Return when every one of these consumer groups has its partitions, or when told to stop.

    Raises LocalRunError.
    """
    admin = AdminClient(client)
    give_up_s = time.monotonic() + READY_S
    while not stop.is_set():
        processes.tend()
        described = admin.describe_consumer_groups(list(groups), request_timeout=DESCRIBE_S)
        joining = [name for name, future in described.items() if not _assigned(future)]
        if not joining:
            return
        stages = ", ".join(name.split(".")[1] for name in joining)
        say(f"stages joining their groups ({stages})")
        if time.monotonic() > give_up_s:
            raise LocalRunError(f"not ready after {READY_S:.0f} s: {stages}")
        time.sleep(0.2)


def _assigned(future: Any) -> bool:
    """Whether a consumer group has members, and all of them know their partitions."""
    try:
        group = future.result(timeout=5 * DESCRIBE_S)
    except (KafkaException, TimeoutError):
        return False  # a group that nobody has joined yet may not exist
    return group.state.name == "STABLE" and any(
        member.assignment and member.assignment.topic_partitions for member in group.members
    )
