"""A commit that fails before anybody looks at it."""

import threading
from concurrent.futures import Executor, Future
from typing import Any

from enrichment.enrich.clients import Clients, LoopConfig
from enrichment.enrich.loop import Loop
from enrichment.stream.topics import DIGESTS, StreamTopics
from tests.enrich.streams import PAYMENTS, enricher, payment
from tests.feature.cached import NOW_MS, MemoryCache
from tests.memory_kafka import Entry, MemoryConsumer, MemoryKafka, MemoryProducer, Process

TOPICS = StreamTopics("payments")


class Laps(threading.Event):
    """A stop event that comes after so many batches."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._left = count

    def is_set(self) -> bool:
        """Asked between two batches."""
        self._left -= 1
        return self._left < 0


class AtOnce(Executor):
    """Does what it is told before it returns."""

    def submit(self, fn: Any, /, *args: Any, **_: Any) -> Future[Any]:
        """A future that is done."""
        done: Future[Any] = Future()
        done.set_result(fn(*args))
        return done


def test_a_commit_that_fails_at_once_loses_nothing() -> None:
    """Its failure is its own: the same records, read again, are answered and committed."""
    topics = (TOPICS.events, TOPICS.enriched, TOPICS.dead_letters, TOPICS.reviews, DIGESTS)
    kafka = MemoryKafka(dict.fromkeys(topics, 1))
    for number in range(3):
        value = payment(event_id=f"e{number}", account_id=f"acc-{number}")
        kafka.append(TOPICS.events, 0, Entry(b"k", value, [], NOW_MS, None))
    process = Process()
    process.prepare("commit", "abortable")
    producer = MemoryProducer(kafka, process, "one")
    producer.init_transactions()
    config = LoopConfig(
        stream="payments", client={}, group_id="enrichment.enrich.payments", instance="one",
        exactly_once=True, batch_events_max=1_000, batch_ms_max=10, digest_partitions=1,
    )  # fmt: skip
    clients = Clients(MemoryConsumer(kafka, process, "one"), producer)
    loop = Loop(
        enricher(PAYMENTS, MemoryCache()), config, lambda: NOW_MS, clients=clients,
        committer=AtOnce(),
    )  # fmt: skip
    loop.run(Laps(12))
    assert len(kafka.committed(TOPICS.enriched)) == 3
    assert kafka.offsets == {(TOPICS.events, 0): 3}
