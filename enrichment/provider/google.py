"""Google's Quantum Engine through `cirq_google.Engine`: our ids, our deadlines, one job a request.

Never run against the service or a device: what is tested is the real client over a real socket to a
fake of the service (`tests/provider/quantum_engine.py`).

- Ids are derived from our job id, so that whatever was accepted is found again: ALREADY_EXISTS is
  attached to. A job that the engine failed or cancelled keeps its id there, so each new try has the
  next number.
- Unary calls only. The client's stream says nothing when a job is accepted, and its futures hang
  while the service is away.
- Every call has a deadline of its own, and is made in one of a few threads: a poll hands over the
  next step and returns what is known.
- One circuit a problem (`google_circuits`), all of them in one program and one job.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from cirq_google.cloud import quantum
from cirq_google.engine.engine import Engine, EngineContext
from cirq_google.engine.engine_client import EngineClient, EngineException
from duet.api import run as run_duet
from duet.api import sleep, timeout_scope
from google.api_core import exceptions as google_errors

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
from enrichment.provider.google_circuits import GATES, circuits_of, program_id, sets_of
from enrichment.provider.google_failures import JOB_FAILURES, AttemptsUsedError, failure_of
from enrichment.provider.jobs import JOBS_MAX, Done, Jobs, versions_of
from enrichment.provider.pool import Pool

THREADS: Final = 4
"""Calls at once: a call of milliseconds serves hundreds of jobs, and four may hang at a time."""

STEPS_MAX: Final = 4 * JOBS_MAX
"""Steps handed over and not done: one for each open job, and room for what is to be cancelled."""

CALL_S: Final = 10.0
"""One step's calls together: answers of 64 problems take a second, a service that hangs is left."""

RETRY_S: Final = 1
"""The client's own retries of 500 and 503 end when their pause, from .1 s doubling, is longer."""

POLL_S: Final = 0.05
POLL_S_MAX: Final = 5.0
"""A job's state is asked for at growing intervals, between these: queues last seconds to hours."""

FAULTS_MAX: Final = 8
"""Fetches in a row that may fail before the job does: two seconds of refusals, fifteen of silence.

Nothing is lost then: the answer is still there for whoever submits the job again."""

CANCEL_PAUSES_S: Final = (0.5, 1.0, 2.0)
"""How long to wait before each further try to cancel a job whose submission may be on its way."""

ATTEMPTS_MAX: Final = 8
"""Engine jobs under one job id; each follows one that the engine failed or we cancelled."""

DESCRIBE_S: Final = 60.0
"""How old what is known of the processor may be before it is asked for again."""

SDKS: Final = ("cirq-core", "cirq-google", "dimod", "numpy")

State = quantum.ExecutionStatus.State

GIVEN_UP: Final = frozenset({State.CANCELLING, State.CANCELLED, State.FAILURE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Where jobs go and what they cost; `run_name` and `device_config_name` come as a pair."""

    project_id: str = ""
    processor_id: str = ""
    run_name: str = ""
    device_config_name: str = ""
    price_per_shot: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the processor last said of itself."""

    calibration_id: str = ""
    calibration_time_ms: int = 0
    active_jobs: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class _Run:
    """One job on its way: written by one step at a time, which `step` stands for."""

    request: SampleRequest
    program_id: str
    until_s: float
    twins: "Future[Done | Failure] | None"
    future: "Future[Done | Failure]" = field(default_factory=Future)
    step: "Future[None] | None" = None
    poll_s: float = POLL_S
    next_s: float = 0.0
    engine_job_id: str = ""
    accepted: bool = False
    begun: bool = False
    faults: int = 0
    drawn: Done | None = None


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
        self._options = options
        self._connect = connect
        self._engine: Engine | None = None
        self._engine_lock = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="google")
        self._places = threading.BoundedSemaphore(STEPS_MAX)
        self._runs: dict[str, _Run] = {}
        self._cancelling: dict[str, Future[None]] = {}
        self._seen = _Seen()
        self._look: Future[None] | None = None
        self._looked_s = -DESCRIBE_S
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
            if idle and time.monotonic() >= self._looked_s + DESCRIBE_S:
                self._looked_s = time.monotonic()
                self._look = self._hand(self._look_at_processor)
        seen = self._seen
        return Description(
            name=self.name,
            qubits_max=self._variables_max,
            gate_set=GATES,
            calibration_id=seen.calibration_id,
            calibration_time_ms=seen.calibration_time_ms,
            queue_s=self._queue_s(),
            price_per_shot=self._options.price_per_shot,
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
                _drop_twins(run)
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
        run = _Run(
            request=request, program_id=program_id(request.job_id), until_s=until_s, twins=twins
        )
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
        now_s = time.time()
        if run.future.done():
            del self._runs[job_id]
            _drop_twins(run)
        elif now_s >= run.until_s:
            detail = f"deadline passed after 0 of {len(run.request.models)} problems"
            _end(run, Failure(kind=FailureKind.CANCELLED, detail=detail))
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

    def _abandon(self, job_id: str, run: _Run) -> None:
        """Let go of a run that is over, and have its engine job cancelled after its last step."""
        del self._runs[job_id]
        _drop_twins(run)
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
        return self._seen.active_jobs * self._task_s

    def _begun(self, job_id: str, future: "Future[Done | Failure] | None") -> bool:  # noqa: ARG002  # of all providers
        """Return whether the engine has begun to run the job."""
        run = self._runs.get(job_id)
        return run is not None and run.begun

    def _provider_job_id(self, job_id: str) -> str:
        """Return the program's id: a job of it is named only once it is accepted."""
        return program_id(job_id)

    # What follows runs in the provider's threads, and never takes its lock.

    def _step(self, run: _Run, after: "Future[None] | None") -> None:
        """Take one job one step further, and end it where that was the last."""
        if after is not None:
            wait([after], timeout=2 * CALL_S)
        if run.future.done():
            return
        try:
            if run.drawn is None:
                outcome = run_duet(self._advance, run, self._connected())
            else:
                outcome = run.drawn
        except Exception as error:  # noqa: BLE001  # every kind is in the table
            outcome = self._fault(run, error)
        else:
            run.faults = 0
        if isinstance(outcome, Done):
            run.drawn = outcome
            outcome = _with_twins(run, outcome)
        if outcome is not None:
            _end(run, outcome)

    def _fault(self, run: _Run, error: Exception) -> Failure | None:
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

    async def _advance(self, run: _Run, engine: Engine) -> Done | Failure | None:
        """Submit the job or look at it: its samples, its failure, or None while it runs."""
        async with timeout_scope(max(0.0, min(CALL_S, run.until_s - time.time()))):
            if not run.accepted:
                await self._submit(run, engine)
                run.accepted = True
            client, project = engine.context.client, engine.project_id
            ids = (project, run.program_id, run.engine_job_id)
            job = await client.get_job_async(*ids, False)
            state = job.execution_status.state
            run.begun = run.begun or state is State.RUNNING
            if state in GIVEN_UP:
                return _job_failure(engine, run, job)
            if state is not State.SUCCESS:
                return None
            answer = await client.get_job_results_async(*ids)
        return self._done(run, job, answer)

    async def _submit(self, run: _Run, engine: Engine) -> None:
        """Create program and job, or find the one that runs or has succeeded already."""
        options = self._options
        circuits = circuits_of(run.request)
        for attempt in range(ATTEMPTS_MAX):
            run.engine_job_id = f"{run.program_id}-{attempt}"
            try:
                await engine.run_sweep_async(
                    circuits,
                    processor_id=options.processor_id,
                    program_id=run.program_id,
                    job_id=run.engine_job_id,
                    repetitions=run.request.shots,
                    run_name=options.run_name,
                    device_config_name=options.device_config_name,
                )
            except EngineException as error:
                if not isinstance(error.__cause__, google_errors.AlreadyExists):
                    raise
            else:
                return
            job = await engine.context.client.get_job_async(
                engine.project_id, run.program_id, run.engine_job_id, False
            )
            if job.execution_status.state not in GIVEN_UP:
                return
        detail = f"{ATTEMPTS_MAX} engine jobs of {run.program_id} have failed or were cancelled"
        raise AttemptsUsedError(detail)

    def _done(self, run: _Run, job: Any, answer: Any) -> Done:
        """Return the job's samples, checked; raises where they are not what was asked for."""
        timing = job.execution_status.timing
        started, completed = timing.started_time, timing.completed_time
        started_s = started.timestamp() if started else time.time()
        shots = run.request.shots * len(run.request.models)
        return Done(
            sets=sets_of(run.request, answer),
            twins={},
            started_s=started_s,
            execution_ms=max(0.0, completed.timestamp() - started_s) * 1000 if completed else 0.0,
            provider_job_id=run.engine_job_id,
            calibration_id=job.execution_status.calibration_name.rpartition("/")[2],
            cost=self._options.price_per_shot * shots,
        )

    def _cancel(self, run: _Run, after: "Future[None] | None") -> None:
        """Tell the engine that a job is given up, once its last step has been taken."""
        if after is not None:
            wait([after], timeout=2 * CALL_S)
        if not run.engine_job_id:
            return
        # Nobody waits for this answer: a job that was not accepted, is over or cannot be reached
        # ends by itself.
        with suppress(Exception):
            run_duet(self._tell, run, self._connected())

    async def _tell(self, run: _Run, engine: Engine) -> None:
        """Cancel the run's engine job, now or when a late submission has arrived."""
        ids = (engine.project_id, run.program_id, run.engine_job_id)
        async with timeout_scope(CALL_S):
            for pause_s in (*CANCEL_PAUSES_S, None):
                try:
                    await engine.context.client.cancel_job_async(*ids)
                except EngineException as error:
                    missing = isinstance(error.__cause__, google_errors.NotFound)
                    if not missing or run.accepted or pause_s is None:
                        raise
                    await sleep(pause_s)
                else:
                    return

    def _look_at_processor(self) -> None:
        """Take in what the processor says of itself; what cannot be had stays as it was."""
        with suppress(Exception):
            self._seen = run_duet(self._look_async, self._connected())

    async def _look_async(self, engine: Engine) -> _Seen:
        """Ask for the processor and its calibration."""
        ids = (engine.project_id, self._options.processor_id)
        async with timeout_scope(CALL_S):
            processor = await engine.context.client.get_processor_async(*ids)
            calibration = await engine.context.client.get_current_calibration_async(*ids)
        at = calibration.timestamp if calibration is not None else None
        return _Seen(
            calibration_id=calibration.name.rpartition("/")[2] if calibration is not None else "",
            calibration_time_ms=int(at.timestamp() * 1000) if at else 0,
            active_jobs=int(processor.activity_stats.active_jobs_count),
        )

    def _connected(self) -> Engine:
        """Return the engine, connected at the first call: credentials may take a while."""
        with self._engine_lock:
            if self._engine is None:
                client = self._connect()
                client.grpc_client  # noqa: B018  # made here, under the lock, and not twice
                context = EngineContext(client=client, enable_streaming=False)
                self._engine = Engine(self._options.project_id, context=context)
            return self._engine


def open_provider(
    pool: Pool,
    now_ms: Callable[[], int],
    *,
    connect: Callable[[], EngineClient] | None = None,
    **options: Any,
) -> Google:
    """Return the provider, its twins computed in `pool`; `options` are the fields of `Options`.

    Credentials are found by the client library (Application Default Credentials) unless `connect`
    makes the client otherwise. Raises ValueError where project or processor are not given.
    """
    chosen = Options(**options)
    if not chosen.project_id or not chosen.processor_id:
        msg = (
            "the google provider needs a project and a processor: set ENRICHMENT_GOOGLE_PROJECT "
            "and ENRICHMENT_GOOGLE_PROCESSOR"
        )
        raise ValueError(msg)
    return Google(pool, now_ms, chosen, connect or _connect)


def _job_failure(engine: Engine, run: _Run, job: Any) -> Failure:
    """Return the failure of a job that the engine failed or cancelled, by JOB_FAILURES."""
    if job.execution_status.state is not State.FAILURE:
        return Failure(kind=FailureKind.CANCELLED, detail="cancelled at the engine")
    found = engine.get_program(run.program_id).get_job(run.engine_job_id)
    found._job = job  # noqa: SLF001  # so that failure() reads what we have and asks nobody
    code, text = found.failure() or ("CODE_UNSPECIFIED", "")
    kind = JOB_FAILURES.get(code, FailureKind.UNKNOWN)
    return Failure(kind=kind, detail=f"the engine failed the job: {code}: {text}")


def _with_twins(run: _Run, drawn: Done) -> Done | Failure | None:
    """Return the samples with their twins beside, a twin's failure, or None until they are done."""
    if run.twins is None:
        return drawn
    if not run.twins.done():
        return None
    try:
        twins = run.twins.result(timeout=0)
    except Exception as error:  # noqa: BLE001  # every kind is in the local table
        return local.failure_of(error)
    if isinstance(twins, Failure):
        return twins
    return replace(drawn, twins=twins.twins)


def _end(run: _Run, outcome: Done | Failure) -> None:
    """Set the run's outcome, unless it has been given up meanwhile."""
    with suppress(InvalidStateError):
        run.future.set_result(outcome)


def _drop_twins(run: _Run) -> None:
    """Give the twins up where they have not begun."""
    if run.twins is not None:
        run.twins.cancel()


def _connect() -> EngineClient:
    """Return the client of the service, which prints nothing and gives up soon."""
    return EngineClient(verbose=False, max_retry_delay_seconds=RETRY_S)
