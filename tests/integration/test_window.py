"""The window stage as a process on a real broker: what is published, and what survives a kill."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.lab.servers import LocalServers
from enrichment.records import (
    Digest,
    FeatureUpdate,
    Links,
    MicroBatch,
    Outcome,
    OutcomeKind,
    Tallies,
)
from enrichment.stream.topics import (
    DIGESTS,
    FEATURES,
    HORIZONS,
    MICRO_BATCHES,
    partition_for,
    shard_key,
)
from tests.integration.stages import eventually

ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 4
PANE_MS = 500
SIZE_MS = 2_000
START_MS = 1_700_000_000_000
SHARD = "north"

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(150)]

PIPELINE = """
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
[window]
pane_ms = 500
size_ms = 2_000
lateness_ms = 0
idle_close_ms = {idle_close_ms}
horizon_ms = {horizon_ms}
keep_ms = 500
shard = "region"
[score]
version = "1"
bias = 0.0
[[score.terms]]
name = "amount"
value = "event.amount"
weight = 1.0
"""


class Field:
    """One pipeline with its topics on the broker, a worker to start, and both ends of it."""

    def __init__(self, bootstrap: str, name: str, folder: Path) -> None:
        self.bootstrap = bootstrap
        self.name = name
        self.partition = partition_for(shard_key(name, SHARD), PARTITIONS)
        self._folder = folder
        self._number = 0
        self._client = {"bootstrap.servers": bootstrap, "log_level": 3}
        self._producer = Producer(self._client | {"transactional.id": name})
        self._producer.init_transactions(30)
        self._plain = Producer(self._client)
        self._ends = self._topic_ends()

    def worker(self) -> subprocess.Popen[bytes]:
        """A worker process, as a user would start it."""
        environment = os.environ | {
            "ENRICHMENT_KAFKA_BOOTSTRAP": self.bootstrap,
            "ENRICHMENT_PIPELINES_DIR": str(self._folder),
        }
        command = [sys.executable, "-m", "enrichment", "window", "--pipeline", self.name]
        with (self._folder / "worker.log").open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        """What the workers have said."""
        return (self._folder / "worker.log").read_text()

    def send(self, *digests: Digest, commit: bool = True) -> None:
        """One transaction of an enricher."""
        self._producer.begin_transaction()
        for digest in digests:
            key = shard_key(self.name, digest.shard)
            self._producer.produce(
                DIGESTS, msgspec.json.encode(digest), key, partition=self.partition
            )
        self._producer.flush(30)
        if commit:
            self._producer.commit_transaction(30)
        else:
            self._producer.abort_transaction(30)

    def outcome(self, outcome: Outcome) -> None:
        """Publish what became known of an event."""
        value = msgspec.json.encode(outcome)
        self._plain.produce(f"{self.name}.outcomes", value, outcome.id, partition=self.partition)
        assert self._plain.flush(30) == 0

    def digest(self, window: int, *, pane: int = 0, accounts: tuple[str, ...] = ()) -> Digest:
        """A digest of payments by those accounts from one device; of no accounts, progress."""
        self._number += 1
        start_ms = START_MS + window * SIZE_MS + pane * PANE_MS
        newest_ms, count = start_ms + 1, len(accounts)
        return Digest(
            pipeline=self.name,
            shard=SHARD if accounts else "",
            pane_start_ms=start_ms,
            pane_end_ms=start_ms + PANE_MS,
            source_partition=0,
            offset_first=self._number,
            offset_last=self._number,
            progress_ms=newest_ms,
            newest_ms=newest_ms if accounts else 0,
            events=count,
            link_columns={
                "account~device": Links(
                    [*accounts], ["d"] * count, [1] * count, [100] * count, [newest_ms] * count
                )
            }
            if accounts
            else {},
            tally_columns={
                "account": Tallies([*accounts], [1] * count, [100] * count),
                "device": Tallies(["d"], [count], [100 * count]),
            }
            if accounts
            else {},
        )

    def micro_batches(self) -> list[MicroBatch]:
        """The micro-batches so far, in order."""
        decoder = msgspec.json.Decoder(MicroBatch)
        return [decoder.decode(value) for value in self._read(MICRO_BATCHES, [self.partition])]

    def committed(self) -> int:
        """The offset from which a restart would read digests; 0 where none is committed."""
        consumer = Consumer(self._client | {"group.id": f"enrichment.window.{self.name}"})
        (found,) = consumer.committed([TopicPartition(DIGESTS, self.partition)], 10)
        consumer.close()
        return max(0, int(found.offset))

    def end(self) -> int:
        """The offset behind the last digest, its transaction's marker left out."""
        consumer = Consumer(self._client | {"group.id": "nobody"})
        _, end = consumer.get_watermark_offsets(TopicPartition(DIGESTS, self.partition), 10)
        consumer.close()
        return int(end) - 1

    def features(self) -> list[FeatureUpdate]:
        """The feature updates so far, those of one entity in order."""
        decoder = msgspec.json.Decoder(FeatureUpdate)
        return [decoder.decode(value) for value in self._read(FEATURES, range(PARTITIONS))]

    def _read(self, topic: str, partitions: Iterable[int]) -> Iterator[bytes]:
        """This pipeline's records on the topic since the start."""
        prefix = f"{self.name}|".encode()
        consumer = Consumer(self._client | {"group.id": "nobody", "fetch.wait.max.ms": 10})
        for partition in partitions:
            target = TopicPartition(topic, partition, self._ends[topic, partition])
            _, end = consumer.get_watermark_offsets(target, 10)
            position = target.offset
            consumer.assign([target])
            while position < end:
                message = consumer.poll(10)
                assert message is not None
                if message.error() is not None:
                    raise KafkaException(message.error())
                position = (message.offset() or 0) + 1
                if (message.key() or b"").startswith(prefix):
                    yield message.value() or b""
        consumer.close()

    def await_windows(self, count: int, timeout_s: float = 40) -> list[MicroBatch]:
        """The micro-batches once there are that many."""
        give_up_s = time.monotonic() + timeout_s
        while len(found := self.micro_batches()) < count:
            assert time.monotonic() < give_up_s, f"{len(found)} of {count} windows\n{self.log}"
            time.sleep(0.1)
        return found

    def _topic_ends(self) -> dict[tuple[str, int], int]:
        consumer = Consumer(self._client | {"group.id": "nobody"})
        ends = {
            (topic, partition): consumer.get_watermark_offsets(
                TopicPartition(topic, partition), 10
            )[1]
            for topic in (MICRO_BATCHES, FEATURES)
            for partition in range(PARTITIONS)
        }
        consumer.close()
        return ends


@pytest.fixture
def field(servers: LocalServers, tmp_path: Path) -> Callable[..., Field]:
    """A factory of fields on the shared broker."""

    def make(name: str, *, idle_close_ms: int = 60_000, horizon_ms: int = 600_000) -> Field:
        return make_field(servers.bootstrap, name, tmp_path, idle_close_ms, horizon_ms)

    return make


def make_field(
    bootstrap: str, name: str, folder: Path, idle_close_ms: int, horizon_ms: int
) -> Field:
    """Topics and a pipeline file of that name."""
    text = PIPELINE.format(name=name, idle_close_ms=idle_close_ms, horizon_ms=horizon_ms)
    (folder / f"{name}.toml").write_text(text)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    names = [DIGESTS, HORIZONS, MICRO_BATCHES, FEATURES, f"{name}.events", f"{name}.outcomes"]
    known = admin.list_topics(timeout=20).topics
    # One source, so that its word alone moves the watermark.
    counts = {f"{name}.events": 1}
    wanted = [NewTopic(t, counts.get(t, PARTITIONS), 1) for t in names if t not in known]
    for future in admin.create_topics(wanted).values():
        future.result(20)
    return Field(bootstrap, name, folder)


@contextlib.contextmanager
def running(field: Field) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that is gone afterwards."""
    process = field.worker()
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def identities(batches: list[MicroBatch]) -> Counter[str]:
    """How often each identity was published."""
    return Counter(batch.micro_batch_id for batch in batches)


def test_a_ring_goes_out_once_with_its_features_before_it(field: Callable[..., Field]) -> None:
    """Committed digests give one micro-batch each window, aborted ones none; features are there."""
    one = field("window-ring")
    with running(one):
        one.send(one.digest(0, accounts=("a", "b")))
        one.send(one.digest(0, accounts=("x", "y", "z")), commit=False)
        one.send(one.digest(0, pane=2, accounts=("b", "c")), one.digest(1))
        (batch,) = one.await_windows(1)
        assert batch.events == 4
        (problem,) = batch.problems
        assert problem.nodes == ("a", "b", "c")
        assert [edge[:2] for edge in problem.weights] == [(0, 1), (0, 2), (1, 2)]
        assert len({edge[2] for edge in problem.weights}) == 1
        updates = {(update.entity, update.id): update for update in one.features()}
        assert updates.keys() == {
            ("account", "a"), ("account", "b"), ("account", "c"), ("device", "d"),
            ("shard", SHARD),
        }  # fmt: skip
        for entity in (("account", "a"), ("account", "c"), ("device", "d")):
            assert updates[entity].subgraph == problem.subgraph
            assert updates[entity].version == batch.version
        assert updates["account", "b"].values["events"] == 2
        assert updates["shard", SHARD].event_time_ms == START_MS + SIZE_MS


def test_an_outcome_is_known_at_the_next_close(field: Callable[..., Field]) -> None:
    """A confirmed account counts in the model and in its neighbours' features once it is known."""
    one = field("window-outcome")
    with running(one):
        one.send(one.digest(0, accounts=("a", "b", "c")), one.digest(1))
        first = one.await_windows(1)[0]
        one.outcome(
            Outcome(
                outcome_id="o",
                event_id="e",
                entity="account",
                id="a",
                shard=SHARD,
                kind=OutcomeKind.CONFIRMED_FRAUD,
                decided_at_ms=START_MS + SIZE_MS,
            )
        )
        time.sleep(1)  # the two topics are read side by side
        one.send(one.digest(1, accounts=("b",)), one.digest(2))
        second = one.await_windows(2)[1]
        assert first.problems[0].known_bad == ()
        assert second.problems[0].known_bad == (0,)
        newest = {update.id: update for update in one.features()}
        assert newest["a"].values["known_bad_near"] == 1
        assert newest["b"].values["known_bad_near"] == 0.5


def test_a_killed_worker_publishes_nothing_twice(field: Callable[..., Field]) -> None:
    """After kill -9 and a restart every window is out once, whatever offsets were committed."""
    one = field("window-kill", horizon_ms=6_000)
    windows = 12
    for part in range(3):
        with running(one) as process:
            for window in range(windows):
                number = part * windows + window
                accounts = (f"a{number}", f"a{number + 1}", f"a{number + 2}")
                one.send(one.digest(number, accounts=accounts))
                if window == windows // 2:
                    # Long enough for a commit in the midst of it.
                    one.await_windows(number - 1)
                    time.sleep(1.5)
            process.kill()
    with running(one):
        one.send(one.digest(3 * windows))
        batches = one.await_windows(3 * windows)
        time.sleep(1)
        batches = one.micro_batches()
    assert set(identities(batches).values()) == {1}
    assert [batch.window_start_ms for batch in batches] == [
        START_MS + number * SIZE_MS for number in range(3 * windows)
    ]
    assert sum(batch.events for batch in batches) == 3 * 3 * windows
    assert "is not what its digests give" not in one.log


def test_a_restart_begins_from_what_was_kept(field: Callable[..., Field]) -> None:
    """The graph is on a topic: its digests are not read again, and the ties are there."""
    one = field("window-kept")
    with running(one) as process:
        one.send(one.digest(0, accounts=("a", "b")), one.digest(1))
        one.await_windows(1)
        eventually("the digests are needed no more", lambda: one.committed() >= one.end() - 1)
        process.kill()
    read_again = one.end() - one.committed()
    with running(one):
        one.send(one.digest(1, accounts=("c",)), one.digest(2))
        second = one.await_windows(2)[1]
    assert read_again <= 1  # at most the word of progress, and no digest of the ring
    assert [problem.nodes for problem in second.problems] == [("a", "b", "c")]
    assert "horizon_slices" in one.log


def test_an_idle_shard_is_closed_by_the_wall_clock(field: Callable[..., Field]) -> None:
    """Without a further digest the window closes, and says so; a later one gets sequence 1."""
    one = field("window-idle", idle_close_ms=500)
    with running(one):
        one.send(one.digest(0, accounts=("a", "b", "c")))
        (batch,) = one.await_windows(1)
        assert (batch.cause.value, batch.sequence) == ("idle", 0)
        one.send(one.digest(0, pane=1, accounts=("d",)))
        assert one.await_windows(2)[1].sequence == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_worker_at_once(
    field: Callable[..., Field], number: signal.Signals
) -> None:
    """Within five seconds, with exit code 0, and digests that were held are not lost by it."""
    one = field(f"window-signal-{number}")
    with running(one) as process:
        one.send(one.digest(0, accounts=("a", "b")), one.digest(1, accounts=("a",)))
        one.await_windows(1)
        process.send_signal(number)
        started_s = time.monotonic()
        assert process.wait(10) == 0, one.log
        assert time.monotonic() - started_s < 5
    with running(one):
        one.send(one.digest(2))
        batches = one.await_windows(2)
    assert [batch.events for batch in batches] == [2, 1]


def test_from_the_watermark_to_the_micro_batch_is_a_matter_of_milliseconds(
    field: Callable[..., Field],
) -> None:
    """Windows that follow each other in lockstep do not wait for timers or long polls."""
    one = field("window-lockstep")
    waits_s = []
    with running(one):
        one.send(one.digest(0, accounts=("a", "b", "c")), one.digest(1))
        one.await_windows(1)
        consumer = Consumer(
            {"bootstrap.servers": one.bootstrap, "group.id": "nobody", "fetch.wait.max.ms": 10}
        )
        consumer.assign([TopicPartition(MICRO_BATCHES, one.partition, -1)])
        consumer.poll(1)
        for window in range(1, 41):
            one.send(one.digest(window, accounts=("a", "b", "c")))
            sent_s = time.monotonic()
            one.send(one.digest(window + 1))
            while (message := consumer.poll(5)) is None or message.error() is not None:
                assert time.monotonic() - sent_s < 5, one.log
            waits_s.append(time.monotonic() - sent_s)
        consumer.close()
    # Far above what is usual (some 30 ms), far below what a long poll of Faust's would cost.
    assert sorted(waits_s)[len(waits_s) // 2] < 0.3, waits_s
