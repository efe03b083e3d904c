"""IonQ behind the contract: whatever goes wrong, nothing is sent or paid for twice."""

import time

import pytest
from cirq_ionq.ionq_client import _IonQClient
from cirq_ionq.serializer import SerializedProgram

from enrichment.provider.contract import PROBLEMS_MAX, Failure, FailureKind, Handle, Result, Running
from enrichment.provider.ionq import MISSES_MAX, Ionq
from enrichment.provider.ionq_failures import STATUSES
from tests.provider.ionq_service import (
    CANCEL,
    CREATE,
    DROPPED,
    GET,
    KEY,
    LOST,
    RESULTS,
    UNCLEAR_STATUSES,
    Fault,
    IonqService,
)
from tests.provider.requests import (
    NOW_MS,
    answer_of,
    failure_of,
    model_of,
    opened,
    request_of,
    result_of,
    until,
)

K = FailureKind


SERVICE = IonqService


CLEAR_STATUSES = tuple(STATUSES)

H = {"gate": "h", "targets": [0]}

SILENCES = {
    "dropped": DROPPED,
    "lost": LOST,
    "hangs": Fault(hang_s=0.6),
    "no json": Fault(text="<html>", after=True),
    "no id": Fault(text='{"status": "ready"}', after=True),
    "no object": Fault(text="[1]", after=True),
    "redirected": Fault(status=307, location="/v0.4/jobs"),
}


@pytest.mark.parametrize("status", [*UNCLEAR_STATUSES, *CLEAR_STATUSES])
def test_one_submission_is_one_post_whatever_the_status(
    service: IonqService, provider: Ionq, status: int
) -> None:
    """One POST goes out; only after a clear refusal may the same id send another."""
    service.fail(CREATE, Fault(status=status))
    assert isinstance(provider.submit(request_of("once")), Handle)
    kind = failure_of(provider, "once").kind
    assert service.posts == 1
    again = provider.submit(request_of("once"))
    if status in CLEAR_STATUSES:
        assert kind is STATUSES[status][0]
        assert isinstance(again, Handle)
        assert isinstance(answer_of(provider, "once"), Result)
        assert (service.posts, len(service.jobs)) == (2, 1)
    else:
        assert kind is K.UNKNOWN
        assert isinstance(again, Failure)
        assert again.kind is K.UNKNOWN
        assert service.posts == 1


@pytest.mark.parametrize("silence", list(SILENCES))
def test_what_is_in_doubt_is_never_sent_again(
    service: IonqService, monkeypatch: pytest.MonkeyPatch, silence: str
) -> None:
    """No answer, or none that says anything: UNKNOWN, with the name to look for, and one POST."""
    monkeypatch.setattr("enrichment.provider.ionq_client.CALL_S", 0.3)
    with opened(service) as provider:
        service.fail(CREATE, SILENCES[silence])
        provider.submit(request_of("doubt"))
        failure = failure_of(provider, "doubt")
        assert failure.kind is K.UNKNOWN
        assert "'doubt'" in failure.detail
        for _ in range(3):
            again = provider.submit(request_of("doubt"))
            assert isinstance(again, Failure)
            assert again.kind is K.UNKNOWN
        assert provider.poll("doubt") == failure
        time.sleep(0.1)
        assert service.posts == 1
        assert isinstance(result_of(provider, request_of("another")), Result)


def test_client_left_to_itself_would_repeat(service: IonqService) -> None:
    """Why ours is another: given any time, cirq_ionq sends a job again that was accepted."""
    client = _IonQClient(f"http://127.0.0.1:{service.port}", KEY, max_retry_seconds=1)
    program = SerializedProgram(
        input={"gateset": "qis", "qubits": 1, "circuits": [{"circuit": [H]}]},
        settings={},
        metadata={},
        compilation={},
        error_mitigation={},
        noise={},
        dry_run=False,
    )
    service.fail(CREATE, LOST, Fault(status=502, after=True))
    client.create_job(program, 100, target="simulator", batch_mode=True)
    assert (service.posts, len(service.jobs)) == (3, 3)


def test_doubt_outlives_what_is_kept_of_the_job(
    service: IonqService, provider: Ionq, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the failure itself has long been forgotten, its id is still not sent again."""
    monkeypatch.setattr("enrichment.provider.jobs.KEPT_MAX", 1)
    service.fail(CREATE, LOST)
    provider.submit(request_of("doubt"))
    assert failure_of(provider, "doubt").kind is K.UNKNOWN
    for name in ("a", "b"):
        result_of(provider, request_of(name))
    assert "knows no job" in failure_of(provider, "doubt").detail
    again = provider.submit(request_of("doubt"))
    assert isinstance(again, Failure)
    assert again.kind is K.UNKNOWN
    assert service.posts == 3


def test_too_much_doubt_stops_everything(
    service: IonqService, provider: Ionq, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no further doubtful id can be remembered, nothing is sent at all."""
    monkeypatch.setattr("enrichment.provider.ionq.DOUBTFUL_MAX", 1)
    service.fail(CREATE, LOST)
    provider.submit(request_of("one"))
    assert failure_of(provider, "one").kind is K.UNKNOWN
    refused = provider.submit(request_of("two"))
    assert isinstance(refused, Failure)
    assert refused.kind is K.QUOTA
    assert service.posts == 1


def test_job_cancelled_while_its_submission_is_lost_is_not_sent_again(
    service: IonqService, provider: Ionq
) -> None:
    """A cancellation makes no doubtful submission a clear one: its id stays in doubt."""
    service.fail(CREATE, Fault(drop=True, after=True, hang_s=0.3))
    provider.submit(request_of("early"))
    until(lambda: service.posts)
    assert provider.cancel("early") is None
    provider.submit(request_of("early"))
    assert failure_of(provider, "early").kind is K.UNKNOWN
    assert (service.posts, len(service.jobs)) == (1, 1)


def test_largest_request_is_one_post(service: IonqService, provider: Ionq) -> None:
    """As many problems as a request may have are one job: none is ever submitted in part."""
    models = tuple(model_of(2 + k % 3, k) for k in range(PROBLEMS_MAX))
    request = request_of("many", models=models, seeds=tuple(range(PROBLEMS_MAX)), shots=20)
    result = result_of(provider, request)
    assert [found.bits.shape for found in result.sets] == [(20, 2 + k % 3) for k in range(64)]
    assert (service.posts, len(service.jobs)) == (1, 1)


def test_refused_batch_has_left_nothing_behind(service: IonqService, provider: Ionq) -> None:
    """A batch of which one circuit is refused is refused as a whole, and may be sent again."""
    service.fail(CREATE, Fault(status=429))
    models = tuple(model_of(3, k) for k in range(8))
    request = request_of("batch", models=models, seeds=tuple(range(8)))
    provider.submit(request)
    assert failure_of(provider, "batch").kind is K.QUOTA
    assert not service.jobs
    assert isinstance(result_of(provider, request), Result)
    assert len(service.jobs) == 1


def test_no_server_at_all_is_transient(service: IonqService, provider: Ionq) -> None:
    """A refused connection has sent nothing: TRANSIENT at once, and the id may be sent later."""
    service.stop()
    assert isinstance(provider.submit(request_of("down")), Handle)
    assert failure_of(provider, "down").kind is K.TRANSIENT
    service.start()
    assert isinstance(result_of(provider, request_of("down")), Result)
    assert service.posts == 1


def test_hundred_submissions_are_one_job(service: IonqService, provider: Ionq) -> None:
    """However often an id is submitted here, running or done, IonQ is sent it once."""
    service.queue_s = 0.2
    for _ in range(50):
        provider.submit(request_of("hundred"))
    assert isinstance(answer_of(provider, "hundred"), Result)
    for _ in range(50):
        provider.submit(request_of("hundred"))
    assert (service.posts, len(service.jobs)) == (1, 1)


def test_forgotten_answer_is_fetched_again_and_not_paid_again(
    service: IonqService, provider: Ionq, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id whose answer was dropped here is attached to at IonQ, and has the same samples."""
    monkeypatch.setattr("enrichment.provider.jobs.KEPT_MAX", 1)
    first = result_of(provider, request_of("first"))
    for name in ("a", "b"):
        result_of(provider, request_of(name))
    assert isinstance(provider.poll("first"), Failure)
    again = result_of(provider, request_of("first"))
    assert again.provider_job_id == first.provider_job_id
    assert (again.sets[0].bits == first.sets[0].bits).all()
    assert service.posts == 3


LATER = (
    Fault(status=429),
    Fault(status=500),
    Fault(status=503),
    Fault(status=524),
    Fault(status=409),
    DROPPED,
    Fault(text="<html>"),
)


@pytest.mark.parametrize("call", [GET, RESULTS])
def test_trouble_on_the_way_does_not_end_an_accepted_job(
    service: IonqService, provider: Ionq, call: str
) -> None:
    """Whatever may pass is asked again: no failure that a new attempt would follow."""
    service.fail(call, *LATER)
    assert isinstance(result_of(provider, request_of("trouble")), Result)
    assert service.posts == 1


def test_service_that_goes_away_for_good_ends_at_the_deadline(
    service: IonqService, provider: Ionq
) -> None:
    """An accepted job of a service that is gone is CANCELLED by its deadline, never TRANSIENT."""
    service.queue_s = 60.0
    provider.submit(request_of("gone", deadline_ms=NOW_MS + 800))
    until(lambda: service.posts)
    until(lambda: service.calls[GET] or isinstance(provider.poll("gone"), Failure))
    service.stop()
    assert failure_of(provider, "gone").kind is K.CANCELLED
    service.start()


def test_hanging_service_ends_at_the_deadline(service: IonqService, provider: Ionq) -> None:
    """A call that is never answered holds nobody up; what it began is cancelled in the end."""
    service.queue_s = 60.0
    service.fail(CREATE, Fault(hang_s=3.0))
    began = time.monotonic()
    provider.submit(request_of("hangs", deadline_ms=NOW_MS + 1_000))
    assert isinstance(provider.poll("hangs"), Running)
    until(lambda: service.posts)  # it was begun in time, also on a busy machine
    assert failure_of(provider, "hangs").kind is K.CANCELLED
    assert time.monotonic() - began < 2.8
    until(service.all_cancelled)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(status=401), K.PERMISSION),
        (Fault(status=403), K.PERMISSION),
        (Fault(status=400), K.VALIDATION),
    ],
)
def test_refused_fetch_has_its_kind_and_the_id_attaches(
    service: IonqService, provider: Ionq, fault: Fault, kind: FailureKind
) -> None:
    """What no asking mends is said; the id, submitted again, finds its job and makes no other."""
    service.fail(GET, fault)
    provider.submit(request_of("refused"))
    assert failure_of(provider, "refused").kind is kind
    assert isinstance(result_of(provider, request_of("refused")), Result)
    assert service.posts == 1


@pytest.mark.parametrize("call", [GET, RESULTS])
def test_job_that_is_not_found_is_looked_for_and_then_unknown(
    service: IonqService, provider: Ionq, call: str
) -> None:
    """What IonQ tells may lag behind; a job that stays away is UNKNOWN."""
    service.fail(call, *(Fault(status=404),) * (MISSES_MAX - 1))
    assert isinstance(result_of(provider, request_of("lags")), Result)
    service.fail(call, *(Fault(status=404),) * MISSES_MAX)
    provider.submit(request_of("away"))
    assert failure_of(provider, "away").kind is K.UNKNOWN
    assert service.posts == 2


def test_slow_queue_ends_at_the_deadline(service: IonqService, provider: Ionq) -> None:
    """A job still in the queue at its deadline is CANCELLED, at IonQ too."""
    service.queue_s = 60.0
    provider.submit(request_of("slow", deadline_ms=NOW_MS + 1_500))
    until(lambda: service.jobs)  # it is there in time, also on a busy machine
    failure = failure_of(provider, "slow")
    assert (failure.kind, "deadline" in failure.detail) == (K.CANCELLED, True)
    until(lambda: service.calls[CANCEL])
    until(service.all_cancelled)


def test_cancelled_job_is_cancelled_there_and_its_id_starts_a_second(
    service: IonqService, provider: Ionq
) -> None:
    """A new try waits until IonQ has been told, however often that takes, and is another job."""
    service.queue_s = 60.0
    provider.submit(request_of("cancel"))
    until(lambda: service.jobs)
    service.fail(CANCEL, Fault(status=503), Fault(hang_s=0.2))
    assert provider.cancel("cancel") is None
    service.queue_s = 0.0
    assert isinstance(result_of(provider, request_of("cancel")), Result)
    assert [job.ended for job in service.jobs.values()] == ["canceled", "completed"]


def test_job_that_could_not_be_cancelled_is_attached_to(
    service: IonqService, provider: Ionq
) -> None:
    """Where IonQ would not be told, the job may still run: its id makes no second one."""
    service.queue_s = 0.5
    provider.submit(request_of("stays"))
    until(lambda: service.jobs)
    service.fail(CANCEL, Fault(status=403))
    assert provider.cancel("stays") is None
    assert isinstance(result_of(provider, request_of("stays")), Result)
    assert service.posts == 1


def test_job_cancelled_while_it_is_submitted_does_not_run(
    service: IonqService, provider: Ionq
) -> None:
    """A cancellation does not overtake the submission it is for."""
    service.queue_s = 60.0
    service.fail(CREATE, Fault(hang_s=0.3))
    provider.submit(request_of("early"))
    until(lambda: service.posts)
    assert provider.cancel("early") is None
    until(lambda: service.calls[CANCEL])
    until(service.all_cancelled)


def test_cancelled_elsewhere_is_cancelled_and_may_start_anew(
    service: IonqService, provider: Ionq
) -> None:
    """A job that somebody cancelled at IonQ is CANCELLED, and its id makes another."""
    service.queue_s = 60.0
    provider.submit(request_of("elsewhere"))
    until(lambda: service.jobs)
    for job in service.jobs.values():
        job.ended = "canceled"
    assert failure_of(provider, "elsewhere").kind is K.CANCELLED
    service.queue_s = 0.0
    assert isinstance(result_of(provider, request_of("elsewhere")), Result)
