"""The whole way in one process: payments, the hot path, a window, a job, and features back."""

import threading
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from enrichment.enrich.clients import Clients, LoopConfig
from enrichment.enrich.loop import Loop
from enrichment.pipelines import load
from enrichment.records import Digest, MicroBatch
from enrichment.stream.topics import DIGESTS, StreamTopics
from enrichment.window.partition import Partition
from enrichment.window.told import tell_close
from tests.enrich.streams import PAYMENTS, enricher, payment
from tests.feature.cached import NOW_MS, MemoryCache
from tests.memory_kafka import Entry, MemoryConsumer, MemoryKafka, MemoryProducer, Process
from tests.sample.fakes import Bench

TOPICS: Final = StreamTopics("payments")
WAITED_MS: Final = 7  # between the publication of a payment and its batch


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


def traceparent(number: int, *, sampled: bool = True) -> str:
    """The span of some sender."""
    return f"00-{number:032x}-{number:016x}-{'01' if sampled else '00'}"


def ring(accounts: int, device: str = "d1") -> list[bytes]:
    """Payments of accounts that share a device and a beneficiary."""
    return [
        payment(event_id=f"e{n}", account_id=f"acc-{n}", device_id=device) for n in range(accounts)
    ]


@dataclass(slots=True, kw_only=True)
class Way:
    """A broker in memory, a cache, and what is between them."""

    cache: MemoryCache = field(default_factory=MemoryCache)
    bench: Bench = field(default_factory=Bench)
    kafka: MemoryKafka = field(init=False)
    # What the hot path's next commit meets.
    trouble: str = ""

    def __post_init__(self) -> None:
        topics = (TOPICS.events, TOPICS.enriched, TOPICS.dead_letters, TOPICS.reviews, DIGESTS)
        self.kafka = MemoryKafka(dict.fromkeys(topics, 1))

    def enrich(self, *sent: tuple[bytes, str | None]) -> None:
        """Publish payments with their `traceparent`, and answer them in one batch."""
        for value, trace in sent:
            headers = [] if trace is None else [("traceparent", trace.encode())]
            entry = Entry(b"k", value, list(headers), NOW_MS - WAITED_MS, None)
            self.kafka.append(TOPICS.events, 0, entry)
        process = Process()
        if self.trouble:
            process.prepare("commit", self.trouble)
        producer = MemoryProducer(self.kafka, process, "one")
        producer.init_transactions()
        config = LoopConfig(
            stream="payments", client={}, group_id="enrichment.enrich.payments", instance="one",
            exactly_once=True, batch_events_max=1_000, batch_ms_max=10, digest_partitions=1,
        )  # fmt: skip
        consumer = MemoryConsumer(self.kafka, process, "one")
        clients = Clients(consumer, producer, consumer)
        loop = Loop(
            enricher(PAYMENTS, self.cache), config, lambda: NOW_MS, clients=clients,
            committer=AtOnce(),
        )  # fmt: skip
        loop.run(Laps(12))

    def close(self) -> MicroBatch:
        """Window the digests, and close what there is as idle."""
        pipeline = load("payments")
        partition = Partition(pipeline, 0, start=0)
        for offset, entry in enumerate(self.kafka.committed(DIGESTS)):
            digest = msgspec.json.decode(entry.value or b"", type=Digest)
            partition.receive(digest, offset, written_ms=NOW_MS, now_ms=NOW_MS)
        [close] = partition.due(NOW_MS + pipeline.window.idle_close_ms)
        written = msgspec.json.encode(close.micro_batch)
        batch = msgspec.json.decode(written, type=MicroBatch)
        tell_close(batch, batch.closed_at_ms + 3)
        return batch

    def solve(self, batch: MicroBatch) -> None:
        """Make a job of it, and have its features in the cache."""
        self.bench.clock.now_ms = batch.closed_at_ms + 5
        self.bench.send(batch)
        self.bench.turns(20)
        # The hot path's clock stands still: to it they would be from the future.
        self.cache.put(
            *(
                msgspec.structs.replace(update, computed_at_ms=NOW_MS, event_time_ms=NOW_MS)
                for _, update in self.bench.topics.features()
            )
        )
