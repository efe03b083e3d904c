"""The publisher that does not wait: its schedule, its events, and what a stall does to them."""

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from enrichment.enrich.decode import Decoder
from enrichment.enrich.events import Event
from enrichment.lab.bench import ground
from enrichment.lab.bench.open_loop import OpenLoop, Schedule, Templates, sent_us
from enrichment.pipelines import load

START_NS = 1_790_000_000_000_000_000


@given(st.sampled_from([0.5, 500.0, 2_000.0, 30_000.0, 7_777.7]), st.integers(0, 10**12))
def test_what_is_due_is_what_is_due_by_now(rate: float, passed_ns: int) -> None:
    """The last event that is due is due by now, and the next is not, a microsecond allowed."""
    schedule = Schedule(rate, START_NS)
    now_ns = START_NS + passed_ns
    due = schedule.due_by(now_ns)
    assert schedule.due_ns(due - 1) <= now_ns
    assert schedule.due_ns(due) > now_ns - 1_000


def test_nothing_is_due_before_the_start() -> None:
    """The clock that is before the start owes nothing."""
    assert Schedule(1_000.0, START_NS).due_by(START_NS - 1) == 0


def _templates(folder: Path) -> Templates:
    path = folder / "payments.jsonl"
    ground.written(ground.scenario(50, START_NS // 1_000_000), 50, path)
    return Templates(path)


def test_an_event_is_a_payment_that_bears_when_it_was_due(tmp_path: Path) -> None:
    """The hot path decodes it, with the time of day, and its answer says when it was due."""
    templates = _templates(tmp_path)
    key, value = templates.event(53, START_NS)
    event = Decoder(load("payments")).decode(value, now_ms=START_NS // 1_000_000)
    assert isinstance(event, Event)
    assert event.key == key
    assert event.occurred_at_ms == START_NS // 1_000_000
    answer = msgspec.json.encode({"event": msgspec.Raw(value), "scores": {"served": 1.0}})
    assert sent_us(answer) == START_NS // 1_000
    assert templates.event(54, START_NS)[1] != value


class _Stalling:
    """A producer that once takes nothing for a while, as one does whose broker is away."""

    def __init__(self) -> None:
        self.produced: list[int] = []
        self._full = 5

    def produce(self, _topic: str, value: bytes, _key: str, **_: Any) -> None:
        """Refuse a few times at the tenth event."""
        if len(self.produced) == 10 and self._full:
            self._full -= 1
            raise BufferError
        self.produced.append(sent_us(value))

    def poll(self, timeout: float) -> int:
        """Wait, as librdkafka does."""
        time.sleep(timeout)
        return 0


def test_a_stall_is_counted_for_every_event_that_had_to_wait(tmp_path: Path) -> None:
    """All events that are due are published, at their own due times; lateness says what it cost."""
    producer: Any = _Stalling()
    loop = OpenLoop(producer, "events", _templates(tmp_path))
    schedule = Schedule(1_000.0, time.time_ns())
    loop.run(schedule, 0.3, threading.Event())
    assert producer.produced == [schedule.due_ns(n) // 1_000 for n in range(loop.published)]
    assert loop.published >= 250
    pairs = np.array(loop.late, dtype=np.int64).reshape(-1, 2)
    assert pairs[10, 1] >= 50_000  # five refusals of 10 ms
    assert pairs[12, 1] >= 40_000  # and those behind it waited too
