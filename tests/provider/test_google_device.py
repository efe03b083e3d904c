"""What goes to Google's engine is made for its processor as it is calibrated now."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import cirq
import grpc
import numpy as np
import pytest

from enrichment.circuit import qaoa_circuit, scaled_angles
from enrichment.circuit.native import CZ, SQRT_ISWAP, gates_max
from enrichment.circuit.swap_network import final_order
from enrichment.provider import google_processor
from enrichment.provider.contract import DeviceRun, FailureKind, Result
from enrichment.provider.google import Google
from enrichment.provider.google_circuits import circuits_from
from tests.provider.quantum_engine import Fault, QuantumEngine
from tests.provider.quantum_processor import CALIBRATION_S, PROCESSOR, FakeProcessor, parts
from tests.provider.requests import (
    failure_of,
    model_of,
    model_of_fields,
    opened,
    request_of,
    result_of,
    until,
)

SIZES = (3, 5, 8, 4, 12, 6, 2, 1)
MODELS = tuple(
    model_of(size, seed, vartype="SPIN" if seed % 2 else "BINARY")
    for seed, size in enumerate(SIZES)
)


SERVICE = QuantumEngine


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of the processor is asked for again each time."""
    monkeypatch.setattr(google_processor, "LOOK_S", 0.0)


def runs_of(result: Result) -> list[DeviceRun]:
    """Return how each problem was run."""
    runs = [drawn.device_run for drawn in result.sets]
    assert None not in runs
    return [run for run in runs if run is not None]


def sent(service: QuantumEngine) -> tuple[cirq.AbstractCircuit, ...]:
    """Return the circuits of the only program."""
    (program,) = service.programs.values()
    return circuits_from(program)


def qubits_of(*runs: DeviceRun) -> list[cirq.GridQubit]:
    """Return the qubits of runs, in their order."""
    places = [qubit.strip("q()").split(",") for run in runs for qubit in run.qubits]
    return [cirq.GridQubit(int(row), int(col)) for row, col in places]


def calibrated(service: QuantumEngine, at_s: int, error: float, *runs: DeviceRun) -> None:
    """Calibrate anew: the qubits of these runs are misread with this chance."""
    figures = {f"q{qubit.row}_{qubit.col}": error for qubit in qubits_of(*runs)}
    service.processor.calibrate(at_s, **figures)


@pytest.mark.parametrize(("processor", "gate"), [(PROCESSOR, CZ), ("rainbow", SQRT_ISWAP)])
def test_what_is_sent_is_the_ansatz(
    service: QuantumEngine, provider: Google, processor: str, gate: str
) -> None:
    """Each problem's part of the program gives every string the chance that the ansatz gives it.

    In gates of the device alone (the fake refuses others), on disjoint qubits, all as the service
    has it: read back from the program in its own format, whose numbers have 32 bits.
    """
    service.processor = FakeProcessor(model=processor)
    models = MODELS if processor == PROCESSOR else MODELS[:4]
    request = request_of("sent", models=models, seeds=tuple(range(len(models))), layers=2)
    runs = runs_of(result_of(provider, request))
    found = {
        key: (part, measured)
        for circuit in sent(service)
        for part in parts(circuit)
        for _, measured in part.findall_operations(cirq.is_measurement)
        for key in [cirq.measurement_key_name(measured)]
    }
    assert len(found) == len(models)
    for position, (model, run) in enumerate(zip(models, runs, strict=True)):
        (named,) = [key for key in found if key.startswith(f"x{position}-")]
        part, measured = found[named]
        assert tuple(str(qubit) for qubit in measured.qubits) == run.qubits
        unmeasured = cirq.Circuit(op for op in part.all_operations() if op != measured)
        one = cirq.final_state_vector(unmeasured, qubit_order=measured.qubits)
        two = cirq.final_state_vector(
            qaoa_circuit(model, *scaled_angles(model, 2), measure=False),
            qubit_order=cirq.LineQubit.range(model.num_variables),
        )
        assert abs(np.abs(one) ** 2 - np.abs(two) ** 2).max() < 1e-5
        assert run.two_qubit_gates <= gates_max(model.num_variables, 2, gate)


def test_problems_share_circuits_and_what_does_not_fit_makes_another(
    service: QuantumEngine, provider: Google
) -> None:
    """Twenty problems of eight variables are three circuits of one job, each problem in one."""
    models = tuple(model_of(8, seed) for seed in range(20))
    request = request_of("packed", models=models, seeds=tuple(range(20)), shots=20)
    result = result_of(provider, request)
    circuits = sent(service)
    assert (len(circuits), len(service.jobs)) == (3, 1)
    keys = [key for circuit in circuits for key in circuit.all_measurement_key_names()]
    assert len(keys) == len(set(keys)) == 20
    for circuit in circuits:
        qubits = [q for op in circuit[-1] for q in op.qubits]
        assert len(qubits) == len(set(qubits))
    assert len({drawn.circuit_hash for drawn in result.sets}) == 20


def test_runs_are_recorded(provider: Google) -> None:
    """Qubits are a path of the device; depth, gates, cost and calibration are there."""
    request = request_of("runs", models=MODELS[1:3], seeds=(1, 2), layers=1)
    result = result_of(provider, request)
    assert result.calibration_id == str(CALIBRATION_S)
    for model, run in zip(request.models, runs_of(result), strict=True):
        size = model.num_variables
        qubits = qubits_of(run)
        line = [qubits[variable] for variable in final_order(size, 1)]
        assert all(one.is_adjacent(two) for one, two in pairwise(line))
        assert (run.processor, run.calibration_id) == ("some-processor", str(CALIBRATION_S))
        assert run.two_qubit_gates == gates_max(size, 1, CZ)
        assert 0 < 2 * size < run.depth < 6 * size
        assert 0.0 < run.line_cost < 1.0


def test_description_tells_the_native_gate(service: QuantumEngine, provider: Google) -> None:
    """Before the first look all gates that may be; after it the one that is compiled to."""
    service.processor = FakeProcessor(model="rainbow")
    assert set(provider.describe().gate_set) == {CZ, SQRT_ISWAP, "phased_xz"}
    until(lambda: provider.describe().calibration_id)
    # It has CZ too, but that is not calibrated.
    assert provider.describe().gate_set == (SQRT_ISWAP, "phased_xz")


@pytest.mark.usefixtures("fresh")
def test_new_calibration_is_a_new_choice_of_lines(service: QuantumEngine, provider: Google) -> None:
    """Between two jobs the qubits of the first go bad: the second goes elsewhere, and says why."""
    first = result_of(provider, request_of("before"))
    before = runs_of(first)
    again = runs_of(result_of(provider, request_of("same")))
    assert [run.qubits for run in again] == [run.qubits for run in before]
    calibrated(service, CALIBRATION_S + 3600, 0.3, *before)
    second = result_of(provider, request_of("after"))
    after = runs_of(second)
    assert not set(qubits_of(*before)) & set(qubits_of(*after))
    assert [run.calibration_id for run in after] == [str(CALIBRATION_S + 3600)] * 2
    assert (first.calibration_id, second.calibration_id) == (
        str(CALIBRATION_S),
        str(CALIBRATION_S + 3600),
    )


def test_calibration_is_asked_for_once_in_a_while(service: QuantumEngine, provider: Google) -> None:
    """Jobs in a row share what is known of the processor."""
    for name in ("one", "two", "three"):
        result_of(provider, request_of(name))
    assert service.calls["GetQuantumProcessor"] == 1
    assert service.calls["GetQuantumCalibration"] == 1


def test_job_found_again_is_read_by_what_it_ran(service: QuantumEngine, provider: Google) -> None:
    """A job that another process submitted, under another calibration, has its own lines.

    The program at the engine says which qubits hold which variables, not what we would do now.
    """
    model = model_of_fields(z=-1.0, a=1.0, m=1.0, b=-1.0, y=1.0)
    request = request_of("again", models=(model,), seeds=(1,), shots=500, layers=3)
    first = result_of(provider, request)
    provider.close()
    calibrated(service, CALIBRATION_S + 3600, 0.3, *runs_of(first))
    with opened(service) as other:
        found = result_of(other, request)
    (one,), (two,) = runs_of(first), runs_of(found)
    assert (two.qubits, two.depth, two.line_cost) == (one.qubits, one.depth, one.line_cost)
    assert two.calibration_id == str(CALIBRATION_S)  # under which it ran
    strings, counts = np.unique(found.sets[0].bits, axis=0, return_counts=True)
    assert strings[counts.argmax()].tolist() == [1, 0, 0, 1, 0]
    assert len(service.jobs) == 1


@pytest.mark.usefixtures("fresh")
def test_forgotten_calibration_is_replaced_by_the_latest(
    service: QuantumEngine, provider: Google
) -> None:
    """Where the engine no longer has the calibration of a job, the latest one corrects and costs.

    Both are recorded: the job's own as the result's, the other as the run's.
    """
    service.queue_s = 0.3
    provider.submit(request_of("late"))
    until(lambda: service.jobs)
    service.processor.calibrate(CALIBRATION_S + 3600)
    del service.processor.calibrations[CALIBRATION_S]
    with opened(service) as other:
        result = result_of(other, request_of("late"))
    assert result.calibration_id == str(CALIBRATION_S)
    assert {run.calibration_id for run in runs_of(result)} == {str(CALIBRATION_S + 3600)}


def test_readout_is_corrected_by_the_calibration_where_it_helps(service: QuantumEngine) -> None:
    """Means are corrected by the qubits' own figures where those say that it helps, else not."""
    figures = {f"q{qubit}": 0.1 for qubit in service.processor.spec.valid_qubits}
    request = request_of("read", models=MODELS[2:3], seeds=(1,), shots=4000)
    service.processor.calibrate(CALIBRATION_S + 1, **figures)
    with opened(service) as provider:
        (drawn,) = result_of(provider, request).sets
        assert drawn.device_run is not None
        marginals, energy = drawn.device_run.marginals, drawn.device_run.mean_energy
        assert marginals.applied
        assert marginals.read == pytest.approx(drawn.bits.mean(axis=0))
        assert marginals.value == pytest.approx((marginals.read - 0.1) / 0.75)
        assert energy.applied
        assert energy.value < energy.read == pytest.approx(drawn.summary.mean_energy)
    service.processor.calibrate(CALIBRATION_S + 2, **dict.fromkeys(figures, 0.0))
    with opened(service) as provider:
        (drawn,) = result_of(provider, replace(request, job_id="perfect")).sets
        assert drawn.device_run is not None
        assert not drawn.device_run.marginals.applied
        assert not drawn.device_run.mean_energy.applied


@pytest.mark.usefixtures("fresh")
def test_qubits_without_a_number_are_not_used(service: QuantumEngine, provider: Google) -> None:
    """NaN in a calibration, or a qubit or pair that it leaves out, is no place for a circuit."""
    (first,) = runs_of(result_of(provider, request_of("a", models=MODELS[1:2], seeds=(1,))))
    calibrated(service, CALIBRATION_S + 1, float("nan"), first)
    (second,) = runs_of(result_of(provider, request_of("b", models=MODELS[1:2], seeds=(1,))))
    assert not set(first.qubits) & set(second.qubits)
    service.processor.calibrate(CALIBRATION_S + 2)
    snapshot = service.processor.calibrations[CALIBRATION_S + 2]
    gone = {f"{qubit.row}_{qubit.col}" for qubit in qubits_of(first)}
    kept = [m for m in snapshot.metrics if len(m.targets) < 2 or not gone & set(m.targets)]
    del snapshot.metrics[:]
    snapshot.metrics.extend(kept)
    (third,) = runs_of(result_of(provider, request_of("c", models=MODELS[1:2], seeds=(1,))))
    assert not set(first.qubits) & set(third.qubits)


def test_processor_without_calibration_serves(service: QuantumEngine) -> None:
    """Lines are then any, their cost is 0, nothing is corrected, and the id is empty."""
    service.processor.calibrations.clear()
    with opened(service) as provider:
        result = result_of(provider, request_of("none"))
        assert result.calibration_id == ""
        for run in runs_of(result):
            assert (run.calibration_id, run.line_cost) == ("", 0.0)
            assert not run.mean_energy.applied
            assert not run.marginals.applied


def nothing(spec: Any) -> None:
    """Say nothing of the qubits."""
    del spec.valid_qubits[:]


def two_qubits(spec: Any) -> None:
    """Have two neighbours alone."""
    pair = spec.valid_targets[0].targets[0]
    kept = [*pair.ids]
    del spec.valid_qubits[:]
    spec.valid_qubits.extend(kept)
    del spec.valid_targets[0].targets[1:]


def no_gate(spec: Any) -> None:
    """Have no gate of two qubits that we compile to."""
    kept = [gate for gate in spec.valid_gates if not gate.HasField("cz")]
    del spec.valid_gates[:]
    spec.valid_gates.extend(kept)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [(nothing, "device specification"), (two_qubits, "no line"), (no_gate, "none of the gates")],
)
def test_processor_that_cannot_serve_is_validation(
    service: QuantumEngine, provider: Google, spoil: Any, says: str
) -> None:
    """A processor without qubits, gates or room for it: VALIDATION, and nothing is sent."""
    spoil(service.processor.spec)
    provider.submit(request_of("cannot"))
    failure = failure_of(provider, "cannot")
    assert (failure.kind, says in failure.detail) == (FailureKind.VALIDATION, True)
    assert not service.programs


@pytest.mark.parametrize("method", ["GetQuantumProcessor", "GetQuantumCalibration"])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, FailureKind.QUOTA),
        (grpc.StatusCode.PERMISSION_DENIED, FailureKind.PERMISSION),
        (grpc.StatusCode.DEADLINE_EXCEEDED, FailureKind.TRANSIENT),
    ],
)
def test_processor_that_cannot_be_asked_fails_the_job_by_kind(
    service: QuantumEngine, provider: Google, method: str, code: Any, kind: FailureKind
) -> None:
    """No circuit is made for a device that is not known: the job fails, and may come again."""
    service.fail(method, Fault(code=code))
    provider.submit(request_of("blind"))
    assert failure_of(provider, "blind").kind is kind
    assert not service.programs
    result_of(provider, request_of("blind"))
