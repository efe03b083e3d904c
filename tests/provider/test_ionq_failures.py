"""What goes wrong at IonQ has a kind: each line of the three tables, walked."""

import inspect
from typing import Any

import pytest
import requests
from cirq_ionq import ionq_exceptions

from enrichment.provider.contract import FailureKind
from enrichment.provider.ionq import Ionq
from enrichment.provider.ionq_client import RepeatableStatusError, UnansweredError, UnsentError
from enrichment.provider.ionq_failures import (
    FAILURES,
    JOB_FAILURES,
    STATUSES,
    asking_failure,
    sending_failure,
)
from tests.provider.ionq_service import CODES, UNCLEAR_STATUSES, IonqService
from tests.provider.requests import failure_of, request_of

K = FailureKind


SERVICE = IonqService


CASES: dict[Any, tuple[FailureKind, FailureKind]] = {
    UnsentError: (K.TRANSIENT, K.TRANSIENT),
    UnansweredError: (K.UNKNOWN, K.TRANSIENT),
    ionq_exceptions.IonQSerializerMixedGatesetsException: (K.ALGORITHM, K.ALGORITHM),
    ionq_exceptions.NotSupportedPauliexpParameters: (K.ALGORITHM, K.ALGORITHM),
    ionq_exceptions.IonQUnsuccessfulJobException: (K.UNKNOWN, K.CANCELLED),
    ionq_exceptions.IonQException: (K.UNKNOWN, K.TRANSIENT),
    ionq_exceptions.IonQNotFoundException: (K.VALIDATION, K.UNKNOWN),
    requests.RequestException: (K.UNKNOWN, K.TRANSIENT),
    requests.ConnectionError: (K.UNKNOWN, K.TRANSIENT),
    requests.Timeout: (K.UNKNOWN, K.TRANSIENT),
    requests.JSONDecodeError: (K.UNKNOWN, K.TRANSIENT),
    requests.exceptions.SSLError: (K.UNKNOWN, K.TRANSIENT),
    requests.exceptions.ProxyError: (K.UNKNOWN, K.TRANSIENT),
    requests.exceptions.InvalidURL: (K.UNKNOWN, K.TRANSIENT),
    TimeoutError: (K.UNKNOWN, K.TRANSIENT),
    ConnectionError: (K.UNKNOWN, K.TRANSIENT),
    AssertionError: (K.UNKNOWN, K.ALGORITHM),
    KeyError: (K.UNKNOWN, K.ALGORITHM),
    RuntimeError: (K.UNKNOWN, K.ALGORITHM),
    ValueError: (K.UNKNOWN, K.ALGORITHM),
    OSError: (K.UNKNOWN, K.ALGORITHM),
    Exception: (K.UNKNOWN, K.ALGORITHM),
    SystemExit: (K.UNKNOWN, K.UNKNOWN),
}


def raised(kind: Any) -> BaseException:
    """Return an exception of the kind, made as its class wants it."""
    if kind is ionq_exceptions.IonQUnsuccessfulJobException:
        error: BaseException = kind("some-job", "failed")
    elif kind is requests.JSONDecodeError:
        error = kind("its words", "", 0)
    else:
        error = kind("its words")
    return error


@pytest.mark.parametrize("kind", list(CASES))
def test_every_exception_has_its_kinds(kind: Any) -> None:
    """The table says what an exception means while a job is being sent, and otherwise."""
    error = raised(kind)
    assert (sending_failure(error).kind, asking_failure(error).kind) == CASES[kind]


REFUSALS = {
    K.VALIDATION: (400, 404, 405, 406, 410, 411, 413, 414, 415, 422, 431),
    K.PERMISSION: (401, 402, 403),
    K.QUOTA: (429,),
    K.UNKNOWN: (*UNCLEAR_STATUSES, 418),
}


@pytest.mark.parametrize("status", [status for each in REFUSALS.values() for status in each])
@pytest.mark.parametrize("kind", [ionq_exceptions.IonQException, RepeatableStatusError])
def test_every_status_has_its_kinds(kind: Any, status: int) -> None:
    """Whoever carries a status, it says what is meant; one that nobody knows is never repeated."""
    error = (
        kind("its words", status) if kind is not RepeatableStatusError else kind(status, "words")
    )
    sending = next(kind for kind, statuses in REFUSALS.items() if status in statuses)
    # Asked again it may pass, or the job that was accepted is not there (any more).
    asking = {404: K.UNKNOWN}.get(status, K.TRANSIENT if sending is K.UNKNOWN else sending)
    assert (sending_failure(error).kind, asking_failure(error).kind) == (sending, asking)


def test_every_line_of_the_table_and_every_error_of_the_client_is_tested() -> None:
    """Each class of FAILURES, and each that the client's package defines, is among the cases."""
    assert {known for known, *_ in FAILURES} <= set(CASES)
    assert set(STATUSES) <= {status for statuses in REFUSALS.values() for status in statuses}
    theirs = {
        kind
        for _, kind in inspect.getmembers(ionq_exceptions, inspect.isclass)
        if issubclass(kind, BaseException)
    }
    assert theirs <= set(CASES)


CODES_BY_KIND = {
    K.TRANSIENT: {"InternalError", "QuantumComputerError", "SimulationError", "SimulationTimeout"}
    | {"SystemCancel"},
    K.QUOTA: {"QuotaExhaustedError"},
    K.PERMISSION: {"ContractExpiredError"},
    K.UNKNOWN: {"UnknownBillingError", "a code of tomorrow"},
}


@pytest.mark.parametrize("code", [*CODES, "a code of tomorrow"])
def test_failed_job_says_why(service: IonqService, provider: Ionq, code: str) -> None:
    """A job that IonQ failed has the kind of its code and IonQ's own words."""
    service.failure = (code, "its reason")
    provider.submit(request_of("fails"))
    failure = failure_of(provider, "fails")
    wanted = (kind for kind, codes in CODES_BY_KIND.items() if code in codes)
    assert failure.kind is next(wanted, K.VALIDATION)
    assert "its reason" in failure.detail
    assert code in failure.detail


def test_every_code_of_a_failed_job_has_a_kind() -> None:
    """The table has the document's codes, all of them and no other."""
    assert set(JOB_FAILURES) == set(CODES)
