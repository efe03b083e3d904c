"""What goes wrong at Google's engine, as kinds of failure: two tables."""

from collections.abc import Mapping
from typing import Final

import grpc
from cirq_google.engine.engine_client import EngineException
from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors

from enrichment.circuit.packing import NoPlaceError
from enrichment.provider.contract import Failure, FailureKind
from enrichment.provider.google_processor import NoDeviceError
from enrichment.provider.jobs import kind_of


class AttemptsUsedError(Exception):
    """A job id under which the engine has failed, or we have cancelled, ATTEMPTS_MAX jobs."""


FAILURES: Final[tuple[tuple[type[BaseException], FailureKind], ...]] = (
    (google_errors.TooManyRequests, FailureKind.QUOTA),
    (google_errors.Forbidden, FailureKind.PERMISSION),
    (google_errors.Unauthorized, FailureKind.PERMISSION),
    (google_errors.BadRequest, FailureKind.VALIDATION),
    (google_errors.NotFound, FailureKind.VALIDATION),
    (google_errors.MethodNotImplemented, FailureKind.VALIDATION),
    (google_errors.DataLoss, FailureKind.ALGORITHM),
    (google_errors.Cancelled, FailureKind.TRANSIENT),
    (google_errors.Conflict, FailureKind.TRANSIENT),
    (google_errors.ClientError, FailureKind.VALIDATION),
    (google_errors.ServerError, FailureKind.TRANSIENT),
    (google_errors.RetryError, FailureKind.TRANSIENT),
    (google_errors.GoogleAPIError, FailureKind.UNKNOWN),
    (grpc.RpcError, FailureKind.TRANSIENT),
    (auth_errors.TransportError, FailureKind.TRANSIENT),
    (auth_errors.TimeoutError, FailureKind.TRANSIENT),
    (auth_errors.ResponseError, FailureKind.TRANSIENT),
    (auth_errors.GoogleAuthError, FailureKind.PERMISSION),
    (AttemptsUsedError, FailureKind.VALIDATION),
    (NoDeviceError, FailureKind.VALIDATION),
    (NoPlaceError, FailureKind.VALIDATION),
    (EngineException, FailureKind.UNKNOWN),
    (TimeoutError, FailureKind.TRANSIENT),
    (ConnectionError, FailureKind.TRANSIENT),
    (Exception, FailureKind.ALGORITHM),
)
"""What an exception means, the first that fits; of an EngineException its cause is looked up.

Submissions are found again by their ids, so a lost or late answer is TRANSIENT, not UNKNOWN; a call
that was cancelled was so by the network, not by us. Credentials that say of their error that it may
be retried are believed.
"""

JOB_FAILURES: Final[Mapping[str, FailureKind]] = {
    "CODE_UNSPECIFIED": FailureKind.UNKNOWN,
    "SYSTEM_ERROR": FailureKind.TRANSIENT,
    "INVALID_PROGRAM": FailureKind.VALIDATION,
    "INVALID_RUN_CONTEXT": FailureKind.VALIDATION,
    "READ_PROGRAM_NOT_FOUND_IN_GCS": FailureKind.VALIDATION,
    "READ_PROGRAM_PERMISSION_DENIED": FailureKind.PERMISSION,
    "READ_PROGRAM_UNKNOWN_ERROR": FailureKind.TRANSIENT,
    "READ_RUN_CONTEXT_NOT_FOUND_IN_GCS": FailureKind.VALIDATION,
    "READ_RUN_CONTEXT_PERMISSION_DENIED": FailureKind.PERMISSION,
    "READ_RUN_CONTEXT_UNKNOWN_ERROR": FailureKind.TRANSIENT,
    "WRITE_RESULT_ALREADY_EXISTS_IN_GCS": FailureKind.VALIDATION,
    "WRITE_RESULT_GCS_PERMISSION_DENIED": FailureKind.PERMISSION,
    "SCHEDULING_EXPIRED": FailureKind.TRANSIENT,
    "FAILED_PRECONDITION": FailureKind.VALIDATION,
}
"""What the code of a job that the engine failed means."""


def failure_of(error: BaseException) -> Failure:
    """Return what an exception means, by FAILURES."""
    found = error.__cause__ if isinstance(error, EngineException) and error.__cause__ else error
    kind = kind_of(found, FAILURES)
    if isinstance(found, auth_errors.GoogleAuthError) and found.retryable:
        kind = FailureKind.TRANSIENT
    return Failure(kind=kind, detail=f"{type(found).__name__}: {error}")
