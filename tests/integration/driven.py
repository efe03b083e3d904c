"""Workers of the driver's own application, the topics that they read, and what they commit."""

import os
import secrets
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, ConsumerGroupState, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.stream.to_end import read_to_end
from tests.integration.driver_app import Said, Settings
from tests.integration.stages import ROOT, eventually

COMMITS = "__consumer_offsets"


class Worker:
    """One process, and what it says."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.name = settings.name
        self._said, self._log = Path(settings.said), log
        command = [sys.executable, "-m", "tests.integration.driver_app"]
        argument = msgspec.json.encode(settings).decode()
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, argument], cwd=ROOT, env=environment, stdout=output, stderr=output
            )

    def said(self, what: str) -> list[Said]:
        """What it has said of that kind so far."""
        lines = self._said.read_bytes() if self._said.exists() else b""
        whole = lines[: lines.rfind(b"\n") + 1]
        found = [msgspec.json.decode(line, type=Said) for line in whole.splitlines()]
        return [one for one in found if one.what == what]

    def read(self, partition: int = 0) -> list[tuple[int, str]]:
        """Offset and value of each event of a partition, in the order in which they were seen."""
        return [(one.offset, one.value) for one in self.said("read") if one.partition == partition]

    def offsets(self, partition: int = 0) -> list[int]:
        """The offsets alone."""
        return [offset for offset, _ in self.read(partition)]

    def assigned(self) -> set[tuple[str, int]]:
        """Topics and partitions that it holds since it sought last."""
        sought = self.said("sought")
        return {(topic, number) for topic, number, _ in sought[-1].assigned} if sought else set()

    def await_read(self, *values: str, partition: int = 0) -> None:
        """Wait until the last events that it saw are those."""
        count = len(values)
        eventually(
            f"{self.name} reads {values}",
            lambda: tuple(value for _, value in self.read(partition)[-count:]) == values,
        )

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait(10)

    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text(encoding="utf-8")


class Transactions:
    """A producer of events in transactions."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "transactional.id": secrets.token_hex(8)}
        )
        self._producer.init_transactions(30)

    def send(self, *values: str) -> None:
        """Begin a transaction and leave it open: the events are in the log."""
        self._producer.begin_transaction()
        for value in values:
            self._producer.produce(self._topic, value.encode(), partition=0)
        assert self._producer.flush(30) == 0

    def commit(self, *values: str) -> None:
        """End it; with values, a whole one."""
        if values:
            self.send(*values)
        self._producer.commit_transaction(30)

    def abort(self, *values: str) -> None:
        """Take it back; with values, a whole one."""
        if values:
            self.send(*values)
        self._producer.abort_transaction(30)


class Group:
    """A consumer group that only one test knows, with topics of its own."""

    def __init__(
        self, bootstrap: str, folder: Path, *, topics: int = 1, partitions: int = 1
    ) -> None:
        self.name = f"driver-{secrets.token_hex(4)}"
        self.topics = tuple(f"{self.name}.{number}" for number in range(topics))
        self._bootstrap, self._folder = bootstrap, folder
        self._kafka: dict[str, Any] = {"bootstrap.servers": bootstrap, "log_level": 3}
        self._admin = AdminClient(self._kafka)
        wanted = [NewTopic(topic, partitions, 1) for topic in self.topics]
        for future in self._admin.create_topics(wanted).values():
            future.result(20)
        self._producer = Producer(self._kafka)
        # Of the group by name alone: it asks and sets, and never joins. What this client says of
        # notes is not to be trusted: it reads past their ends.
        self._offsets = Consumer(self._kafka | {"group.id": self.name, "enable.auto.commit": False})
        self.workers: list[Worker] = []

    def worker(self, name: str = "a", **settings: Any) -> Worker:
        """A process of that name."""
        path = self._folder / f"{self.name}-{len(self.workers)}"
        made = Settings(
            bootstrap=self._bootstrap,
            group=self.name,
            topics=self.topics,
            name=name,
            said=str(path.with_suffix(".json")),
            **settings,
        )
        self.workers.append(Worker(made, path.with_suffix(".log")))
        return self.workers[-1]

    def send(self, *values: str, partition: int = 0) -> None:
        """Events of the first topic."""
        for value in values:
            self._producer.produce(self.topics[0], value.encode(), partition=partition)
        assert self._producer.flush(30) == 0

    def transactions(self) -> Transactions:
        """A producer of the first topic."""
        return Transactions(self._bootstrap, self.topics[0])

    def set_committed(self, offsets: dict[int, int]) -> None:
        """Commit offsets by partition, as a worker before would have."""
        entries = [
            TopicPartition(self.topics[0], number, offset) for number, offset in offsets.items()
        ]
        self._offsets.commit(offsets=entries, asynchronous=False)

    def await_committed(self, offset: int, partition: int = 0) -> None:
        """Wait until that is what is committed."""
        wanted = [TopicPartition(self.topics[0], partition)]
        eventually(
            f"{offset} is committed",
            lambda: self._offsets.committed(wanted, 20)[0].offset == offset,
        )

    def commits(self, partition: int = 0) -> list[tuple[int, str]]:
        """Offset and note of every commit that the broker took, in order: from its log of them."""
        count = len(self._offsets.list_topics(COMMITS, timeout=20).topics[COMMITS].partitions)
        log = [TopicPartition(COMMITS, number) for number in range(count)]
        wanted = (self.name, self.topics[0], partition)
        return [
            _commit(message.value() or b"")
            for message in read_to_end(self._kafka, log, 60)
            if _committed_for(message.key() or b"") == wanted
        ]

    def is_empty(self) -> bool:
        """Whether every member has left."""
        described = self._admin.describe_consumer_groups([self.name])[self.name].result(20)
        return bool(described.state == ConsumerGroupState.EMPTY)

    def close(self) -> None:
        """End whatever still runs, and show what it said: pytest prints it where a test failed."""
        self._offsets.close()
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
            sys.stderr.write(f"--- {worker.name}\n{worker.log()}\n")


def _committed_for(key: bytes) -> tuple[str, str, int] | None:
    """Group, topic and partition; None for a record that is no commit (OffsetCommitKey.json)."""
    (version,) = struct.unpack_from(">h", key)
    if version > 1:
        return None
    texts = _texts(key, 2)
    (group, _), (topic, end) = next(texts), next(texts)
    return group, topic, struct.unpack_from(">i", key, end)[0]


def _texts(data: bytes, start: int) -> Iterator[tuple[str, int]]:
    """The strings that follow each other, each with where it ends."""
    while True:
        (length,) = struct.unpack_from(">h", data, start)
        end = start + 2 + length
        yield data[start + 2 : end].decode(), end
        start = end


def _commit(value: bytes) -> tuple[int, str]:
    """Offset and note (OffsetCommitValue.json, versions 3 and 4)."""
    version, offset, _leader_epoch = struct.unpack_from(">hqi", value)
    assert version in {3, 4}
    if version == 3:
        return offset, next(_texts(value, 14))[0]
    # A compact string: one more than its length, in one byte as long as that is short.
    assert value[14] < 128
    return offset, value[15 : 14 + value[14]].decode()
