"""What jobs show of their samples: each once, as it ended, spot checks apart."""

from typing import Any

import msgspec
import pytest

from enrichment.records import JobEvent, JobState
from enrichment.rollout import gap
from enrichment.rollout.evidence import Figure
from enrichment.rollout.sampled import Ended, Ending, as_of, cost_of, ended, sampling_of, share
from enrichment.sample.machine import TERMINAL

MEANS = {"quantum_mean_energy": -3.0, "classical_mean_energy": -4.0, "random_mean_energy": -2.0}


def job(job_id: str = "payments|eu|1|0", at_ms: int = 100, **other: Any) -> Ended | None:
    """A job that qsim answered, through a job event as it is written, to its end."""
    told: dict[str, Any] = {
        "job_id": job_id,
        "pipeline": "payments",
        "shard": "eu",
        "attempt": 1,
        "at_ms": at_ms,
        "event": "SamplesReceived",
        "state_before": JobState.EXECUTING,
        "state_after": JobState.SUCCEEDED,
        "provider": "qsim",
        "durations_ms": {"queue": 10.0, "execution": 20.0},
        "differences": {"p": {"membership_gap": 0.2, **MEANS}},
    }
    written = msgspec.json.encode(JobEvent(**(told | other)))
    return ended(msgspec.json.decode(written, type=Ending), "v")


def some(*jobs: Ended | None) -> list[Ended]:
    """Those that count, as they are known at 1,000 ms."""
    return as_of([each for each in jobs if each is not None], 1_000)


def test_a_job_counts_once_as_it_ended_last_by_then() -> None:
    """A retried job is what the retry made of it, and before the retry what it was."""
    failed, done = job(at_ms=50, state_after=JobState.FAILED), job(at_ms=100)
    assert failed is not None
    assert done is not None
    assert as_of([done, failed, done], 100) == as_of([failed, done], 100) == [done]
    assert as_of([done, failed], 99) == [failed]
    assert as_of([done, failed], 49) == []


def test_what_is_no_end_or_asked_nobody_does_not_count() -> None:
    """Steps on the way, orders to what has ended, micro-batches without problems."""
    assert job(state_after=JobState.EXECUTING) is None
    assert job(state_before=JobState.FAILED, state_after=JobState.FAILED) is None
    assert job(event="NothingToSolve") is None
    every = {state for state in JobState if job(state_after=state) is not None}
    assert every == TERMINAL


def test_figures_are_means_over_jobs_and_checks_are_apart() -> None:
    """The energy gap is on the way from the twin to random strings; kept samples are no news."""
    other = {"p": {"membership_gap": 0.4, **MEANS, "quantum_mean_energy": -4.0}}
    check = {"p": {**MEANS, "simulator_mean_energy": -3.5, "simulator_membership_gap": 0.1}}
    kept = {
        "p": {"request_id": "r", "provider_job_id": "x", "paid_at_ms": 1},
    }
    jobs = some(
        job("a", 100),
        job("b", 200, differences=other),
        job("c", 300, differences=other, kept=_kept(kept)),
        job("d", 400, state_after=JobState.FAILED, durations_ms={}, differences={}),
        job("a|check", 500, provider="virtual", check_of="a", differences=check, cost_micro=9),
    )
    found = sampling_of(jobs, {"a": 90}, Figure(value=None), level=0.95, seed=1)
    assert (found.jobs, found.checks) == (4, 1)
    figures = {name: figure.value for name, figure in found.figures.items()}
    assert figures["energy_gap"] == 0.25
    assert figures["membership_gap"] == pytest.approx(0.3)
    assert figures["failed_share"] == 0.25
    assert figures["check_energy_gap"] == pytest.approx(1 / 3)
    assert figures["check_membership_gap"] == 0.1
    assert figures["histogram_distance"] is None
    # From the window's close where that is at hand, else from the job's own times.
    assert figures["latency_p50_ms"] == 30.0
    assert figures["latency_p99_ms"] == pytest.approx(30.0)
    assert figures["cost_per_job"] == 0.0


def _kept(kept: dict[str, Any]) -> Any:
    from enrichment.records import KeptSamples

    return {name: KeptSamples(**told) for name, told in kept.items()}


def test_costs_are_the_paths_whose_samples_were_paid_for() -> None:
    """Circuits are the quantum path's, also where a fallback answered; checks are nobody's."""
    jobs = some(
        job("a", cost_micro=2_000_000),
        job("b", provider="annealing", cost_micro=1_000_000),
        job("c", provider="random", cost_micro=4_000_000),
        job("d", check_of="a", cost_micro=8_000_000),
        job("e", at_ms=900, cost_micro=16_000_000),
        job("f", provider="exact", chosen="ionq", cost_micro=32_000_000),
    )
    assert cost_of(jobs, "quantum", 800) == 34.0
    assert cost_of(jobs, "classical", 800) == 1.0
    assert cost_of(jobs, "quantum", 900) == 50.0


def test_a_gap_without_a_scale_is_not_known() -> None:
    """A flat model, or a record of before these figures, says nothing."""
    assert gap.energy_gap(MEANS | {"random_mean_energy": -4.0}) is None
    assert gap.energy_gap({"energy_gap": 1.0}) is None
    assert gap.energy_gap(MEANS | {"quantum_mean_energy": 99.0}) == gap.GAP_MAX


def test_no_failure_in_ten_is_not_proof_that_there_are_none() -> None:
    """Wilson's interval: 0 of 10 goes up to 28 %, and nothing of nothing is not known."""
    found = share(0, 10, 0.95)
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(0.278, abs=0.001)
    assert share(0, 0, 0.95).value is None
