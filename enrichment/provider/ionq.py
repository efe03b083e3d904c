"""IonQ through `cirq_ionq`: a vendor that takes no job id from us, so nothing is ever sent twice.

Never run against the service or a device: what is tested is the real client over a real socket to a
fake of the service (`tests/provider/ionq_service.py`).

- A request is one POST: all its circuits are one batch, so it is accepted as a whole or not at all.
- Before it goes out its id is written down as doubtful, and only a clear answer takes it off. While
  it stands there the id is not sent again: the failure is UNKNOWN. IonQ's list of jobs cannot be
  asked for a name, so a lost job is not looked for; it bears our id as its name, for people.
- Once accepted, a job is asked for by IonQ's own id until the deadline: no trouble on the way makes
  it a failure that would be tried again, and a second submission of its id attaches.
- All this is this process's memory. A worker that takes a job over from another submits nothing
  (`enrichment.sample.attempts`).
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from enrichment.provider.contract import (
    VARIABLES_MAX,
    Description,
    Failure,
    FailureKind,
    SampleRequest,
)
from enrichment.provider.ionq_circuits import GATES, SIMULATOR, job_name, program_of, sets_of
from enrichment.provider.ionq_client import Client
from enrichment.provider.ionq_failures import asking_failure, job_failure, sending_failure
from enrichment.provider.jobs import Done, versions_of
from enrichment.provider.pool import Pool
from enrichment.provider.remote import Remote, Run
from enrichment.telemetry.log import logger

URL: Final = "https://api.ionq.co"

SIMULATED_MAX: Final = 16
"""Variables at the ideal simulator, which answers with all 2^n probabilities: 2 MB of text each."""

DOUBTFUL_MAX: Final = 10_000
"""Ids whose fate is not known, a few MB; beyond, nothing is sent, since none may be forgotten."""

ACCEPTED_MAX: Final = 10_000
"""Accepted ids that are attached to, a few MB; the oldest are forgotten, hours after their end."""

MISSES_MAX: Final = 8
"""Times in a row that IonQ may not know a job it has accepted: what it tells may lag behind."""

SDKS: Final = ("cirq-core", "cirq-ionq", "dimod", "numpy")

RUNNING: Final = ("started", "running")
CANCELLED: Final = ("canceled", "deleted")
"""A job's states at IonQ: the API says `started` where the client's documents say `running`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Where jobs go and what they cost: `target` is "simulator", or "qpu." and a device's name.

    `noise_model` is the simulator's, a device's name; without one it is ideal.
    """

    api_key: str = field(default="", repr=False)
    url: str = URL
    target: str = SIMULATOR
    noise_model: str = ""
    price_per_shot: float = 0.0


class Ionq(Remote[Run]):
    """A provider over IonQ's API; twins are computed in `pool`, as for the local providers."""

    attaches = False

    def __init__(self, pool: Pool, now_ms: Callable[[], int], options: Options) -> None:
        """Serve from `options.target`; nothing is asked yet."""
        self._exact = options.target == SIMULATOR and not options.noise_model
        most = SIMULATED_MAX if self._exact else VARIABLES_MAX
        super().__init__("ionq", pool, now_ms, Run, variables_max=most)
        self._options = options
        self._conditions = {"target": options.target, "noise_model": options.noise_model}
        self._client = Client(options.url, options.api_key)
        # Each entry is written and read in single steps, by one run of its id at a time.
        self._doubtful: dict[str, Failure] = {}
        self._accepted: dict[str, str] = {}
        self._wait_s = 0.0

    def describe(self) -> Description:
        """Return what is known of the target; the client has no call for its calibration."""
        return Description(
            name=self.name,
            qubits_max=self._variables_max,
            gate_set=GATES,
            calibration_id="",
            calibration_time_ms=0,
            queue_s=self._queue_s(),
            price_per_shot=self._options.price_per_shot,
            idempotent_submission=self.attaches,
            sdk_versions=versions_of(*SDKS),
            conditions=self._conditions,
            jobs_max=self.jobs_max,
        )

    def provider_job_id(self, job_id: str) -> str:
        """Return the job's name there: its id is IonQ's to give, and known only later."""
        return job_name(job_id)

    def _begin(self, request: SampleRequest, until_s: float) -> "Future[Done | Failure] | Failure":
        """Hand the submission over, unless the id's last one is still in doubt."""
        doubt = self._doubtful.get(request.job_id)
        # Where it is being cancelled the doubt may yet be resolved: the step waits for that.
        if doubt is not None and request.job_id not in self._cancelling:
            return doubt
        if len(self._doubtful) >= DOUBTFUL_MAX:
            detail = f"the fate of {len(self._doubtful)} jobs is not known: none is sent"
            return Failure(kind=FailureKind.QUOTA, detail=detail)
        return super()._begin(request, until_s)

    def _failure_of(self, error: BaseException) -> Failure:
        """Return what an exception means."""
        return asking_failure(error)

    def _queue_s(self) -> float:
        """Return the wait that IonQ last predicted for a job of ours."""
        return self._wait_s

    # What follows runs in the provider's threads, and never takes its lock.

    def _advance(self, run: Run) -> Done | Failure | None:
        """Submit the job, or look at it."""
        if not run.remote_id:
            run.remote_id = self._accepted.get(run.request.job_id, "")
        if not run.remote_id:
            return self._send(run)
        job = self._client.get_job(run.remote_id)
        status = job["status"]
        run.begun = run.begun or status in RUNNING
        if status == "completed":
            return self._done(run, job, self._client.get_results(run.remote_id))
        if status == "failed" or status in CANCELLED:
            self._accepted.pop(run.request.job_id, None)
            if status == "failed":
                return job_failure(job)
            return Failure(kind=FailureKind.CANCELLED, detail=f"{status} at IonQ")
        self._wait_s = float(job.get("predicted_wait_time_ms") or 0.0) / 1000
        return None

    def _send(self, run: Run) -> Failure | None:
        """Send the job, once."""
        request, options = run.request, self._options
        job_id, name = request.job_id, job_name(request.job_id)
        program = program_of(request, target=options.target, noise_model=options.noise_model)
        doubt = self._doubtful.get(job_id)
        if doubt is not None:
            return doubt
        if time.time() >= run.until_s:
            return Failure(kind=FailureKind.CANCELLED, detail="deadline passed before it was sent")
        self._doubtful[job_id] = _doubt(name, "it is being sent")
        try:
            answer = self._client.create_job(
                program, request.shots, target=options.target, name=name, batch_mode=True
            )
            run.remote_id = _id_of(answer)
        except Exception as error:  # noqa: BLE001  # every kind is in the table
            failure = sending_failure(error)
            if failure.kind is FailureKind.UNKNOWN:
                failure = self._doubtful[job_id] = _doubt(name, failure.detail)
                logger().error("a job that may have been accepted", job_id=job_id, name=name)
            else:
                del self._doubtful[job_id]
            return failure
        while len(self._accepted) >= ACCEPTED_MAX:
            self._accepted.pop(next(iter(self._accepted)))
        self._accepted[job_id] = run.remote_id
        del self._doubtful[job_id]
        return None

    def _fault(self, run: Run, error: Exception) -> Failure | None:
        """Return the failure that an exception is, or None; a job may be missing for a while."""
        failure = super()._fault(run, error)
        if failure is None:
            return None
        run.faults += 1
        missing = getattr(error, "status_code", None) == 404
        return None if missing and run.faults < MISSES_MAX else failure

    def _done(self, run: Run, job: Mapping[str, Any], histograms: Any) -> Done:
        """Return the job's samples, checked; raises where they are not what was asked for."""
        request, options = run.request, self._options
        started_s, completed_s = _time_s(job.get("started_at")), _time_s(job.get("completed_at"))
        ran_ms = (completed_s - started_s) * 1000 if started_s and completed_s else 0.0
        return Done(
            sets=sets_of(request, job, histograms, target=options.target, exact=self._exact),
            twins={},
            started_s=started_s or time.time(),
            execution_ms=max(0.0, float(job.get("execution_duration_ms") or ran_ms)),
            provider_job_id=run.remote_id,
            cost=options.price_per_shot * request.shots * len(request.models),
        )

    def _tell(self, run: Run) -> Failure | None:
        """Have IonQ cancel the job, if it has accepted it; its id may then be sent anew."""
        if not run.accepted:
            return None
        try:
            self._client.cancel_job(run.remote_id)
        except Exception as error:  # noqa: BLE001  # every kind is in the table
            return asking_failure(error)
        self._accepted.pop(run.request.job_id, None)
        return None


def open_provider(pool: Pool, now_ms: Callable[[], int], **options: Any) -> Ionq:
    """Return the provider, its twins computed in `pool`; `options` are the fields of `Options`.

    Raises ValueError, in words that do not hold the key, where the options are not usable.
    """
    chosen = Options(**options)
    if not chosen.api_key:
        msg = "the ionq provider needs a key: set ENRICHMENT_IONQ_API_KEY"
        raise ValueError(msg)
    # What is not would be refused by the HTTP library, in words that hold it.
    if not (
        chosen.api_key.isascii() and chosen.api_key.isprintable() and " " not in chosen.api_key
    ):
        msg = "ENRICHMENT_IONQ_API_KEY holds characters that no key has: a line's end, perhaps"
        raise ValueError(msg)
    url = urlsplit(chosen.url)
    if url.scheme != "https" and url.hostname not in ("127.0.0.1", "::1", "localhost"):
        msg = "ENRICHMENT_IONQ_URL must be https://, since the key goes there"
        raise ValueError(msg)
    if chosen.target != SIMULATOR and not chosen.target.startswith("qpu"):
        msg = f"ENRICHMENT_IONQ_TARGET must be simulator, or qpu.<device>: {chosen.target!r}"
        raise ValueError(msg)
    if chosen.noise_model and chosen.target != SIMULATOR:
        msg = f"ENRICHMENT_IONQ_NOISE_MODEL is for the simulator, not for {chosen.target}"
        raise ValueError(msg)
    return Ionq(pool, now_ms, chosen)


def _doubt(name: str, why: str) -> Failure:
    """Return the failure of a job that IonQ may have accepted: where people should look."""
    detail = f"{why}; it may have been accepted and is not sent again: at IonQ look for {name!r}"
    return Failure(kind=FailureKind.UNKNOWN, detail=detail)


def _id_of(answer: Any) -> str:
    """Return the id of the job that an answer says was made; raises where it says none."""
    found = answer["id"]
    if not isinstance(found, str) or not found:
        msg = f"not a job's id: {found!r}"
        raise TypeError(msg)
    return found


def _time_s(text: Any) -> float:
    """Return the API's time as Unix time, 0 where there is none."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0
