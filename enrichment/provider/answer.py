"""The one gate by which samples come in: raw bits are checked, energies and summary computed.

Whatever a provider claims about its samples is not used; what is not samples is not let in.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from enrichment.circuit.marginals import summarise
from enrichment.problem.ising import Bits, Floats, Ising, energies
from enrichment.provider.contract import DeviceRun, SampleSet


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """One model of a request, as arrays that survive the way to another process."""

    model: Ising
    variables: tuple[Hashable, ...]
    layers: int
    shots: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """What a sampler drew for one problem; the optional fields are those of `SampleSet`."""

    bits: Bits
    marginals: Floats | None = None
    temperature: float | None = None
    optimum_energy: float | None = None
    circuit_hash: str = ""
    gammas: tuple[float, ...] = ()
    betas: tuple[float, ...] = ()
    device_run: DeviceRun | None = None


def generator(problem: Problem, sampler: str) -> np.random.Generator:
    """Return the problem's own random generator for one sampler: twins never share a stream."""
    return np.random.default_rng([problem.seed, crc32(sampler.encode())])


def sample_set(problem: Problem, sampler: str, drawn: Drawn) -> SampleSet:
    """Return the checked sample set; raises ValueError where the bits are not `shots` samples."""
    wanted = (problem.shots, problem.model.size)
    if drawn.bits.shape != wanted or drawn.bits.dtype != np.uint8:
        msg = f"bits must be uint8 of shape {wanted}: {drawn.bits.dtype} {drawn.bits.shape}"
        raise ValueError(msg)
    energy = energies(problem.model, drawn.bits)
    return SampleSet(
        sampler=sampler,
        variables=problem.variables,
        bits=drawn.bits,
        energies=energy,
        summary=summarise(drawn.bits, energy),
        seed=problem.seed,
        marginals=drawn.marginals,
        temperature=drawn.temperature,
        optimum_energy=drawn.optimum_energy,
        circuit_hash=drawn.circuit_hash,
        gammas=drawn.gammas,
        betas=drawn.betas,
        device_run=drawn.device_run,
    )
