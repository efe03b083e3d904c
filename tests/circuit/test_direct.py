"""The direct qsim path is the Cirq circuit: same states, same distribution, seeded."""

import subprocess
import sys

import cirq
import numpy as np
import pytest
from scipy.stats import chisquare

from enrichment.circuit import qaoa_circuit, scaled_angles
from enrichment.circuit.direct import final_state, sample
from enrichment.problem.ising import ising
from tests.circuit.models import random_model
from tests.circuit.reference import distance, state


@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
@pytest.mark.parametrize("size", [1, 2, 3, 6, 9, 12])
@pytest.mark.parametrize(("layers", "density"), [(1, 0.8), (2, 0.8), (2, 0.2)])
def test_final_state_is_the_circuits(vartype: str, size: int, layers: int, density: float) -> None:
    """Direct state, Cirq's own state and the independent statevector agree to 1e-6."""
    model = random_model(size, vartype, seed=size, density=density)
    gammas, betas = scaled_angles(model, layers)
    direct = final_state(ising(model), gammas, betas).astype(np.complex128)
    circuit = qaoa_circuit(model, gammas, betas, measure=False)
    ordinary = cirq.final_state_vector(
        circuit, qubit_order=cirq.LineQubit.range(size), dtype=np.complex128
    )
    assert distance(direct, ordinary) < 1e-6
    assert distance(direct, state(model, gammas, betas)) < 1e-6


@pytest.mark.parametrize("density", [0.2, 0.8])
def test_large_models_fuse_to_the_same_state(density: float) -> None:
    """From 16 variables, where gates are fused in threes, the state is still the circuit's."""
    model = random_model(16, "BINARY", seed=16, density=density)
    gammas, betas = scaled_angles(model, 1)
    direct = final_state(ising(model), gammas, betas).astype(np.complex128)
    circuit = qaoa_circuit(model, gammas, betas, measure=False)
    ordinary = cirq.final_state_vector(
        circuit, qubit_order=cirq.LineQubit.range(16), dtype=np.complex128
    )
    assert distance(direct, ordinary) < 1e-6


def test_samples_follow_the_circuits_distribution() -> None:
    """20,000 samples fit |psi|^2 of the Cirq circuit by a chi-square test, column k variable k."""
    size = 5
    model = random_model(size, "BINARY", seed=11)
    gammas, betas = scaled_angles(model, 2)
    bits = sample(ising(model), gammas, betas, 20_000, np.random.default_rng(7))
    counts = np.bincount(bits @ (1 << np.arange(size - 1, -1, -1)), minlength=2**size)
    psi = cirq.final_state_vector(
        qaoa_circuit(model, gammas, betas, measure=False), dtype=np.complex128
    )
    wanted = np.abs(psi) ** 2 * len(bits)
    rare = wanted < 5.0
    seen = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(wanted[~rare], wanted[rare].sum())
    assert chisquare(seen, expected * seen.sum() / expected.sum()).pvalue > 1e-3


def test_same_seed_same_samples_and_shuffled() -> None:
    """A seed gives the same samples again, another seed others, and no order by string is left."""
    form = ising(random_model(6, "SPIN", seed=2))
    draw = [
        sample(form, (0.3,), (0.4,), 500, np.random.default_rng(seed)).tolist()
        for seed in (1, 1, 2)
    ]
    assert draw[0] == draw[1]
    assert draw[0] != draw[2]
    strings = np.array(draw[0]) @ (1 << np.arange(5, -1, -1))
    first, second = strings[:250].mean(), strings[250:].mean()
    assert abs(first - second) < 8.0  # sorted halves would differ by about 32


def test_direct_path_does_not_import_cirq() -> None:
    """A worker process samples without paying for cirq, and both ways in share one module."""
    program = (
        "import sys, numpy as np, dimod\n"
        "from enrichment.problem.ising import ising\n"
        "from enrichment.circuit.direct import sample, qsim\n"
        "m = ising(dimod.BinaryQuadraticModel({'a': 1.0}, {}, 0.0, 'SPIN'))\n"
        "sample(m, (0.1,), (0.2,), 3, np.random.default_rng(0))\n"
        "assert 'cirq' not in sys.modules and 'qsimcirq' not in sys.modules\n"
        "import qsimcirq\n"
        "assert qsimcirq.qsim is qsim()\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
