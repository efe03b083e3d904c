"""Case `worker`: the whole sample stage but Kafka, from micro-batch to encoded features.

The stage's own loop and worker, its pool of one child, and a ledger in memory; twins are included.
Once as it is, and once with `QSimSimulator.run` in place of the direct path. A problem costs CPU in
two processes, and both count: the rate is what one core would carry of it all.
"""

import gc
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Final, cast

from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.report import Row
from enrichment.lab.bench.sampling.instances import instances
from enrichment.lab.bench.sampling.speed import BY_RUN, DENSE, by_run
from enrichment.pipelines import load
from enrichment.problem.ising import ising, spin_model
from enrichment.provider.answer import Drawn, sample_set
from enrichment.provider.contract import VARIABLES_MAX, Failure, Provider, SampleRequest
from enrichment.provider.jobs import Done
from enrichment.provider.local import Local, Work, solve, warm_up, work_of
from enrichment.provider.pool import Pool
from enrichment.records import Cause, MicroBatch
from enrichment.records.micro_batch import micro_batch_id
from enrichment.records.order import JobOrder
from enrichment.records.outcome import Outcome as OutcomeRecord
from enrichment.sample import stage
from enrichment.sample.budget import NoMoney
from enrichment.sample.ledger import Arrival, Ledger, LedgerState
from enrichment.sample.outbox import Addresses
from enrichment.sample.worker import Worker
from enrichment.stream.topics import FEATURES, JOB_EVENTS, MICRO_BATCHES
from enrichment.stream.transaction import Message, Outcome

SIZE: Final = 12
BATCH_PROBLEMS: Final = 16
PROBLEMS: Final = 960
OPEN_MAX: Final = 4
"""Micro-batches in hand: the child never waits for the next, and no deadline comes near."""

START_MS: Final = 1_767_225_600_000
SYSTEM: Final = "worker"
BY_RUN_SYSTEM: Final = f"worker with {BY_RUN}"

NOTES: Final = (
    (
        f"worker: ring problems of {SIZE} accounts in micro-batches of {BATCH_PROBLEMS}, from "
        "micro-batch to encoded features, cases and job events, exact and random twins included; "
        "by the CPU time of both processes together; no Kafka"
    ),
)


def rows(options: BenchOptions) -> Iterator[Row]:
    """Measure both in alternating order, and yield their rates and the ratio."""
    count = 2 * BATCH_PROBLEMS if options.quick else PROBLEMS
    runs = 1 if options.quick else options.runs
    rates: dict[str, list[float]] = {SYSTEM: [], BY_RUN_SYSTEM: []}
    parts: dict[str, list[float]] = {SYSTEM: [], BY_RUN_SYSTEM: []}
    with closing(Pool(workers=1, warm_up=_warm_up)) as pool:
        gc.freeze()  # as the stage does
        _cpu_of_child(pool)  # waits until the child is warm: importing cirq may outlast a deadline
        systems = {SYSTEM: Local, BY_RUN_SYSTEM: ByRun}
        for run in range(-1, runs):  # the first loads what has to be loaded, and is not counted
            for name in systems if run % 2 else reversed(systems):
                provider = systems[name]("qsim", pool, now_ms, variables_max=VARIABLES_MAX)
                measured = measure(provider, pool, count if run >= 0 else BATCH_PROBLEMS)
                if run >= 0:
                    rates[name].append(measured.problems / measured.cpu_s)
                    parts[name].append(measured.child_s / measured.cpu_s)
            if run >= 0:
                options.say(f"worker: run {run + 1} of {runs} is done")
    case = f"worker, n={SIZE}, {DENSE}"
    for name in systems:
        yield Row.of(case, name, "problems", rates[name], "problems/s")
        yield Row.of(case, name, "in_child", parts[name], "share")
    ratios = [one / two for one, two in zip(rates[SYSTEM], rates[BY_RUN_SYSTEM], strict=True)]
    yield Row.of(case, f"{SYSTEM} ÷ {BY_RUN_SYSTEM}", "ratio", ratios, "ratio")


def _warm_up() -> None:
    """In the child, before its first task: load what either system uses."""
    warm_up()
    model = instances(SIZE)[0].model()
    by_run(model, ising(model), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How much was done in how much CPU: of both processes, and of the child's alone."""

    problems: int
    cpu_s: float
    child_s: float


def measure(provider: Provider, pool: Pool, problems: int) -> Measured:
    """Run so many problems through the stage. Raises BenchError where a job did not succeed."""
    pipeline = load("payments")
    ledger = MemoryLedger(list(micro_batches(problems)))
    worker = Worker(
        pipeline, lambda name: _only(name, provider), NoMoney(), now_ms=now_ms, draw=lambda: 0.5
    )
    ledger.worker = worker
    to = Addresses(pipeline=pipeline.name, partitions={FEATURES: 4, JOB_EVENTS: 4})
    child_s, own_s = -_cpu_of_child(pool), -time.process_time()
    stage.run(cast("Ledger", ledger), worker, to, ledger.finished)
    own_s += time.process_time()
    child_s += _cpu_of_child(pool)
    if ledger.features < problems * SIZE:
        raise BenchError(f"{ledger.features} features of {problems} problems")
    return Measured(problems=problems, cpu_s=own_s + child_s, child_s=child_s)


def _only(name: str, provider: Provider) -> Provider:
    """The provider that is measured. Raises BenchError where a job fell back to another."""
    if name != "qsim":
        raise BenchError(f"a job fell back to {name}: the machine is too busy to measure")
    return provider


def _cpu_of_child(pool: Pool) -> float:
    """The CPU seconds of the pool's one child so far."""
    future = pool.submit(time.process_time)
    if isinstance(future, Failure):
        raise BenchError(future.detail)
    return future.result(60)


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def micro_batches(problems: int) -> Iterator[MicroBatch]:
    """So many problems in micro-batches of one shard, window after window; names are their own."""
    given = cycle(instances(SIZE))
    for number in range(problems // BATCH_PROBLEMS):
        start_ms = START_MS + number * 2_000
        identity = micro_batch_id("payments", "north", start_ms, 0)
        yield MicroBatch(
            micro_batch_id=identity,
            pipeline="payments",
            shard="north",
            window_start_ms=start_ms,
            window_end_ms=start_ms + 2_000,
            sequence=0,
            cause=Cause.WATERMARK,
            watermark_ms=start_ms + 2_500,
            closed_at_ms=start_ms + 2_600,
            content_hash=f"hash-{identity}",
            events=1_000,
            digest_offsets=((0, number, number),),
            problems=tuple(
                instance.problem(f"p{number * BATCH_PROBLEMS + at}")
                for at, instance in enumerate(islice(given, BATCH_PROBLEMS))
            ),
        )


@dataclass(slots=True)
class MemoryLedger:
    """The ledger of one partition without Kafka: hands micro-batches over, counts what comes out.

    It holds them back while OPEN_MAX are in hand, as a full worker's ledger does.
    """

    waiting: list[MicroBatch]
    worker: Worker | None = None
    owned: frozenset[int] = frozenset({0})
    features: int = 0
    _offset: int = 0

    def join(self) -> None:
        """Give the worker its partition, of which nothing is known."""
        assert self.worker is not None  # noqa: S101  # set before the loop begins
        self.worker.adopt(0, LedgerState())

    def poll(self, wait_s: float) -> list[Arrival]:
        """The next micro-batches, or a wait."""
        assert self.worker is not None  # noqa: S101  # set before the loop begins
        free = OPEN_MAX - self.worker.open_jobs
        taken, self.waiting = self.waiting[: max(0, free)], self.waiting[max(0, free) :]
        if not taken:
            time.sleep(wait_s)
        arrivals = []
        for batch in taken:
            arrivals.append(Arrival(partition=0, offset=self._offset, batch=batch))
            self._offset += 1
        return arrivals

    def lags(self) -> dict[tuple[str, int], int]:
        """What waits here, by topic and partition."""
        return {(MICRO_BATCHES, 0): len(self.waiting)}

    def outcomes(self) -> Iterator[tuple[int, OutcomeRecord]]:
        """Nothing turns out of them."""
        return iter(())

    def orders(self) -> Iterator[tuple[int, JobOrder]]:
        """Nobody steers them."""
        return iter(())

    def commit(self, partition: int, messages: list[Message], next_offset: int | None) -> Outcome:
        """Count the features."""
        del partition, next_offset
        self.features += sum(message.topic == FEATURES for message in messages)
        return Outcome.COMMITTED

    def hold(self, full: bool) -> None:
        """Nothing to pause."""

    def close(self) -> None:
        """Nothing to close."""

    def finished(self) -> bool:
        """Whether all has been taken and is done and written."""
        worker = self.worker
        assert worker is not None  # noqa: S101  # set before the loop begins
        return not self.waiting and self._offset > 0 and not worker.open_jobs


class ByRun(Local):
    """The same provider with `QSimSimulator.run` in place of the direct path."""

    def _begin(self, request: SampleRequest, until_s: float) -> "Future[Done | Failure] | Failure":
        return self._pool.submit(solve_by_run, work_of(request, "", until_s))


def solve_by_run(work: Work) -> Done | Failure:
    """In the child: the twins as they are, the samples by the ordinary path."""
    done = solve(work)
    if isinstance(done, Failure):
        return done
    started_s = time.time()
    sets = tuple(
        sample_set(problem, "qsim", Drawn(bits=by_run(spin_model(form), form, problem.seed)))
        for problem, form in ((problem, problem.model) for problem in work.problems)
    )
    spent_ms = (time.time() - started_s) * 1000
    return replace(done, sets=sets, execution_ms=done.execution_ms + spent_ms)
