"""The sampler that draws recorded problems again, on this machine and from a seed, for nothing.

A device is not asked: for `virtual`, `google` and others it is the noiseless simulator's spread
that is measured, at the pipeline's layers and shots, and not the device's noise.
"""

from collections.abc import Sequence
from typing import Final

from enrichment.pipelines import Pipeline
from enrichment.problem import KINDS
from enrichment.problem.ising import ising
from enrichment.provider import annealing, exact, qsim, random
from enrichment.provider.answer import Problem, sample_set
from enrichment.records.micro_batch import Problem as Subgraph
from enrichment.rollout.repeats import Sampler
from enrichment.sample.flight import flags_of

DRAWS: Final = {"exact": exact, "annealing": annealing, "random": random}


def sampler_of(pipeline: Pipeline, provider: str = "") -> Sampler:
    """Memberships of a recorded problem, by the provider that the pipeline's file names."""
    sampling = pipeline.sampling
    name = provider or sampling.provider
    draw = DRAWS.get(name, qsim).draw

    def memberships(subgraph: Subgraph, seed: int) -> Sequence[float]:
        build = KINDS[pipeline.problem.kind]
        model = build(subgraph.nodes, subgraph.weights, flags_of(subgraph))
        problem = Problem(
            model=ising(model),
            variables=subgraph.nodes,
            layers=sampling.layers,
            shots=sampling.shots,
            seed=seed,
        )
        drawn = sample_set(problem, name if name in DRAWS else "qsim", draw(problem))
        found: Sequence[float] = drawn.summary.membership.tolist()
        return found

    return memberships
