"""What goes wrong at IonQ, as kinds of failure: three tables.

An error means one thing while a job is being sent and another at any other time, when the same
question may be asked again and costs nothing. While it is being sent, whatever is not a clear
refusal is UNKNOWN, which is never repeated.
"""

from collections.abc import Mapping
from typing import Any, Final

import requests
from cirq_ionq.ionq_exceptions import (
    IonQException,
    IonQSerializerMixedGatesetsException,
    IonQUnsuccessfulJobException,
    NotSupportedPauliexpParameters,
)

from enrichment.provider.contract import Failure, FailureKind
from enrichment.provider.ionq_client import (
    TEXT_MAX,
    RepeatableStatusError,
    UnansweredError,
    UnsentError,
)

K = FailureKind

FAILURES: Final[tuple[tuple[type[BaseException], FailureKind, FailureKind], ...]] = (
    (UnsentError, K.TRANSIENT, K.TRANSIENT),
    (UnansweredError, K.UNKNOWN, K.TRANSIENT),
    # Raised before anything is sent, of circuits that are ours: a bug.
    (IonQSerializerMixedGatesetsException, K.ALGORITHM, K.ALGORITHM),
    (NotSupportedPauliexpParameters, K.ALGORITHM, K.ALGORITHM),
    (IonQUnsuccessfulJobException, K.UNKNOWN, K.CANCELLED),
    (IonQException, K.UNKNOWN, K.TRANSIENT),
    (requests.RequestException, K.UNKNOWN, K.TRANSIENT),
    (TimeoutError, K.UNKNOWN, K.TRANSIENT),
    (ConnectionError, K.UNKNOWN, K.TRANSIENT),
    (Exception, K.UNKNOWN, K.ALGORITHM),
)
"""What an exception means, the first that fits: while a job is being sent, and otherwise.

Where it carries an HTTP status, STATUSES says. The client's TimeoutError is its having no time to
repeat a request, a RequestException beyond ours an answer that is not JSON.
"""

STATUSES: Final[Mapping[int, tuple[FailureKind, FailureKind]]] = {
    **dict.fromkeys((400, 405, 406, 410, 411, 413, 414, 415, 422, 431), (K.VALIDATION,) * 2),
    # 402: somebody has to pay before anything else can be done.
    **dict.fromkeys((401, 402, 403), (K.PERMISSION,) * 2),
    404: (K.VALIDATION, K.UNKNOWN),
    429: (K.QUOTA, K.QUOTA),
}
"""What an HTTP status means, in the same two cases. What is not here is UNKNOWN and TRANSIENT:
a gateway says 408, 409 and 5xx also of what it has passed on."""

JOB_FAILURES: Final[Mapping[str, FailureKind]] = {
    "InvalidInput": K.VALIDATION,
    "CompilationError": K.VALIDATION,
    "ContractExpiredError": K.PERMISSION,
    "DebiasingError": K.VALIDATION,
    "InternalError": K.TRANSIENT,
    "NotEnoughQubits": K.VALIDATION,
    "OptimizationError": K.VALIDATION,
    "PreflightError": K.VALIDATION,
    "QuantumCircuitComplexityError": K.VALIDATION,
    "QuantumComputerError": K.TRANSIENT,
    "QuotaExhaustedError": K.QUOTA,
    "SimulationError": K.TRANSIENT,
    "SimulationTimeout": K.TRANSIENT,
    "SystemCancel": K.TRANSIENT,
    "TooLongPredictedExecutionTime": K.VALIDATION,
    "TooManyControls": K.VALIDATION,
    "TooManyGates": K.VALIDATION,
    "TooManyShots": K.VALIDATION,
    # Whether it was paid for is the very thing that is not known.
    "UnknownBillingError": K.UNKNOWN,
    "UnsupportedGate": K.VALIDATION,
}
"""What the code of a job that IonQ failed means (API v0.4, schema `Failure`)."""


def sending_failure(error: BaseException) -> Failure:
    """Return what an exception means while the job is being sent."""
    return Failure(kind=_kinds_of(error)[0], detail=_detail(error))


def asking_failure(error: BaseException) -> Failure:
    """Return what an exception means when no job is being sent."""
    return Failure(kind=_kinds_of(error)[1], detail=_detail(error))


def job_failure(job: Mapping[str, Any]) -> Failure:
    """Return what a job means that IonQ shows as failed, by JOB_FAILURES."""
    said = job.get("failure") or {}
    code = str(said.get("code", ""))
    text = str(said.get("message") or said.get("error") or "")[:TEXT_MAX]
    kind = JOB_FAILURES.get(code, FailureKind.UNKNOWN)
    return Failure(kind=kind, detail=f"IonQ failed the job: {code or 'no code'}: {text}")


def _kinds_of(error: BaseException) -> tuple[FailureKind, FailureKind]:
    """Return what an exception means in the two cases."""
    status = getattr(error, "status_code", None)
    if isinstance(error, IonQException | RepeatableStatusError) and status is not None:
        return STATUSES.get(status, (FailureKind.UNKNOWN, FailureKind.TRANSIENT))
    for known, sending, asking in FAILURES:
        if isinstance(error, known):
            return sending, asking
    return FailureKind.UNKNOWN, FailureKind.UNKNOWN


def _detail(error: BaseException) -> str:
    """Return the error's words; of long ones the end, where the client has what was answered."""
    text = str(error)
    return f"{type(error).__name__}: {text if len(text) <= TEXT_MAX else '…' + text[-TEXT_MAX:]}"
