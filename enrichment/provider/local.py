"""The provider over our own processes: one task a job, samples and twins in a single hop.

A sampler is a module of this room with ``draw(problem) -> Drawn``; everything else (ids, attaching,
deadlines, failures, what is kept) is the same for all of them and lives here.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Final

import numpy as np

from enrichment.problem.ising import Ising, ising, variables
from enrichment.provider import PROVIDERS
from enrichment.provider.answer import Drawn, Problem, sample_set
from enrichment.provider.contract import (
    CLASSICAL_EXACT_MAX,
    Description,
    Failure,
    FailureKind,
    Handle,
    Result,
    Running,
    SampleRequest,
    SampleSet,
    refusal,
)
from enrichment.provider.pool import Pool, stopping

JOBS_MAX: Final = 64
"""Jobs that were not fetched yet: at 64 problems and 1,000 shots an answer is about 4 MiB."""

KEPT_MAX: Final = 8
"""Fetched answers kept for a second poll or submission of the same id, the oldest dropped first."""

TASK_S: Final = 0.1
"""What a task is taken to last before one has been measured."""

SDKS: Final = ("cirq-core", "cirq-google", "qsimcirq", "dimod", "dwave-samplers", "numpy")

FAILURES: Final[tuple[tuple[type[BaseException], FailureKind], ...]] = (
    (BrokenProcessPool, FailureKind.TRANSIENT),
    (MemoryError, FailureKind.TRANSIENT),
    (CancelledError, FailureKind.CANCELLED),
    (Exception, FailureKind.ALGORITHM),
)
"""What an exception means, the first that fits: a process that died may live the next time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """One job on its way to a child: `until_s` is the wall clock's deadline."""

    sampler: str
    problems: tuple[Problem, ...]
    twins: tuple[str, ...]
    until_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Done:
    """One job back from a child; `started_s` by the wall clock."""

    sets: tuple[SampleSet, ...]
    twins: Mapping[str, tuple[SampleSet, ...]]
    started_s: float
    execution_ms: float


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    """One job that this provider knows: on its way until `outcome` is set."""

    future: "Future[Done | Failure] | None"
    submitted_s: float
    outcome: Result | Failure | None = None
    fetched: bool = False


class Local:
    """A provider whose work is done in a pool of our own processes; the pool is the caller's.

    A job runs to its end once a child has begun it, or to the problem at which its deadline
    passes: cancelling gives up the answer at once and the work only where it has not begun.
    """

    def __init__(
        self,
        name: str,
        pool: Pool,
        now_ms: Callable[[], int],
        *,
        variables_max: int,
        gate_set: tuple[str, ...] = (),
        calibration: tuple[str, int] = ("", 0),
    ) -> None:
        """Serve sampler `name` (a key of PROVIDERS) over `pool`.

        `calibration` is a device's: its id, and its Unix time in milliseconds.
        """
        self.name = name
        self._pool = pool
        self._now_ms = now_ms
        self._variables_max = variables_max
        self._gate_set = gate_set
        self._calibration = calibration
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.Lock()
        self._task_s = TASK_S

    def submit(self, request: SampleRequest) -> Handle | Failure:
        """Start the job, or attach to the one that runs or has succeeded under its id."""
        with self._lock:
            known = self._jobs.get(request.job_id)
            if known is not None:
                self._settle(request.job_id, known)
                if not isinstance(known.outcome, Failure):
                    return self._handle(request.job_id, attached=True)
            now_ms = self._now_ms()
            failure = refusal(request, variables_max=self._variables_max, now_ms=now_ms)
            if failure is None:
                failure = self._full()
            if failure is not None:
                return failure
            now_s = time.time()
            work = self._work(request, now_s + (request.deadline_ms - now_ms) / 1000)
            future = self._pool.submit(solve, work)
            if isinstance(future, Failure):
                return future
            self._jobs.pop(request.job_id, None)
            self._jobs[request.job_id] = _Job(future=future, submitted_s=now_s)
        return self._handle(request.job_id, attached=False)

    def poll(self, job_id: str) -> Running | Result | Failure:
        """Return how the job stands; UNKNOWN where this process has no such job (any more)."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                return self._no_such(job_id)
            self._settle(job_id, job)
            if job.outcome is None:
                begun = job.future is not None and job.future.running()
                return Running(job_id=job_id, queue_s=0.0 if begun else self._queue_s())
            self._fetch(job)
            return job.outcome

    def cancel(self, job_id: str) -> Failure | None:
        """Give the job up; a job that is over keeps its outcome."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                return self._no_such(job_id)
            self._settle(job_id, job)
            if job.outcome is None and job.future is not None:
                job.future.cancel()
                job.future = None
                job.outcome = Failure(kind=FailureKind.CANCELLED, detail="cancelled by us")
                # Whoever gives a job up need not come back for it: it counts as fetched.
                self._fetch(job)
            if isinstance(job.outcome, Result):
                detail = f"job {job_id!r} has already succeeded"
                return Failure(kind=FailureKind.VALIDATION, detail=detail)
            return None

    def describe(self) -> Description:
        """Return what this provider is; its queue is the pool's, at the pace of the last tasks."""
        return Description(
            name=self.name,
            qubits_max=self._variables_max,
            gate_set=self._gate_set,
            calibration_id=self._calibration[0],
            calibration_time_ms=self._calibration[1],
            queue_s=self._queue_s(),
            price_per_shot=0.0,
            idempotent_submission=True,
            sdk_versions=_sdk_versions(),
        )

    def close(self) -> None:
        """Give up every open job and forget all answers; the pool stays the caller's."""
        with self._lock:
            for job in self._jobs.values():
                if job.future is not None:
                    job.future.cancel()
            self._jobs.clear()

    def _work(self, request: SampleRequest, until_s: float) -> Work:
        """Return the request as what a child needs of it."""
        problems = tuple(
            Problem(
                model=ising(model),
                variables=variables(model),
                layers=request.layers,
                shots=request.shots,
                seed=seed,
            )
            for model, seed in zip(request.models, request.seeds, strict=True)
        )
        twins = tuple(dict.fromkeys(request.twins))
        return Work(sampler=self.name, problems=problems, twins=twins, until_s=until_s)

    def _settle(self, job_id: str, job: _Job) -> None:
        """Take the outcome of a job whose future is done."""
        if job.future is None or not job.future.done():
            return
        future, job.future = job.future, None
        try:
            done = future.result()
        except Exception as error:  # noqa: BLE001  # every kind is in the table
            job.outcome = failure_of(error)
            return
        if isinstance(done, Failure):
            job.outcome = done
            return
        self._task_s += 0.2 * (done.execution_ms / 1000 - self._task_s)
        job.outcome = Result(
            job_id=job_id,
            provider=self.name,
            provider_job_id=job_id,
            sets=done.sets,
            twins=done.twins,
            calibration_id=self._calibration[0],
            queue_ms=max(0.0, (done.started_s - job.submitted_s) * 1000),
            execution_ms=done.execution_ms,
        )

    def _full(self) -> Failure | None:
        """Return the failure of a provider whose answers nobody fetches, or None."""
        waiting = sum(not job.fetched for job in self._jobs.values())
        if waiting < JOBS_MAX:
            return None
        detail = f"{waiting} jobs not fetched, at most {JOBS_MAX}"
        return Failure(kind=FailureKind.QUOTA, detail=detail)

    def _fetch(self, job: _Job) -> None:
        """Count the job as fetched, and drop the oldest fetched answers beyond KEPT_MAX."""
        if job.fetched:
            return
        job.fetched = True
        fetched = [job_id for job_id, job in self._jobs.items() if job.fetched]
        for job_id in fetched[:-KEPT_MAX]:
            del self._jobs[job_id]

    def _queue_s(self) -> float:
        """Return how long a new job would wait for a child."""
        return self._pool.in_flight * self._task_s / self._pool.workers

    def _handle(self, job_id: str, *, attached: bool) -> Handle:
        """Return the handle of a job: our id is the provider's too."""
        return Handle(job_id=job_id, provider_job_id=job_id, attached=attached)

    def _no_such(self, job_id: str) -> Failure:
        """Return the failure of an id that this process does not know."""
        detail = f"{self.name} knows no job {job_id!r}: never submitted here, or already forgotten"
        return Failure(kind=FailureKind.UNKNOWN, detail=detail)


@cache
def _sdk_versions() -> Mapping[str, str]:
    """Return the versions of what samples here."""
    return {package: version(package) for package in SDKS}


def failure_of(error: BaseException) -> Failure:
    """Return what an exception means, by FAILURES."""
    kind = next((kind for known, kind in FAILURES if isinstance(error, known)), FailureKind.UNKNOWN)
    return Failure(kind=kind, detail=f"{type(error).__name__}: {error}")


def solve(work: Work) -> Done | Failure:
    """Run one job in a child: each problem's samples and twins, until the deadline or the end."""
    started_s = time.time()
    sets: list[SampleSet] = []
    twins: dict[str, list[SampleSet]] = {name: [] for name in work.twins}
    for position, problem in enumerate(work.problems):
        if stopping() or time.time() >= work.until_s:
            why = "the pool is closing" if stopping() else "deadline passed"
            detail = f"{why} after {position} of {len(work.problems)} problems"
            return Failure(kind=FailureKind.CANCELLED, detail=detail)
        try:
            sets.append(_sample(work.sampler, problem))
            for name in work.twins:
                twins[name].append(_sample(_twin(name, problem.model), problem))
        except Exception as error:  # noqa: BLE001  # a failure is a value here, by the table
            failure = failure_of(error)
            return Failure(kind=failure.kind, detail=f"problem {position}: {failure.detail}")
    return Done(
        sets=tuple(sets),
        twins={name: tuple(answers) for name, answers in twins.items()},
        started_s=started_s,
        execution_ms=(time.time() - started_s) * 1000,
    )


def warm_up() -> None:
    """Load and run every local sampler once, on a model of two variables."""
    model = Ising(
        h=np.array([0.0, 0.1]),
        rows=np.array([0]),
        cols=np.array([1]),
        couplings=np.array([-0.5]),
        offset=0.0,
    )
    problem = Problem(model=model, variables=(0, 1), layers=1, shots=2, seed=0)
    for name in ("qsim", "exact", "annealing", "random"):
        _sample(name, problem)


def _twin(name: str, model: Ising) -> str:
    """Return the sampler behind a twin's name."""
    if name == "classical":
        return "exact" if model.size <= CLASSICAL_EXACT_MAX else "annealing"
    return name


def _sample(name: str, problem: Problem) -> SampleSet:
    """Return one sampler's checked answer to one problem."""
    drawn: Drawn = import_module(PROVIDERS[name]).draw(problem)
    return sample_set(problem, name, drawn)
