"""Stages as processes against real servers, on a stream that only one test knows."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.pipelines import Pipeline, load
from enrichment.records import DeadLetter, Digest, Enriched
from enrichment.stream.manifests import load_manifests
from enrichment.stream.topics import CHANGES, CONTROL, DIGESTS, FEATURES, StreamTopics

ROOT: Final = Path(__file__).resolve().parents[2]
SHARED: Final = (DIGESTS, FEATURES, CONTROL, CHANGES)  # what every stage needs
OWN: Final = ("events", "enriched", "reviews", "dead-letters", "outcomes")  # of each stream
PATIENCE_S: Final = 60.0  # a start takes two seconds on a quiet machine


def eventually(said: str, holds: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Wait until it holds, else fail with what was said."""
    give_up_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up_s, f"not within {within_s:.0f} s: {said}"
        time.sleep(0.05)


class Stage:
    """One process of one stage, and what it says on standard error."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self._log = log

    def said(self) -> str:
        """Everything that it has logged so far."""
        return self._log.read_text(encoding="utf-8")

    def await_said(self, text: str) -> None:
        """Wait until the text is in its log. Fails where the process ends first."""
        eventually(text, lambda: text in self.said() or self.process.poll() is not None)
        assert text in self.said(), self.said()

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait(10)

    def end(self) -> int:
        """End it as an operator does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def create_missing(client: dict[str, Any], wanted: Mapping[str, str]) -> None:
    """Create those topics that are not there, each like the shipped one that stands beside it."""
    admin = AdminClient(client)
    there = admin.list_topics(timeout=10).topics
    manifests = {one.name: one for one in load_manifests(ROOT / "topics")}
    missing = [
        NewTopic(name, manifests[like].partitions, 1, config=dict(manifests[like].config))
        for name, like in wanted.items()
        if name not in there
    ]
    for future in admin.create_topics(missing).values() if missing else ():
        future.result(30)


class Stream:
    """A stream with a random name, shaped like a shipped one, and its topics on a broker."""

    def __init__(
        self,
        folder: Path,
        *,
        like: str,
        bootstrap: str,
        redis_url: str,
        changes: dict[str, str] | None = None,
        client: dict[str, Any] | None = None,
        also: Iterable[str] = (),
    ) -> None:
        """`changes` are made in the text of the pipeline's file; `also` are topics that all share.

        `client` is what clients of the test's own are told, where that is not the address alone.
        """
        self.name = f"t{secrets.token_hex(4)}"
        self.folder, self.bootstrap, self.redis_url = folder, bootstrap, redis_url
        shipped = ROOT / "enrichment" / "pipelines"
        text = (shipped / f"{like}.toml").read_text(encoding="utf-8")
        for old, new in {
            f'name = "{like}"\n': f'name = "{self.name}"\n',
            **(changes or {}),
        }.items():
            assert text.count(old) == 1
            text = text.replace(old, new)
        (folder / f"{self.name}.toml").write_text(text, encoding="utf-8")
        (folder / f"{like}.score.toml").write_bytes((shipped / f"{like}.score.toml").read_bytes())
        self.pipeline: Pipeline = load(self.name, folder)
        self.topics = StreamTopics(self.name)
        self._stages: list[Stage] = []
        self._client = client or {"bootstrap.servers": bootstrap}
        own = {f"{self.name}.{rest}": f"{like}.{rest}" for rest in OWN}
        create_missing(self._client, own | {name: name for name in (*SHARED, *also)})

    def start(self, stage: str, **environment: str) -> Stage:
        """A process of that stage, by the command that an operator uses."""
        log = self.folder / f"{stage}-{len(self._stages)}.log"
        env = os.environ | {
            "ENRICHMENT_KAFKA_BOOTSTRAP": self.bootstrap,
            "ENRICHMENT_REDIS_URL": self.redis_url,
            "ENRICHMENT_PIPELINES_DIR": str(self.folder),
            "ENRICHMENT_INSTANCE": "one",
            **environment,
        }
        command = [sys.executable, "-m", "enrichment", stage, "--pipeline", self.name]
        with log.open("wb") as stderr:
            process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=stderr)
        self._stages.append(Stage(process, log))
        return self._stages[-1]

    def close(self) -> None:
        """End whatever still runs, and show what it said: pytest prints it where a test failed."""
        for stage in self._stages:
            if stage.process.poll() is None:
                stage.kill()
            sys.stderr.write(stage.said())

    def publish(self, values: Iterable[bytes | None], **options: Any) -> None:
        """Records on the stream's input topic, spread over its partitions in turn."""
        producer = Producer(self._client | {"linger.ms": 5})
        for number, value in enumerate(values):
            producer.produce(self.topics.events, value, partition=number % 4, **options)
        assert producer.flush(30) == 0

    def produce(self, topic: str, key: str | bytes, value: bytes | None, partition: int) -> None:
        """One record anywhere."""
        producer = Producer(self._client)
        producer.produce(topic, value, key, partition)
        assert producer.flush(30) == 0

    def read(self, topic: str) -> list[Message]:
        """Every record of a topic that a committed reader sees now."""
        consumer = Consumer(
            self._client
            | {
                "group.id": secrets.token_hex(8),
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        found, open_ = [], set(partitions)
        try:
            while open_:
                for message in consumer.consume(5_000, 0.05):
                    if message.error() is None:
                        found.append(message)
                    else:
                        assert message.error().code() == KafkaError._PARTITION_EOF
                        open_.discard(message.partition())
        finally:
            consumer.close()
        return found

    def enriched(self) -> list[Enriched]:
        """Every enriched event that is committed."""
        decoder = msgspec.json.Decoder(Enriched)
        return [decoder.decode(message.value()) for message in self.read(self.topics.enriched)]

    def dead_letters(self) -> list[DeadLetter]:
        """Every dead letter that is committed."""
        decoder = msgspec.json.Decoder(DeadLetter)
        return [decoder.decode(message.value()) for message in self.read(self.topics.dead_letters)]

    def digests(self) -> list[Digest]:
        """Every digest of this stream that is committed."""
        decoder = msgspec.json.Decoder(Digest)
        prefix = f"{self.name}|".encode()
        return [
            decoder.decode(message.value())
            for message in self.read(DIGESTS)
            if message.key().startswith(prefix)
        ]
