"""The samplers that are compared, each asked the same problems with the same seeds and shots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from enrichment.pipelines import Pipeline
from enrichment.problem import KINDS
from enrichment.problem.ising import all_energies, ising
from enrichment.provider import annealing, exact, qsim, random
from enrichment.provider.answer import Drawn, Problem, sample_set
from enrichment.provider.contract import SampleSet
from enrichment.records import MicroBatch
from enrichment.records.micro_batch import Problem as Subgraph
from enrichment.sample.estimate import CLASSICAL, QUANTUM, RANDOM, seed_of

OPTIMUM: Final = "optimum"
ANNEALING: Final = "annealing"
LAYERS: Final = {"qaoa_1": 1, QUANTUM: 2, "qaoa_3": 3}
"""Circuits by path; the one of two layers is what the service publishes as `quantum`."""

SHOTS: Final = 1_000
TIE: Final = 1e-9
"""Strings whose energies differ by less are optima alike, and share fractionally."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """One path of estimates: what draws, and how it is called in a table."""

    path: str
    title: str


SAMPLERS: Final = (
    Sampler(path=OPTIMUM, title="optimum"),
    Sampler(path=CLASSICAL, title="exact twin"),
    Sampler(path=ANNEALING, title="annealing"),
    Sampler(path="qaoa_1", title="QAOA p=1"),
    Sampler(path=QUANTUM, title="QAOA p=2"),
    Sampler(path="qaoa_3", title="QAOA p=3"),
    Sampler(path=RANDOM, title="random"),
)


def answers_by_path(pipeline: Pipeline, batch: MicroBatch) -> dict[str, tuple[SampleSet, ...]]:
    """What every sampler says of every problem of a micro-batch, by path: paired throughout."""
    found: dict[str, list[SampleSet]] = {sampler.path: [] for sampler in SAMPLERS}
    for subgraph in batch.problems:
        problem = _problem(pipeline, batch, subgraph)
        for path, answer in _answers(problem).items():
            found[path].append(answer)
    return {path: tuple(answers) for path, answers in found.items()}


def _problem(pipeline: Pipeline, batch: MicroBatch, subgraph: Subgraph) -> Problem:
    """The model of one subgraph, seeded as the service seeds it."""
    bad = frozenset(subgraph.known_bad)
    flags = tuple(int(node in bad) for node in range(len(subgraph.nodes))) if bad else ()
    model = KINDS[pipeline.problem.kind](subgraph.nodes, subgraph.weights, flags)
    return Problem(
        model=ising(model),
        variables=subgraph.nodes,
        layers=LAYERS[QUANTUM],
        shots=SHOTS,
        seed=seed_of(batch.micro_batch_id, subgraph.problem_id),
    )


def _answers(problem: Problem) -> Mapping[str, SampleSet]:
    found = {
        CLASSICAL: sample_set(problem, "exact", exact.draw(problem)),
        ANNEALING: sample_set(problem, "annealing", annealing.draw(problem)),
        RANDOM: sample_set(problem, "random", random.draw(problem)),
        OPTIMUM: _optimum(problem),
    }
    for path, layers in LAYERS.items():
        mine = replace(problem, layers=layers)
        found[path] = sample_set(mine, "qsim", qsim.draw(mine))
    return found


def _optimum(problem: Problem) -> SampleSet:
    """The strings of least energy, each once, as if they were all that was ever drawn."""
    levels = all_energies(problem.model)
    best: Sequence[int] = np.flatnonzero(levels <= levels.min() + TIE).tolist()
    bits = (np.array(best)[:, None] >> np.arange(problem.model.size)) & 1
    drawn = Drawn(bits=bits.astype(np.uint8), optimum_energy=float(levels.min()))
    return sample_set(replace(problem, shots=len(best)), OPTIMUM, drawn)
