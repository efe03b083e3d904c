"""What goes to Google's engine and what comes back: circuits in its format, samples out of it.

One circuit a problem. Gates are brought to what the engine's format can say and qubits to a row of
the grid, no further: routing, packing and a device's own gates are not here.
"""

from hashlib import sha256
from typing import Any, Final

import cirq
import dimod
import numpy as np
from cirq_google.api import v2
from cirq_google.api.v2.results import MeasureInfo

from enrichment.circuit.angles import Angles, ising_scaled_angles
from enrichment.circuit.ansatz import qaoa_circuit
from enrichment.circuit.template import ising_circuit_hash
from enrichment.provider.answer import Drawn, Problem, sample_set
from enrichment.provider.contract import SampleRequest, SampleSet
from enrichment.provider.jobs import problems_of

GATES: Final = ("H", "CZPow", "ZPow", "XPow")


def program_id(job_id: str) -> str:
    """Return the engine's id of a job's program, in its alphabet whatever ours holds."""
    return f"enrichment-{sha256(job_id.encode()).hexdigest()[:32]}"


def circuit_of(model: dimod.BinaryQuadraticModel, angles: Angles, key: str) -> cirq.Circuit:
    """Return the model's circuit as the engine's format can say it, measured under `key`.

    Variable k is the k-th qubit of the grid's first row.
    """
    logical = qaoa_circuit(model, *angles, measure=False)
    qubits = _qubits(model.num_variables)
    row: dict[cirq.Qid, cirq.Qid] = dict(
        zip(cirq.LineQubit.range(len(qubits)), qubits, strict=True)
    )
    placed = cirq.Circuit(_sayable(op) for op in logical.all_operations()).transform_qubits(row)
    placed.append(cirq.measure(*qubits, key=key))
    return placed


def circuits_of(request: SampleRequest) -> list[cirq.Circuit]:
    """Return the circuit of each of the request's problems, in their order."""
    circuits = []
    for position, problem in enumerate(problems_of(request)):
        angles, key, _ = _plan(position, problem)
        circuits.append(circuit_of(request.models[position], angles, key))
    return circuits


def sets_of(request: SampleRequest, answer: Any) -> tuple[SampleSet, ...]:
    """Return the checked sample sets of an engine's result; raises where it is not the request's.

    Columns are found by their qubits, sweeps by their measurement keys.
    """
    message = v2.result_pb2.Result()
    if not answer.result.Unpack(message):
        msg = f"not a result: {answer.result.type_url!r}"
        raise TypeError(msg)
    problems = problems_of(request)
    plans = [_plan(position, problem) for position, problem in enumerate(problems)]
    measures = [
        MeasureInfo(key, _qubits(problem.model.size), 1, [], [])
        for problem, (_, key, _) in zip(problems, plans, strict=True)
    ]
    sweeps = v2.results_from_proto(message, measures)
    if len(sweeps) != len(problems):
        msg = f"{len(sweeps)} answers for {len(problems)} circuits"
        raise ValueError(msg)
    sets: list[SampleSet] = []
    for problem, plan, sweep in zip(problems, plans, sweeps, strict=True):
        (gammas, betas), key, named = plan
        (trial,) = sweep
        bits = trial.records[key][:, 0, :].astype(np.uint8)
        drawn = Drawn(bits=bits, circuit_hash=named, gammas=gammas, betas=betas)
        sets.append(sample_set(problem, "google", drawn))
    return tuple(sets)


def _plan(position: int, problem: Problem) -> tuple[Angles, str, str]:
    """Return a problem's angles, its measurement key and its circuit's hash.

    The key bears the hash: an answer to another circuit under the same job id is seen to be one.
    """
    angles = ising_scaled_angles(problem.model, problem.layers)
    named = ising_circuit_hash(problem.model, *angles)
    return angles, f"x{position}-{named[:12]}", named


def _qubits(size: int) -> list[cirq.GridQubit]:
    """Return the qubits of a model's variables, in their order."""
    return [cirq.GridQubit(0, k) for k in range(size)]


def _sayable(op: cirq.Operation) -> cirq.OP_TREE:
    """Return the operation in gates that the engine's format has: ZZ^t = Z^t Z^t CZ^(-2t)."""
    if not isinstance(op.gate, cirq.ZZPowGate):
        return op
    t = op.gate.exponent
    one, two = op.qubits
    return [cirq.Z(one) ** t, cirq.Z(two) ** t, cirq.CZ(one, two) ** (-2 * t)]
