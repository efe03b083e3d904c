"""How far a device is from its twins as its noise grows: `python -m enrichment.lab.noise_scale`.

Ring problems of the simulated payments stream, those of 8 accounts of the fixed instances and the
same cut to 7 and 6, each sampled by the circuit on the simulator and on the virtual device with so
many times its noise. What is compared is simulated: nothing here has run on a device.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import dimod
import numpy as np

from enrichment.circuit.marginals import differences
from enrichment.lab.bench.sampling.instances import Instance, cut, instances
from enrichment.problem import KINDS
from enrichment.problem.ising import ising, variables
from enrichment.provider import exact, qsim, random, virtual
from enrichment.provider.answer import Drawn, Problem, sample_set
from enrichment.sample.estimate import gap_share

SIZES: Final = (6, 7, 8)
SHOTS: Final = 200
LAYERS: Final = 2
SCALES: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
Draw = Callable[[Problem], Drawn]

EACH: Final = 12
"""Problems of each size: three dozen in all, two minutes of a core."""


def problems(each: int) -> Iterator[Problem]:
    """So many problems of each size, with seeds of their own."""
    for size in SIZES:
        for number, one in enumerate(instances(8)[:each]):
            model = _cut(one, size)
            yield Problem(
                model=ising(model),
                variables=variables(model),
                layers=LAYERS,
                shots=SHOTS,
                seed=1_000 * size + number,
            )


def _cut(one: Instance, size: int) -> dimod.BinaryQuadraticModel:
    """The instance's model on `size` of its accounts, its members first."""
    kept = sorted(cut(one.weights, one.members, one.size, size)) if size < one.size else None
    if kept is None:
        return one.model()
    place = {old: new for new, old in enumerate(kept)}
    weights = tuple((place[i], place[j], w) for i, j, w in one.weights if i in place and j in place)
    return KINDS["ring"](one.nodes[: len(kept)], weights, ())


def figures(problem: Problem, sampler: str, draw: Draw) -> Mapping[str, float | None]:
    """One sampler's gaps on one problem: from the classical twin and from the simulator."""
    begun_s = time.perf_counter()
    ours = sample_set(problem, sampler, draw(problem))
    took_s = time.perf_counter() - begun_s
    classical = sample_set(problem, "exact", exact.draw(problem))
    null = sample_set(problem, "random", random.draw(problem))
    simulator = sample_set(problem, "qsim", qsim.draw(problem))
    twin = differences(ours.summary, ours.energies, classical.summary, classical.energies)
    other = differences(ours.summary, ours.energies, simulator.summary, simulator.energies)
    share = partial(gap_share, ours.summary.mean_energy, random=null.summary.mean_energy)
    return {
        "mean_energy_gap": share(classical.summary.mean_energy),
        "simulator_mean_energy_gap": share(simulator.summary.mean_energy),
        "best_energy_gap": twin.energy_gap,
        "membership_gap": twin.membership_gap,
        "simulator_membership_gap": other.membership_gap,
        "simulator_histogram_distance": other.histogram_distance,
        "seconds": took_s,
    }


def table(chosen: Sequence[Problem], scales: Sequence[float]) -> list[dict[str, object]]:
    """One row for each sampler: the mean of each figure, and between problems its deviation."""
    rows = []
    again = [replace(problem, seed=problem.seed + 1) for problem in chosen]
    samplers: list[tuple[str, Draw, Sequence[Problem]]] = []
    samplers += [("random", random.draw, chosen), ("exact", exact.draw, again)]
    samplers.append(("qsim", qsim.draw, again))
    samplers += [
        (f"virtual x{scale:g}", partial(virtual.draw, noise_scale=scale), chosen)
        for scale in scales
    ]
    for name, draw, of in samplers:
        draw(of[0])  # what is built once is not counted
        found = [figures(problem, name, draw) for problem in of]
        row: dict[str, object] = {"sampler": name, "problems": len(found)}
        for figure in found[0]:
            values = np.array([one[figure] for one in found if one[figure] is not None])
            row[figure] = [round(float(values.mean()), 4), round(float(values.std()), 4)]
        rows.append(row)
        print(json.dumps(row), flush=True)  # noqa: T201  # a lab's command
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=EACH, help="problems of each size")
    parser.add_argument("--scales", type=float, nargs="+", default=list(SCALES))
    asked = parser.parse_args()
    table(list(problems(asked.each)), asked.scales)
