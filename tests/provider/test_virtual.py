"""The virtual device runs native circuits on a good line, with noise, and says how."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import cirq
import numpy as np
import pytest
from cirq_google.engine import virtual_engine_factory

from enrichment.circuit.angles import ising_scaled_angles
from enrichment.circuit.lines import random_lines
from enrichment.circuit.native import gates_max
from enrichment.problem.ising import Bits, ising
from enrichment.provider import open_provider, qsim
from enrichment.provider.answer import Problem, sample_set
from enrichment.provider.pool import Pool
from enrichment.provider.virtual import PROCESSOR, PROCESSORS, VARIABLES_MAX, device, draw
from enrichment.provider.virtual_device import PAULI_MAX, READOUT_MAX, SCALE_MIN, scaled
from tests.provider.requests import model_of, now_ms, request_of, result_of

SIZE, LAYERS = 4, 2
MODEL = ising(model_of(SIZE, 3))
ANGLES = ising_scaled_angles(MODEL, LAYERS)


def test_calibrations_are_those_of_the_package() -> None:
    """The table's times and names are cirq-google's, so that a record's id is what was run."""
    times = {name: processor.calibration_time_ms for name, processor in PROCESSORS.items()}
    assert times == virtual_engine_factory.MEDIAN_CALIBRATION_TIMESTAMPS
    assert sorted(times) == virtual_engine_factory.list_virtual_processors()


@pytest.mark.parametrize("name", list(PROCESSORS))
def test_run_is_native_noisy_and_recorded(name: str) -> None:
    """On each processor: stated gates, a path of the device, noise in every two-qubit gate.

    Every pair of the line has a calibrated error of the native gate: without one it would run
    noiselessly, as CZ does on the older processors.
    """
    virtual = device(name)
    bits, run = virtual.run(MODEL, ANGLES, 300, np.random.default_rng(1))
    assert bits.shape == (300, SIZE)
    assert run.two_qubit_gates == gates_max(SIZE, LAYERS, virtual.gate)
    assert run.processor == name
    assert len(set(run.qubits)) == SIZE
    assert run.calibration_id == PROCESSORS[name].calibration_id()
    graph = virtual.grid.metadata.nx_graph
    assert {frozenset(pair) for pair in virtual.errors.pairs} == {
        frozenset(pair) for pair in graph.edges
    }
    assert min(virtual.errors.pairs.values()) > 0.0
    readout = virtual.readout(virtual.line(SIZE, LAYERS))
    assert 0.0 < readout.one_as_zero.mean() < 0.2


def test_columns_are_variables_and_readout_is_theirs() -> None:
    """A strong field on one variable sets its column, whatever qubit holds it in the end."""
    for chosen in range(3):
        model = model_of(3, 1)
        for k, label in enumerate(model.variables):
            model.set_linear(label, -2.0 if k == chosen else 2.0)
        for pair in list(model.quadratic):
            model.set_quadratic(*pair, 0.0)
        # exp(-i beta X) exp(i gamma h s) |+> at gamma h = beta = pi/4 puts s where h s is lowest.
        bits, run = device().run(
            ising(model), ((np.pi / 4,), (np.pi / 4,)), 400, np.random.default_rng(2)
        )
        assert (bits.mean(axis=0) > 0.5).tolist() == [k == chosen for k in range(3)]
        assert abs(run.marginals.value - np.eye(3)[chosen]).max() < 0.1


def test_chosen_line_costs_less_than_random_placement() -> None:
    """The record bears the cost of its line, and a random line's is higher."""
    virtual = device()
    _, chosen = virtual.run(MODEL, ANGLES, 10, np.random.default_rng(3))
    (line,) = random_lines(virtual.errors, [SIZE], np.random.default_rng(3))
    assert line is not None
    _, other = virtual.run(MODEL, ANGLES, 10, np.random.default_rng(3), line=line)
    assert chosen.line_cost < other.line_cost
    assert set(other.qubits) == {str(qubit) for qubit in line}


def test_a_line_off_the_device_is_refused() -> None:
    """The device validates what it runs: no gate between qubits that are no neighbours."""
    line = (cirq.GridQubit(0, 6), cirq.GridQubit(5, 5), cirq.GridQubit(0, 8), cirq.GridQubit(6, 6))
    with pytest.raises(ValueError, match=r"not valid|pair"):
        device().run(MODEL, ANGLES, 10, np.random.default_rng(4), line=line)


def test_draw_names_its_circuit_and_run() -> None:
    """What is drawn for a problem bears hash, angles and the run, and repeats with its seed."""
    problem = Problem(model=MODEL, variables=tuple(range(SIZE)), layers=LAYERS, shots=50, seed=5)
    one, two = draw(problem), draw(problem)
    assert (one.bits == two.bits).all()
    assert one.circuit_hash
    assert one.gammas
    assert one.device_run is not None
    assert one.device_run.mean_energy.read == pytest.approx(
        float(np.mean([_energy(bits) for bits in one.bits]))
    )
    assert len(device().errors.readout) >= VARIABLES_MAX


class Here(Pool):
    """A pool whose work is done at once, in this process: a child loads for seconds."""

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it."""
        done: Future[Any] = Future()
        done.set_result(function(*args, **kwargs))
        return done


NOISES = (0.0, 1.0, 8.0, 100.0)


def test_noise_is_scaled_within_what_is_physical() -> None:
    """Errors grow with the scale and stop where a gate or a readout says nothing any more."""
    own = virtual_engine_factory.load_device_noise_properties(PROCESSOR)
    for scale in NOISES:
        noise = scaled(own, scale)
        for of, error in noise.gate_pauli_errors.items():
            wanted = min(PAULI_MAX[len(of.qubits)], scale * own.gate_pauli_errors[of])
            assert error == pytest.approx(wanted, abs=1e-8)
        for qubit, errors in noise.readout_errors.items():
            assert max(errors) <= READOUT_MAX
            assert noise.t1_ns[qubit] * max(scale, SCALE_MIN) == pytest.approx(own.t1_ns[qubit])
    assert max(scaled(own, 100.0).gate_pauli_errors.values()) <= 15 / 16


def test_more_noise_is_further_from_the_simulator_and_another_calibration() -> None:
    """Without noise the device draws as the simulator does; the more, the less so."""
    problem = Problem(model=MODEL, variables=tuple(range(SIZE)), layers=LAYERS, shots=300, seed=5)
    simulator = sample_set(problem, "qsim", qsim.draw(problem))
    found = {}
    for scale in NOISES:
        drawn = draw(problem, noise_scale=scale)
        assert drawn.device_run is not None
        found[scale] = float(sample_set(problem, "virtual", drawn).energies.mean())
        name = drawn.device_run.calibration_id
        assert name == PROCESSORS[PROCESSOR].calibration_id(scale)
        assert name.endswith("x8") is (scale == 8.0)
    spread = float(simulator.energies.std()) / np.sqrt(problem.shots)
    assert found[0.0] == pytest.approx(float(simulator.energies.mean()), abs=5 * spread)
    assert found[0.0] < found[1.0] < found[8.0] < found[100.0] + 3 * spread


def test_the_providers_scale_is_in_its_description_and_in_every_draw() -> None:
    """Calibration id and conditions name it, and the child that draws is told."""
    provider = open_provider(
        "virtual", Here(workers=1), now_ms=now_ms, options={"noise_scale": 8.0}
    )
    described = provider.describe()
    assert described.calibration_id.endswith("x8")
    assert described.conditions["noise_scale"] == "8"
    # It was made so now, and a change is followed at once; without one it is the package's.
    assert described.calibration_time_ms == now_ms()
    plain = open_provider("virtual", Here(workers=1), now_ms=now_ms).describe()
    assert plain.calibration_time_ms == PROCESSORS[PROCESSOR].calibration_time_ms
    assert plain.calibration_id == PROCESSORS[PROCESSOR].calibration_id()
    wanted = request_of("a", models=(model_of(3, 1),), seeds=(1,), shots=20, twins=("simulator",))
    result = result_of(provider, wanted)
    assert result.calibration_id == described.calibration_id
    (drawn,), (twin,) = result.sets, result.twins["simulator"]
    assert drawn.device_run is not None
    assert drawn.device_run.calibration_id == described.calibration_id
    assert twin.sampler == "qsim"
    assert twin.circuit_hash == drawn.circuit_hash


def _energy(bits: Bits) -> float:
    """Return a string's energy by the Ising form, in plain loops."""
    spins = 2.0 * bits - 1.0
    pairs = zip(MODEL.rows, MODEL.cols, MODEL.couplings, strict=True)
    return float(MODEL.offset + spins @ MODEL.h + sum(J * spins[i] * spins[j] for i, j, J in pairs))
