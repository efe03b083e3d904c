"""The quantum circuit on the qsim simulator: the default provider."""

from collections.abc import Callable
from typing import Final

from enrichment.circuit.angles import ising_scaled_angles
from enrichment.circuit.direct import sample as sample_circuit
from enrichment.circuit.template import ising_circuit_hash
from enrichment.provider.answer import Drawn, Problem, generator
from enrichment.provider.contract import VARIABLES_MAX
from enrichment.provider.local import Local
from enrichment.provider.pool import Pool

GATES: Final = ("H", "ZZ", "Rz", "Rx")


def draw(problem: Problem) -> Drawn:
    """Return samples of the problem's QAOA circuit at its scaled angles."""
    gammas, betas = ising_scaled_angles(problem.model, problem.layers)
    random = generator(problem, "qsim")
    return Drawn(
        bits=sample_circuit(problem.model, gammas, betas, problem.shots, random),
        circuit_hash=ising_circuit_hash(problem.model, gammas, betas),
        gammas=gammas,
        betas=betas,
    )


def open_provider(pool: Pool, now_ms: Callable[[], int]) -> Local:
    """Return the provider, its circuits run in `pool`."""
    return Local("qsim", pool, now_ms, variables_max=VARIABLES_MAX, gate_set=GATES)
