"""Google's Quantum Engine through `cirq_google.Engine`: our ids, our deadlines, one job a request.

Never run against the service or a device: what is tested is the real client over a real socket to a
fake of the service (`tests/provider/quantum_engine.py`).

- Ids are derived from our job id, so that whatever was accepted is found again: ALREADY_EXISTS is
  attached to. A job that the engine failed or cancelled keeps its id there, so each new try has the
  next number.
- Every call has a deadline of its own, and is made in one of a few threads (`remote`,
  `google_engine`).
- Problems share circuits, on lines chosen by the processor's calibration (`google_processor`,
  `google_circuits`), all of them in one program and one job.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from cirq_google.engine.engine_client import EngineClient
from duet.api import run as run_duet
from google.api_core import exceptions as google_errors

from enrichment.circuit.native import GATES
from enrichment.provider.contract import VARIABLES_MAX, Description, Failure, FailureKind
from enrichment.provider.google_circuits import program_id
from enrichment.provider.google_engine import EngineJobs, Options
from enrichment.provider.google_failures import failure_of
from enrichment.provider.google_processor import LOOK_S
from enrichment.provider.google_run import EngineRun
from enrichment.provider.jobs import Done, versions_of
from enrichment.provider.pool import Pool
from enrichment.provider.remote import Remote

RETRY_S: Final = 1
"""The client's own retries of 500 and 503 end when their pause, from .1 s doubling, is longer."""

SDKS: Final = ("cirq-core", "cirq-google", "dimod", "numpy")


class Google(Remote[EngineRun]):
    """A provider over the engine's client, which is made by `connect` at the first step."""

    attaches = True

    def __init__(
        self,
        pool: Pool,
        now_ms: Callable[[], int],
        options: Options,
        connect: Callable[[], EngineClient],
    ) -> None:
        """Serve from `options.processor_id`; nothing is connected yet."""
        super().__init__("google", pool, now_ms, EngineRun, variables_max=VARIABLES_MAX)
        self._engine = EngineJobs(options, connect)
        self._conditions = {
            "processor": f"{options.project_id}/{options.processor_id}",
            "run": options.run_name,
            "device_config": options.device_config_name,
        }
        self._look: Future[None] | None = None
        self._looked_s = -LOOK_S

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
            idempotent_submission=self.attaches,
            sdk_versions=versions_of(*SDKS),
            conditions=self._conditions,
            jobs_max=self.jobs_max,
        )

    def provider_job_id(self, job_id: str) -> str:
        """Return the program's id: a job of it is named only once it is accepted."""
        return program_id(job_id)

    def _failure_of(self, error: BaseException) -> Failure:
        """Return what an exception means."""
        return failure_of(error)

    def _queue_s(self) -> float:
        """Return how long the processor's open jobs last at the pace of our own."""
        return self._engine.processor.active_jobs * self._task_s

    # What follows runs in the provider's threads, and never takes its lock.

    def _advance(self, run: EngineRun) -> Done | Failure | None:
        """Submit the job, or look at it."""
        return run_duet(self._engine.advance, run)

    def _fault(self, run: EngineRun, error: Exception) -> Failure | None:
        """Return the failure that an exception is, or None; an accepted job may be gone there."""
        if time.time() >= run.until_s:
            return None  # the next poll says so, and has the job cancelled
        failure = super()._fault(run, error)
        if failure is not None and run.accepted and _missing(error):
            return Failure(kind=FailureKind.UNKNOWN, detail=failure.detail)
        return failure

    def _tell(self, run: EngineRun) -> Failure | None:
        """Have the engine cancel the job, now or when a late submission has arrived."""
        try:
            run_duet(self._engine.cancel, run)
        except Exception as error:  # noqa: BLE001  # every kind is in the table
            failure = failure_of(error)
            if _missing(error) and not run.accepted:
                return Failure(kind=FailureKind.TRANSIENT, detail=failure.detail)
            return failure
        return None

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


def _missing(error: Exception) -> bool:
    """Whether the engine says that there is no such thing."""
    return isinstance(error.__cause__, google_errors.NotFound)
