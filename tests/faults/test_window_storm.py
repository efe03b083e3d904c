"""Window workers that come and go under load: every digest is in one micro-batch, and no conflict.

Short here, long by `make storm` (CHANGES=30): a worker is added or killed every three seconds.
"""

import os
import random
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.lab.servers import LocalServers
from enrichment.records import Digest, Links, MicroBatch, Tallies
from enrichment.stream.to_end import read_to_end
from enrichment.stream.topics import (
    DIGESTS,
    FEATURES,
    HORIZONS,
    MICRO_BATCHES,
    partition_for,
    shard_key,
)
from tests.integration.stages import eventually
from tests.integration.test_window import PANE_MS, PARTITIONS, PIPELINE, ROOT, SIZE_MS

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]

CHANGES: Final = int(os.environ.get("CHANGES", "4"))
CHANGE_S: Final = 3.0
SEED: Final = int(os.environ.get("SEED", "1"))
WORKERS_MAX: Final = 3  # on two cores, beside a broker
SOURCES: Final = 4
SHARDS: Final = tuple(f"shard-{number}" for number in range(8))
PERIOD_S: Final = 0.05  # between the transactions of one source


@dataclass(slots=True)
class Enrichers:
    """Sources that publish digests in transactions, as enrichers do, until told to stop."""

    bootstrap: str
    name: str
    stop: threading.Event = field(default_factory=threading.Event)
    events: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: list[BaseException] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    # The windows before this one are full, and whoever reads all is told so.
    ends_ms: int = 0

    def start(self) -> None:
        """Begin, one thread for each source."""
        for source in range(SOURCES):
            thread = threading.Thread(target=self._run, args=(source,), daemon=True)
            thread.start()
            self.threads.append(thread)

    def finish(self) -> None:
        """End, with a word of progress that closes every window."""
        self.stop.set()
        for thread in self.threads:
            thread.join(60)
        assert self.failures == []
        self.ends_ms = (time.time_ns() // 1_000_000 // SIZE_MS + 2) * SIZE_MS
        for source in range(SOURCES):
            producer = self._producer(f"{source}-last")
            self._send(producer, [self._digest(source, "", self.ends_ms, ())])

    def _producer(self, source: object) -> Producer:
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "transactional.id": f"{self.name}-{source}"}
        )
        producer.init_transactions(30)
        return producer

    def _run(self, source: int) -> None:
        draw = random.Random(f"{SEED}/{source}")
        try:
            producer = self._producer(source)
            while not self.stop.wait(PERIOD_S):
                now_ms = time.time_ns() // 1_000_000
                digests = []
                for shard in draw.sample(SHARDS, draw.randint(1, 3)):
                    accounts = tuple(draw.choice("abcdefghij") for _ in range(draw.randint(1, 5)))
                    digests.append(self._digest(source, shard, now_ms, accounts))
                    window = digests[-1].pane_start_ms // SIZE_MS * SIZE_MS
                    self.events[shard, window] += len(accounts)
                self._send(producer, [*digests, self._digest(source, "", now_ms, ())])
        except BaseException as failure:  # noqa: BLE001  # raised by `finish`
            self.failures.append(failure)

    def _send(self, producer: Producer, digests: list[Digest]) -> None:
        producer.begin_transaction()
        for digest in digests:
            key = shard_key(self.name, digest.shard)
            targets = [partition_for(key, PARTITIONS)] if digest.shard else range(PARTITIONS)
            for target in targets:
                producer.produce(DIGESTS, msgspec.json.encode(digest), key, target)
        producer.commit_transaction(30)

    def _digest(self, source: int, shard: str, at_ms: int, accounts: tuple[str, ...]) -> Digest:
        start_ms = at_ms // PANE_MS * PANE_MS
        counts = Counter(f"{shard}-{account}" for account in accounts)
        ids, events, times = list(counts), list(counts.values()), [at_ms] * len(counts)
        return Digest(
            pipeline=self.name,
            shard=shard,
            pane_start_ms=start_ms,
            pane_end_ms=start_ms + PANE_MS,
            source_partition=source,
            offset_first=0,
            offset_last=0,
            progress_ms=at_ms,
            newest_ms=at_ms if accounts else 0,
            events=len(accounts),
            link_columns={"account~device": Links(ids, ["d"] * len(ids), events, events, times)}
            if accounts
            else {},
            tally_columns={"account": Tallies(ids, events, events)} if accounts else {},
        )


class Workers:
    """Window workers as an operator starts them; some die of kill -9."""

    def __init__(self, bootstrap: str, name: str, folder: Path) -> None:
        self._environment = os.environ | {
            "ENRICHMENT_KAFKA_BOOTSTRAP": bootstrap,
            "ENRICHMENT_PIPELINES_DIR": str(folder),
        }
        self._command = [sys.executable, "-m", "enrichment", "window", "--pipeline", name]
        self._log = folder / "workers.log"
        self.running: list[subprocess.Popen[bytes]] = []

    def add(self) -> None:
        """One more."""
        with self._log.open("ab") as log:
            self.running.append(
                subprocess.Popen(
                    self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=log
                )
            )

    def kill(self, draw: random.Random) -> None:
        """One less, without a warning."""
        process = self.running.pop(draw.randrange(len(self.running)))
        process.kill()
        process.wait(10)

    def close(self) -> None:
        """None is left."""
        for process in self.running:
            process.kill()
            process.wait(10)

    @property
    def said(self) -> str:
        """What they have logged."""
        return self._log.read_text(encoding="utf-8")


@pytest.fixture
def name(servers: LocalServers, tmp_path: Path) -> str:
    """A pipeline of that name with its topics."""
    made = f"storm-{secrets.token_hex(4)}"
    text = PIPELINE.format(name=made, idle_close_ms=60_000, horizon_ms=20_000)
    (tmp_path / f"{made}.toml").write_text(text, encoding="utf-8")
    admin = AdminClient({"bootstrap.servers": servers.bootstrap})
    known = admin.list_topics(timeout=20).topics
    topics = (DIGESTS, HORIZONS, MICRO_BATCHES, FEATURES, f"{made}.events", f"{made}.outcomes")
    wanted = [NewTopic(topic, PARTITIONS, 1) for topic in topics if topic not in known]
    for future in admin.create_topics(wanted).values():
        future.result(20)
    return made


def test_a_storm_of_workers_loses_and_doubles_no_window(
    servers: LocalServers, name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each digest is in exactly one micro-batch by its offset, and no identity has two contents."""
    draw = random.Random(SEED)
    sources, workers = (
        Enrichers(servers.bootstrap, name),
        Workers(servers.bootstrap, name, tmp_path),
    )
    kafka = {"bootstrap.servers": servers.bootstrap}
    workers.add()
    try:
        sources.start()
        for _ in range(CHANGES):
            time.sleep(CHANGE_S)
            full = len(workers.running) >= WORKERS_MAX
            if full or (len(workers.running) > 1 and draw.random() < 0.5):
                workers.kill(draw)
            else:
                workers.add()
        sources.finish()
        wanted = sum(sources.events.values())
        eventually(
            "all windows close",
            lambda: sum(batch.events for _, batch in logged(kafka, name)) >= wanted,
            within_s=120,
        )
        time.sleep(2 * CHANGE_S)  # long enough for whoever would publish once more
        closes = logged(kafka, name)
        said = workers.said
    finally:
        workers.close()
    copies = Counter(batch.micro_batch_id for _, batch in closes)
    contents = {(batch.micro_batch_id, batch.content_hash) for _, batch in closes}
    with capfd.disabled():
        sys.stderr.write(
            f"\n{CHANGES} changes: {len(copies)} micro-batches, "
            f"{sum(copies.values()) - len(copies)} published twice, {wanted} events\n"
        )
    assert len(contents) == len(copies)
    assert "is not what its digests give" not in said
    held = held_by(kafka, name, closes)
    assert set(held.values()) == {1}
    by_window: Counter[tuple[str, int]] = Counter()
    for batch in {batch.micro_batch_id: batch for _, batch in closes}.values():
        by_window[batch.shard, batch.window_start_ms] += batch.events
    assert by_window == sources.events


def logged(kafka: dict[str, str], name: str) -> list[tuple[int, MicroBatch]]:
    """The log of closes so far, each with its partition."""
    decode = msgspec.json.Decoder(MicroBatch).decode
    wanted = [TopicPartition(MICRO_BATCHES, number) for number in range(PARTITIONS)]
    return [
        (message.partition() or 0, decode(message.value() or b""))
        for message in read_to_end(kafka, wanted, 60)
        if (message.key() or b"").startswith(f"{name}|".encode())
    ]


def held_by(
    kafka: dict[str, str], name: str, closes: list[tuple[int, MicroBatch]]
) -> dict[tuple[int, int], int]:
    """Of each digest of events, by partition and offset: how many micro-batches cover it."""
    covers: dict[tuple[int, str, int], dict[str, tuple[int, int]]] = {}
    for partition, batch in closes:
        _, first, last = batch.digest_offsets[0]
        where = (partition, batch.shard, batch.window_start_ms)
        covers.setdefault(where, {})[batch.micro_batch_id] = (first, last)
    decode = msgspec.json.Decoder(Digest).decode
    wanted = [TopicPartition(DIGESTS, number) for number in range(PARTITIONS)]
    held = {}
    for message in read_to_end(kafka, wanted, 60):
        if not (message.key() or b"").startswith(f"{name}|".encode()):
            continue
        digest = decode(message.value() or b"")
        if digest.shard:
            partition, offset = message.partition() or 0, message.offset() or 0
            window = digest.pane_start_ms // SIZE_MS * SIZE_MS
            ranges = covers.get((partition, digest.shard, window), {}).values()
            held[partition, offset] = sum(first <= offset <= last for first, last in ranges)
    return held
