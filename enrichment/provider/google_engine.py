"""One job's calls to Google's engine: make its circuits, submit, look, fetch, cancel.

Each function is one step, taken in a thread of the provider's; each of its calls has a deadline.
Unary calls only. The client's stream says nothing when a job is accepted, and its futures hang
while the service is away.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cirq_google.cloud import quantum
from cirq_google.engine.engine import Engine, EngineContext
from cirq_google.engine.engine_client import EngineClient, EngineException
from duet.api import timeout_scope
from google.api_core import exceptions as google_errors

from enrichment.provider.contract import Failure, FailureKind
from enrichment.provider.google_circuits import circuits_from, circuits_of, layout_of, sets_of
from enrichment.provider.google_failures import JOB_FAILURES, AttemptsUsedError, failure_of
from enrichment.provider.google_processor import Processor
from enrichment.provider.google_run import EngineRun
from enrichment.provider.jobs import Done
from enrichment.provider.remote import CALL_S

ATTEMPTS_MAX: Final = 8
"""Engine jobs under one job id; each follows one that the engine failed or we cancelled."""

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


class EngineJobs:
    """The engine as a job's steps use it, over a client made by `connect` at the first of them."""

    def __init__(self, options: Options, connect: Callable[[], EngineClient]) -> None:
        """Use `options.processor_id`; nothing is connected yet."""
        self.options = options
        self.processor = Processor(options.project_id, options.processor_id)
        self._connect = connect
        self._engine: Engine | None = None
        self._lock = threading.Lock()

    async def advance(self, run: EngineRun) -> Done | Failure | None:
        """Submit the job or look at it: its samples, its failure, or None while it runs."""
        engine = self._connected()
        if not run.accepted and not run.circuits:
            async with _calls(run):
                known = await self.processor.now(engine.context.client)
            # Seconds of work for many large problems, and none of them a call's.
            run.circuits = circuits_of(run.request, known.device)
            if run.future.done():
                return None
        async with _calls(run):
            if not run.accepted:
                await self._submit(run, engine)
                # Hundreds of jobs wait, and a job's circuits are megabytes.
                run.layout, run.circuits = layout_of(run.circuits), ()
                run.remote_id = run.engine_job_id
            return await self._look_at(run, engine)

    async def cancel(self, run: EngineRun) -> None:
        """Cancel the run's engine job, if one may be there."""
        if not run.engine_job_id:
            return
        engine = self._connected()
        async with timeout_scope(CALL_S):
            await engine.context.client.cancel_job_async(
                engine.project_id, run.program_id, run.engine_job_id
            )

    async def look(self) -> None:
        """Ask what the processor says of itself."""
        client = self._connected().context.client
        async with timeout_scope(CALL_S):
            await self.processor.now(client)

    async def _submit(self, run: EngineRun, engine: Engine) -> None:
        """Create program and job, or find the one that runs or has succeeded already."""
        options = self.options
        try:
            program = await engine.create_program_async(run.circuits, run.program_id)
        except EngineException as error:
            if not isinstance(error.__cause__, google_errors.AlreadyExists):
                raise
            run.found = True
            program = engine.get_program(run.program_id)
        for attempt in range(ATTEMPTS_MAX):
            run.engine_job_id = f"{run.program_id}-{attempt}"
            doubtful, run.doubtful = run.doubtful, True
            try:
                await program.run_sweep_async(
                    options.processor_id,
                    device_config_name=options.device_config_name,
                    run_name=options.run_name,
                    job_id=run.engine_job_id,
                    repetitions=run.request.shots,
                )
            except EngineException as error:
                if not isinstance(error.__cause__, google_errors.AlreadyExists):
                    # A clear answer makes no doubt, and takes none away that was there before.
                    run.doubtful = doubtful or failure_of(error).kind is FailureKind.TRANSIENT
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

    async def _look_at(self, run: EngineRun, engine: Engine) -> Done | Failure | None:
        """Return the job's samples or its failure, None while it runs."""
        client = engine.context.client
        ids = (engine.project_id, run.program_id, run.engine_job_id)
        job = await client.get_job_async(*ids, False)
        state = job.execution_status.state
        run.begun = run.begun or state is State.RUNNING
        if state in GIVEN_UP:
            return _job_failure(engine, run, job)
        if state is not State.SUCCESS:
            return None
        if run.found:
            # Made by another process, or for an earlier try: what it runs may not be what we would.
            program = await client.get_program_async(engine.project_id, run.program_id, True)
            run.layout, run.found = layout_of(circuits_from(program)), False
        answer = await client.get_job_results_async(*ids)
        calibration_id = job.execution_status.calibration_name.rpartition("/")[2]
        known = await self.processor.under(client, calibration_id)
        timing = job.execution_status.timing
        started, completed = timing.started_time, timing.completed_time
        started_s = started.timestamp() if started else time.time()
        # A shot of a circuit is one, however many problems share it.
        shots = run.request.shots * len(run.layout)
        return Done(
            sets=sets_of(run.request, answer, run.layout, known),
            twins={},
            started_s=started_s,
            execution_ms=max(0.0, completed.timestamp() - started_s) * 1000 if completed else 0.0,
            provider_job_id=run.engine_job_id,
            calibration_id=calibration_id,
            cost=self.options.price_per_shot * shots,
        )

    def _connected(self) -> Engine:
        """Return the engine, connected at the first call: credentials may take a while."""
        with self._lock:
            if self._engine is None:
                client = self._connect()
                client.grpc_client  # noqa: B018  # made here, under the lock, and not twice
                context = EngineContext(client=client, enable_streaming=False)
                self._engine = Engine(self.options.project_id, context=context)
            return self._engine


def _calls(run: EngineRun) -> Any:
    """Return the scope of one step's calls together: they end at CALL_S or the job's deadline."""
    return timeout_scope(max(0.0, min(CALL_S, run.until_s - time.time())))


def _job_failure(engine: Engine, run: EngineRun, job: Any) -> Failure:
    """Return the failure of a job that the engine failed or cancelled, by JOB_FAILURES."""
    if job.execution_status.state is not State.FAILURE:
        return Failure(kind=FailureKind.CANCELLED, detail="cancelled at the engine")
    found = engine.get_program(run.program_id).get_job(run.engine_job_id)
    found._job = job  # noqa: SLF001  # so that failure() reads what we have and asks nobody
    code, text = found.failure() or ("CODE_UNSPECIFIED", "")
    kind = JOB_FAILURES.get(code, FailureKind.UNKNOWN)
    return Failure(kind=kind, detail=f"the engine failed the job: {code}: {text}")
