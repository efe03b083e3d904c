"""A publisher that keeps to its schedule whatever becomes of its events: open loop.

Each event bears the moment at which it was *due*, and latency counts from there: an event that had
to wait until its publisher was let go on is late, and not left out ("coordinated omission", Tene).
Run as a process: `python -m enrichment.lab.bench.open_loop`. Leaves in its file how late it was
itself: pairs of 64-bit integers, when each event was due and how late it was published, in µs.
"""

import argparse
import gc
import signal
import threading
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from enrichment.lab.publish import publishing
from enrichment.lab.simulate import Payment

LINGER_MS: Final = 1  # what a publisher who minds latency would choose
TICK_S: Final = 0.0005  # at high rates, how long events that are due may wait for each other
FULL_S: Final = 0.01
FLUSH_S: Final = 30.0
PAIRS_MAX: Final = 20_000_000  # 320 MB: eleven minutes at 30,000 a second
SENT: Final = b'"sent_us":'  # the last field of an event, carried through into its answer


class Schedule:
    """When each event is due: `rate_per_s` evenly from `start_ns`."""

    def __init__(self, rate_per_s: float, start_ns: int) -> None:
        self._rate = rate_per_s
        self._start_ns = start_ns

    def due_ns(self, number: int) -> int:
        """When this event is due, the first being 0."""
        return self._start_ns + int(number * 1e9 / self._rate)

    def due_by(self, now_ns: int) -> int:
        """How many events are due by now."""
        if now_ns < self._start_ns:
            return 0
        number = int((now_ns - self._start_ns) * self._rate / 1e9) + 1
        return number if self.due_ns(number - 1) <= now_ns else number - 1


class Templates:
    """Payments to be published over and over, each time with a new id and the time of day."""

    def __init__(self, path: Path) -> None:
        decode = msgspec.json.Decoder(Payment).decode
        self._made: list[tuple[str, bytes]] = []
        for line in path.read_bytes().splitlines():
            fields: dict[str, Any] = msgspec.to_builtins(decode(line))
            del fields["event_id"], fields["occurred_at"]
            self._made.append((fields["account_id"], msgspec.json.encode(fields)[:-1]))

    def event(self, number: int, due_ns: int) -> tuple[str, bytes]:
        """Key and value of an event that is due then."""
        key, start = self._made[number % len(self._made)]
        rest = b',"event_id":"l-%d-%d","occurred_at":%d,' % (due_ns, number, due_ns // 1_000_000)
        return key, start + rest + SENT + b"%d}" % (due_ns // 1_000)


def sent_us(value: bytes) -> int:
    """When the event in an answer was due, in microseconds since 1970."""
    at = value.index(SENT) + len(SENT)
    return int(value[at : at + 16])


class OpenLoop:
    """The loop itself."""

    def __init__(self, producer: Producer, topic: str, templates: Templates) -> None:
        self._producer = producer
        self._topic = topic
        self._templates = templates
        self.published = 0
        self.late = array("q")

    def run(self, schedule: Schedule, seconds: float, stop: threading.Event) -> None:
        """Publish what is due until told to stop, or for so many seconds."""
        end_ns = schedule.due_ns(0) + int(seconds * 1e9)
        while not stop.is_set():
            now_ns = time.time_ns()
            if now_ns >= end_ns:
                return
            for number in range(self.published, schedule.due_by(now_ns)):
                self._publish(number, schedule.due_ns(number))
            self._producer.poll(0)
            time.sleep(max(TICK_S, (schedule.due_ns(self.published) - time.time_ns()) / 1e9))

    def _publish(self, number: int, due_ns: int) -> None:
        key, value = self._templates.event(number, due_ns)
        while True:
            try:
                self._producer.produce(self._topic, value, key, timestamp=due_ns // 1_000_000)
            except BufferError:
                self._producer.poll(FULL_S)  # it grows late, and that shows
            else:
                break
        self.published += 1
        if len(self.late) < 2 * PAIRS_MAX:
            self.late.append(due_ns // 1_000)
            self.late.append((time.time_ns() - due_ns) // 1_000)


def main(arguments: Sequence[str] | None = None) -> None:
    """Publish at a rate for some seconds, or until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--payments", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    failures: list[str] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(str(error))

    client = publishing({"bootstrap.servers": given.bootstrap, "log_level": 0})
    producer = Producer(
        client
        | {
            "linger.ms": LINGER_MS,
            "delivery.report.only.error": True,
            "on_delivery": delivered,
        }
    )
    producer.list_topics(given.topic, timeout=10)  # connected before the first event is due
    loop = OpenLoop(producer, given.topic, Templates(given.payments))
    gc.freeze()
    gc.disable()
    loop.run(Schedule(given.rate, time.time_ns() + 10_000_000), given.seconds, stop)
    if producer.flush(FLUSH_S) or failures:
        raise SystemExit(f"events were not delivered: {failures[:1]}")
    with given.out.open("wb") as out:
        loop.late.tofile(out)


if __name__ == "__main__":
    main()
