"""Fifty reservers on a real Redis that is flushed, killed and fails over: no limit is passed."""

import itertools
import random
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.feature.connection import open_cache
from enrichment.lab.redis_server import RedisServer
from enrichment.lab.servers import LocalServers
from enrichment.records.job import Charge
from enrichment.sample import teller as teller_module
from enrichment.sample.budget import DAY_MS, Allowance, BudgetAwayError, Claim, Grant
from enrichment.sample.counter import RedisCounter
from enrichment.sample.spending import ledger_of, spending
from enrichment.sample.teller import Teller
from enrichment.stream.topics import JOBS
from tests.feature.deployments import running, sentinel
from tests.sample.entries import entry

pytestmark = [pytest.mark.servers, pytest.mark.timeout(170)]

RESERVERS: Final = 50
PROVIDER: Final = "ionq"
PATIENCE_S: Final = 90.0


def today() -> int:
    """The day of now, by the clock that Redis has too."""
    return int(time.time() * 1000) // DAY_MS


class Ledger(Protocol):
    """Where intents and settlements are committed."""

    def write(self, name: str, charge: Charge) -> None:
        """Commit it."""

    def read(self, day: int) -> Mapping[str, Claim]:
        """All that is committed."""


class MemoryLedger:
    """A ledger whose readings take their time: what they say is of when they began."""

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self._lock = threading.Lock()
        self._claims: dict[str, Claim] = {}

    def write(self, name: str, charge: Charge) -> None:
        """See Ledger."""
        with self._lock:
            self._claims[f"{name}|1"] = Claim.of(charge, self._pipeline)

    def read(self, _: int) -> Mapping[str, Claim]:
        """See Ledger."""
        with self._lock:
            found = dict(self._claims)
        time.sleep(random.choice([0.0, 0.2, 1.2]))
        return found


class KafkaLedger:
    """The real topic, and the real reading of it."""

    def __init__(self, bootstrap: str, pipeline: str) -> None:
        self._kafka = {"bootstrap.servers": bootstrap, "log_level": 2}
        self._pipeline = pipeline
        self._producers = [Producer(self._kafka | {"linger.ms": 1}) for _ in range(5)]
        self._turn = itertools.count()
        self.read = ledger_of(self._kafka)

    def write(self, name: str, charge: Charge) -> None:
        """See Ledger."""
        producer = self._producers[next(self._turn) % len(self._producers)]
        written = threading.Event()
        partition = sum(name.encode()) % 4  # the same for a job each time
        value = entry(name, self._pipeline, charge)
        producer.produce(JOBS, value, name, partition, on_delivery=lambda *_: written.set())
        while not written.is_set():
            producer.poll(0.01)


class Book:
    """What was granted, and what it came to: the truth that the limit is about."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.spent = 0
        self.grants = 0
        self.highest = 0
        self._lock = threading.Lock()

    def add(self, micro: int, *, granted: bool) -> None:
        """One that was granted, or what a bill came to less than was reserved (below nought)."""
        with self._lock:
            self.grants += granted
            self.spent += micro
            self.highest = max(self.highest, self.spent)


class Reserver(threading.Thread):
    """A worker that begins one attempt after the other, with a client and a teller of its own."""

    def __init__(self, url: str, ledger: Ledger, book: Book, pipeline: str) -> None:
        super().__init__(daemon=True)
        self._ledger, self._book, self._pipeline = ledger, book, pipeline
        self._cache = open_cache(url, 1.0)
        limits = Allowance(pipelines={pipeline: book.limit})
        counter = RedisCounter(self._cache)
        self._teller = Teller(counter, ledger.read, limits, clock_s=time.monotonic)
        self._draw = random.Random(secrets.token_hex(8))
        self.calm = threading.Event()
        self.over = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Attempt after attempt; in the calm, of one millionth each, so that all can be spent."""
        try:
            while not self.over.is_set():
                self._attempt(1 if self.calm.is_set() else self._draw.randint(1, 60))
                time.sleep(self._draw.uniform(0.0, 0.2))
        except BaseException as failure:  # the test reads it
            self.failure = failure
            raise
        finally:
            self._cache.close()

    def _attempt(self, micro: int) -> None:
        name = f"{self._pipeline}-{secrets.token_hex(8)}"
        intent = Charge(attempt=1, provider=PROVIDER, day=today(), micro=micro)
        self._ledger.write(name, intent)
        while True:
            answer = self._teller.ask(f"{name}|1", intent, self._pipeline)
            if answer.grant is not Grant.WAITING:
                break
            if self.over.is_set():
                return
            if not self._teller.turn():
                time.sleep(0.05)
        if answer.grant is Grant.GRANTED:
            self._book.add(micro, granted=True)
            if not self.calm.is_set():
                # While it runs all of it is reserved, and in the end it costs little: so the limit
                # is near all the time, and what is forgotten is seen at once.
                time.sleep(self._draw.uniform(0.0, 2.5))
                self._settle(name, intent, self._draw.randint(0, micro // 20), granted=True)
        else:
            self._settle(name, intent, 0, granted=False)

    def _settle(self, name: str, intent: Charge, cost: int, *, granted: bool) -> None:
        done = msgspec.structs.replace(intent, micro=cost, settled=True)
        if granted:  # what is known to be left may be granted from here on
            self._book.add(cost - intent.micro, granted=False)
        self._ledger.write(name, done)
        self._teller.settle(f"{name}|1", done, self._pipeline)
        self._teller.turn()


def spend(urls: str, ledger: Ledger, book: Book, pipeline: str, faults: Callable[[], None]) -> None:
    """Fifty reservers while the faults happen, and then until all is spent."""
    reservers = [Reserver(urls, ledger, book, pipeline) for _ in range(RESERVERS)]
    try:
        for reserver in reservers:
            reserver.start()
        faults()
        for reserver in reservers:
            reserver.calm.set()
        give_up_s = time.monotonic() + PATIENCE_S
        spent_since_s: float | None = None
        while time.monotonic() < give_up_s:
            assert book.highest <= book.limit, f"granted {book.highest} of {book.limit}"
            if book.spent < book.limit:
                spent_since_s = None  # what is settled leaves room again
            elif spent_since_s is None:
                spent_since_s = time.monotonic()
            elif time.monotonic() - spent_since_s > 1.0:
                break
            time.sleep(0.05)
    finally:
        for reserver in reservers:
            reserver.over.set()
        for reserver in reservers:
            reserver.join(30)
    assert [one.failure for one in reservers if one.failure is not None] == []
    assert book.highest <= book.limit, f"granted {book.highest} of {book.limit}"
    assert book.spent == book.limit, f"only {book.spent} of {book.limit} were ever granted"
    assert book.grants > RESERVERS


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was counted too high comes down in seconds, not in a minute."""
    monkeypatch.setattr(teller_module, "READ_AGAIN_S", 5.0)


@pytest.fixture
def jobs_topic(servers: LocalServers) -> str:
    """The broker with a ledger of at least four partitions."""
    admin = AdminClient({"bootstrap.servers": servers.bootstrap})
    if JOBS not in admin.list_topics(timeout=10).topics:
        [future] = admin.create_topics([NewTopic(JOBS, 4, 1)]).values()
        future.result(30)
    return servers.bootstrap


def flushed_and_killed(server: RedisServer, rounds: int) -> None:
    """Flushes in quick succession, and crashes of a machine that lose the last second."""
    client = open_cache(f"redis://{server.address}", 5.0, retries=1)
    kept = server.state_dir / "kept"
    for _ in range(rounds):
        for _ in range(4):
            time.sleep(0.5)
            getattr(client, "flushall")()  # noqa: B009  # a redis.Redis here
        time.sleep(2.0)
        shutil.copytree(server.data_dir, kept)
        time.sleep(1.0)
        server.process.kill()
        shutil.rmtree(server.data_dir)
        kept.rename(server.data_dir)
        server.start(within_s=20)
    time.sleep(1.5)
    client.close()


def test_fifty_reservers_never_pass_the_limit_and_reach_it(own_redis: RedisServer) -> None:
    """Flushed twelve times and killed three times, while readings of the ledger are slow."""
    pipeline = f"t{secrets.token_hex(4)}"
    book = Book(limit=1_500)
    url = f"redis://{own_redis.address}"
    spend(url, MemoryLedger(pipeline), book, pipeline, lambda: flushed_and_killed(own_redis, 3))


def test_fifty_reservers_on_the_real_ledger(own_redis: RedisServer, jobs_topic: str) -> None:
    """Intents in Kafka, and the counter rebuilt from it after flushes and a crash."""
    pipeline = f"t{secrets.token_hex(4)}"
    book = Book(limit=1_500)
    url = f"redis://{own_redis.address}"
    ledger = KafkaLedger(jobs_topic, pipeline)
    spend(url, ledger, book, pipeline, lambda: flushed_and_killed(own_redis, 1))


def test_fifty_reservers_through_a_failover(tmp_path: Path) -> None:
    """A replica that is made the primary has no counter, whatever it was sent."""
    pipeline = f"t{secrets.token_hex(4)}"
    book = Book(limit=1_500)
    with running(sentinel, tmp_path) as deployment:
        [primary, _] = deployment.servers

        def fail_over() -> None:
            time.sleep(2.0)
            primary.signal(signal.SIGKILL)
            time.sleep(4.0)

        spend(deployment.url, MemoryLedger(pipeline), book, pipeline, fail_over)


def test_a_reading_misses_nothing_behind_an_open_transaction(jobs_topic: str) -> None:
    """A transaction that is still open hides what was committed since: the reading waits for it."""
    kafka: dict[str, Any] = {"bootstrap.servers": jobs_topic, "log_level": 2}
    pipeline = f"t{secrets.token_hex(4)}"
    open_one = Producer(kafka | {"transactional.id": pipeline})
    open_one.init_transactions(30)
    open_one.begin_transaction()
    charge = Charge(attempt=1, provider=PROVIDER, day=today(), micro=5)
    open_one.produce(JOBS, entry(f"{pipeline}-a", pipeline, charge), f"{pipeline}-a", 0)
    open_one.flush(10)
    other = Producer(kafka)
    other.produce(JOBS, entry(f"{pipeline}-b", pipeline, charge), f"{pipeline}-b", 0)
    other.flush(10)
    found: dict[int, dict[str, Claim]] = {}
    reading = threading.Thread(target=lambda: found.update(spending(kafka)))
    reading.start()
    reading.join(1.0)
    assert reading.is_alive()
    open_one.abort_transaction(10)
    reading.join(10)
    ours = {name for name in found[today()] if name.startswith(pipeline)}
    assert ours == {f"{pipeline}-b|1"}


def test_a_ledger_that_is_away_is_said() -> None:
    """Neither yes nor no."""
    with pytest.raises(BudgetAwayError, match="the ledger cannot be read"):
        spending({"bootstrap.servers": "127.0.0.1:1", "log_level": 2})
