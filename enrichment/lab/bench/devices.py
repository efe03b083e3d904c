"""`enrichment bench devices`: what a device costs, on cirq-google's virtual ones; without servers.

The same planted rings, compiled as a SWAP network and by routing, run on the line that calibration
favours and on a random one, with the readout's errors in the mean and taken out of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cirq
import dimod
import numpy as np

from enrichment.circuit.angles import Angles, ising_scaled_angles
from enrichment.circuit.ansatz import qaoa_circuit
from enrichment.circuit.direct import sample
from enrichment.circuit.lines import random_lines
from enrichment.circuit.native import CZ
from enrichment.lab.bench.catalogue import BenchOptions
from enrichment.lab.bench.planted import planted_ring
from enrichment.lab.bench.report import Report, Row, machine
from enrichment.problem.ising import all_energies, energies, ising
from enrichment.provider.virtual import device
from enrichment.provider.virtual_device import VirtualDevice

NAME: Final = "devices"
SHOTS: Final = 400
SHOTS_NOISELESS: Final = 4_000
NOISELESS, CORRECTED = "noiseless", "calibrated line, corrected"
CHOSEN, RANDOM = "calibrated line", "random line"
NETWORK, ROUTED = "SWAP network", "routed"

NOTES: Final = (
    "a run is a planted ring with its own seed; every pair of accounts is coupled, as theta does",
    "ratio: (mean over all strings - mean energy) / (mean over all strings - minimum)",
    f"{SHOTS} shots; corrected: readout errors from calibration shots taken out of the mean energy",
    "line_cost: minus the logarithm of the chance of no error; depth: moments once compiled",
    "routed: cirq.RouteCQC on the whole device, then Cirq's compiler; for CZ devices",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One processor, and the size and layers of the problems run on it."""

    processor: str
    size: int
    layers: int

    @property
    def name(self) -> str:
        """The case as rows name it."""
        return f"{self.processor} n={self.size} p={self.layers}"


CASES: Final = (
    Case(processor="willow_pink", size=8, layers=1),
    Case(processor="willow_pink", size=8, layers=2),
    Case(processor="rainbow", size=6, layers=2),
    Case(processor="weber", size=6, layers=2),
)
QUICK: Final = (Case(processor="willow_pink", size=4, layers=1),)

Name = tuple[str, str, str]  # system, metric, unit


def run(options: BenchOptions) -> Report:
    """Run every case with as many problems as there are runs: no time is measured."""
    rows: list[Row] = []
    for case in QUICK if options.quick else CASES:
        found: dict[Name, list[float]] = {}
        for seed in range(1, (1 if options.quick else options.runs) + 1):
            for name, value in figures(case, seed):
                found.setdefault(name, []).append(value)
        options.say(f"{case.name}: done")
        rows += [
            Row.of(case.name, system, metric, values, unit)
            for (system, metric, unit), values in found.items()
        ]
    return Report(name=NAME, machine=machine(), rows=tuple(rows), notes=NOTES)


def figures(case: Case, seed: int) -> Iterator[tuple[Name, float]]:
    """Yield all figures of one problem."""
    virtual = device(case.processor)
    model = planted_ring(case.size, seed)
    form = ising(model)
    angles = ising_scaled_angles(form, case.layers)
    levels = all_energies(form)

    def ratio(energy: float) -> float:
        return float((levels.mean() - energy) / (levels.mean() - levels.min()))

    bits = sample(form, *angles, SHOTS_NOISELESS, np.random.default_rng(seed))
    yield (NOISELESS, "ratio", "ratio"), ratio(float(energies(form, bits).mean()))
    (line,) = random_lines(virtual.errors, [case.size], np.random.default_rng(seed))
    for system, where in ((CHOSEN, None), (RANDOM, line)):
        _, told = virtual.run(form, angles, SHOTS, np.random.default_rng(seed), line=where)
        yield (system, "ratio", "ratio"), ratio(told.mean_energy.read)
        yield (system, "line_cost", "nats"), told.line_cost
        if system == CHOSEN:
            yield (CORRECTED, "ratio", "ratio"), ratio(told.mean_energy.value)
            yield (NETWORK, "two_qubit_gates", "gates"), told.two_qubit_gates
            yield (NETWORK, "depth", "moments"), told.depth
    if virtual.gate == CZ:
        compiled = routed(virtual, model, angles)
        gates = sum(len(op.qubits) == 2 for op in compiled.all_operations())
        yield (ROUTED, "two_qubit_gates", "gates"), gates
        yield (ROUTED, "depth", "moments"), len(compiled) + 1  # the measurement's


def routed(
    virtual: VirtualDevice, model: dimod.BinaryQuadraticModel, angles: Angles
) -> cirq.Circuit:
    """Return the ansatz without its measurement, routed on the device's graph and compiled."""
    router = cirq.RouteCQC(virtual.grid.metadata.nx_graph)
    placed = router(qaoa_circuit(model, *angles, measure=False))
    return cirq.optimize_for_target_gateset(placed, gateset=cirq.CZTargetGateset())
