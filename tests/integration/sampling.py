"""The sample stage as processes of a pipeline that only one test knows, on a real Kafka."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.lab.servers import LocalServers
from enrichment.records import Case, Job, MicroBatch, Outcome
from enrichment.sample.machine import TERMINAL
from enrichment.stream.to_end import read_to_end
from enrichment.stream.topics import (
    CASES,
    CHANGES,
    CONTROL,
    FEATURES,
    JOB_EVENTS,
    JOBS,
    MICRO_BATCHES,
    ORDERS,
    StreamTopics,
    partition_for,
    shard_key,
)
from tests.sample.streams import batch, problem

PARTITIONS = 4
SHARDS = ("eu", "us", "apac")
TOPICS = {
    MICRO_BATCHES: "delete",
    JOBS: "compact",
    JOB_EVENTS: "delete",
    ORDERS: "delete",
    FEATURES: "compact",
    CASES: "compact",
    CONTROL: "compact",
    CHANGES: "delete",
}
SINGLE = frozenset({CONTROL, CHANGES})  # of one partition: there is one order for everybody
PIPELINE_TOML = """
[stream]
name = "{name}"
id = "event_id"
key = "account_id"
time = "occurred_at"
amount = "amount"

[entities]
account = "account_id"
device = "device_id"

[[links]]
between = "account"
via = "device"

[sampling]
provider = "qsim"
shots = 200
deadline_ms = {deadline_ms}

[score]
version = "test-1"
serve = "quantum"
bias = 0.0

[[score.terms]]
name = "ring"
value = "account.ring.membership"
weight = 1.0
"""


@dataclass(slots=True, kw_only=True)
class Stage:
    """The stage for one pipeline of its own, with what it has been given."""

    bootstrap: str
    pipeline: str
    toml: Path
    sent: list[MicroBatch] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, instance: str = "one") -> subprocess.Popen[bytes]:
        """A process of the stage."""
        code = (
            "import sys, pathlib\n"
            "from enrichment.pipelines import load\n"
            "from enrichment.settings import Settings\n"
            "from enrichment.wiring.sampling import run_sample\n"
            "run_sample(Settings(), load(sys.argv[1]))\n"
        )
        env = os.environ | {
            "ENRICHMENT_KAFKA_BOOTSTRAP": self.bootstrap,
            "ENRICHMENT_INSTANCE": instance,
        }
        process = subprocess.Popen([sys.executable, "-c", code, str(self.toml)], env=env)
        self.processes.append(process)
        return process

    def send(self, *batches: MicroBatch) -> None:
        """Publish micro-batches as the window stage does."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 0})
        for one in batches:
            partition = partition_for(shard_key(one.pipeline, one.shard), PARTITIONS)
            producer.produce(
                MICRO_BATCHES,
                key=one.micro_batch_id,
                value=msgspec.json.encode(one),
                partition=partition,
            )
        producer.flush(10)
        self.sent.extend(batches)

    def tell(self, *outcomes: Outcome) -> None:
        """Publish outcomes as whoever knows of them does."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 0})
        topic = StreamTopics(self.pipeline).outcomes
        for one in outcomes:
            key = shard_key(self.pipeline, one.shard)
            partition = partition_for(key, PARTITIONS)
            producer.produce(topic, key=key, value=msgspec.json.encode(one), partition=partition)
        producer.flush(10)

    def cases(self) -> dict[str, Case]:
        """The newest record of each case."""
        return {
            key: msgspec.json.decode(value, type=Case)
            for _, key, value in self.read(CASES)
            if value is not None
        }

    def batches(self, windows: range, problems: int = 1) -> list[MicroBatch]:
        """Micro-batches for every shard; the same accounts again and again in each."""
        made = []
        for window in windows:
            for index, shard in enumerate(SHARDS):
                rings = tuple(
                    problem(k, seed=window, first=100_000 * index) for k in range(problems)
                )
                made.append(batch(window, rings, shard=shard, pipeline=self.pipeline))
        return made

    def read(self, topic: str) -> list[tuple[int, str, bytes | None]]:
        """Every committed record of our pipeline: partition, key, value."""
        everywhere = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        prefix = f"{self.pipeline}|".encode()
        records = read_to_end({"bootstrap.servers": self.bootstrap}, everywhere, 20)
        return [
            (record.partition() or 0, (record.key() or b"").decode(), record.value())
            for record in records
            if (record.key() or b"").startswith(prefix)
        ]

    def jobs(self) -> dict[str, Job]:
        """The newest state of each job."""
        return {
            key: msgspec.json.decode(value, type=Job)
            for _, key, value in self.read(JOBS)
            if value is not None
        }

    def ends(self) -> dict[str, int]:
        """How often each job has become terminal."""
        found: dict[str, int] = {}
        for _, key, value in self.read(JOBS):
            if msgspec.json.decode(value or b"", type=Job).state in TERMINAL:
                found[key] = found.get(key, 0) + 1
        return found

    def all_done(self) -> bool:
        """Whether everything that was sent has a terminal job."""
        jobs = self.jobs()
        return all(
            one.micro_batch_id in jobs and jobs[one.micro_batch_id].state in TERMINAL
            for one in self.sent
        )


def until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait for something to become true; fail when it does not."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s} s"
        time.sleep(0.1)


@contextmanager
def open_stage(servers: LocalServers, folder: Path) -> Iterator[Stage]:
    """A stage with its topics there, not started; what of it runs at the end is killed."""
    admin = AdminClient({"bootstrap.servers": servers.bootstrap})
    there = admin.list_topics(timeout=10).topics
    name = f"t{uuid.uuid4().hex[:8]}"
    missing = [
        NewTopic(
            topic,
            1 if topic in SINGLE else PARTITIONS,
            1,
            config={"cleanup.policy": policy, "max.message.bytes": "4194304"},
        )
        for topic, policy in (TOPICS | {StreamTopics(name).outcomes: "delete"}).items()
        if topic not in there
    ]
    for created in admin.create_topics(missing).values():
        created.result(20)
    toml = folder / f"{name}.toml"
    # As long as a test waits at all: what these tests claim is not how fast the machine is.
    toml.write_text(PIPELINE_TOML.format(name=name, deadline_ms=60_000))
    one = Stage(bootstrap=servers.bootstrap, pipeline=name, toml=toml)
    try:
        yield one
    finally:
        for process in one.processes:
            if process.poll() is None:
                process.kill()
            process.wait(10)
