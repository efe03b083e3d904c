"""Google's engine behind the contract: what goes wrong there comes back as the right value."""

import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cirq_google.cloud import quantum

from enrichment.provider import open_provider
from enrichment.provider.contract import Failure, FailureKind, Handle, Result, Running
from enrichment.provider.google import Google
from enrichment.provider.google_circuits import program_id
from enrichment.provider.google_engine import ATTEMPTS_MAX
from enrichment.provider.google_failures import JOB_FAILURES
from enrichment.provider.pool import Pool
from tests.provider.quantum_engine import (
    LOST,
    PROCESSOR,
    PROJECT,
    Code,
    Fault,
    QuantumEngine,
)
from tests.provider.quantum_processor import CALIBRATION_S, FakeProcessor
from tests.provider.requests import (
    NOW_MS,
    answer_of,
    failure_of,
    model_of,
    model_of_fields,
    now_ms,
    opened,
    request_of,
    result_of,
    until,
)

UNAVAILABLE = Fault(code=grpc.StatusCode.UNAVAILABLE)


SERVICE = QuantumEngine


def test_columns_are_the_variables(provider: Google) -> None:
    """Of a model with one lone optimum the commonest string is it, not one of another order."""
    model = model_of_fields(z=-1.0, a=1.0, m=1.0, b=-1.0, y=1.0)
    request = request_of("order", models=(model,), seeds=(1,), shots=500, layers=3)
    bits = result_of(provider, request).sets[0].bits
    strings, counts = np.unique(bits, axis=0, return_counts=True)
    assert strings[counts.argmax()].tolist() == [1, 0, 0, 1, 0]


def test_result_says_where_when_and_for_how_much(service: QuantumEngine) -> None:
    """Calibration, times, engine's job id and cost are in the result; problems share one job."""
    with opened(service, price_per_shot=0.01) as provider:
        result = result_of(provider, request_of("an id / with änything in it"))
        assert result.calibration_id == str(CALIBRATION_S)
        assert result.execution_ms == pytest.approx(500, abs=1)
        assert result.cost == pytest.approx(0.01 * 200)  # both problems share a circuit
        assert len(service.jobs) == 1
        (name,) = service.jobs
        assert name.endswith(f"/jobs/{result.provider_job_id}")
        assert result.sets[0].circuit_hash != result.sets[1].circuit_hash


def test_description_tells_of_the_processor(service: QuantumEngine, provider: Google) -> None:
    """Calibration and queue are asked for beside: the first description does not wait for them."""
    assert provider.describe().calibration_id == ""
    until(lambda: provider.describe().calibration_id)
    found = provider.describe()
    assert found.calibration_id == str(CALIBRATION_S)
    assert found.calibration_time_ms == CALIBRATION_S * 1000
    assert found.queue_s == pytest.approx(service.processor.active_jobs * 0.1)
    assert found.sdk_versions["cirq-google"]


def refused(
    service: QuantumEngine, provider: Google, method: str, code: grpc.StatusCode
) -> FailureKind:
    """Return the kind of a submission that the service refuses once, and submit it again."""
    service.fail(method, Fault(code=code))
    assert isinstance(provider.submit(request_of("refused")), Handle)
    kind = failure_of(provider, "refused").kind
    assert isinstance(result_of(provider, request_of("refused")), Result)
    assert len(service.jobs) == 1
    return kind


CREATE = pytest.mark.parametrize("method", ["CreateQuantumProgram", "CreateQuantumJob"])


@CREATE
def test_quota(service: QuantumEngine, provider: Google, method: str) -> None:
    """A quota that is used up is QUOTA at once, and the same id may be submitted later."""
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused(service, provider, method, code) is FailureKind.QUOTA
    assert service.calls[method] == 2


@CREATE
@pytest.mark.parametrize(
    "code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED]
)
def test_permission(service: QuantumEngine, provider: Google, method: str, code: Any) -> None:
    """Who may not submit, or is not known, is told PERMISSION."""
    assert refused(service, provider, method, code) is FailureKind.PERMISSION


@CREATE
def test_invalid_program(service: QuantumEngine, provider: Google, method: str) -> None:
    """What the service does not take is VALIDATION."""
    code = grpc.StatusCode.INVALID_ARGUMENT
    assert refused(service, provider, method, code) is FailureKind.VALIDATION


def test_late_answer(service: QuantumEngine, provider: Google) -> None:
    """A program whose making the network gives up is TRANSIENT: there is no job of it yet."""
    code = grpc.StatusCode.DEADLINE_EXCEEDED
    assert refused(service, provider, "CreateQuantumProgram", code) is FailureKind.TRANSIENT


@pytest.mark.parametrize("fault", [LOST, Fault(code=grpc.StatusCode.DEADLINE_EXCEEDED)])
def test_what_may_have_been_accepted_has_no_failure_that_may_pass(
    service: QuantumEngine, provider: Google, fault: Fault
) -> None:
    """A job is submitted under its own id until that is answered, whatever is said meanwhile.

    A failure that may pass would be followed by another id's: a second job to pay for.
    """
    quota = Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED)
    service.fail("CreateQuantumJob", fault, *(UNAVAILABLE,) * 10, quota, fault)
    provider.submit(request_of("doubt"))
    assert isinstance(answer_of(provider, "doubt"), Result)
    assert len(service.jobs) == 1


def test_what_may_have_been_accepted_ends_at_its_deadline(
    service: QuantumEngine, provider: Google
) -> None:
    """Where no answer ever comes the job is CANCELLED by its deadline, and so it is there."""
    service.queue_s = 60.0
    service.fail("CreateQuantumJob", *(LOST,) * 1_000)
    provider.submit(request_of("silent", deadline_ms=NOW_MS + 2_500))
    assert failure_of(provider, "silent").kind is FailureKind.CANCELLED
    until(lambda: service.calls["CancelQuantumJob"])
    assert len(service.jobs) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan(service: QuantumEngine, provider: Google, value: float) -> None:
    """A coefficient that is no number is VALIDATION before any call; answers are bits.

    What a calibration says in NaN is left out: `test_qubits_without_a_number_are_not_used`.
    """
    model = model_of(3, 1)
    model.set_linear(model.variables[0], value)
    refusal = provider.submit(request_of("nan", models=(model,), seeds=(1,)))
    assert isinstance(refusal, Failure)
    assert refusal.kind is FailureKind.VALIDATION
    assert not service.calls


def test_unavailable(service: QuantumEngine, provider: Google) -> None:
    """UNAVAILABLE is tried again for a moment; before there is a job it is then TRANSIENT."""
    service.fail("CreateQuantumJob", *(UNAVAILABLE,) * 2)
    assert isinstance(result_of(provider, request_of("short")), Result)
    service.fail("CreateQuantumProgram", *(UNAVAILABLE,) * 20)
    provider.submit(request_of("long"))
    assert failure_of(provider, "long").kind is FailureKind.TRANSIENT


def test_no_server_at_all_is_transient_and_nothing_blocks(
    service: QuantumEngine, provider: Google
) -> None:
    """With the server down every call returns at once, and the job fails in a few seconds."""
    service.stop()
    began = time.monotonic()
    assert isinstance(provider.submit(request_of("down")), Handle)
    assert isinstance(provider.poll("down"), Running)
    provider.describe()
    assert time.monotonic() - began < 0.5  # a hand-over; a call would take its retries' 1.5 s
    assert failure_of(provider, "down").kind is FailureKind.TRANSIENT
    service.start()
    assert isinstance(result_of(provider, request_of("down")), Result)


@pytest.mark.parametrize("method", ["CreateQuantumProgram", "CreateQuantumJob"])
def test_answer_lost_after_acceptance(
    service: QuantumEngine, provider: Google, method: str
) -> None:
    """The service has accepted and its answer is lost: ALREADY_EXISTS is attached to."""
    service.fail(method, LOST)
    assert isinstance(result_of(provider, request_of("lost")), Result)
    assert (len(service.programs), len(service.jobs)) == (1, 1)


def test_restarted_worker_attaches(service: QuantumEngine, provider: Google) -> None:
    """Another process that submits the same id gets the same samples, and nothing runs twice.

    So closing cancels nothing there.
    """
    service.queue_s = 0.2
    provider.submit(request_of("again"))
    until(lambda: service.jobs)
    provider.close()
    with opened(service) as other:
        first = result_of(other, request_of("again"))
    with opened(service) as third:
        assert result_of(third, request_of("again")).provider_job_id == first.provider_job_id
    assert len(service.jobs) == 1
    assert not service.calls["CancelQuantumJob"]


def test_dropped_connection(service: QuantumEngine, provider: Google) -> None:
    """The connection breaks while the job waits; its answer is fetched when there is one again."""
    service.queue_s = 0.5
    provider.submit(request_of("dropped"))
    # It knows that the job was accepted: else the break would be a submission's.
    until(lambda: service.calls["GetQuantumJob"])
    service.stop()
    assert isinstance(provider.poll("dropped"), Running)
    time.sleep(0.3)
    service.start()
    assert isinstance(answer_of(provider, "dropped"), Result)
    assert len(service.jobs) == 1


PASSING = (
    Fault(code=grpc.StatusCode.DEADLINE_EXCEEDED),
    LOST,
    Fault(code=grpc.StatusCode.RESOURCE_EXHAUSTED),
    Fault(code=grpc.StatusCode.ABORTED),
)


@pytest.mark.parametrize("method", ["GetQuantumJob", "GetQuantumResult"])
def test_trouble_on_the_way_does_not_end_an_accepted_job(
    service: QuantumEngine, provider: Google, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a fetch fails by what may pass: no failure that a paid second job follows."""
    monkeypatch.setattr("enrichment.provider.remote.POLL_S_MAX", 0.05)
    service.fail(method, *PASSING * 5)
    provider.submit(request_of("trouble"))
    assert isinstance(answer_of(provider, "trouble"), Result)
    assert len(service.jobs) == 1


def test_service_that_goes_away_for_good_ends_at_the_deadline(
    service: QuantumEngine, provider: Google, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An accepted job that cannot be asked for is CANCELLED by its deadline, never TRANSIENT."""
    monkeypatch.setattr("enrichment.provider.remote.POLL_S_MAX", 0.05)
    service.fail("GetQuantumJob", *(Fault(code=grpc.StatusCode.DEADLINE_EXCEEDED),) * 1_000)
    provider.submit(request_of("gone", deadline_ms=NOW_MS + 2_500))
    assert failure_of(provider, "gone").kind is FailureKind.CANCELLED
    assert len(service.jobs) == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, FailureKind.PERMISSION),
        (grpc.StatusCode.NOT_FOUND, FailureKind.UNKNOWN),
    ],
)
def test_refused_fetch_has_its_kind_and_the_id_attaches(
    service: QuantumEngine, provider: Google, code: Any, kind: FailureKind
) -> None:
    """What no asking mends is said; the id, submitted again, finds its job and makes no other."""
    service.queue_s = 0.2
    provider.submit(request_of("refused"))
    until(lambda: service.jobs)
    service.fail("GetQuantumJob", Fault(code=code))
    assert failure_of(provider, "refused").kind is kind
    assert isinstance(result_of(provider, request_of("refused")), Result)
    assert len(service.jobs) == 1


def test_slow_queue(service: QuantumEngine, provider: Google) -> None:
    """A job still in the queue at its deadline is CANCELLED, at the engine too."""
    result_of(provider, request_of("first"))  # it is connected: the deadline is the queue's alone
    service.jobs.clear()
    service.queue_s = 60.0
    provider.submit(request_of("slow", deadline_ms=NOW_MS + 1_500))
    until(lambda: service.jobs)
    failure = failure_of(provider, "slow")
    assert (failure.kind, "deadline" in failure.detail) == (FailureKind.CANCELLED, True)
    until(lambda: service.calls["CancelQuantumJob"])
    until(service.all_cancelled)


def test_hanging_service_ends_at_the_deadline(service: QuantumEngine, provider: Google) -> None:
    """A call that is never answered holds nobody up; what it began is cancelled."""
    result_of(provider, request_of("first"))  # it is connected, and not only about to be
    service.jobs.clear()
    service.queue_s = 60.0
    service.fail("CreateQuantumJob", Fault(hang_s=2.0))
    began = time.monotonic()
    provider.submit(request_of("hangs", deadline_ms=NOW_MS + 1_000))
    until(lambda: service.calls["CreateQuantumJob"] == 2)
    assert failure_of(provider, "hangs").kind is FailureKind.CANCELLED
    assert time.monotonic() - began < 1.9
    until(lambda: service.jobs)  # the call was served in the end, when nobody listened any more
    until(service.all_cancelled)


def test_cancelled_job_is_cancelled_there_and_its_id_starts_a_second(
    service: QuantumEngine, provider: Google
) -> None:
    """A new try waits until the engine has been told, however long that takes, and is another."""
    service.queue_s = 60.0
    provider.submit(request_of("cancel"))
    until(lambda: service.jobs)
    service.fail("CancelQuantumJob", Fault(hang_s=0.3))
    assert provider.cancel("cancel") is None
    service.queue_s = 0.0
    result = result_of(provider, request_of("cancel"))
    assert [job.ended.name for job in service.jobs.values()] == ["CANCELLED", "SUCCESS"]
    assert result.provider_job_id.endswith("-1")


def test_job_cancelled_while_it_is_submitted_does_not_run(
    service: QuantumEngine, provider: Google
) -> None:
    """A cancellation does not overtake the submission it is for."""
    service.queue_s = 60.0
    service.fail("CreateQuantumJob", Fault(hang_s=0.3))
    provider.submit(request_of("early"))
    until(lambda: service.calls["CreateQuantumJob"])
    assert provider.cancel("early") is None
    until(lambda: service.calls["CancelQuantumJob"])
    until(service.all_cancelled)
    assert service.calls["CancelQuantumJob"] == 1


def test_cancelled_elsewhere_is_cancelled(service: QuantumEngine, provider: Google) -> None:
    """A job that somebody else cancelled at the engine is CANCELLED."""
    service.queue_s = 60.0
    provider.submit(request_of("elsewhere"))
    until(lambda: service.jobs)
    for job in service.jobs.values():
        job.ended = quantum.ExecutionStatus.State.CANCELLED
    assert failure_of(provider, "elsewhere").kind is FailureKind.CANCELLED


@pytest.mark.parametrize("code", [code for code in Code if code.name != "CODE_UNSPECIFIED"])
def test_failed_job_says_why(service: QuantumEngine, provider: Google, code: Any) -> None:
    """A job that the engine failed has the kind of its code and the engine's own words."""
    service.failure = (code, "its reason")
    provider.submit(request_of("fails"))
    failure = failure_of(provider, "fails")
    assert failure.kind is JOB_FAILURES[code.name]
    assert "its reason" in failure.detail
    assert code.name in failure.detail
    service.failure = None
    assert isinstance(result_of(provider, request_of("fails")), Result)


def fewer_shots(message: Any) -> None:
    """Answer with half the shots."""
    message.sweep_results[0].repetitions //= 2


def short_columns(message: Any) -> None:
    """Answer with fewer bits than it says."""
    measured(message).qubit_measurement_results[0].results = b"\0"


def missing_qubit(message: Any) -> None:
    """Answer with a qubit less."""
    del measured(message).qubit_measurement_results[0]


def another_qubit(message: Any) -> None:
    """Answer with a qubit more."""
    column = measured(message).qubit_measurement_results.add()
    column.CopyFrom(measured(message).qubit_measurement_results[0])
    column.qubit.id = "9_9"


def another_circuit(message: Any) -> None:
    """Answer to something else."""
    measured(message).key = "other"


def swapped_problems(message: Any) -> None:
    """Answer to each problem under the other's key."""
    one, two = message.sweep_results[0].parameterized_results[0].measurement_results
    one.key, two.key = two.key, one.key


def missing_problem(message: Any) -> None:
    """Answer to one problem less."""
    del message.sweep_results[0].parameterized_results[0].measurement_results[1]


def nothing(message: Any) -> None:
    """Answer with an empty sweep."""
    del message.sweep_results[0].parameterized_results[:]


def measured(message: Any) -> Any:
    """Return the first circuit's measurement."""
    return message.sweep_results[0].parameterized_results[0].measurement_results[0]


@pytest.mark.parametrize(
    "spoil",
    [
        fewer_shots,
        short_columns,
        missing_qubit,
        another_qubit,
        another_circuit,
        swapped_problems,
        missing_problem,
        nothing,
    ],
)
def test_wrong_number_of_bits_or_shots(
    service: QuantumEngine, provider: Google, spoil: Any
) -> None:
    """Wrong shots, bits, qubits or problems are an ALGORITHM failure."""
    service.spoil = spoil
    provider.submit(request_of("spoilt"))
    assert failure_of(provider, "spoilt").kind is FailureKind.ALGORITHM


def swapped_circuits(message: Any) -> None:
    """Answer in another order."""
    sweeps = [*message.sweep_results][::-1]
    del message.sweep_results[:]
    message.sweep_results.extend(sweeps)


def missing_circuit(message: Any) -> None:
    """Answer to one circuit less."""
    del message.sweep_results[1]


@pytest.mark.parametrize("spoil", [swapped_circuits, missing_circuit])
def test_wrong_number_or_order_of_circuits(
    service: QuantumEngine, provider: Google, spoil: Any
) -> None:
    """Of a job of two circuits both answers have to be there, each to its own."""
    service.processor = FakeProcessor(model="rainbow")  # of 23 qubits
    models = (model_of(12, 1), model_of(12, 2))
    assert isinstance(result_of(provider, request_of("whole", models=models)), Result)
    service.spoil = spoil
    provider.submit(request_of("spoilt", models=models))
    assert failure_of(provider, "spoilt").kind is FailureKind.ALGORITHM


def test_other_request_under_a_known_id_is_not_answered(
    service: QuantumEngine, provider: Google
) -> None:
    """An id that the engine knows for other circuits is no answer to these: nothing is mixed up."""
    result_of(provider, request_of("reused"))
    with opened(service) as other:
        other.submit(request_of("reused", models=(model_of(5, 9), model_of(4, 8))))
        assert failure_of(other, "reused").kind is FailureKind.ALGORITHM


def test_unknown_processor_is_validation(service: QuantumEngine) -> None:
    """A processor that the project does not have is named."""
    with opened(service, processor_id="other") as provider:
        provider.submit(request_of("where"))
        failure = failure_of(provider, "where")
        assert (failure.kind, "other" in failure.detail) == (FailureKind.VALIDATION, True)


def test_missing_credentials_are_permission(
    service: QuantumEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client as it is made by default finds no credentials: a PERMISSION failure of the job."""
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # else a metadata server is looked for
    with opened(service, connect=None) as provider:
        provider.submit(request_of("who"))
        failure = failure_of(provider, "who")
        assert (failure.kind, "Credentials" in failure.detail) == (FailureKind.PERMISSION, True)


def test_duplicate_submission(service: QuantumEngine) -> None:
    """However often and from wherever an id is submitted, the engine runs it once."""
    service.queue_s = 0.3
    with opened(service) as one, opened(service) as two:
        for _ in range(50):
            one.submit(request_of("hundred"))
            two.submit(request_of("hundred"))
        assert isinstance(answer_of(one, "hundred"), Result)
        assert isinstance(answer_of(two, "hundred"), Result)
    assert len(service.jobs) == 1


def test_hopeless_id_ends(service: QuantumEngine, provider: Google) -> None:
    """An id whose every job fails at the engine is not run for ever: it becomes VALIDATION."""
    service.failure = (Code.SYSTEM_ERROR, "again")
    kinds = []
    for _ in range(ATTEMPTS_MAX + 1):
        provider.submit(request_of("hopeless"))
        kinds.append(failure_of(provider, "hopeless").kind)
    assert kinds == [FailureKind.TRANSIENT] * ATTEMPTS_MAX + [FailureKind.VALIDATION]
    assert len(service.jobs) == ATTEMPTS_MAX


def test_ids_are_the_engines_alphabet() -> None:
    """Whatever our id holds, the program's id is short and plain, and another for another."""
    one, two = program_id("päy/ments:1"), program_id("päy/ments:2")
    assert one != two
    assert one.replace("-", "").isalnum()
    assert len(one) + len("-0") <= 64


@pytest.mark.parametrize("missing", ["project_id", "processor_id"])
def test_unconfigured_says_what_to_set(missing: str) -> None:
    """Without a project or a processor there is no provider, and the message says what to set."""
    options = {"project_id": PROJECT, "processor_id": PROCESSOR} | {missing: ""}
    with pytest.raises(ValueError, match="ENRICHMENT_GOOGLE_PROJECT"):
        open_provider("google", Pool(workers=1), now_ms=now_ms, options=options)


@pytest.mark.parametrize("given", ["run_name", "device_config_name"])
def test_half_a_configuration_is_refused(service: QuantumEngine, given: str) -> None:
    """A run without its device's configuration, or the other way round, is no provider."""
    options = service.options() | {given: "something"}
    with pytest.raises(ValueError, match="come as a pair"):
        open_provider("google", Pool(workers=1), now_ms=now_ms, options=options)
