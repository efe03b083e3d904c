"""The hot path while partitions move: nothing stops that need not, and no answer is given twice."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import pytest
from confluent_kafka import Consumer, TopicPartition

from enrichment.enrich.batch import Record
from enrichment.stream.transaction import Outcome, TransactionalProducer
from tests.faults.answers import Account, Watch
from tests.faults.enrichers import Publishing, owned
from tests.integration.loops import Running, config, good, hesitant
from tests.integration.stages import Stream, eventually

pytestmark = pytest.mark.servers


SLOW_MS: Final = 4_000  # of a member that is slow to hear that others give it something


def test_a_member_that_joins_stops_only_what_moves(stream: Stream) -> None:
    """Cooperative: partitions that stay are answered on for as long as the others take to move."""
    staying = Running(hesitant(stream, lambda _: None), config(stream, "staying"))
    watch = Watch(stream.bootstrap, stream.name)
    publishing = Publishing(stream, 8_000, 1_000.0, seed=3)
    try:
        eventually("the first answers", lambda: watch.answered > 200)
        begun_s = time.monotonic()
        with _joined(stream, SLOW_MS) as given:
            moved_s = time.monotonic()
            publishing.finish()
        eventually("all", lambda: watch.answered >= 8_000)
    finally:
        watch.close()
    stayed = {0, 1, 2, 3} - given
    assert len(stayed) == 2
    longest_s = max(watch.silence_s(number, begun_s, moved_s) for number in stayed)
    assert longest_s < SLOW_MS / 2_000  # .2 s on an idle machine
    staying.end()
    Account.take(stream.bootstrap, stream.name).assert_exact()


@contextmanager
def _joined(stream: Stream, heartbeat_ms: int = 1_000) -> Iterator[set[int]]:
    """A member of the group that answers nothing, once it has partitions: which. It leaves."""
    member = Consumer(
        {
            "bootstrap.servers": stream.bootstrap,
            "group.id": config(stream, "").group_id,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 12_000,
            "heartbeat.interval.ms": heartbeat_ms,
            "enable.auto.commit": False,
        }
    )
    try:
        member.subscribe([stream.topics.events])

        given: set[int] = set()

        def has_partitions() -> bool:
            member.poll(0.05)
            given.update(each.partition for each in member.assignment())
            return bool(given)

        eventually("it is given partitions", has_partitions)
        yield given
    finally:
        member.close()


def test_a_slow_batch_keeps_its_partitions_until_it_is_done(stream: Stream) -> None:
    """A member that joins in the middle of a batch answers nothing of it, before or after."""
    held, go_on = threading.Event(), threading.Event()

    def wait(records: Sequence[Record]) -> None:
        if any(record.offset >= 10 for record in records) and not go_on.is_set():
            held.set()
            go_on.wait(30)

    slow = Running(hesitant(stream, wait), config(stream, "slow", batch_ms_max=1_000))
    stream.publish(good(40))
    eventually("the first answers", lambda: len(stream.read(stream.topics.enriched)) == 40)
    stream.publish(good(40))
    assert held.wait(20)
    quick = Running(hesitant(stream, lambda _: None), config(stream, "quick"))
    time.sleep(3.0)  # twice a heartbeat: what it could be given by then, it has
    assert len(stream.read(stream.topics.enriched)) == 40
    go_on.set()
    eventually("all", lambda: len(stream.read(stream.topics.enriched)) >= 80)
    eventually("they share", lambda: len(owned(stream, "quick")) == 2)
    slow.end()
    quick.end()
    Account.take(stream.bootstrap, stream.name).assert_exact()


def test_offsets_that_a_transaction_holds_back_are_waited_for(stream: Stream) -> None:
    """Though members come and go: the client begins with the oldest record then (librdkafka)."""
    first = Running(hesitant(stream, lambda _: None), config(stream, "first"))
    stream.publish(good(400))
    eventually("the first answers", lambda: len(stream.read(stream.topics.enriched)) == 400)
    first.end()
    with _held_back(stream):
        second = Running(hesitant(stream, lambda _: None), config(stream, "second"))
        for _ in range(2):
            eventually("it has joined", lambda: len(owned(stream, "second")) > 0)
            with _joined(stream):
                time.sleep(1.0)
    stream.publish(good(40))
    eventually("all", lambda: len(stream.read(stream.topics.enriched)) >= 440)
    second.end()
    Account.take(stream.bootstrap, stream.name).assert_exact()


@contextmanager
def _held_back(stream: Stream) -> Iterator[None]:
    """A transaction that would commit the offsets which are committed already, left open."""
    group = config(stream, "").group_id
    asker = Consumer({"bootstrap.servers": stream.bootstrap, "group.id": group})
    places = [TopicPartition(stream.topics.events, number) for number in range(4)]
    committed = asker.committed(places, timeout=10)
    transactions = TransactionalProducer.open(
        {"bootstrap.servers": stream.bootstrap}, f"{stream.name}.dead", timeout_ms=60_000
    )
    transactions.begin()
    transactions.producer.send_offsets_to_transaction(
        committed, asker.consumer_group_metadata(), 10
    )
    try:
        yield
    finally:
        assert transactions.abort() is Outcome.ABORTED
        transactions.close()
        asker.close()
