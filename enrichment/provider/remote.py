"""Jobs at a service elsewhere: taken step by step in a few threads, none of them the caller's.

What is the same whatever the service: a poll hands the job's next step over and returns what is
known, deadlines are kept here, a job that is given up is cancelled there after its last step, and
twins are computed by our own processes meanwhile. How a step is taken, what an exception in it
means and how a job is cancelled is the subclass's to say.

A job that was accepted, or may have been, never has a failure that may pass: whoever tries such a one
again does so under a new id, and has a second job to pay for. It is asked for until its deadline,
and where the service attaches it is submitted again under its own id until that is answered.

After `close` accepted jobs run on where whoever submits their ids again attaches. Elsewhere nobody
would ever fetch them, and they are cancelled, as well as that can be done in a few seconds.
"""

import math
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Generic, TypeVar

from enrichment.provider import local
from enrichment.provider.contract import Failure, FailureKind, Result, Running, SampleRequest
from enrichment.provider.jobs import JOBS_MAX, Done, Jobs
from enrichment.provider.pool import Pool
from enrichment.telemetry.log import logger

THREADS: Final = 4
"""Steps at once: a call of milliseconds serves hundreds of jobs, and four may hang at a time."""

STEPS_MAX: Final = 4 * JOBS_MAX
"""Steps handed over and not done: one for each open job, and room for what is to be cancelled."""

CALL_S: Final = 10.0
"""One call to the service: answers of 64 problems take a second, a service that hangs is left."""

CANCEL_PAUSES_S: Final = (0.5, 1.0, 2.0)
"""How long to wait before each further try to cancel a job."""

CLOSE_S: Final = 3.0
"""What `close` leaves for cancelling, behind it: 60 jobs' worth of calls of .2 s in four threads.

A call that has begun by then may take CALL_S more: so long the process may take to end."""

LATER: Final = (FailureKind.TRANSIENT, FailureKind.QUOTA)
"""What may pass by itself."""

POLL_S: Final = 0.05
POLL_S_MAX: Final = 5.0
"""A job's state is asked for at growing intervals, between these: queues last seconds to hours."""


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """One job on its way: written by one step at a time, which `step` stands for.

    `remote_id` is what the service calls the job, "" until it is known to have accepted it;
    `doubtful` while it may have without our knowing: a submission was sent and not answered.
    `faults` are the steps in a row that have failed and may yet do.
    """

    request: SampleRequest
    until_s: float
    twins: "Future[Done | Failure] | None"
    future: "Future[Done | Failure]" = field(default_factory=Future)
    step: "Future[None] | None" = None
    poll_s: float = POLL_S
    next_s: float = 0.0
    remote_id: str = ""
    doubtful: bool = False
    begun: bool = False
    faults: int = 0
    drawn: Done | None = None

    @property
    def accepted(self) -> bool:
        """Whether the service is known to have the job."""
        return bool(self.remote_id)


R = TypeVar("R", bound=Run)


class Remote(Jobs, Generic[R]):
    """A provider over a service: its jobs, the threads that call it, and what is given up.

    Twins are computed in `pool`, which is the caller's, as for the local providers. `attaches` is
    the subclass's `Description.idempotent_submission`.
    """

    attaches: ClassVar[bool]

    def __init__(
        self,
        name: str,
        pool: Pool,
        now_ms: Callable[[], int],
        run_type: type[R],
        *,
        variables_max: int,
    ) -> None:
        """Serve as provider `name` (a key of PROVIDERS); no thread is started yet."""
        super().__init__(name, now_ms, variables_max=variables_max)
        self._pool = pool
        self._run_type = run_type
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=name)
        self._places = threading.BoundedSemaphore(STEPS_MAX)
        self._runs: dict[str, R] = {}
        self._cancelling: dict[str, Future[None]] = {}
        self._tell_until_s = math.inf
        self._closed = False

    def poll(self, job_id: str) -> Running | Result | Failure:
        """Return how the job stands, and have the next step taken where it is due."""
        with self._lock:
            self._drive(job_id)
        return super().poll(job_id)

    def close(self) -> None:
        """Forget all jobs and take no further step; what nobody could fetch is cancelled behind.

        A cancellation that was asked for before is still sent.
        """
        super().close()
        with self._lock:
            if self._closed:
                return
            self._tell_until_s = time.monotonic() + CLOSE_S
            runs, self._runs = self._runs, {}
            for run in runs.values():
                _drop_twins(run)
            lost = [run for run in runs.values() if run.future.cancelled() and run.drawn is None]
            if lost and not self.attaches:
                logger().warning(
                    "closing: cancelling what nobody could fetch",
                    provider=self.name,
                    jobs=len(lost),
                )
                for run in lost:
                    self._have_cancelled(run)
            self._closed = True
        # Steps that wait end at once, their runs being over.
        self._threads.shutdown(wait=False)

    @abstractmethod
    def _advance(self, run: R) -> Done | Failure | None:
        """Submit the job or look at it: its samples, its failure, or None while it runs.

        Called in one of the threads, and never twice at a time for one run; it takes no lock.
        """

    @abstractmethod
    def _tell(self, run: R) -> Failure | None:
        """Have the service cancel the job, called in one of the threads after its last step.

        A failure that may pass is tried again; None too where there is nothing to cancel.
        """

    def _fault(self, run: R, error: Exception) -> Failure | None:
        """Return the failure that an exception in `_advance` is, or None where the next may do."""
        failure = self._failure_of(error)
        open_there = run.accepted or run.doubtful
        return None if open_there and failure.kind in LATER else failure

    def _begin(self, request: SampleRequest, until_s: float) -> "Future[Done | Failure] | Failure":
        """Start the twins, and hand over the submission."""
        twins = self._twins(request, until_s) if request.twins else None
        if isinstance(twins, Failure):
            return twins
        run = self._run_type(request=request, until_s=until_s, twins=twins)
        run.step = self._hand(self._step, run, self._cancelling.pop(request.job_id, None))
        if run.step is None:
            _drop_twins(run)
            if self._closed:
                return Failure(kind=FailureKind.CANCELLED, detail="the provider is closed")
            return Failure(kind=FailureKind.QUOTA, detail=f"{STEPS_MAX} calls wait already")
        self._runs[request.job_id] = run
        return run.future

    def _drive(self, job_id: str) -> None:
        """Have the job's next step taken, or end it where its deadline has passed."""
        run = self._runs.get(job_id)
        if run is None:
            return
        # Deadlines are the wall clock's; the wait between two looks would last as long as that is
        # set back.
        now_s, tick_s = time.time(), time.monotonic()
        if run.future.done():
            del self._runs[job_id]
            _drop_twins(run)
        elif now_s >= run.until_s:
            detail = f"deadline passed after 0 of {len(run.request.models)} problems"
            _end(run, Failure(kind=FailureKind.CANCELLED, detail=detail))
            self._abandon(job_id, run)
        elif tick_s >= run.next_s and (run.step is None or run.step.done()):
            run.next_s = tick_s + run.poll_s
            run.poll_s = min(POLL_S_MAX, 1.5 * run.poll_s)
            run.step = self._hand(self._step, run, None)

    def _give_up(self, job_id: str, future: "Future[Done | Failure]") -> None:
        """Forget the answer at once, and have the service told."""
        future.cancel()
        run = self._runs.get(job_id)
        if run is not None:
            self._abandon(job_id, run)

    def _abandon(self, job_id: str, run: R) -> None:
        """Let go of a run that is over, and have it cancelled after its last step."""
        del self._runs[job_id]
        _drop_twins(run)
        self._have_cancelled(run)

    def _have_cancelled(self, run: R) -> None:
        """Hand over the cancellation of a run that is over."""
        job_id = run.request.job_id
        self._cancelling = {key: told for key, told in self._cancelling.items() if not told.done()}
        telling = self._hand(self._cancel, run, run.step)
        if telling is not None:
            self._cancelling[job_id] = telling
        else:
            logger().warning("not cancelled: too many calls wait", job_id=job_id)

    def _hand(self, step: Callable[..., None], *args: Any) -> "Future[None] | None":
        """Hand a step to the threads; None where too many wait, or after close."""
        if self._closed or not self._places.acquire(blocking=False):
            return None
        future = self._threads.submit(step, *args)
        future.add_done_callback(lambda _: self._places.release())
        return future

    def _begun(self, job_id: str, future: "Future[Done | Failure] | None") -> bool:  # noqa: ARG002  # of all providers
        """Return whether the service has begun to run the job."""
        run = self._runs.get(job_id)
        return run is not None and run.begun

    # What follows runs in the provider's threads, and never takes its lock.

    def _step(self, run: R, after: "Future[None] | None") -> None:
        """Take one job one step further, and end it where that was the last."""
        if after is not None and not run.future.done():
            wait([after], timeout=2 * CALL_S)
        if run.future.done():
            return
        try:
            outcome = run.drawn or self._advance(run)
        except Exception as error:  # noqa: BLE001  # every kind is in the subclass's table
            outcome = self._fault(run, error)
        else:
            run.faults = 0
        if isinstance(outcome, Done):
            run.drawn = outcome
            outcome = self._with_twins(run, outcome)
        if outcome is not None:
            _end(run, outcome)

    def _with_twins(self, run: R, drawn: Done) -> Done | Failure | None:
        """Return the samples with their twins, a twin's failure, or None until they are there."""
        if run.twins is None:
            return drawn
        if not run.twins.done():
            return None
        try:
            twins = run.twins.result(timeout=0)
        except Exception as error:  # noqa: BLE001  # every kind is in the local table
            twins = local.failure_of(error)
        if isinstance(twins, Done):
            return replace(drawn, twins=twins.twins)
        if twins.kind not in LATER:
            return twins
        # A child died. The samples are here, and may have been paid for: only the twins are anew.
        again = self._twins(run.request, run.until_s)
        if isinstance(again, Failure):
            return None if again.kind in LATER else again
        run.twins = again
        if run.future.done():
            _drop_twins(run)
        return None

    def _twins(self, request: SampleRequest, until_s: float) -> "Future[Done | Failure] | Failure":
        """Start the twins; any thread may."""
        return self._pool.submit(local.solve, local.work_of(request, "", until_s))

    def _cancel(self, run: R, after: "Future[None] | None") -> None:
        """Have the service told that a job is given up, once its last step has been taken."""
        if after is not None:
            left_s = max(0.0, self._tell_until_s - time.monotonic())
            wait([after], timeout=min(2 * CALL_S, left_s))
        for pause_s in (*CANCEL_PAUSES_S, 0.0):
            if time.monotonic() >= self._tell_until_s:
                failure = Failure(kind=FailureKind.CANCELLED, detail="the provider is closed")
                break
            told = self._tell(run)
            if told is None:
                return
            failure = told
            if failure.kind not in LATER:
                break
            time.sleep(pause_s)
        logger().warning(
            "not cancelled",
            provider=self.name,
            job_id=run.request.job_id,
            remote_id=run.remote_id,
            detail=failure.detail,
        )


def _end(run: Run, outcome: Done | Failure) -> None:
    """Set the run's outcome, unless it has been given up meanwhile."""
    with suppress(InvalidStateError):
        run.future.set_result(outcome)


def _drop_twins(run: Run) -> None:
    """Give the twins up where they have not begun."""
    if run.twins is not None:
        run.twins.cancel()
