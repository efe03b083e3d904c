"""Case `speed`: problems per second of one core, from a model to ring membership, by every path.

All paths are run one after the other for each kind of problem, in alternating order, and so is each
run: ratios are within a run. Time is CPU time of the one thread that does the work, so that others
on the machine disturb it less; on a quiet one it is the wall clock's.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import cycle
from typing import Final

import cirq
import dimod
import numpy as np
import qsimcirq

from enrichment.circuit.angles import ising_scaled_angles
from enrichment.circuit.ansatz import MEASUREMENT_KEY, qaoa_circuit
from enrichment.circuit.direct import FUSE_LARGE, FUSE_LARGE_FROM, FUSE_SMALL
from enrichment.circuit.marginals import ring_membership
from enrichment.lab.bench.catalogue import BenchOptions
from enrichment.lab.bench.report import Row
from enrichment.lab.bench.sampling import statevector
from enrichment.lab.bench.sampling.child import one_core
from enrichment.lab.bench.sampling.instances import instances
from enrichment.problem.ising import Bits, Ising, energies, ising, variables
from enrichment.provider import annealing, qsim
from enrichment.provider.answer import Problem

SIZES: Final = (8, 12, 16, 20)
LAYERS: Final = 2
SHOTS: Final = 1_000
PROBLEMS: Final = 8
"""Different models that take turns: caches stay warm, and no single model is the figure."""

SECONDS: Final = 0.15
"""Of CPU for one path, problem and run; at least one problem."""

DIRECT: Final = "direct qsim"
BY_RUN: Final = "QSimSimulator.run"
CIRQ, NUMPY, ANNEALING = "cirq.Simulator", "numpy", "annealing"
DENSE, SPARSE = "dense", "sparse"
KINDS: Final = (DENSE, SPARSE)

Path = Callable[[dimod.BinaryQuadraticModel, Ising, int], Bits]
"""From a model, as it is and as arrays, and a seed to SHOTS samples."""

NOTES: Final = (
    (
        f"speed: from a binary quadratic model to ring membership, p = {LAYERS}, {SHOTS:,} shots, "
        "one thread on one core, by CPU time; all paths in turn within each run"
    ),
    (
        "dense: ring problems as they are, where theta couples every pair; sparse: the same graphs "
        "at theta 0, so that only linked pairs are coupled (at 12 accounts 25 of 66)"
    ),
    f"{ANNEALING}: dwave-samplers, {annealing.SWEEPS} sweeps a read; no circuit",
)


def rows(options: BenchOptions) -> Iterator[Row]:
    """Measure, and yield each path's rates and the ratios to the direct one."""
    sizes = SIZES[:2] if options.quick else SIZES
    runs = 1 if options.quick else options.runs
    found: dict[tuple[int, str], dict[str, list[float]]] = {}
    with one_core() as child:
        for run in range(runs):
            for size in sizes:
                for kind in KINDS:
                    seconds = 0.02 if options.quick else SECONDS
                    rates = child.call(rates_of, size, kind, seconds, run % 2 == 1)
                    for path, rate in rates.items():
                        found.setdefault((size, kind), {}).setdefault(path, []).append(rate)
            options.say(f"speed: run {run + 1} of {runs} is done")
    for (size, kind), by_path in found.items():
        case = f"speed, n={size}, {kind}"
        for path, measured in by_path.items():
            yield Row.of(case, path, "problems", measured, "problems/s")
        for path in by_path.keys() - {DIRECT}:
            ratios = [
                ours / theirs for ours, theirs in zip(by_path[DIRECT], by_path[path], strict=True)
            ]
            yield Row.of(case, f"{DIRECT} ÷ {path}", "ratio", ratios, "ratio")


def rates_of(size: int, kind: str, seconds: float, backwards: bool) -> dict[str, float]:
    """In a child: path -> problems per second of CPU, on models of one size and kind."""
    models = [
        each.model() if kind == DENSE else each.sparse_model()
        for each in instances(size)[:PROBLEMS]
    ]
    order = list(PATHS)[::-1] if backwards else list(PATHS)
    rates = {path: _rate(PATHS[path], models, seconds) for path in order}
    return {path: rates[path] for path in PATHS}


def _rate(path: Path, models: Sequence[dimod.BinaryQuadraticModel], seconds: float) -> float:
    """Problems per second of CPU; the first is not counted, it loads what has to be loaded."""
    _solve(path, models[0], 0)
    # What that loaded is never garbage: whoever allocates much is not charged for walking it.
    gc.collect()
    gc.freeze()
    done, started_s = 0, time.process_time()
    spent_s = 0.0
    for seed, model in enumerate(cycle(models), 1):
        _solve(path, model, seed)
        done += 1
        spent_s = time.process_time() - started_s
        if spent_s >= seconds:
            break
    return done / spent_s


def _solve(path: Path, model: dimod.BinaryQuadraticModel, seed: int) -> None:
    """One problem by one path, from the model to membership."""
    form = ising(model)
    bits = path(model, form, seed)
    ring_membership(bits, energies(form, bits))


def _problem(model: dimod.BinaryQuadraticModel, form: Ising, seed: int) -> Problem:
    """The problem as a worker process gets it."""
    return Problem(model=form, variables=variables(model), layers=LAYERS, shots=SHOTS, seed=seed)


def by_direct(model: dimod.BinaryQuadraticModel, form: Ising, seed: int) -> Bits:
    """The service's own path, its circuit's hash included."""
    return qsim.draw(_problem(model, form, seed)).bits


def by_run(model: dimod.BinaryQuadraticModel, form: Ising, seed: int) -> Bits:
    """The ordinary path: a Cirq circuit, translated, run and unpacked by qsimcirq."""
    del seed  # the simulator keeps its own: making one for each problem would cost it
    angles = ising_scaled_angles(form, LAYERS)
    result = _qsim_simulator(form.size).run(qaoa_circuit(model, *angles), repetitions=SHOTS)
    bits: Bits = result.measurements[MEASUREMENT_KEY].astype(np.uint8)
    return bits


def by_cirq(model: dimod.BinaryQuadraticModel, form: Ising, seed: int) -> Bits:
    """Cirq's own simulator, in single precision."""
    del seed
    angles = ising_scaled_angles(form, LAYERS)
    result = _cirq_simulator().run(qaoa_circuit(model, *angles), repetitions=SHOTS)
    bits: Bits = result.measurements[MEASUREMENT_KEY].astype(np.uint8)
    return bits


def by_numpy(model: dimod.BinaryQuadraticModel, form: Ising, seed: int) -> Bits:
    """The statevector of `enrichment.lab.bench.sampling.statevector`."""
    del model
    angles = ising_scaled_angles(form, LAYERS)
    return statevector.sample(form, *angles, SHOTS, np.random.default_rng(seed))


def by_annealing(model: dimod.BinaryQuadraticModel, form: Ising, seed: int) -> Bits:
    """The classical twin of large models."""
    return annealing.draw(_problem(model, form, seed)).bits


PATHS: Final[Mapping[str, Path]] = {
    DIRECT: by_direct,
    BY_RUN: by_run,
    CIRQ: by_cirq,
    NUMPY: by_numpy,
    ANNEALING: by_annealing,
}


@cache
def _qsim_simulator(size: int) -> qsimcirq.QSimSimulator:
    """The simulator with the settings that are ours too: one thread, gates fused alike."""
    fuse = FUSE_LARGE if size >= FUSE_LARGE_FROM else FUSE_SMALL
    return qsimcirq.QSimSimulator(
        qsimcirq.QSimOptions(cpu_threads=1, max_fused_gate_size=fuse), seed=1
    )


@cache
def _cirq_simulator() -> cirq.Simulator:
    """The simulator with its defaults."""
    return cirq.Simulator(seed=1)
