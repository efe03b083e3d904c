"""Case `quality`: what samples are worth, on the fixed instances, each sampler with its own seed.

A run is a seed of the samplers, and its figure the mean over the instances; an `error` is the
standard error of that mean over instances, of the figures averaged over all runs. What is compared
is compared on the same instances, so the error of a difference is that of paired differences.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from enrichment.circuit.marginals import ring_membership
from enrichment.lab.bench.catalogue import BenchOptions
from enrichment.lab.bench.report import Row
from enrichment.lab.bench.sampling.child import one_core
from enrichment.lab.bench.sampling.instances import INSTANCES_HASH, Instance, instances
from enrichment.problem.ising import Bits, Floats, all_energies, energies, ising, variables
from enrichment.provider import annealing, exact, qsim, random
from enrichment.provider.answer import Problem
from enrichment.provider.contract import SHOTS_MAX
from enrichment.rollout.metrics import auc

SIZES: Final = (8, 12, 16, 20)
SHOTS: Final = 1_000
LAYERS: Final = (1, 2, 3)
TIMED_LAYERS: Final = 2
"""Annealing gets the time of this depth, the service's own."""

TIMED_PROBLEMS: Final = 12
FOUND: Final = 1e-9
"""A sampled energy so close to the minimum is the minimum: sums differ in their last bits."""

EQUAL_TIME: Final = "annealing, equal time"
FULL: Final = "annealing"
GIBBS: Final = "exact (Gibbs samples)"
RANDOM: Final = "random"

FIGURES: Final = {"optimum_found": "share", "ratio": "ratio", "auc": "AUC"}

NOTES: Final = (
    (
        f"quality: fixed instances {INSTANCES_HASH}, planted rings with decoys; {SHOTS:,} shots; "
        "a run is a seed, its figure the mean over the instances"
    ),
    (
        "optimum_found: share of instances of which a sample has the proven least energy; ratio: "
        "(mean over all strings - mean energy) / (mean over all strings - minimum); auc: of ring "
        "membership for who is in a ring"
    ),
    (
        f"{EQUAL_TIME}: as many reads of {annealing.SWEEPS} sweeps as fit in the CPU time of QAOA "
        f"p = {TIMED_LAYERS}, measured in this run, its set-up not counted, at most {SHOTS_MAX:,}; "
        f"{FULL}: {SHOTS:,} reads"
    ),
    (
        f"{GIBBS}: independent samples at temperature {exact.GIBBS_TEMPERATURE:g} local norm: the "
        "ratio is that temperature's, and no measure of the solver, which knows the optimum"
    ),
)


@dataclass(slots=True)
class Found:
    """One sampler's figures on the instances of one size: shape (runs, instances) each."""

    by_figure: dict[str, list[Floats]] = field(default_factory=dict)

    def add(self, figures: Mapping[str, Floats]) -> None:
        """Take in a run."""
        for name, values in figures.items():
            self.by_figure.setdefault(name, []).append(values)

    def runs(self, name: str) -> list[float]:
        """The means over instances, run by run."""
        return [float(values.mean()) for values in self.by_figure[name]]

    def per_instance(self, name: str) -> Floats:
        """The means over runs, instance by instance."""
        means: Floats = np.mean(self.by_figure[name], axis=0)
        return means


def rows(options: BenchOptions) -> Iterator[Row]:
    """Measure, and yield each sampler's figures on each size."""
    runs = 1 if options.quick else options.runs
    with one_core() as child:
        for size in SIZES[:2] if options.quick else SIZES:
            count = 6 if options.quick else len(instances(size))
            found: dict[str, Found] = {}
            reads = []
            for run in range(runs):
                reads.append(child.call(equal_reads, size))
                figures = child.call(figures_of, size, count, run, reads[-1])
                for sampler, values in figures.items():
                    found.setdefault(sampler, Found()).add(values)
            options.say(f"quality: {count} instances of {size} accounts, {runs} runs: done")
            yield from _rows_of(f"quality, n={size}", found)
            yield Row.of(f"quality, n={size}", EQUAL_TIME, "reads", reads, "reads")


def _rows_of(case: str, found: Mapping[str, Found]) -> Iterator[Row]:
    """One size's rows."""
    null = found[RANDOM].per_instance("auc")
    for sampler, of_sampler in found.items():
        for name, unit in FIGURES.items():
            yield Row.of(case, sampler, name, of_sampler.runs(name), unit)
        over = of_sampler.per_instance("auc")
        yield Row.of(case, sampler, "auc_error", [_error(over)], "AUC")
        if sampler != RANDOM:
            yield Row.of(case, sampler, "auc_over_random", [float((over - null).mean())], "AUC")
            yield Row.of(case, sampler, "auc_over_random_error", [_error(over - null)], "AUC")


def _error(values: Floats) -> float:
    """The standard error of a mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def samplers(reads: int) -> dict[str, Callable[[Problem], Bits]]:
    """Name -> what draws a problem's samples."""
    return {
        **{f"QAOA p={layers}": partial(_circuit, layers=layers) for layers in LAYERS},
        EQUAL_TIME: partial(_anneal, reads=reads),
        FULL: partial(_anneal, reads=SHOTS),
        GIBBS: lambda problem: exact.draw(problem).bits,
        RANDOM: lambda problem: random.draw(problem).bits,
    }


def figures_of(size: int, count: int, run: int, reads: int) -> dict[str, dict[str, Floats]]:
    """In a child: sampler -> figure -> its value on each of the first `count` instances."""
    found: dict[str, dict[str, list[float]]] = {}
    for number, instance in enumerate(instances(size)[:count]):
        problem = problem_of(instance, run * 1_000 + number)
        levels = all_energies(problem.model)
        for name, draw in samplers(reads).items():
            figures = _figures(instance, problem, draw(problem), levels)
            for figure, value in figures.items():
                found.setdefault(name, {}).setdefault(figure, []).append(value)
    return {
        name: {figure: np.array(values) for figure, values in by_figure.items()}
        for name, by_figure in found.items()
    }


def _figures(
    instance: Instance, problem: Problem, bits: Bits, levels: NDArray[np.float64]
) -> dict[str, float]:
    """One sampler's figures on one instance."""
    energy = energies(problem.model, bits)
    mean, least = float(levels.mean()), float(levels.min())
    return {
        "optimum_found": float(energy.min() <= least + FOUND),
        "ratio": (mean - float(energy.mean())) / (mean - least),
        "auc": auc(instance.labels, ring_membership(bits, energy)),
    }


def equal_reads(size: int) -> int:
    """In a child: how many annealing reads take as long as the circuit's samples, at least one.

    Reads alone are counted: setting the sampler up takes as long as a hundred of them, in Python,
    and is not held against annealing.
    """
    problems = [
        problem_of(instance, number)
        for number, instance in enumerate(instances(size)[:TIMED_PROBLEMS])
    ]
    circuit_s = _seconds(partial(_circuit, layers=TIMED_LAYERS), problems)
    few_s = _seconds(partial(_anneal, reads=1), problems)
    many_s = _seconds(partial(_anneal, reads=SHOTS), problems)
    read_s = (many_s - few_s) / (SHOTS - 1)
    return int(np.clip(circuit_s / read_s, 1, SHOTS_MAX))


def _seconds(draw: Callable[[Problem], Bits], problems: list[Problem]) -> float:
    """The CPU time of a problem, the first not counted."""
    draw(problems[0])
    started_s = time.process_time()
    for problem in problems:
        draw(problem)
    return (time.process_time() - started_s) / len(problems)


def problem_of(instance: Instance, seed: int, *, layers: int = TIMED_LAYERS) -> Problem:
    """The instance as a worker process gets it."""
    model = instance.model()
    return Problem(
        model=ising(model),
        variables=variables(model),
        layers=layers,
        shots=SHOTS,
        seed=seed,
    )


def _circuit(problem: Problem, layers: int) -> Bits:
    """Samples of the QAOA circuit."""
    return qsim.draw(replace(problem, layers=layers)).bits


def _anneal(problem: Problem, reads: int) -> Bits:
    """So many annealing reads."""
    return annealing.draw(replace(problem, shots=reads)).bits
