"""One window worker, as an operator starts it, on digests that were published for it.

Backlogs tell what it is able to, a paced stream how soon it answers. Progress is what stands on the
micro-batches' topic: read there, not asked of the worker.
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from enrichment.lab.bench import observe
from enrichment.lab.bench.catalogue import BenchError
from enrichment.lab.bench.digest_stream import PARTITIONS, Tick
from enrichment.lab.bench.observe import Group, Look, Rate, Span
from enrichment.lab.bench.outputs import Outputs
from enrichment.lab.bench.peers.arguments import STREAM
from enrichment.lab.publish import Publisher, publishing
from enrichment.lab.servers import LocalServers
from enrichment.records import MicroBatch
from enrichment.stream.topics import DIGESTS, MICRO_BATCHES

START_S: Final = 60.0
STALL_S: Final = 60.0
LOOK_S: Final = 0.02
POLL_S: Final = 0.002
QUIET_S: Final = 3.0
SETTLE_S: Final = 3.0  # the last windows close by then
SPAN: Final = Span(0.1, 0.95)


@dataclass(frozen=True, slots=True)
class Seen:
    """A micro-batch, when it was read from its topic, and where it stood there."""

    batch: MicroBatch
    at_ms: float


@dataclass(slots=True)
class Closes:
    """The micro-batches' topic, read as they come."""

    consumer: Any
    seen: list[Seen] = field(default_factory=list)
    events: int = 0

    @classmethod
    def open(cls, bootstrap: str) -> "Closes":
        """From the end of the topic as it is now."""
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "bench-closes",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )
        ends = []
        for number in range(PARTITIONS):
            low_high = consumer.get_watermark_offsets(TopicPartition(MICRO_BATCHES, number), 30)
            ends.append(TopicPartition(MICRO_BATCHES, number, low_high[1]))
        consumer.assign(ends)
        return cls(consumer)

    def poll(self, timeout_s: float) -> None:
        """Take in what has come, waiting so long for the first."""
        for message in self.consumer.consume(100, timeout_s):
            if message.error() is None:
                batch = msgspec.json.decode(message.value(), type=MicroBatch)
                self.seen.append(Seen(batch, time.time() * 1000))
                self.events += batch.events


class WindowBench:
    """Servers that are up, and the pipeline as it is measured."""

    def __init__(self, servers: LocalServers, folder: Path) -> None:
        """`folder` holds the pipeline's files."""
        self.servers = servers
        self._folder = folder
        admin = AdminClient({"bootstrap.servers": servers.bootstrap, "log_level": 0})
        self._group = Group(admin, f"enrichment.window.{STREAM}")
        self._outputs = Outputs(servers.bootstrap)
        self._count = 0

    def forget(self, *, digests: bool) -> None:
        """Nothing is left of the log of closes, nor of the digests where that is asked."""
        self._group.forget()
        for topic in (MICRO_BATCHES, DIGESTS) if digests else (MICRO_BATCHES,):
            self._outputs.delete(topic)

    def publish(self, ticks: Iterator[Tick]) -> int:
        """Put digests on their topic, each with the time of its transaction; how many events."""
        publisher = self._publisher()
        events = 0
        for tick in ticks:
            publish(publisher, tick)
            events += tick.events
        publisher.flush()
        return events

    def _publisher(self) -> Publisher:
        client = {"bootstrap.servers": self.servers.bootstrap, "log_level": 0}
        return Publisher(Producer(publishing(client) | {"linger.ms": 1}))

    @contextlib.contextmanager
    def worker(self) -> Iterator[tuple[Any, Path]]:
        """`enrichment window`, and where it logs."""
        self._count += 1
        log = self.servers.state_dir / f"window-{self._count}.log"
        command = [sys.executable, "-m", "enrichment", "window", "--pipeline", STREAM]
        environment = {
            "ENRICHMENT_KAFKA_BOOTSTRAP": self.servers.bootstrap,
            "ENRICHMENT_PIPELINES_DIR": str(self._folder),
        }
        with observe.process(command, environment, log) as running:
            yield running, log

    def drain(self, fill_events: int, events: int) -> Rate:
        """How fast a worker takes a backlog of so many events behind those that fill the graph."""
        closes = Closes.open(self.servers.bootstrap)
        total = fill_events + events
        with self.worker() as (running, log):
            looks = [Look(time.monotonic(), 0, observe.cpu_s(running.pid))]
            moved_s = time.monotonic()
            # What the last window holds may wait for quiet: it is not timed.
            while closes.events < total * SPAN.end:
                closes.poll(LOOK_S)
                now_s = time.monotonic()
                if running.poll() is not None:
                    raise BenchError(f"the window worker ended: {observe.tail(log)}")
                if closes.events > looks[-1].done:
                    moved_s = now_s
                elif now_s - moved_s > STALL_S:
                    raise BenchError(
                        f"the window worker stalls at {closes.events:,} of {total:,} events: "
                        f"{observe.tail(log)}"
                    )
                looks.append(Look(now_s, closes.events, observe.cpu_s(running.pid)))
            peak = observe.memory_peak_mib(running.pid)
        span = Span((fill_events + SPAN.start * events) / total, SPAN.end)
        return observe.rate(looks, total, peak, span)

    def paced(self, fill: Iterator[Tick], ticks: Sequence[Tick]) -> list[tuple[Seen, float]]:
        """Micro-batches of a stream that comes in its own time.

        Beside each stands what the wall clock showed when its window ended, by the stream's own
        time. A publisher that is late makes them late, as in life. Those of the fill are left out.
        """
        self.publish(fill)
        publisher = self._publisher()
        closes = Closes.open(self.servers.bootstrap)
        with self.worker() as (running, log):
            self._await_first(closes, running, log)
            begin_ms, start_ms = time.time() * 1000, ticks[0].at_ms
            for tick in ticks:
                due_ms = begin_ms + tick.at_ms - start_ms
                while (wait_ms := due_ms - time.time() * 1000) > 0:
                    closes.poll(min(wait_ms / 1000, POLL_S))
                publish(publisher, tick)
            publisher.flush()
            until_s = time.monotonic() + SETTLE_S
            while time.monotonic() < until_s:
                closes.poll(LOOK_S)
        return [
            (seen, begin_ms + seen.batch.window_end_ms - start_ms)
            for seen in closes.seen
            if seen.batch.window_start_ms >= start_ms
        ]

    def _await_first(self, closes: Closes, running: Any, log: Path) -> None:
        """Wait until the worker has gone through the fill: its last close was a while ago."""
        give_up_s, last_s, seen = time.monotonic() + START_S, time.monotonic(), 0
        while not closes.seen or time.monotonic() - last_s < QUIET_S:
            closes.poll(LOOK_S)
            if len(closes.seen) > seen:
                seen, last_s = len(closes.seen), time.monotonic()
                give_up_s = last_s + START_S
            if running.poll() is not None or time.monotonic() > give_up_s:
                raise BenchError(f"the window worker closes nothing: {observe.tail(log)}")
        closes.seen.clear()


def publish(publisher: Publisher, tick: Tick) -> None:
    """Queue a tick's records, each with the time of its transaction."""
    for record in tick.records:
        publisher.publish(
            DIGESTS,
            record.key,
            record.value,
            partition=record.partition,
            headers=record.headers,
            timestamp_ms=tick.at_ms,
        )
    publisher.producer.poll(0)
