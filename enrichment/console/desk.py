"""What every endpoint is handed: what the console knows, whom it asks, and who may ask it."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

import msgspec

from enrichment.console.access import Access
from enrichment.console.calls import CallBook
from enrichment.console.commands import Said
from enrichment.console.folds import JobRow
from enrichment.console.limits import (
    ACTIONS,
    CALLS,
    CLIENTS_MAX,
    DRAWN_MAX,
    HISTORIES_MAX,
    LOOKUPS,
    READS,
    RESULTS,
    SIGN_INS,
)
from enrichment.console.problems import Problem
from enrichment.console.rates import Limiter
from enrichment.console.watch import Known, board_of
from enrichment.feature.reader import Features
from enrichment.pipelines import Pipeline
from enrichment.records import JobEvent, MicroBatch

BOARD_S: Final = 1.0  # pages that follow are told of the same second by the same bytes


class Cost(Enum):
    """What a request costs us, by which it is limited."""

    FREE = "free"  # probes: whoever cannot ask them restarts us
    READ = "read"  # from memory, or one read of the cache
    LOOKUP = "lookup"  # a process that reads topics
    ACTION = "action"  # the same, and somebody who may
    CALL = "call"  # a sampler's time, or money, and somebody who may
    RESULT = "result"  # from memory while a job is open, and then read from topics
    SIGN_IN = "sign_in"


class Runs(Protocol):
    """Whatever runs the project's commands: `commands.Commands`, or a fake of it."""

    async def run(self, *arguments: str) -> Said:
        """Run a command to its end. Raises Problem where none is free, or it takes too long."""


class ReadsFeatures(Protocol):
    """Whatever reads features: `feature.reader.FeatureReader`, or a fake of it."""

    def read_many(self, wanted: Sequence[tuple[str, str, str]]) -> list[Features]:
        """Features by (kind, id, group), in that order."""


class Drawn(msgspec.Struct, frozen=True):
    """A job drawn again: what the command said of it, and its circuit as SVG, if it has one."""

    said: bytes
    svg: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """The wall clock, and one that only goes on."""

    now_ms: Callable[[], int]
    now_s: Callable[[], float]


@dataclass(slots=True)
class Kept:
    """Answers that took long, kept a while; and how many pages follow live now."""

    drawn: OrderedDict[tuple[str, int, int], Drawn] = field(default_factory=OrderedDict)
    evidence: tuple[float, bytes] | None = None
    board: tuple[float, bytes] | None = None
    streams: int = 0
    # One drawing at a time: whoever asks for the same one next finds it kept.
    drawing: asyncio.Lock = field(default_factory=asyncio.Lock)
    weighing: asyncio.Lock = field(default_factory=asyncio.Lock)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    histories: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HISTORIES_MAX))

    def keep(self, key: tuple[str, int, int], drawn: Drawn) -> None:
        """Keep a drawing; the one kept longest makes room for it."""
        self.drawn[key] = drawn
        while len(self.drawn) > DRAWN_MAX:
            self.drawn.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calling:
    """What a console needs to take calls: where they go, and a shard for one that has no key.

    `publish` raises KafkaException or TimeoutError where nobody can tell whether it is there.
    """

    publish: Callable[[MicroBatch], None]
    new_shard: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Whom the console asks: the cache, a job's history, the project's commands."""

    features: ReadsFeatures
    history: Callable[[JobRow], list[JobEvent]]
    commands: Runs
    # A job's micro-batch, None where its topic has it no more.
    micro_batch: Callable[[JobRow], MicroBatch | None] = lambda _: None
    # None: the pipeline's micro-batches are its window stage's.
    calling: Calling | None = None
    # Whether the process has been told to end.
    stopping: Callable[[], bool] = lambda: False


class Desk:
    """One console of one pipeline. `pipeline_argument` is what commands call the pipeline."""

    def __init__(
        self, pipeline: Pipeline, pipeline_argument: str, known: Known, ports: Ports,
        access: Access, clocks: Clocks,
    ) -> None:  # fmt: skip
        self.pipeline, self.pipeline_argument = pipeline, pipeline_argument
        self.known, self.ports, self.access, self.clocks = known, ports, access, clocks
        self.kept, self.calls = Kept(), CallBook()
        limits = {
            Cost.READ: READS, Cost.LOOKUP: LOOKUPS, Cost.ACTION: ACTIONS, Cost.CALL: CALLS,
            Cost.RESULT: RESULTS, Cost.SIGN_IN: SIGN_INS,
        }  # fmt: skip
        self._limiters = {
            cost: Limiter(per_s, burst, CLIENTS_MAX) for cost, (per_s, burst) in limits.items()
        }

    def admit(self, cost: Cost, client: str) -> None:
        """Raises Problem where this client has asked too often."""
        if cost is Cost.FREE:
            return
        wait_s = self._limiters[cost].wait_s(client, self.clocks.now_s())
        if wait_s:
            raise Problem(429, f"too many requests of kind {cost.value}", retry_after_s=wait_s)

    def board(self) -> bytes:
        """The board as JSON, made once for all who ask within BOARD_S."""
        now_s = self.clocks.now_s()
        if self.kept.board is None or now_s - self.kept.board[0] >= BOARD_S:
            made = board_of(self.known, self.pipeline, self.clocks.now_ms)
            self.kept.board = (now_s, msgspec.json.encode(made))
        return self.kept.board[1]
