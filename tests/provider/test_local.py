"""What is said of failures, twins and light imports, beyond the contract all providers share."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from itertools import product
from types import ModuleType

import dimod
import numpy as np
import pytest
import qsimcirq

from enrichment.circuit import circuit_hash, direct, scaled_angles
from enrichment.problem.ising import ising
from enrichment.provider import annealing, exact, local, open_provider, qsim
from enrichment.provider.answer import Drawn, Problem, sample_set
from enrichment.provider.contract import Failure, FailureKind, Handle, Running
from enrichment.provider.local import Work, failure_of, solve
from enrichment.provider.pool import Pool
from tests.provider.requests import answer_of, model_of, now_ms, request_of, result_of, sleep


def problem_of(model: dimod.BinaryQuadraticModel, *, shots: int = 500) -> Problem:
    """Return a model as a child sees it."""
    return Problem(
        model=ising(model), variables=tuple(model.variables), layers=2, shots=shots, seed=3
    )


def test_exact_marginals_are_gibbs_at_the_stated_temperature() -> None:
    """By brute force over all strings: P(x) proportional to exp(-E / T), and the true minimum."""
    model = model_of(5, 8)
    drawn = exact.draw(problem_of(model, shots=20_000))
    strings = np.array(list(product((0, 1), repeat=5)))
    energy = model.energies((strings, list(model.variables)))
    weights = np.exp(-energy / drawn.temperature)
    wanted = (weights / weights.sum()) @ strings
    assert drawn.marginals == pytest.approx(wanted)
    assert drawn.optimum_energy == pytest.approx(energy.min())
    assert drawn.bits.mean(axis=0) == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("sampler", [annealing, qsim])
def test_samplers_find_the_proven_optimum(sampler: ModuleType) -> None:
    """With columns in the model's order, 500 shots at 8 variables hold the exact optimum."""
    problem = problem_of(model_of(8, 3))
    best = sample_set(problem, "any", sampler.draw(problem)).summary.best_energy
    assert best == pytest.approx(exact.draw(problem).optimum_energy)


def test_qsim_says_which_circuit_it_ran() -> None:
    """Hash and angles in the answer are those of the model's own circuit, made again."""
    model = model_of(5, 8)
    drawn = qsim.draw(problem_of(model))
    assert (drawn.gammas, drawn.betas) == scaled_angles(model, 2)
    assert drawn.circuit_hash == circuit_hash(model, drawn.gammas, drawn.betas)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BrokenProcessPool("a child died"), FailureKind.TRANSIENT),
        (MemoryError(), FailureKind.TRANSIENT),
        (CancelledError(), FailureKind.CANCELLED),
        (ValueError("NaN"), FailureKind.ALGORITHM),
        (ZeroDivisionError(), FailureKind.ALGORITHM),
        (SystemExit(1), FailureKind.UNKNOWN),
    ],
)
def test_every_exception_has_a_kind(error: BaseException, kind: FailureKind) -> None:
    """The table says what an exception means; what it does not know is UNKNOWN."""
    assert failure_of(error).kind is kind


@pytest.mark.parametrize(
    "bits",
    [
        np.zeros((500, 4), np.uint8),
        np.zeros((499, 5), np.uint8),
        np.zeros((500, 5), np.int64),
        np.full((500, 5), 7, np.uint8),
        np.full((500, 5), np.nan),
    ],
)
def test_what_is_not_samples_is_not_let_in(bits: np.ndarray) -> None:
    """Wrong width, shots, type or values raise, which a provider reports as ALGORITHM."""
    with pytest.raises(ValueError, match="bits must be"):
        sample_set(problem_of(model_of(5, 8)), "qsim", Drawn(bits=bits))


def test_failing_sampler_is_an_algorithm_failure_that_names_its_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sampler that answers with the wrong number of shots fails its job, and says where."""
    monkeypatch.setattr(qsim, "draw", lambda _: Drawn(bits=np.zeros((1, 5), np.uint8)))
    work = Work(
        sampler="qsim", problems=(problem_of(model_of(5, 8)),), twins=(), until_s=float("inf")
    )
    answer = solve(work)
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.ALGORITHM
    assert "problem 0" in answer.detail


def test_killed_child_is_transient_and_the_job_may_be_sent_again() -> None:
    """SIGKILL in the middle of a job is TRANSIENT; the same id then runs on a new child."""
    pool = Pool(workers=1)
    provider = open_provider("random", pool, now_ms=now_ms)
    try:
        child = pool.submit(sleep, 0.0)
        assert not isinstance(child, Failure)
        pid = child.result(timeout=30)
        seconds = request_of(
            "killed", models=(model_of(20, 1),) * 64, seeds=tuple(range(64)), twins=("exact",)
        )
        assert isinstance(provider.submit(seconds), Handle)
        while not (isinstance(told := provider.poll("killed"), Running) and told.queue_s == 0.0):
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
        answer = answer_of(provider, "killed")
        assert isinstance(answer, Failure)
        assert answer.kind is FailureKind.TRANSIENT
        assert result_of(provider, request_of("killed")).sets
    finally:
        provider.close()
        pool.close()


def test_fetched_answers_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the last few fetched answers are kept: memory does not grow with jobs."""
    monkeypatch.setattr("enrichment.provider.jobs.KEPT_MAX", 2)
    pool = Pool(workers=1)
    provider = open_provider("random", pool, now_ms=now_ms)
    try:
        for name in ("a", "b", "c"):
            result_of(provider, request_of(name))
        kinds = [
            answer.kind if isinstance(answer := provider.poll(name), Failure) else "kept"
            for name in ("a", "b", "c")
        ]
    finally:
        provider.close()
        pool.close()
    assert kinds == [FailureKind.UNKNOWN, "kept", "kept"]


def test_contract_marginals_and_problems_import_no_cirq() -> None:
    """The worker's own process and the classical children never pay for cirq."""
    program = (
        "import sys\n"
        "import enrichment.provider, enrichment.provider.contract, enrichment.provider.local\n"
        "import enrichment.circuit.marginals, enrichment.circuit.angles, enrichment.problem\n"
        "import enrichment.provider.qsim, enrichment.provider.exact\n"
        "heavy = {'cirq', 'qsimcirq', 'confluent_kafka', 'redis'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    ("provider", "heavy"), [("", []), ("qsim", []), ("google", []), ("virtual", ["virtual"])]
)
def test_children_warm_up_for_what_they_will_do(
    monkeypatch: pytest.MonkeyPatch, provider: str, heavy: list[str]
) -> None:
    """The virtual device's seconds of imports are spent where it is the pipeline's provider."""
    warmed: list[str] = []
    monkeypatch.setattr(local, "_sample", lambda name, _: warmed.append(name))
    local.warm_up(provider)
    assert warmed == [*local.LIGHT, *heavy]


def test_what_samples_depend_on_is_described() -> None:
    """The class of machine by which qsim chooses its code, and the settings of that sampler."""
    pool = Pool(workers=1)
    try:
        told = {
            name: dict(open_provider(name, pool, now_ms=now_ms).describe().conditions)
            for name in ("qsim", "exact")
        }
    finally:
        pool.close()
    assert qsimcirq.qsim.__name__.endswith(f"_{told['exact']['machine'].split()[1]}")
    assert told["qsim"] == {**told["exact"], **direct.SETTINGS}
    assert set(told["exact"]) == {"machine"}
