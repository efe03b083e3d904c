"""Jobs at a service elsewhere: taken step by step in a few threads, none of them the caller's.

What is the same whatever the service: a poll hands the job's next step over and returns what is
known, deadlines are kept here, a job that is given up is cancelled there after its last step, and
twins are computed by our own processes once the samples are here. How a step is taken, what an
exception in it means and how a job is cancelled is the subclass's to say.

A job that was accepted, or may have been, never has a failure that may pass: whoever tries such a
one again does so under a new id, and has a second job to pay for. It is asked for until its
deadline, and where the service attaches it is submitted again under its own id until that is
answered.

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

from enrichment.provider.contract import (
    LATER,
    Failure,
    FailureKind,
    Result,
    Running,
    SampleRequest,
)
from enrichment.provider.jobs import Done, Jobs
from enrichment.provider.pool import Pool
from enrichment.provider.twins import Twins
from enrichment.telemetry.log import logger

REMOTE_MAX: Final = 600
"""Jobs that were not fetched yet: 500 of a worker's, and those of partitions that it has lost.

One that waits is its models, half a MiB at 64 problems of 12 variables; answers are DRAWN_MAX."""

DRAWN_MAX: Final = 64
"""Jobs whose samples are here and whose twins are not, some 1.3 MiB each: where a queue of hundreds
is answered at once the others' samples are left at the service for a while."""

THREADS: Final = 16
"""Steps at once: 500 jobs, each asked for every five seconds by a call of .15 s; some may hang."""

STEPS_MAX: Final = 4 * REMOTE_MAX
"""Steps handed over and not done: one for each open job, and room for what is to be cancelled."""

CALL_S: Final = 10.0
"""One call to the service: answers of 64 problems take a second, a service that hangs is left."""

CANCEL_PAUSES_S: Final = (0.5, 1.0, 2.0)
"""How long to wait before each further try to cancel a job."""

CLOSE_S: Final = 7.0
"""What `close` leaves for cancelling, behind it: 500 jobs' worth of calls of .2 s in the threads.

A call that has begun by then may take CALL_S more: so long the process may take to end."""

POLL_S: Final = 0.05
POLL_S_MAX: Final = 5.0
"""A job's state is asked for at growing intervals, between these: queues last seconds to hours."""

TWINS_POLL_S_MAX: Final = 0.25
"""The same of twins, which take a tenth of a second once it is their turn."""


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """One job on its way: written by one step at a time, which `step` stands for.

    `remote_id` is what the service calls the job, "" until it is known to have accepted it;
    `doubtful` while it may have without our knowing: a submission was sent and not answered.
    `faults` are the steps in a row that have failed and may yet do; `has_room` is one of DRAWN_MAX.
    """

    request: SampleRequest
    until_s: float
    twins: Twins
    future: "Future[Done | Failure]" = field(default_factory=Future)
    step: "Future[None] | None" = None
    poll_s: float = POLL_S
    next_s: float = 0.0
    remote_id: str = ""
    doubtful: bool = False
    begun: bool = False
    faults: int = 0
    drawn: Done | None = None
    has_room: bool = False

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
        super().__init__(name, now_ms, variables_max=variables_max, jobs_max=REMOTE_MAX)
        self._pool = pool
        self._run_type = run_type
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=name)
        self._places = threading.BoundedSemaphore(STEPS_MAX)
        self._room = threading.BoundedSemaphore(DRAWN_MAX)
        self._leaving = threading.Lock()
        self._runs: dict[str, R] = {}
        self._cancelling: dict[str, Future[None]] = {}
        self._tell_until_s = math.inf
        self._closed = False

    def poll(self, job_id: str) -> Running | Result | Failure:
        """Return how the job stands, and have the next step taken where it is due."""
        with self._lock:
            self._drive(job_id)
        answer = super().poll(job_id)
        if not isinstance(answer, Running):
            # Its last step may have ended between the two: who has the answer asks no more.
            with self._lock:
                self._drop_over(job_id)
        return answer

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
                run.twins.drop()
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
        """Hand over the submission."""
        twins = Twins(self._pool, request, until_s)
        run = self._run_type(request=request, until_s=until_s, twins=twins)
        run.step = self._hand(self._step, run, self._cancelling.pop(request.job_id, None))
        if run.step is None:
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
            self._drop_over(job_id)
        elif now_s >= run.until_s:
            detail = f"deadline passed after 0 of {len(run.request.models)} problems"
            _end(run, Failure(kind=FailureKind.CANCELLED, detail=detail))
            self._abandon(job_id, run)
        elif tick_s >= run.next_s and (run.step is None or run.step.done()):
            self._go_on(run, tick_s)

    def _drop_over(self, job_id: str) -> None:
        """Let go of a run whose job is over."""
        run = self._runs.get(job_id)
        if run is not None and run.future.done():
            del self._runs[job_id]
            run.twins.drop()

    def _go_on(self, run: R, tick_s: float) -> None:
        """Hand over a further step, where there is room for what it may bring."""
        if run.accepted and run.drawn is None:
            if not self._room.acquire(blocking=False):
                return
            run.has_room = True
        most_s = POLL_S_MAX if run.drawn is None else TWINS_POLL_S_MAX
        run.next_s = tick_s + run.poll_s
        run.poll_s = min(most_s, 1.5 * run.poll_s)
        run.step = self._hand(self._step, run, None)
        if run.step is None:
            self._leave_room(run)

    def _give_up(self, job_id: str, future: "Future[Done | Failure]") -> None:
        """Forget the answer at once, and have the service told, unless it has done its part."""
        over = not future.cancel()
        run = self._runs.get(job_id)
        if run is None:
            return
        if over:
            del self._runs[job_id]
        else:
            self._abandon(job_id, run)

    def _abandon(self, job_id: str, run: R) -> None:
        """Let go of a run that is over, and have it cancelled after its last step."""
        del self._runs[job_id]
        run.twins.drop()
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
        if not run.future.done():
            outcome = run.drawn or self._advanced(run)
            if isinstance(outcome, Done):
                outcome = self._with_twins(run, outcome)
            if outcome is not None:
                _end(run, outcome)
        if run.drawn is None or run.future.done():
            self._leave_room(run)

    def _advanced(self, run: R) -> Done | Failure | None:
        """Submit the job or look at it."""
        try:
            outcome = self._advance(run)
        except Exception as error:  # noqa: BLE001  # every kind is in the subclass's table
            return self._fault(run, error)
        run.faults = 0
        if isinstance(outcome, Done):
            run.drawn = outcome
            run.next_s, run.poll_s = 0.0, POLL_S
            # However it ends: given up or closed, it has no further step.
            run.future.add_done_callback(lambda _: self._leave_room(run))
        return outcome

    def _leave_room(self, run: R) -> None:
        """Give the room for the run's samples back, where it has it: any thread may, and twice."""
        with self._leaving:
            had, run.has_room = run.has_room, False
        if had:
            self._room.release()

    def _with_twins(self, run: R, drawn: Done) -> Done | Failure | None:
        """Return the samples with their twins, a twin's failure, or None until they are there."""
        twins = run.twins.answers()
        if twins is None or isinstance(twins, Failure):
            return twins
        return replace(drawn, twins=twins)

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
