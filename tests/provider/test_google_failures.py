"""Whatever the engine's client can raise, or the engine say of a failed job, has its kind."""

import inspect
from typing import Any

import grpc
import pytest
from cirq_google.engine.engine_client import EngineException
from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors

from enrichment.circuit.packing import NoPlaceError
from enrichment.provider.contract import FailureKind
from enrichment.provider.google_failures import (
    FAILURES,
    JOB_FAILURES,
    AttemptsUsedError,
    failure_of,
)
from enrichment.provider.google_processor import NoDeviceError
from tests.provider.quantum_engine import Code

KINDS: dict[Any, FailureKind] = {
    google_errors.TooManyRequests: FailureKind.QUOTA,
    google_errors.ResourceExhausted: FailureKind.QUOTA,
    google_errors.Forbidden: FailureKind.PERMISSION,
    google_errors.PermissionDenied: FailureKind.PERMISSION,
    google_errors.Unauthorized: FailureKind.PERMISSION,
    google_errors.Unauthenticated: FailureKind.PERMISSION,
    google_errors.BadRequest: FailureKind.VALIDATION,
    google_errors.InvalidArgument: FailureKind.VALIDATION,
    google_errors.FailedPrecondition: FailureKind.VALIDATION,
    google_errors.NotFound: FailureKind.VALIDATION,
    google_errors.MethodNotImplemented: FailureKind.VALIDATION,
    google_errors.DataLoss: FailureKind.ALGORITHM,
    google_errors.Cancelled: FailureKind.TRANSIENT,
    google_errors.Aborted: FailureKind.TRANSIENT,
    google_errors.Conflict: FailureKind.TRANSIENT,
    google_errors.ServiceUnavailable: FailureKind.TRANSIENT,
    google_errors.InternalServerError: FailureKind.TRANSIENT,
    google_errors.DeadlineExceeded: FailureKind.TRANSIENT,
    google_errors.Unknown: FailureKind.TRANSIENT,
    google_errors.ServerError: FailureKind.TRANSIENT,
    google_errors.ClientError: FailureKind.VALIDATION,
    google_errors.MethodNotAllowed: FailureKind.VALIDATION,
    google_errors.GoogleAPIError: FailureKind.UNKNOWN,
    grpc.RpcError: FailureKind.TRANSIENT,
    auth_errors.TimeoutError: FailureKind.TRANSIENT,
    auth_errors.ResponseError: FailureKind.TRANSIENT,
    auth_errors.TransportError: FailureKind.TRANSIENT,
    auth_errors.DefaultCredentialsError: FailureKind.PERMISSION,
    auth_errors.RefreshError: FailureKind.PERMISSION,
    auth_errors.GoogleAuthError: FailureKind.PERMISSION,
    AttemptsUsedError: FailureKind.VALIDATION,
    NoDeviceError: FailureKind.VALIDATION,
    NoPlaceError: FailureKind.VALIDATION,
    EngineException: FailureKind.UNKNOWN,
    TimeoutError: FailureKind.TRANSIENT,
    ConnectionError: FailureKind.TRANSIENT,
    ValueError: FailureKind.ALGORITHM,
    Exception: FailureKind.ALGORITHM,
    SystemExit: FailureKind.UNKNOWN,
}


@pytest.mark.parametrize("raised", list(KINDS))
def test_every_exception_has_a_kind(raised: Any) -> None:
    """The table says what an exception means, itself or as the cause of an EngineException."""
    error = raised("its words")
    assert failure_of(error).kind is KINDS[raised]
    if isinstance(error, google_errors.GoogleAPICallError):
        wrapped = EngineException("its words")
        wrapped.__cause__ = error
        assert failure_of(wrapped).kind is KINDS[raised]


def test_every_line_of_the_table_is_tested() -> None:
    """Each class of FAILURES is itself among the cases above."""
    assert {known for known, _ in FAILURES} - {google_errors.RetryError} <= set(KINDS)


def test_exhausted_retries_are_transient() -> None:
    """The client library's own retries have ended: the service was away, and nothing is known."""
    error = google_errors.RetryError(  # type: ignore[no-untyped-call]  # the library's
        "its words", cause=ValueError("another")
    )
    assert failure_of(error).kind is FailureKind.TRANSIENT


def test_credentials_that_may_be_tried_again_are_transient() -> None:
    """A refresh that says of itself that it may be retried is believed."""
    error = auth_errors.RefreshError("busy", retryable=True)  # type: ignore[no-untyped-call]  # the library's
    assert failure_of(error).kind is FailureKind.TRANSIENT


CLIENT: list[type[Exception]] = [
    found
    for module in (google_errors, auth_errors)
    for _, found in inspect.getmembers(module, inspect.isclass)
    if issubclass(found, Exception)
    and found.__module__ == module.__name__
    # Of the REST transport, which is not the engine's.
    and found.__name__ != "AsyncRestUnsupportedParameterError"
]


@pytest.mark.parametrize("raised", CLIENT, ids=lambda raised: str(raised.__name__))
def test_every_class_of_the_client_library_is_in_the_table(raised: type[Exception]) -> None:
    """None of its exceptions is left to the last line, which is for bugs of ours."""
    line = next(known for known, _ in FAILURES if issubclass(raised, known))
    assert line is not Exception


def test_every_code_of_a_failed_job_has_a_kind() -> None:
    """The table has the package's codes, all of them and no other."""
    assert set(JOB_FAILURES) == {code.name for code in Code}
