"""Where a worker is killed: seams of the stage, patched from outside; no hook in production code.

A point is `name:before` or `name:after`, and is struck at its n-th time: the process sends itself
`kill -9`, or stands still there until somebody lets it go on. The names are those of a job's way:

- claimed: a micro-batch is turned into a job, in memory;
- written: the transaction with the pending job and the micro-batch's offset;
- submitted: the call by which the provider accepts the order, in the provider's own thread;
- recorded: the transaction with the provider's id for the job;
- received: the provider's answer, checked and remembered;
- produced: the records of the answer's features, in an open transaction;
- offsets: the micro-batch's offset, in an open transaction.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from enrichment.provider.contract import Result
from enrichment.provider.jobs import Jobs
from enrichment.sample.worker import Worker
from enrichment.stream.framing import unframed
from enrichment.stream.topics import FEATURES, JOBS
from enrichment.stream.transaction import TransactionalProducer

NAMES: Final = (
    "claimed", "written", "submitted", "recorded", "received", "produced", "offsets",
)  # fmt: skip
POINTS: Final = tuple(f"{name}:{when}" for name in NAMES for when in ("before", "after"))


@dataclass(frozen=True, slots=True)
class Diary:
    """What a process has come to, a line each with its Unix time in ms; None: not kept."""

    path: Path | None

    def note(self, what: str) -> None:
        """Add a line that a kill right behind does not undo."""
        if self.path is None:
            return
        line = f"{time.time_ns() // 1_000_000} {what}\n".encode()
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, line)
        os.close(file)


@dataclass(slots=True)
class Strike:
    """One kill: at which point, at which of its times, by which signal."""

    point: str
    nth: int
    diary: Diary
    number: signal.Signals = signal.SIGKILL
    seen: int = 0

    @classmethod
    def parse(cls, text: str, diary: Diary) -> "Strike":
        """`claimed:after:2` kills; with `:stop` behind it the process stands still."""
        name, when, nth, *rest = text.split(":")
        number = signal.SIGSTOP if rest == ["stop"] else signal.SIGKILL
        return cls(f"{name}:{when}", int(nth), diary, number)

    def at(self, point: str) -> None:
        """The process has come to the point: the last thing that it does for now, or for ever."""
        if point != self.point:
            return
        self.seen += 1
        if self.seen == self.nth:
            self.diary.note(f"struck at {point}")
            os.kill(os.getpid(), self.number)


class _JobHead(msgspec.Struct):
    state: str
    provider_job_id: str = ""


@dataclass(slots=True)
class Struck:
    """A transactional producer that tells of what its transactions carry."""

    producer: Any
    strike: Strike
    holds: set[str] = field(default_factory=set)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.producer, name)

    def begin_transaction(self) -> None:
        """Open one; nothing is in it yet."""
        self.holds.clear()
        self.producer.begin_transaction()

    def produce(self, topic: str, value: bytes | None = None, **options: Any) -> None:
        """Queue a record, and note what it is."""
        if topic == FEATURES and "produced" not in self.holds:
            self.strike.at("produced:before")
            self.holds.add("produced")
        if topic == JOBS and value is not None:
            head = msgspec.json.decode(unframed(value), type=_JobHead)
            if head.state == "pending":
                self.holds.add("written")
            elif head.state in ("submitted", "executing") and head.provider_job_id:
                self.holds.add("recorded")
        self.producer.produce(topic, value=value, **options)

    def flush(self, *args: Any) -> Any:
        """Wait until the broker has what was produced."""
        left = self.producer.flush(*args)
        if "produced" in self.holds:
            self.strike.at("produced:after")
        return left

    def send_offsets_to_transaction(self, *args: Any) -> None:
        """Put the offsets into the transaction."""
        self.strike.at("offsets:before")
        self.producer.send_offsets_to_transaction(*args)
        self.strike.at("offsets:after")

    def commit_transaction(self, *args: Any) -> None:
        """Commit it."""
        for name in sorted(self.holds & {"written", "recorded"}):
            self.strike.at(f"{name}:before")
        self.producer.commit_transaction(*args)
        for name in sorted(self.holds & {"written", "recorded"}):
            self.strike.at(f"{name}:after")


def around(owner: Any, name: str, strike: Strike, point: str) -> None:
    """Have a method struck before and after."""
    method = getattr(owner, name)

    def struck(*args: Any, **options: Any) -> Any:
        strike.at(f"{point}:before")
        answer = method(*args, **options)
        strike.at(f"{point}:after")
        return answer

    setattr(owner, name, struck)


def lay(strike: Strike, submitter: tuple[Any, str]) -> None:
    """Lay the strike at its point. `submitter`: the class and method by which a job is ordered."""
    around(Worker, "claim", strike, "claimed")
    around(*submitter, strike, "submitted")
    _lay_received(strike)
    opened: Callable[..., TransactionalProducer] = TransactionalProducer.open.__func__  # type: ignore[attr-defined]

    def open_struck(cls: Any, *args: Any, **options: Any) -> TransactionalProducer:
        made = opened(cls, *args, **options)
        made.producer = Struck(made.producer, strike)
        return made

    TransactionalProducer.open = classmethod(open_struck)  # type: ignore[method-assign,assignment]


def _lay_received(strike: Strike) -> None:
    """Before: an answer has come and nobody knows. After: the round in which it came is over."""
    polled, ticked = Jobs.poll, Worker.tick
    come: list[str] = []

    def poll(self: Jobs, job_id: str) -> Any:
        news = polled(self, job_id)
        if isinstance(news, Result):
            strike.at("received:before")
            come.append(job_id)
        return news

    def tick(self: Worker) -> None:
        ticked(self)
        if come:
            come.clear()
            strike.at("received:after")

    Jobs.poll = poll  # type: ignore[method-assign]
    Worker.tick = tick  # type: ignore[method-assign]
