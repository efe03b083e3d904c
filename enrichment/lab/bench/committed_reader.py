"""A reader of committed answers that notes how long each took since its event was due.

Run as a process: `python -m enrichment.lab.bench.committed_reader`. Says "ready" once it reads, and
leaves pairs of 64-bit integers in its file: when the event was due, and the latency, both in µs.
"""

import argparse
import gc
import signal
import sys
import threading
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from confluent_kafka import Consumer, KafkaException, TopicPartition
from numpy.typing import NDArray

from enrichment.lab.bench.open_loop import sent_us

POLL_S: Final = 0.1
CALL_S: Final = 10.0
PAIRS_MAX: Final = 20_000_000  # 320 MB: eleven minutes at 30,000 a second


@dataclass(frozen=True, slots=True)
class Latencies:
    """What was noted: `due_us` and `latency_us`, one of each for an answer."""

    due_us: NDArray[np.int64]
    latency_us: NDArray[np.int64]

    @classmethod
    def load(cls, path: Path) -> "Latencies":
        """What a reader has left."""
        pairs = np.fromfile(path, dtype=np.int64).reshape(-1, 2)
        return cls(pairs[:, 0], pairs[:, 1])

    def within(self, start_us: int, end_us: int) -> NDArray[np.int64]:
        """The latencies of events that were due in [start, end)."""
        inside = (self.due_us >= start_us) & (self.due_us < end_us)
        return self.latency_us[inside]


def quantile_ms(latency_us: NDArray[np.int64], q: float) -> float:
    """A quantile in milliseconds, as a latency that really was: the higher neighbour."""
    return float(np.quantile(latency_us, q, method="higher")) / 1_000


def read(consumer: Consumer, stop: threading.Event) -> "array[int]":
    """Pairs of due time and latency until told to stop."""
    pairs = array("q")
    while not stop.is_set():
        # One by one: `consume` of many would wait for the many.
        message = consumer.poll(POLL_S)
        if message is None:
            continue
        now_us = time.time_ns() // 1_000
        if (error := message.error()) is not None:
            raise KafkaException(error)
        value = message.value()
        if value is not None and len(pairs) < 2 * PAIRS_MAX:
            due_us = sent_us(value)
            pairs.append(due_us)
            pairs.append(now_us - due_us)
    return pairs


def main(arguments: Sequence[str] | None = None) -> None:
    """Read until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    consumer = Consumer(
        {
            "bootstrap.servers": given.bootstrap,
            "group.id": "bench-committed-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 100,
            "fetch.queue.backoff.ms": 5,
            "log_level": 0,
        }
    )
    partitions = consumer.list_topics(given.topic, timeout=CALL_S).topics[given.topic].partitions
    ends = [TopicPartition(given.topic, number) for number in partitions]
    for end in ends:
        end.offset = consumer.get_watermark_offsets(end, CALL_S)[1]
    consumer.assign(ends)
    gc.freeze()
    gc.disable()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    try:
        pairs = read(consumer, stop)
    finally:
        consumer.close()
    with given.out.open("wb") as out:
        pairs.tofile(out)


if __name__ == "__main__":
    main()
