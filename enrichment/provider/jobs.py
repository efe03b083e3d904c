"""Jobs by our id: begun once, attached to after that, their answers kept for a while.

What is the same for every provider that can say of each job, by a future, when it is over; where
the work is done is the subclass's to say.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Final

from enrichment.problem.ising import ising, variables
from enrichment.provider.answer import Problem
from enrichment.provider.contract import (
    Failure,
    FailureKind,
    Handle,
    Result,
    Running,
    SampleRequest,
    SampleSet,
    refusal,
)

JOBS_MAX: Final = 64
"""Jobs that were not fetched yet, where nothing else is said: at 64 problems and 1,000 shots an
answer is about 4 MiB, and local ones come as fast as they are sent."""

OVERDUE_S: Final = 60.0
"""How long after its deadline a job that nobody has asked after is forgotten: its caller has lost
it to another process, and no fallback takes longer."""

KEPT_MAX: Final = 8
"""Fetched answers kept for a second poll or submission of the same id, the oldest dropped first."""

TASK_S: Final = 0.1
"""What a task is taken to last before one has been measured."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Done:
    """What a job brought back; `started_s` by the wall clock, the rest as in `Result`."""

    sets: tuple[SampleSet, ...]
    twins: Mapping[str, tuple[SampleSet, ...]]
    started_s: float
    execution_ms: float
    provider_job_id: str = ""
    calibration_id: str = ""
    cost: float = 0.0


@dataclass(slots=True, kw_only=True, eq=False)
class _Job:
    """One job that this provider knows: on its way until `outcome` is set."""

    future: "Future[Done | Failure] | None"
    submitted_s: float
    until_s: float
    outcome: Result | Failure | None = None
    fetched: bool = False


class Jobs(ABC):
    """The half of a provider that knows its jobs: ids, attaching, fetching, what is kept."""

    def __init__(
        self,
        name: str,
        now_ms: Callable[[], int],
        *,
        variables_max: int,
        jobs_max: int = JOBS_MAX,
    ) -> None:
        """Keep the jobs of provider `name` (a key of PROVIDERS), `jobs_max` of them unfetched."""
        self.name = name
        self.jobs_max = jobs_max
        self._now_ms = now_ms
        self._variables_max = variables_max
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
            now_s = time.time()
            if failure is None:
                failure = self._full(now_s)
            if failure is not None:
                return failure
            until_s = now_s + (request.deadline_ms - now_ms) / 1000
            future = self._begin(request, until_s)
            if isinstance(future, Failure):
                return future
            self._jobs.pop(request.job_id, None)
            self._jobs[request.job_id] = _Job(future=future, submitted_s=now_s, until_s=until_s)
        return self._handle(request.job_id, attached=False)

    def poll(self, job_id: str) -> Running | Result | Failure:
        """Return how the job stands; UNKNOWN where this process has no such job (any more)."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                return self._no_such(job_id)
            self._settle(job_id, job)
            if job.outcome is None:
                return Running(
                    job_id=job_id,
                    queue_s=0.0 if self._begun(job_id, job.future) else self._queue_s(),
                )
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
                self._give_up(job_id, job.future)
                job.future = None
                job.outcome = Failure(kind=FailureKind.CANCELLED, detail="cancelled by us")
                # Whoever gives a job up need not come back for it: it counts as fetched.
                self._fetch(job)
            if isinstance(job.outcome, Result):
                detail = f"job {job_id!r} has already succeeded"
                return Failure(kind=FailureKind.VALIDATION, detail=detail)
            return None

    def close(self) -> None:
        """Give up every open job and forget all answers."""
        with self._lock:
            for job in self._jobs.values():
                if job.future is not None:
                    job.future.cancel()
            self._jobs.clear()

    def provider_job_id(self, job_id: str) -> str:
        """Return what the provider calls the job."""
        return job_id

    @abstractmethod
    def _begin(self, request: SampleRequest, until_s: float) -> "Future[Done | Failure] | Failure":
        """Begin the job, which the wall clock ends at `until_s`; called with the lock held."""

    @abstractmethod
    def _failure_of(self, error: BaseException) -> Failure:
        """Return what an exception of a job's future means."""

    @abstractmethod
    def _queue_s(self) -> float:
        """Return how long a new job would wait."""

    def _begun(self, job_id: str, future: "Future[Done | Failure] | None") -> bool:  # noqa: ARG002  # for subclasses
        """Return whether the job's turn has come."""
        return future is not None and future.running()

    def _give_up(self, job_id: str, future: "Future[Done | Failure]") -> None:  # noqa: ARG002  # for subclasses
        """Stop the job as far as that can be done; called with the lock held."""
        future.cancel()

    def _settle(self, job_id: str, job: _Job) -> None:
        """Take the outcome of a job whose future is done."""
        if job.future is None or not job.future.done():
            return
        future, job.future = job.future, None
        try:
            done = future.result()
        except Exception as error:  # noqa: BLE001  # every kind is in the table
            job.outcome = self._failure_of(error)
            return
        if isinstance(done, Failure):
            job.outcome = done
            return
        self._task_s += 0.2 * (done.execution_ms / 1000 - self._task_s)
        job.outcome = Result(
            job_id=job_id,
            provider=self.name,
            provider_job_id=done.provider_job_id or job_id,
            sets=done.sets,
            twins=done.twins,
            queue_ms=max(0.0, (done.started_s - job.submitted_s) * 1000),
            execution_ms=done.execution_ms,
            calibration_id=done.calibration_id,
            cost=done.cost,
        )

    def _full(self, now_s: float) -> Failure | None:
        """Return the failure of a provider whose answers nobody fetches, or None."""
        waiting = [(job_id, job) for job_id, job in self._jobs.items() if not job.fetched]
        overdue = [(job_id, job) for job_id, job in waiting if now_s > job.until_s + OVERDUE_S]
        for job_id, job in overdue:
            if job.future is not None:
                self._give_up(job_id, job.future)
            del self._jobs[job_id]
        left = len(waiting) - len(overdue)
        if left < self.jobs_max:
            return None
        detail = f"{left} jobs not fetched, at most {self.jobs_max}"
        return Failure(kind=FailureKind.QUOTA, detail=detail)

    def _fetch(self, job: _Job) -> None:
        """Count the job as fetched, and drop the oldest fetched answers beyond KEPT_MAX."""
        if job.fetched:
            return
        job.fetched = True
        fetched = [job_id for job_id, job in self._jobs.items() if job.fetched]
        for job_id in fetched[:-KEPT_MAX]:
            del self._jobs[job_id]

    def _handle(self, job_id: str, *, attached: bool) -> Handle:
        """Return the handle of a job: our id, and the provider's name for it."""
        return Handle(
            job_id=job_id, provider_job_id=self.provider_job_id(job_id), attached=attached
        )

    def _no_such(self, job_id: str) -> Failure:
        """Return the failure of an id that this process does not know."""
        detail = f"{self.name} knows no job {job_id!r}: never submitted here, or already forgotten"
        return Failure(kind=FailureKind.UNKNOWN, detail=detail)


def kind_of(
    error: BaseException, table: Sequence[tuple[type[BaseException], FailureKind]]
) -> FailureKind:
    """Return what an exception means: the first of the table that fits, else UNKNOWN."""
    return next((kind for known, kind in table if isinstance(error, known)), FailureKind.UNKNOWN)


@cache
def versions_of(*packages: str) -> Mapping[str, str]:
    """Return the versions of what samples."""
    return {package: version(package) for package in packages}


def problems_of(request: SampleRequest) -> tuple[Problem, ...]:
    """Return the request's models as arrays, each with its seed."""
    return tuple(
        Problem(
            model=ising(model),
            variables=variables(model),
            layers=request.layers,
            shots=request.shots,
            seed=seed,
        )
        for model, seed in zip(request.models, request.seeds, strict=True)
    )
