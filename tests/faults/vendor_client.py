"""The provider over the vendor: what a worker under test talks to, and what tells the vendor.

Like `google` it submits under our ids and attaches, and like there an order whose answer was lost
is made again under its id. Imports nothing heavy, so that a start takes a second.
"""

import base64
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import quote

import msgspec
import numpy as np

from enrichment.provider.answer import Drawn, Problem, sample_set
from enrichment.provider.contract import (
    VARIABLES_MAX,
    Description,
    Failure,
    FailureKind,
    SampleRequest,
)
from enrichment.provider.jobs import Done, kind_of, problems_of, versions_of
from enrichment.provider.pool import Pool
from enrichment.provider.remote import CALL_S, Remote, Run
from tests.faults.invariants import Accepted
from tests.faults.vendor import (
    BOOK,
    JOBS,
    MANNER,
    SAMPLES,
    Drawing,
    Manner,
    Model,
    Order,
    Status,
)

NAME: Final = "vendor"


class AnsweredError(Exception):
    """The vendor's answer is a refusal."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


FAILURES: Final[tuple[tuple[type[BaseException], FailureKind], ...]] = (
    (OSError, FailureKind.TRANSIENT),
    (HTTPException, FailureKind.TRANSIENT),
    (Exception, FailureKind.ALGORITHM),
)

STATUSES: Final = {404: FailureKind.UNKNOWN, 429: FailureKind.QUOTA, 503: FailureKind.TRANSIENT}


def call(port: int, method: str, path: str, body: bytes = b"") -> bytes:
    """One call to the vendor; raises AnsweredError, OSError or HTTPException."""
    connection = HTTPConnection("127.0.0.1", port, timeout=CALL_S)
    try:
        connection.request(method, path, body, {"Authorization": ""})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise AnsweredError(answer.status)
    return text


def tell(port: int, manner: Manner) -> None:
    """Have the vendor behave so from now on."""
    call(port, "PUT", MANNER, msgspec.json.encode(manner))


def manner_of(port: int) -> Manner:
    """How the vendor behaves now: what it was to lose has been counted down."""
    return msgspec.json.decode(call(port, "GET", MANNER), type=Manner)


def book_of(port: int, pipeline: str) -> list[Accepted]:
    """What the vendor has accepted of one pipeline, by its own count."""
    entries = msgspec.json.decode(call(port, "GET", BOOK), type=list[Accepted])
    return [entry for entry in entries if entry.id.startswith(f"{pipeline}|")]


@dataclass(slots=True, kw_only=True, eq=False)
class VendorRun(Run):
    """One job on its way. What is doubtful is noted here too, for packages older than that."""

    doubtful: bool = False


class VendorClient(Remote[VendorRun]):
    """A provider over the vendor; twins are computed in `pool`."""

    attaches = True

    def __init__(self, pool: Pool, now_ms: Callable[[], int], port: int) -> None:
        super().__init__(NAME, pool, now_ms, VendorRun, variables_max=VARIABLES_MAX)
        self._port = port
        self._wait_s = 0.0

    def describe(self) -> Description:
        """Return what it is: no device, and free of charge."""
        return Description(
            name=self.name,
            qubits_max=VARIABLES_MAX,
            gate_set=("loopback",),
            calibration_id="",
            calibration_time_ms=0,
            queue_s=self._wait_s,
            price_per_shot=0.0,
            idempotent_submission=self.attaches,
            sdk_versions=versions_of("dimod", "numpy"),
        )

    def _failure_of(self, error: BaseException) -> Failure:
        """Return what an exception means."""
        if isinstance(error, AnsweredError):
            kind = STATUSES.get(error.status, FailureKind.VALIDATION)
        else:
            kind = kind_of(error, FAILURES)
        return Failure(kind=kind, detail=f"{type(error).__name__}: {error}")

    def _queue_s(self) -> float:
        """Return the wait that the vendor last spoke of."""
        return self._wait_s

    # What follows runs in the provider's threads, and never takes its lock.

    def _advance(self, run: VendorRun) -> Done | Failure | None:
        """Order, or look how the job stands."""
        path = quote(run.request.job_id, safe="")
        if not run.accepted:
            doubtful, run.doubtful = run.doubtful, True
            try:
                self.order(path, msgspec.json.encode(_order(problems_of(run.request))))
            except (AnsweredError, ConnectionRefusedError):
                run.doubtful = doubtful
                raise
            run.remote_id = path
        found = call(self._port, "GET", JOBS + path)
        status = msgspec.json.decode(found, type=Status)
        self._wait_s = status.queue_s
        run.begun = run.begun or status.state == "running"
        if status.state == "cancelled":
            return Failure(kind=FailureKind.CANCELLED, detail="cancelled at the vendor")
        if status.state == "failed":
            return Failure(kind=FailureKind.TRANSIENT, detail="failed at the vendor")
        if status.state != "completed":
            return None
        drawings = msgspec.json.decode(call(self._port, "GET", SAMPLES + path), type=list[Drawing])
        return _done(run.request, drawings)

    def order(self, path: str, body: bytes) -> None:
        """Order a job: a method of its own, so that a kill may be put before and behind it."""
        call(self._port, "PUT", JOBS + path, body)

    def _tell(self, run: VendorRun) -> Failure | None:
        """Have the job cancelled."""
        try:
            call(self._port, "DELETE", JOBS + quote(run.request.job_id, safe=""))
        except Exception as error:  # noqa: BLE001  # every kind is in the table
            failure = self._failure_of(error)
            return failure if run.accepted or failure.kind is not FailureKind.UNKNOWN else None
        return None


def open_provider(pool: Pool, now_ms: Callable[[], int], **options: Any) -> VendorClient:
    """Return the provider, its twins computed in `pool`; the one option is the vendor's `port`."""
    return VendorClient(pool, now_ms, int(options.get("port") or os.environ["FAULTS_VENDOR_PORT"]))


def _order(problems: tuple[Problem, ...]) -> Order:
    models = tuple(
        Model(
            h=tuple(one.model.h.tolist()),
            rows=tuple(one.model.rows.tolist()),
            cols=tuple(one.model.cols.tolist()),
            couplings=tuple(one.model.couplings.tolist()),
            offset=float(one.model.offset),
            shots=one.shots,
            seed=one.seed,
        )
        for one in problems
    )
    return Order(models=models)


def _done(request: SampleRequest, drawings: list[Drawing]) -> Done:
    """Return the answer, checked; raises where it is not what was asked for."""
    problems = problems_of(request)
    sets = tuple(
        sample_set(problem, NAME, Drawn(bits=_bits(drawing)))
        for problem, drawing in zip(problems, drawings, strict=True)
    )
    return Done(sets=sets, twins={}, started_s=time.time(), execution_ms=0.0)


def _bits(drawing: Drawing) -> Any:
    packed = np.frombuffer(base64.b64decode(drawing.bits), dtype=np.uint8)
    count = drawing.shots * drawing.size
    return np.unpackbits(packed)[:count].reshape(drawing.shots, drawing.size)
