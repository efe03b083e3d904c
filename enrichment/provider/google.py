"""Google's Quantum Engine through `cirq_google.Engine`: our ids, our deadlines, one job a request.

Never run against the service or a device: what is tested is the real client over a real socket to a
fake of the service (`tests/provider/quantum_engine.py`).

- Ids are derived from our job id, so that whatever was accepted is found again: ALREADY_EXISTS is
  attached to. A job that the engine failed or cancelled keeps its id there, so each new try has the
  next number.
- Every call has a deadline of its own, and is made in one of a few threads (`google_engine`): a
  poll hands over the next step and returns what is known.
- Problems share circuits, on lines chosen by the processor's calibration (`google_processor`,
  `google_circuits`), all of them in one program and one job.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Final

from cirq_google.engine.engine_client import EngineClient
from duet.api import run as run_duet
from google.api_core import exceptions as google_errors

from enrichment.circuit.native import GATES
from enrichment.provider import local
from enrichment.provider.contract import (
    VARIABLES_MAX,
    Description,
    Failure,
    FailureKind,
    Result,
    Running,
    SampleRequest,
)
from enrichment.provider.google_circuits import program_id
from enrichment.provider.google_engine import CALL_S, EngineJobs, Options
from enrichment.provider.google_failures import failure_of
from enrichment.provider.google_processor import LOOK_S
from enrichment.provider.google_run import Run
from enrichment.provider.jobs import JOBS_MAX, Done, Jobs, versions_of
from enrichment.provider.pool import Pool

THREADS: Final = 4
"""Calls at once: a call of milliseconds serves hundreds of jobs, and four may hang at a time."""

STEPS_MAX: Final = 4 * JOBS_MAX
"""Steps handed over and not done: one for each open job, and room for what is to be cancelled."""

RETRY_S: Final = 1
"""The client's own retries of 500 and 503 end when their pause, from .1 s doubling, is longer."""

POLL_S_MAX: Final = 5.0
"""A job's state is asked for at growing intervals, up to this: queues last seconds to hours."""

FAULTS_MAX: Final = 8
"""Fetches in a row that may fail before the job does: two seconds of refusals, fifteen of silence.

Nothing is lost then: the answer is still there for whoever submits the job again."""

SDKS: Final = ("cirq-core", "cirq-google", "dimod", "numpy")


class Google(Jobs):
    """A provider over the engine's client, which is made by `connect` at the first step.

    Twins are computed in `pool`, which is the caller's, as for the local providers.
    """

    def __init__(
        self,
        pool: Pool,
        now_ms: Callable[[], int],
        options: Options,
        connect: Callable[[], EngineClient],
    ) -> None:
        """Serve from `options.processor_id`; nothing is connected yet."""
        super().__init__("google", now_ms, variables_max=VARIABLES_MAX)
        self._pool = pool
        self._engine = EngineJobs(options, connect)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="google")
        self._places = threading.BoundedSemaphore(STEPS_MAX)
        self._runs: dict[str, Run] = {}
        self._cancelling: dict[str, Future[None]] = {}
        self._look: Future[None] | None = None
        self._looked_s = -LOOK_S
        self._closed = False

    def poll(self, job_id: str) -> Running | Result | Failure:
        """Return how the job stands, and have the next step taken where it is due."""
        with self._lock:
            self._drive(job_id)
        return super().poll(job_id)

    def describe(self) -> Description:
        """Return what is known of the processor: nothing at first, soon what it says itself."""
        with self._lock:
            idle = self._look is None or self._look.done()
            if idle and time.monotonic() >= self._looked_s + LOOK_S:
                self._looked_s = time.monotonic()
                self._look = self._hand(self._look_at_processor)
        known = self._engine.processor.latest
        device = known.device if known is not None else None
        return Description(
            name=self.name,
            qubits_max=self._variables_max,
            gate_set=((device.gate,) if device else tuple(GATES)) + ("phased_xz",),
            calibration_id=device.calibration_id if device else "",
            calibration_time_ms=known.calibration_time_ms if known else 0,
            queue_s=self._queue_s(),
            price_per_shot=self._engine.options.price_per_shot,
            idempotent_submission=True,
            sdk_versions=versions_of(*SDKS),
        )

    def close(self) -> None:
        """Forget all jobs and take no further step; what the engine has accepted runs on there.

        It is found again by whoever submits it again: a restart costs no second run.
        """
        super().close()
        with self._lock:
            self._closed = True
            for run in self._runs.values():
                run.drop_twins()
            self._runs.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, request: SampleRequest, until_s: float) -> "Future[Done | Failure] | Failure":
        """Start the twins, and hand over the submission."""
        twins = None
        if request.twins:
            started = self._pool.submit(local.solve, local.work_of(request, "", until_s))
            if isinstance(started, Failure):
                return started
            twins = started
        run = Run(
            request=request, program_id=program_id(request.job_id), until_s=until_s, twins=twins
        )
        run.step = self._hand(self._step, run, self._cancelling.pop(request.job_id, None))
        if run.step is None:
            run.drop_twins()
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
        now_s = time.time()
        if run.future.done():
            del self._runs[job_id]
            run.drop_twins()
        elif now_s >= run.until_s:
            detail = f"deadline passed after 0 of {len(run.request.models)} problems"
            run.end(Failure(kind=FailureKind.CANCELLED, detail=detail))
            self._abandon(job_id, run)
        elif now_s >= run.next_s and (run.step is None or run.step.done()):
            run.next_s = now_s + run.poll_s
            run.poll_s = min(POLL_S_MAX, 1.5 * run.poll_s)
            run.step = self._hand(self._step, run, None)

    def _give_up(self, job_id: str, future: "Future[Done | Failure]") -> None:
        """Forget the answer at once, and have the engine told."""
        future.cancel()
        run = self._runs.get(job_id)
        if run is not None:
            self._abandon(job_id, run)

    def _abandon(self, job_id: str, run: Run) -> None:
        """Let go of a run that is over, and have its engine job cancelled after its last step."""
        del self._runs[job_id]
        run.drop_twins()
        self._cancelling = {key: told for key, told in self._cancelling.items() if not told.done()}
        # Where too many calls wait the engine is not told: the job runs, and nobody asks for it.
        telling = self._hand(self._cancel, run, run.step)
        if telling is not None:
            self._cancelling[job_id] = telling

    def _hand(self, step: Callable[..., None], *args: Any) -> "Future[None] | None":
        """Hand a step to the threads; None where too many wait, or after close."""
        if self._closed or not self._places.acquire(blocking=False):
            return None
        future = self._threads.submit(step, *args)
        future.add_done_callback(lambda _: self._places.release())
        return future

    def _failure_of(self, error: BaseException) -> Failure:
        """Return what an exception means."""
        return failure_of(error)

    def _queue_s(self) -> float:
        """Return how long the processor's open jobs last at the pace of our own."""
        return self._engine.processor.active_jobs * self._task_s

    def _begun(self, job_id: str, future: "Future[Done | Failure] | None") -> bool:  # noqa: ARG002  # of all providers
        """Return whether the engine has begun to run the job."""
        run = self._runs.get(job_id)
        return run is not None and run.begun

    def _provider_job_id(self, job_id: str) -> str:
        """Return the program's id: a job of it is named only once it is accepted."""
        return program_id(job_id)

    # What follows runs in the provider's threads, and never takes its lock.

    def _step(self, run: Run, after: "Future[None] | None") -> None:
        """Take one job one step further, and end it where that was the last."""
        if after is not None:
            wait([after], timeout=2 * CALL_S)
        if run.future.done():
            return
        try:
            outcome = run.drawn or run_duet(self._engine.advance, run)
        except Exception as error:  # noqa: BLE001  # every kind is in the table
            outcome = self._fault(run, error)
        else:
            run.faults = 0
        if isinstance(outcome, Done):
            run.drawn = outcome
            outcome = run.with_twins(outcome)
        if outcome is not None:
            run.end(outcome)

    def _fault(self, run: Run, error: Exception) -> Failure | None:
        """Return the failure that an exception in a step is, or None where the next may do."""
        if time.time() >= run.until_s:
            return None  # the next poll says so, and has the job cancelled
        failure = failure_of(error)
        if run.accepted and isinstance(error.__cause__, google_errors.NotFound):
            return Failure(kind=FailureKind.UNKNOWN, detail=failure.detail)
        run.faults += 1
        later = failure.kind in (FailureKind.TRANSIENT, FailureKind.QUOTA)
        if run.accepted and later and run.faults < FAULTS_MAX:
            return None
        return failure

    def _cancel(self, run: Run, after: "Future[None] | None") -> None:
        """Tell the engine that a job is given up, once its last step has been taken."""
        if after is not None:
            wait([after], timeout=2 * CALL_S)
        # Nobody waits for this answer: a job that was not accepted, is over or cannot be reached
        # ends by itself.
        with suppress(Exception):
            run_duet(self._engine.cancel, run)

    def _look_at_processor(self) -> None:
        """Take in what the processor says of itself; what cannot be had stays as it was."""
        with suppress(Exception):
            run_duet(self._engine.look)


def open_provider(
    pool: Pool,
    now_ms: Callable[[], int],
    *,
    connect: Callable[[], EngineClient] | None = None,
    **options: Any,
) -> Google:
    """Return the provider, its twins computed in `pool`; `options` are the fields of `Options`.

    Credentials are found by the client library (Application Default Credentials) unless `connect`
    makes the client otherwise. Raises ValueError where project or processor are not given, or only
    one of a pair is.
    """
    chosen = Options(**options)
    if not chosen.project_id or not chosen.processor_id:
        msg = (
            "the google provider needs a project and a processor: set ENRICHMENT_GOOGLE_PROJECT "
            "and ENRICHMENT_GOOGLE_PROCESSOR"
        )
        raise ValueError(msg)
    if bool(chosen.run_name) != bool(chosen.device_config_name):
        msg = (
            "a run and a device's configuration come as a pair: set both "
            "ENRICHMENT_GOOGLE_RUN_NAME and ENRICHMENT_GOOGLE_DEVICE_CONFIG, or none"
        )
        raise ValueError(msg)
    return Google(pool, now_ms, chosen, connect or _connect)


def _connect() -> EngineClient:
    """Return the client of the service, which prints nothing and gives up soon."""
    return EngineClient(verbose=False, max_retry_delay_seconds=RETRY_S)
