"""What is the same for every service elsewhere: steps are bounded, and none is taken too late."""

import threading
import time
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children
from types import SimpleNamespace

import pytest

from enrichment.provider.contract import Failure, FailureKind, Handle, Result, Running
from enrichment.provider.ionq import Ionq
from enrichment.provider.remote import THREADS
from tests.provider.ionq_service import CANCEL, CREATE, GET, Fault, IonqService
from tests.provider.requests import NOW_MS, answer_of, request_of, result_of, until

SERVICE = IonqService


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


def test_twins_whose_child_dies_are_computed_again(service: IonqService, provider: Ionq) -> None:
    """They cost nothing, where the failure of the job would be followed by another, paid one."""
    before = set(active_children())
    provider.submit(request_of("twins", twins=("random",)))
    asked = provider._runs["twins"].twins
    until(lambda: isinstance(provider.poll("twins"), Running) and asked.task is not None)
    twins = asked.task
    assert twins is not None
    until(twins.running)
    time.sleep(0.1)  # the child has the task, and imports what it needs for a second
    for child in set(active_children()) - before:
        child.kill()
    until(twins.done)
    assert isinstance(twins.exception(), BrokenProcessPool)
    answer = answer_of(provider, "twins")
    assert isinstance(answer, Result)
    assert len(answer.twins["random"]) == 2
    assert (service.posts, provider._pool.rebuilt) == (1, 1)


def test_closing_cancels_what_nobody_could_fetch(
    service: IonqService, provider: Ionq, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no other process attaches, open jobs are cancelled behind `close`, and the log says so.

    What is done is left alone.
    """
    result_of(provider, request_of("done"))
    service.queue_s = 60.0
    names = [f"open-{number}" for number in range(2 * THREADS)]
    for name in names:
        provider.submit(request_of(name))
    until(lambda: len(service.jobs) == 1 + len(names))
    service.fail(CANCEL, Fault(hang_s=0.2), Fault(status=503))
    began = time.monotonic()
    provider.close()
    assert time.monotonic() - began < 0.15
    done, *left = service.jobs.values()
    until(lambda: all(job.ended == "canceled" for job in left))
    assert done.ended == "completed"
    assert service.calls[CANCEL] == len(names) + 1
    assert f"jobs={len(names)}" in capsys.readouterr().out


def test_closing_waits_in_the_background_for_a_submission_on_its_way(
    service: IonqService, provider: Ionq
) -> None:
    """A job that is accepted only after `close` has returned is cancelled all the same."""
    service.queue_s = 60.0
    service.fail(CREATE, Fault(hang_s=0.3))
    provider.submit(request_of("early"))
    until(lambda: service.posts)
    provider.close()
    assert not service.jobs
    until(service.all_cancelled)


def test_closing_lets_out_a_cancellation_that_waits(service: IonqService, provider: Ionq) -> None:
    """What was cancelled just before `close` is still cancelled there."""
    service.queue_s = 60.0
    names = [f"open-{number}" for number in range(2 * THREADS)]
    for name in names:
        provider.submit(request_of(name))
    until(lambda: len(service.jobs) == len(names))
    service.fail(CANCEL, *(Fault(hang_s=0.1),) * THREADS)
    for name in names:
        provider.cancel(name)
    provider.close()
    until(lambda: all(job.ended == "canceled" for job in service.jobs.values()))


def test_clock_that_is_set_back_keeps_no_answer_back(
    service: IonqService, provider: Ionq, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An accepted job is asked for at the same pace as before."""
    service.queue_s = 0.3
    provider.submit(request_of("back"))
    until(lambda: isinstance(provider.poll("back"), Running) and service.calls[GET])
    slow = SimpleNamespace(time=lambda: time.time() - 3_600, monotonic=time.monotonic)
    monkeypatch.setattr("enrichment.provider.remote.time", slow)
    assert isinstance(answer_of(provider, "back"), Result)


@pytest.mark.parametrize("answered", [True, False])
def test_cancelling_behind_close_ends_soon(
    service: IonqService,
    provider: Ionq,
    answered: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where the service does not listen, or has not accepted yet, the log names what is left."""
    monkeypatch.setattr("enrichment.provider.remote.CLOSE_S", 0.2)
    service.queue_s = 60.0
    if answered:
        service.fail(CANCEL, *(Fault(status=503),) * 100)
    else:
        service.fail(CREATE, Fault(hang_s=2.0))
    provider.submit(request_of("stays"))
    until(lambda: service.jobs if answered else service.posts)
    said = ""
    provider.close()
    began = time.monotonic()
    while "not cancelled" not in said:
        assert time.monotonic() - began < 1.8
        said += capsys.readouterr().out
        time.sleep(0.01)
    assert "stays" in said
    assert service.calls[CANCEL] <= 1
    until(lambda: not any(thread.is_alive() for thread in provider._threads._threads))
