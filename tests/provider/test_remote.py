"""What is the same for every service elsewhere: steps are bounded, and none is taken too late."""

import threading
import time
from collections.abc import Iterator

import pytest

from enrichment.provider.contract import Failure, FailureKind, Handle, Result
from enrichment.provider.ionq import Ionq
from enrichment.provider.remote import THREADS
from tests.provider.ionq_service import CANCEL, CREATE, Fault, IonqService, opened
from tests.provider.requests import NOW_MS, answer_of, request_of, until


@pytest.fixture
def service() -> Iterator[IonqService]:
    """A fake of its own for each test."""
    service = IonqService().start()
    yield service
    service.stop()


@pytest.fixture
def provider(service: IonqService) -> Iterator[Ionq]:
    """A provider over it, for what it has of `Remote`."""
    with opened(service) as provider:
        yield provider


def test_too_many_steps_are_a_quota_and_a_closed_provider_says_so(
    service: IonqService, provider: Ionq, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no step can be handed over the submission says so at once, and after close too."""
    monkeypatch.setattr(provider, "_places", threading.BoundedSemaphore(1))
    service.fail(CREATE, Fault(hang_s=0.3))
    assert isinstance(provider.submit(request_of("first")), Handle)
    full = provider.submit(request_of("second"))
    assert isinstance(full, Failure)
    assert full.kind is FailureKind.QUOTA
    assert isinstance(answer_of(provider, "first"), Result)
    provider.close()
    closed = provider.submit(request_of("third"))
    assert isinstance(closed, Failure)
    assert closed.kind is FailureKind.CANCELLED


def test_cancellation_that_cannot_be_handed_over_is_said(
    service: IonqService,
    provider: Ionq,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The job is given up here all the same, and the log names what may run on for nothing."""
    monkeypatch.setattr(provider, "_places", threading.BoundedSemaphore(1))
    service.fail(CREATE, Fault(hang_s=0.3))
    provider.submit(request_of("first"))
    assert provider.cancel("first") is None
    answer = provider.poll("first")
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.CANCELLED
    assert "too many calls wait" in capsys.readouterr().out
    time.sleep(0.4)
    assert service.calls[CANCEL] == 0


def test_nothing_is_sent_after_its_deadline(service: IonqService, provider: Ionq) -> None:
    """A submission whose turn comes too late is not made, though nobody has asked meanwhile."""
    service.fail(CREATE, *(Fault(hang_s=0.4),) * THREADS)
    for number in range(THREADS):
        provider.submit(request_of(f"hangs-{number}"))
    until(lambda: service.posts == THREADS)
    assert isinstance(provider.submit(request_of("late", deadline_ms=NOW_MS + 100)), Handle)
    for number in range(THREADS):
        assert isinstance(answer_of(provider, f"hangs-{number}"), Result)
    time.sleep(0.2)
    answer = provider.poll("late")
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.CANCELLED
    assert service.posts == THREADS
