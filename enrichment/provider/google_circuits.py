"""What goes to Google's engine and what comes back: packed native circuits, samples out of them.

Several problems share a circuit, each on a line of its own under a measurement key of its own. The
key bears the hash of what was to be run, so that an answer to something else is seen to be one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain
from typing import Any

import cirq
import numpy as np
from cirq_google import CIRCUIT_SERIALIZER
from cirq_google.api import v2
from cirq_google.api.v2.results import MeasureInfo, find_measurements

from enrichment.circuit.angles import Angles, ising_scaled_angles
from enrichment.circuit.native import statistics
from enrichment.circuit.packing import pack
from enrichment.circuit.template import ising_circuit_hash
from enrichment.provider.answer import Drawn, Problem, sample_set
from enrichment.provider.contract import SampleRequest, SampleSet
from enrichment.provider.device import Device
from enrichment.provider.google_processor import Known
from enrichment.provider.jobs import problems_of

Circuits = Sequence[cirq.AbstractCircuit]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Laid:
    """One circuit as its answer is read: what it measures, and each part's depth and gates of two.

    All that is kept of a circuit while its job waits: some hundred times less.
    """

    measures: Sequence[MeasureInfo]
    figures: Mapping[str, tuple[int, int]]


Layout = Sequence[Laid]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Plan:
    """What is to be run for one problem."""

    problem: Problem
    angles: Angles
    circuit_hash: str
    key: str


def program_id(job_id: str) -> str:
    """Return the engine's id of a job's program, in its alphabet whatever ours holds."""
    return f"enrichment-{sha256(job_id.encode()).hexdigest()[:32]}"


def circuits_of(request: SampleRequest, device: Device) -> tuple[cirq.Circuit, ...]:
    """Return the circuits of all of the request's problems, as few as the device allows.

    Raises NoPlaceError for a problem that has no place on it, ValueError where it refuses a
    circuit.
    """
    plans = _plans(request)
    packs = pack(
        [(plan.problem.model, plan.angles) for plan in plans],
        lambda sizes: device.lines(sizes, request.layers),
        compiled=device.compiled,
        key=lambda position: plans[position].key,
    )
    return tuple(device.checked(packed.circuit) for packed in packs)


def circuits_from(program: Any) -> tuple[cirq.AbstractCircuit, ...]:
    """Return the circuits of a program as the engine keeps it; raises TypeError if it is none."""
    message = v2.program_pb2.Program()
    if not program.code.Unpack(message):
        msg = f"not a program: {program.code.type_url!r}"
        raise TypeError(msg)
    return tuple(circuit for _, _, circuit in CIRCUIT_SERIALIZER.deserialize_multi_program(message))


def layout_of(circuits: Circuits) -> tuple[Laid, ...]:
    """Return what is to be known of circuits when their answers come."""
    return tuple(
        Laid(
            measures=infos,
            figures={info.key: statistics(circuit, frozenset(info.qubits)) for info in infos},
        )
        for circuit in circuits
        for infos in (find_measurements(circuit),)
    )


def sets_of(
    request: SampleRequest, answer: Any, layout: Layout, known: Known
) -> tuple[SampleSet, ...]:
    """Return the checked sample sets of an engine's result; raises where it is not the request's.

    `layout` is of what was run: it says which qubits held a problem's variables. Columns are found
    by their qubits, problems by their measurement keys. `known` is the calibration to correct by.
    """
    message = v2.result_pb2.Result()
    if not answer.result.Unpack(message):
        msg = f"not a result: {answer.result.type_url!r}"
        raise TypeError(msg)
    plans = _plans(request)
    measures = [[*laid.measures] for laid in layout]
    where = {info.key: (info, laid.figures[info.key]) for laid in layout for info in laid.measures}
    keys = _keys_of(plans, where)
    bits = _measured(message, measures)
    return tuple(
        _sample_set(request, plan, bits[key], where[key], known)
        for plan, key in zip(plans, keys, strict=True)
    )


def _keys_of(plans: Sequence[_Plan], measured: Iterable[str]) -> list[str]:
    """Return the key under which each plan's circuit was measured; ValueError where one was not.

    A program that is attached to may run more than is asked for now: some answers may be kept since
    (`enrichment.provider.kept`). What it runs is known by its hash, of equals each once.
    """
    left = sorted(measured, key=lambda key: (len(key), key))  # x9 before x10
    keys = []
    for plan in plans:
        ends = plan.key.partition("-")[2]
        key = next((key for key in left if key.partition("-")[2] == ends), None)
        if key is None:
            msg = f"the engine's program is another: it measures {sorted(measured)}"
            raise ValueError(msg)
        left.remove(key)
        keys.append(key)
    return keys


def _plans(request: SampleRequest) -> list[_Plan]:
    """Return what is to be run for each problem; keys differ though problems may be alike."""
    plans = []
    for position, problem in enumerate(problems_of(request)):
        angles = ising_scaled_angles(problem.model, problem.layers)
        named = ising_circuit_hash(problem.model, *angles)
        key = f"x{position}-{named[:12]}"
        plans.append(_Plan(problem=problem, angles=angles, circuit_hash=named, key=key))
    return plans


def _measured(message: Any, measures: Sequence[list[MeasureInfo]]) -> dict[str, Any]:
    """Return all circuits' bits by key; raises ValueError where an answer is not its circuit's."""
    sweeps = v2.results_from_proto(message, [*chain(*measures)])
    if len(sweeps) != len(measures):
        msg = f"{len(sweeps)} answers for {len(measures)} circuits"
        raise ValueError(msg)
    found: dict[str, Any] = {}
    for sweep, infos in zip(sweeps, measures, strict=True):
        (trial,) = sweep
        if sorted(trial.records) != sorted(info.key for info in infos):
            msg = f"an answer to {sorted(trial.records)} for {[info.key for info in infos]}"
            raise ValueError(msg)
        found |= {key: record[:, 0, :] for key, record in trial.records.items()}
    return found


def _sample_set(
    request: SampleRequest,
    plan: _Plan,
    bits: Any,
    where: tuple[MeasureInfo, tuple[int, int]],
    known: Known,
) -> SampleSet:
    """Return one problem's checked samples, and how its circuit was run."""
    info, figures = where
    gammas, betas = plan.angles
    drawn = Drawn(
        bits=bits.astype(np.uint8), circuit_hash=plan.circuit_hash, gammas=gammas, betas=betas
    )
    checked = sample_set(plan.problem, "google", drawn)
    run = known.device.run_of(
        plan.problem.model,
        request.layers,
        checked.bits,
        figures,
        info.qubits,
        known.confusion(info.qubits),
    )
    return replace(checked, device_run=run)
