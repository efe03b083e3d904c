"""A topic that is followed: its state is milliseconds old, and no outage takes any of it back."""

import secrets
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from structlog.testing import capture_logs

from enrichment.lab.servers import LocalServers
from enrichment.records import Control
from enrichment.rollout.control import ControlFold, ControlState
from enrichment.stream.follow import Follower, Record
from tests.integration.stages import eventually
from tests.rollout.controls import control, record, tombstone

pytestmark = pytest.mark.servers

IN_FORCE_S = 2.0  # what is promised of a withdrawal
JOB = control("withdraw.job.j1", job_id="j1")
ALL = control("withdraw.all", everything=True)


class Topic:
    """A compacted topic that only one test knows."""

    def __init__(self, bootstrap: str, partitions: int = 1) -> None:
        self.name = f"control-{secrets.token_hex(4)}"
        self.client: dict[str, Any] = {"bootstrap.servers": bootstrap, "log_level": 0}
        admin = AdminClient(self.client)
        new = NewTopic(self.name, partitions, 1, config={"cleanup.policy": "compact"})
        admin.create_topics([new])[self.name].result(20)

    def put(self, *records: Record, partition: int = 0) -> None:
        """Records, acknowledged by the broker."""
        refused: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                refused.append(error)

        producer = Producer(self.client | {"acks": "all", "linger.ms": 0})
        for key, value in records:
            producer.produce(self.name, value, key, partition, on_delivery=delivered)
        assert producer.flush(20) == 0
        assert refused == []

    def put_and_abort(self, *records: Record) -> None:
        """Records in a transaction that comes to nothing."""
        producer = Producer(self.client | {"transactional.id": self.name})
        producer.init_transactions(20)
        producer.begin_transaction()
        for key, value in records:
            producer.produce(self.name, value, key, 0)
        assert producer.flush(20) == 0
        producer.abort_transaction(20)

    def follow(self) -> Follower[ControlState]:
        """A follower of its payments."""
        return Follower(self.client, self.name, lambda: ControlFold("payments"))


@pytest.fixture
def topic(servers: LocalServers) -> Topic:
    """A topic on the shared broker."""
    return Topic(servers.bootstrap)


def in_force(follower: Follower[ControlState], *controls: Control) -> bool:
    """Whether exactly these are in force."""
    fold = ControlFold("payments")
    fold.take([record(one) for one in controls])
    return follower.state == fold.state


def test_what_is_published_is_known_within_the_promise(topic: Topic) -> None:
    """A withdrawal, and its end, are seen well within two seconds; nothing else changes a thing."""
    with topic.follow() as follower:
        assert follower.await_ready(20)
        assert in_force(follower)
        waits_s = []
        for round_ in range(10):
            lifted = round_ % 2 == 1
            topic.put(tombstone(JOB) if lifted else record(JOB))
            published_s = time.monotonic()
            expected = [] if lifted else [JOB]
            while not in_force(follower, *expected):
                assert time.monotonic() < published_s + 10
                time.sleep(0.001)
            waits_s.append(time.monotonic() - published_s)
        assert statistics.median(waits_s) < IN_FORCE_S / 4
        topic.put(record(JOB))
        eventually("seen", lambda: in_force(follower, JOB))
        state = follower.state
        topic.put(record(control("x", pipeline="cards", everything=True)), record(JOB))
        topic.put_and_abort(record(ALL))
        time.sleep(0.5)
        assert follower.state is state


def test_a_start_knows_what_was_said_before(topic: Topic) -> None:
    """Once ready it says all that the topic held, a transaction's markers at its end or not."""
    topic.put(record(JOB), record(control("x", serve="classical")))
    topic.put_and_abort(record(ALL))
    for _ in range(2):
        with topic.follow() as follower:
            assert follower.await_ready(20)
            assert in_force(follower, JOB, control("x", serve="classical"))


def test_all_partitions_are_followed(servers: LocalServers) -> None:
    """Whoever made the topic with three partitions is heard in each."""
    topic = Topic(servers.bootstrap, partitions=3)
    topic.put(record(JOB), partition=1)
    with topic.follow() as follower:
        assert follower.await_ready(20)
        assert in_force(follower, JOB)
        topic.put(record(ALL), partition=2)
        eventually("seen", lambda: in_force(follower, JOB, ALL))


def test_what_is_malformed_is_said_and_skipped(topic: Topic) -> None:
    """Junk on the topic holds up nothing behind it."""
    with capture_logs() as logs, topic.follow() as follower:
        assert follower.await_ready(20)
        topic.put((b"payments|x", b"junk"), (b"", b"{}"), record(JOB))
        eventually("seen", lambda: in_force(follower, JOB))
    said = [entry["event"] for entry in logs]
    assert any("skipped 'payments|x'" in each for each in said)


def test_a_topic_that_comes_later_is_followed_then(servers: LocalServers) -> None:
    """Without its topic it is not ready, says what to do, and goes on looking."""
    topic = Topic(servers.bootstrap)
    later = Follower(topic.client, f"{topic.name}-later", lambda: ControlFold("payments"))
    with capture_logs() as logs, later as follower:
        assert not follower.await_ready(1.5)
        assert follower.away
        topic.name = follower.topic
        admin = AdminClient(topic.client)
        admin.create_topics([NewTopic(topic.name, 1, 1)])[topic.name].result(20)
        topic.put(record(JOB))
        assert follower.await_ready(20)
        assert in_force(follower, JOB)
        eventually("said", lambda: not follower.away)
    warned = [entry for entry in logs if "cannot be followed" in entry["event"]]
    assert len(warned) == 1
    assert "topics apply" in warned[0]["error"]


class Faulty(ControlFold):
    """A fold with a mistake in it, made once."""

    faults = 0

    def take(self, records: Iterable[Record]) -> list[str]:
        """Fail at the first record ever."""
        if Faulty.faults == 0:
            Faulty.faults += 1
            raise KeyError("a mistake")
        return super().take(records)


def test_a_mistake_of_ours_does_not_end_it(topic: Topic) -> None:
    """The thread says what happened and reads again, since nobody would notice that it is gone."""
    topic.put(record(JOB))
    with (
        capture_logs() as logs,
        Follower(topic.client, topic.name, lambda: Faulty("payments")) as follower,
    ):
        assert follower.await_ready(20)
        assert in_force(follower, JOB)
    assert Faulty.faults == 1
    assert any(entry["log_level"] == "error" for entry in logs)


@pytest.mark.slow  # a killed broker takes its time to come back
def test_a_broker_that_is_away_takes_nothing_back(
    fresh_servers: Callable[[], LocalServers],
) -> None:
    """The last state stands and is the same object; after the broker's return news comes again."""
    servers = fresh_servers()
    topic = Topic(servers.bootstrap)
    topic.put(record(JOB))
    with capture_logs() as logs, topic.follow() as follower:
        assert follower.await_ready(20)
        state = follower.state
        servers.kafka.process.kill()
        eventually("noticed", lambda: follower.away)
        assert follower.state is state
        servers.up()
        eventually("followed again", lambda: not follower.away)
        assert follower.state is state
        topic.put(record(ALL))
        published_s = time.monotonic()
        eventually("seen", lambda: in_force(follower, JOB, ALL))
        assert time.monotonic() - published_s < IN_FORCE_S
    said = [entry["event"] for entry in logs]
    assert sum("cannot be followed" in each for each in said) == 1
    assert sum("followed again" in each for each in said) == 1


def test_it_ends_at_once(topic: Topic) -> None:
    """Nobody waits for it at the end of a process, whether it is ready or not."""
    for wait in (True, False):
        with topic.follow() as follower:
            if wait:
                assert follower.await_ready(20)
            asked_s = time.monotonic()
        assert time.monotonic() - asked_s < 2
