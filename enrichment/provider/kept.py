"""A device's provider that pays for no circuit twice: answers are kept, and looked up first.

A composite in dimod's manner: it wraps a provider and is one. Each problem of a request is looked
up by its circuit, the provider as it is set up, and the calibration that it has now; only what is
not found is submitted, under the request's own id, and the answers are joined in order. Where all
is found nothing is submitted and nothing is paid.

What was drawn once is the distribution's, whatever seed is asked for: a device knows none. But it
is the same draw, and no new evidence: each such sample set says whose it is (`SampleSet.kept`).

Only sound answers are kept (`kept_answers.is_sound`), under the calibration that they were drawn
under, which may be another than was looked up. Looking up, joining and keeping are done in threads
of its own; a store that is away is one where nothing was ever kept.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeVar

from enrichment.provider.contract import (
    Description,
    Failure,
    FailureKind,
    Provider,
    Result,
    Running,
    SampleRequest,
)
from enrichment.provider.jobs import Done, Jobs
from enrichment.provider.kept_answers import AnswerStore
from enrichment.provider.kept_request import Asked, keys_of
from enrichment.provider.pool import Pool
from enrichment.provider.remote import DRAWN_MAX
from enrichment.provider.twins import Answers, Twins
from enrichment.telemetry import metrics
from enrichment.telemetry.log import logger

THREADS: Final = 2
"""A look-up is a call of a millisecond and some work that holds the interpreter anyway."""

KEEPS_MAX: Final = 16
"""Answers on their way to the store, 1.3 MiB each: while there are as many no other is taken from
the device, for what was paid is worth the tenth of a second."""

KEPT_MS: Final = 86_400_000
"""How long an answer is kept: devices are calibrated at least once a day, which ends its use."""

UNCALIBRATED_MS: Final = 3_600_000
"""The same where the device does not say by which calibration it ran: nobody can tell when the
next one came, so that an answer is used for no longer than an hour."""

LOOK_S: Final = 0.1
"""What a look-up is taken to last, for who asks how long a job waits."""

T = TypeVar("T")


class Device(Provider, Protocol):
    """What is wrapped: a provider that can name a job before it is accepted."""

    def provider_job_id(self, job_id: str) -> str:
        """Return what it calls the job."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class _Run:
    """One job on its way: looked up, submitted in part or not at all, given twins, joined."""

    job_id: str
    count: int
    until_s: float
    looking: "Future[Asked]"
    future: "Future[Done | Failure]" = field(default_factory=Future)
    asked: Asked | None = None
    # Of the problems that were found.
    twins: Twins | None = None
    queue_s: float = LOOK_S
    # Zero until something was submitted.
    submitted_s: float = 0.0
    rest: Result | None = None
    joining: "Future[Done] | None" = None


class Kept(Jobs):
    """A provider over another one, a device's, and a store of answers; both are its own to use."""

    def __init__(
        self,
        inner: Device,
        store: AnswerStore,
        pool: Pool,
        now_ms: Callable[[], int],
        *,
        kept_ms: int = KEPT_MS,
    ) -> None:
        """Serve as `inner` does, which is asked what it is; `pool` is for kept ones' twins."""
        described = inner.describe()
        super().__init__(
            described.name,
            now_ms,
            variables_max=described.qubits_max,
            jobs_max=described.jobs_max,
        )
        self._inner = inner
        self._store = store
        self._pool = pool
        self._kept_ms = kept_ms
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"kept-{self.name}")
        self._keeping = threading.BoundedSemaphore(KEEPS_MAX)
        self._runs: dict[str, _Run] = {}
        # Jobs whose answers are here, and are not joined yet.
        self._here: set[str] = set()
        self._closed = False

    def poll(self, job_id: str) -> Running | Result | Failure:
        """Return how the job stands, and move it on as far as it goes without waiting."""
        with self._lock:
            self._drive(job_id)
            run = self._runs.get(job_id)
        answer = super().poll(job_id)
        if isinstance(answer, Running) and run is not None:
            return replace(answer, queue_s=run.queue_s)
        return answer

    def describe(self) -> Description:
        """Return what the device is."""
        return replace(self._inner.describe(), jobs_max=self.jobs_max)

    def provider_job_id(self, job_id: str) -> str:
        """Return what the device would call the job, if it has to be run."""
        return self._inner.provider_job_id(job_id)

    def close(self) -> None:
        """Close the device's provider too; what is on its way to the store arrives."""
        super().close()
        with self._lock:
            self._closed = True
            for run in self._runs.values():
                _let_go(run)
            self._runs.clear()
        self._inner.close()
        self._threads.shutdown(wait=False)

    def _begin(self, request: SampleRequest, until_s: float) -> "Future[Done | Failure] | Failure":
        """Hand the look-up over; as many wait as there are jobs."""
        if self._closed:
            return Failure(kind=FailureKind.CANCELLED, detail="the provider is closed")
        looking = self._threads.submit(self._look_up, request)
        run = _Run(
            job_id=request.job_id, count=len(request.models), until_s=until_s, looking=looking
        )
        self._runs[request.job_id] = run
        return run.future

    def _failure_of(self, error: BaseException) -> Failure:
        """Return what an exception means: a bug of ours, since the device's are values here."""
        return Failure(kind=FailureKind.ALGORITHM, detail=f"{type(error).__name__}: {error}")

    def _queue_s(self) -> float:
        """Return how long a new job would wait."""
        return self._inner.describe().queue_s

    def _give_up(self, job_id: str, future: "Future[Done | Failure]") -> None:
        """Forget the answer, and have the device's job given up where there is one."""
        future.cancel()
        run = self._runs.pop(job_id, None)
        if run is not None:
            self._abandon(run)

    def _abandon(self, run: _Run) -> None:
        """Let go of a run that is over; where the device still has its job, that is cancelled."""
        _let_go(run)
        self._here.discard(run.job_id)
        if not run.submitted_s or run.rest is not None:
            return
        refused = self._inner.cancel(run.job_id)
        if refused is not None:
            logger().info("not cancelled", job_id=run.job_id, detail=refused.detail)

    def _drive(self, job_id: str) -> None:
        """Move one job on as far as it goes without waiting; called with the lock held."""
        run = self._runs.get(job_id)
        if run is None:
            return
        outcome = self._moved(run)
        if outcome is not None:
            with suppress(InvalidStateError):
                run.future.set_result(outcome)
        if run.future.done():
            del self._runs[job_id]
            self._abandon(run)

    def _moved(self, run: _Run) -> Done | Failure | None:
        """Take all steps that need not be waited for; the job's outcome, where it has one."""
        if run.asked is None:
            if not run.looking.done():
                return _late(run)
            failure = self._looked(run, run.looking)
            if failure is not None:
                return failure
        if run.submitted_s and run.rest is None:
            failure = self._answered(run)
            if failure is not None or run.rest is None:
                return failure
        if run.joining is None:
            twins = {} if run.twins is None else run.twins.answers()
            if twins is None or isinstance(twins, Failure):
                return twins or _late(run)
            run.joining = self._threads.submit(_joined, run, twins)
        if not run.joining.done():
            return None
        return _result_of(run.joining, self._failure_of)

    def _looked(self, run: _Run, looking: "Future[Asked]") -> Failure | None:
        """Take what was found, and submit what was not; a failure where that is refused."""
        asked = _result_of(looking, self._failure_of)
        if isinstance(asked, Failure):
            return asked
        run.asked = asked
        if len(asked.missing) < len(asked.entries):
            run.twins = Twins(self._pool, asked.part(missing=False), run.until_s)
        if not asked.missing:
            return None
        accepted = self._inner.submit(asked.part(missing=True))
        if isinstance(accepted, Failure):
            return accepted
        run.submitted_s = time.time()
        return None

    def _answered(self, run: _Run) -> Failure | None:
        """Ask the device's provider; its answer is kept, and not taken while too many are here."""
        if len(self._here) >= DRAWN_MAX or not self._keeping.acquire(blocking=False):
            return _late(run)
        news = self._inner.poll(run.job_id)
        if not isinstance(news, Result):
            self._keeping.release()
            if isinstance(news, Failure):
                return news
            run.queue_s = news.queue_s
            return None
        run.rest = news
        self._here.add(run.job_id)
        asked = run.asked
        assert asked is not None  # noqa: S101  # nothing was submitted before
        if len(news.sets) != len(asked.missing):
            self._keeping.release()
            detail = f"{len(news.sets)} sample sets for {len(asked.missing)} problems"
            return Failure(kind=FailureKind.ALGORITHM, detail=detail)
        keeping = self._threads.submit(self._keep, asked, news)
        keeping.add_done_callback(lambda _: self._keeping.release())
        return None

    # What follows runs in threads of its own, and never takes the lock.

    def _look_up(self, request: SampleRequest) -> Asked:
        """Look each problem up, under the calibration that the device is known to have now."""
        described = self._inner.describe()
        keys = keys_of(described, described.calibration_id, request)
        asked = Asked.of(request, self._store.get(keys))
        missing = len(asked.missing)
        metrics.kept_answers.add(len(keys) - missing, {"found": "yes"})
        metrics.kept_answers.add(missing, {"found": "no"})
        return asked

    def _keep(self, asked: Asked, result: Result) -> None:
        """Keep an answer under the calibration that it bears, all of it or nothing."""
        described = self._inner.describe()
        values = asked.values(described, result, self._now_ms())
        if values is None:
            logger().warning("answers not kept: they are not sound", job_id=result.job_id)
            return
        most_ms = self._kept_ms if result.calibration_id else UNCALIBRATED_MS
        self._store.put(values, min(self._kept_ms, most_ms))


def _joined(run: _Run, twins: Answers) -> Done:
    """A job's answer, when all that it takes is here."""
    assert run.asked is not None  # noqa: S101  # it is joined last
    return run.asked.joined(run.rest, twins, run.submitted_s)


def _late(run: _Run) -> Failure | None:
    """The failure of a job whose deadline has passed, or None."""
    if time.time() < run.until_s:
        return None
    detail = f"deadline passed after 0 of {run.count} problems"
    return Failure(kind=FailureKind.CANCELLED, detail=detail)


def _let_go(run: _Run) -> None:
    """Take no further step of a run that is over."""
    run.looking.cancel()
    if run.twins is not None:
        run.twins.drop()


def _result_of(future: "Future[T]", failure_of: Callable[[BaseException], Failure]) -> T | Failure:
    """A done future's result, or the failure that its exception is."""
    try:
        return future.result(timeout=0)
    except Exception as error:  # noqa: BLE001  # a failure is a value here
        return failure_of(error)
