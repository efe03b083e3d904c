"""`enrichment bench noise`: the same circuits without noise and on the virtual device.

The device is cirq-google's virtual `willow_pink`, as the provider `virtual` runs it: the line that
calibration favours, a SWAP network, native gates, noise from the calibration, readout. What single
choices there are worth is `bench devices`'; this says what is left of samples and features.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from enrichment.circuit.marginals import histogram_distance, ring_membership
from enrichment.lab.bench.catalogue import BenchOptions
from enrichment.lab.bench.report import Report, Row, machine
from enrichment.lab.bench.sampling.child import one_core
from enrichment.lab.bench.sampling.instances import INSTANCES_HASH, instances
from enrichment.lab.bench.sampling.quality import FOUND, problem_of
from enrichment.problem.ising import Bits, Floats, all_energies, energies
from enrichment.provider import qsim, virtual
from enrichment.provider.answer import Problem
from enrichment.provider.jobs import versions_of
from enrichment.rollout.metrics import auc

NAME: Final = "noise"
COUNTS: Final = {6: 24, 8: 12, 10: 6}
"""Size -> instances a run: a thousand noisy shots of ten variables in two layers take 10 s."""

LAYERS: Final = (1, 2)
SHOTS: Final = 1_000
PACKAGES: Final = ("cirq-google", "qsimcirq", "numpy")

IDEAL: Final = "ideal"
VIRTUAL: Final = "virtual"
AGAIN: Final = "ideal, other seed"

Name = tuple[str, str, str]  # system, metric, unit

NOTES: Final = (
    (
        f"fixed instances {INSTANCES_HASH}, the first of each size ({COUNTS}); {SHOTS:,} shots; a "
        "run is a seed, its figure the mean over them; noise is a published snapshot's, no hardware"
    ),
    (
        "ratio, optimum_found, auc: as in `bench sampling`; ratio_corrected: readout errors taken "
        "out of the mean energy, where that helps"
    ),
    (
        f"membership_gap: mean |difference of ring membership| from {IDEAL}'s; histogram_distance: "
        f"Kolmogorov and Smirnov's of the energies; '{AGAIN}' is what shots alone do"
    ),
)


def run(options: BenchOptions) -> Report:
    """Run every size and depth. A run takes about three minutes of a core."""
    runs = 1 if options.quick else options.runs
    rows: list[Row] = []
    with one_core() as child:
        for size, count in ({6: 2} if options.quick else COUNTS).items():
            for layers in LAYERS[:1] if options.quick else LAYERS:
                found: dict[Name, list[float]] = {}
                for run_number in range(runs):
                    figures = child.call(figures_of, size, layers, count, run_number)
                    for name, value in figures.items():
                        found.setdefault(name, []).append(value)
                options.say(f"n = {size}, p = {layers}: done")
                rows += [
                    Row.of(f"n={size} p={layers}", system, metric, values, unit)
                    for (system, metric, unit), values in found.items()
                ]
    return Report(
        name=NAME, machine=machine(**versions_of(*PACKAGES)), rows=tuple(rows), notes=NOTES
    )


def figures_of(size: int, layers: int, count: int, run_number: int) -> dict[Name, float]:
    """In a child: each figure's mean over the first `count` instances."""
    found: dict[Name, list[float]] = {}
    for number, instance in enumerate(instances(size)[:count]):
        problem = problem_of(instance, run_number * 1_000 + number, layers=layers)
        other = problem_of(instance, run_number * 1_000 + number + 500, layers=layers)
        drawn = virtual.draw(problem)
        bits = {IDEAL: qsim.draw(problem).bits, VIRTUAL: drawn.bits, AGAIN: qsim.draw(other).bits}
        levels = all_energies(problem.model)
        for system, value in _of_samples(problem, bits, levels, instance.labels):
            found.setdefault(system, []).append(value)
        told = drawn.device_run
        if told is not None:
            corrected = _ratio(told.mean_energy.value, levels)
            found.setdefault((VIRTUAL, "ratio_corrected", "ratio"), []).append(corrected)
    return {name: float(np.mean(values)) for name, values in found.items()}


def _of_samples(
    problem: Problem, bits: dict[str, Bits], levels: Floats, labels: list[bool]
) -> Iterator[tuple[Name, float]]:
    """One instance's figures of each system, and how far it is from the ideal one."""
    energy = {system: energies(problem.model, drawn) for system, drawn in bits.items()}
    share = {system: ring_membership(bits[system], energy[system]) for system in bits}
    least = float(levels.min())
    for system in bits:
        if system != IDEAL:
            gap = float(np.abs(share[system] - share[IDEAL]).mean())
            yield (system, "membership_gap", "membership"), gap
            distance = histogram_distance(energy[system], energy[IDEAL])
            yield (system, "histogram_distance", "share"), distance
        if system != AGAIN:
            yield (system, "ratio", "ratio"), _ratio(float(energy[system].mean()), levels)
            found = float(energy[system].min() <= least + FOUND)
            yield (system, "optimum_found", "share"), found
            yield (system, "auc", "AUC"), auc(labels, share[system])


def _ratio(mean_energy: float, levels: Floats) -> float:
    """How far of the way from the mean over all strings to the minimum a mean energy is."""
    mean = float(levels.mean())
    return (mean - mean_energy) / (mean - float(levels.min()))
