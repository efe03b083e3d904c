"""The guard's policy: full windows alone are judged, of the provider and the rollout of now."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.records.control import Compute
from enrichment.records.enriched import Path, Stage
from enrichment.records.job import JobEvent, JobState
from enrichment.rollout.control import ControlState
from enrichment.rollout.gap import GAP_MAX, energy_gap, of_job
from enrichment.rollout.gap import figure as recorded
from enrichment.rollout.policy import Demotion, Policy, standing_of
from tests.rollout.deciding import PAYMENTS, guarded, in_force
from tests.rollout.evidences import differing, evidence, figure

LET_IN = in_force(Stage.LIVE, Path.QUANTUM)


def ended(energy: float = 0.1, membership: float = 0.05, **fields: Any) -> JobEvent:
    """A job that the virtual device has answered, so far from its twin."""
    told: dict[str, Any] = {
        "job_id": "j",
        "pipeline": "payments",
        "shard": "eu",
        "attempt": 1,
        "at_ms": 1,
        "event": "SamplesReceived",
        "state_before": JobState.EXECUTING,
        "state_after": JobState.SUCCEEDED,
        "provider": "virtual",
        "differences": {
            "p0": {
                "quantum_mean_energy": 4.0 * energy - 9.0,
                "classical_mean_energy": -9.0,
                "random_mean_energy": -5.0,
                "membership_gap": membership,
            }
        },
    }
    return JobEvent(**(told | fields))


FALLEN = ended(state_after=JobState.FALLBACK_COMPLETE, event="FallbackReceived", provider="exact")
FAILED = ended(state_after=JobState.FAILED, event="ChainExhausted", provider="annealing")


def watching(state: ControlState = LET_IN, jobs: int = 3) -> Policy:
    """A policy that knows what is in force."""
    policy = Policy(guarded(jobs))
    policy.heed(state)
    return policy


def fed(policy: Policy, *events: JobEvent) -> list[Demotion]:
    """What follows from them all."""
    return [demotion for event in events for demotion in policy.ended(event)]


@pytest.mark.parametrize(
    ("event", "name", "value"),
    [
        (ended(energy=0.8), "energy_gap", 0.8),
        (ended(membership=0.4), "membership_gap", 0.4),
        (msgspec.structs.replace(FALLEN, differences={}), "failed_share", 1.0),
        (ended(cost_micro=2_000_000), "cost_per_job", 2.0),
    ],
)
def test_a_full_window_of_each_figure_takes_the_path_out(
    event: JobEvent, name: str, value: float
) -> None:
    """At its last job and not before, naming figure and threshold; then the window is empty."""
    policy = watching()
    assert fed(policy, event, event) == []
    [demotion] = fed(policy, event)
    assert (demotion.path, demotion.figure) == (Path.QUANTUM, name)
    assert demotion.value == pytest.approx(value)
    assert name.replace("_", " ") in demotion.reason
    assert f"above {demotion.threshold:g}" in demotion.reason
    assert fed(policy, event, event) == []
    assert len(fed(policy, event)) == 1


def test_one_bad_job_among_good_ones_is_no_reason() -> None:
    """It is the mean that counts, and a window rolls on."""
    policy = watching(jobs=5)
    good, bad = ended(), ended(energy=1.0, membership=0.3)
    assert fed(policy, *[good, good, bad, good] * 10) == []
    assert fed(policy, bad, bad, bad)


def test_noise_that_is_raised_takes_a_canary_out_too() -> None:
    """Whoever serves anybody is watched."""
    policy = watching(in_force(Stage.CANARY, Path.QUANTUM))
    found = fed(policy, *[ended(energy=0.3 * step) for step in range(10)])
    assert [one.figure for one in found[:1]] == ["energy_gap"]


def test_who_serves_nobody_is_not_taken_out() -> None:
    """Shadow is where it would be sent."""
    bad = ended(energy=2.0)
    assert fed(watching(in_force(Stage.SHADOW, Path.QUANTUM)), *[bad] * 9) == []
    assert fed(Policy(guarded(3)), *[bad] * 9) == []  # it has not yet been told of any


def test_the_window_begins_anew_with_another_rollout_or_provider() -> None:
    """Nobody is taken out for what was seen before they were let in, or of another provider."""
    bad = ended(energy=2.0)
    policy = watching()
    fed(policy, bad, bad)
    policy.heed(in_force(Stage.CANARY, Path.QUANTUM))
    assert fed(policy, bad, bad) == []
    qsim = in_force(Stage.CANARY, Path.QUANTUM, provider="qsim")
    policy.heed(qsim)
    assert fed(policy, *[bad] * 9) == []  # answers of the former provider
    policy.heed(msgspec.structs.replace(qsim, revision="the same in other words"))
    assert fed(policy, *[msgspec.structs.replace(bad, provider="qsim")] * 3)


def test_what_says_nothing_of_the_provider_is_passed_over() -> None:
    """Spot checks, other pipelines, jobs still at work, and those that somebody ended."""
    bad = ended(energy=2.0)
    for other in (
        {"check_of": "j0"},
        {"pipeline": "cards"},
        {"state_after": JobState.EXECUTING},
        {"state_after": JobState.FAILED, "event": "CancelOrdered"},
        {"event": "NothingToSolve"},
    ):
        assert fed(watching(), *[msgspec.structs.replace(bad, **other)] * 9) == []


def test_the_classical_path_falls_with_jobs_that_have_no_answer_at_all() -> None:
    """A fallback's answer has the classical estimate, and a noisy circuit does not harm it."""
    live, out = in_force(Stage.LIVE, Path.CLASSICAL), in_force(Stage.SHADOW, Path.QUANTUM)
    both = live.rollouts | out.rollouts
    policy = watching(msgspec.structs.replace(LET_IN, rollouts=both))
    assert fed(policy, *[ended(energy=2.0, cost_micro=9_000_000), FALLEN] * 9) == []
    found = fed(policy, FAILED, FAILED)
    assert [(one.path, one.figure) for one in found] == [(Path.CLASSICAL, "failed_share")]


def test_without_a_record_the_pipelines_file_says_who_serves() -> None:
    """Payments' lets quantum serve, and with it the classical path behind it."""
    assert PAYMENTS.score.serve == "quantum"
    nothing = ControlState(pipeline="payments")
    for path in (Path.CLASSICAL, Path.QUANTUM):
        standing = standing_of(path, PAYMENTS, nothing)
        assert standing.let_in
        assert standing.provider == PAYMENTS.sampling.provider
    chosen = ControlState(pipeline="payments", compute=Compute(provider="virtual"))
    assert standing_of(Path.QUANTUM, PAYMENTS, chosen).provider == "virtual"


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"quantum_heuristic": figure(-0.1, -0.2, -0.01)}, "quantum-heuristic"),
        ({"quantum_classical": figure(-0.1, -0.2, -0.021)}, "quantum-classical"),
        ({"quantum_heuristic": figure(-0.1, -0.2, 0.0)}, None),
        ({"quantum_classical": figure(-0.1, -0.2, -0.02)}, None),
        ({"quantum_heuristic": figure(None)}, None),
        ({"quantum_heuristic": figure(float("nan"))}, None),
        ({"quantum_heuristic": figure(float("-inf"))}, None),
    ],
)
def test_outcomes_take_out_what_they_speak_against(
    changed: dict[str, Any], name: str | None
) -> None:
    """With the whole interval below the bound; what is unknown speaks against nobody."""
    found = watching().weighed(differing(evidence(), **changed))
    assert [one.figure for one in found] == ([] if name is None else [name])
    for one in found:
        assert (one.evidence_id, one.experiment_id) == ("v1", "e1")
        assert "at most" in one.reason


def test_outcomes_count_between_looks_but_not_before_the_first() -> None:
    """And of this pipeline, of paths that serve."""
    lost = differing(evidence(look=0, bad=150), quantum_heuristic=figure(-0.1, -0.2, -0.05))
    assert watching().weighed(lost)
    early = differing(evidence(look=0, bad=99), quantum_heuristic=figure(-0.1, -0.2, -0.05))
    assert watching().weighed(early) == []
    assert watching().weighed(msgspec.structs.replace(lost, pipeline="cards")) == []
    assert watching(in_force(Stage.SHADOW, Path.QUANTUM)).weighed(lost) == []
    both = in_force(Stage.LIVE, Path.CLASSICAL, Path.QUANTUM)
    worse = differing(lost, classical_heuristic=figure(-0.1, -0.2, -0.05))
    found = watching(both).weighed(worse)
    assert [one.path for one in found] == [Path.QUANTUM, Path.CLASSICAL]


any_event = st.one_of(
    st.builds(ended, energy=st.floats(-3, 3), membership=st.floats(0, 1)),
    st.just(FALLEN),
    st.just(FAILED),
    st.builds(ended, cost_micro=st.integers(0, 10**8), check_of=st.sampled_from(["", "j0"])),
)


@given(st.lists(any_event, max_size=60), st.integers(3, 20), st.integers(0, 59))
def test_fewer_jobs_than_the_window_never_take_anybody_out(
    events: list[JobEvent], jobs: int, anew: int
) -> None:
    """Counted from the last time that anything began anew, a demotion too."""
    both = in_force(Stage.LIVE, Path.CLASSICAL, Path.QUANTUM)
    policy = watching(both, jobs)
    since = dict.fromkeys(Path, 0)
    for number, event in enumerate(events):
        if number == anew:
            policy.heed(in_force(Stage.CANARY, Path.CLASSICAL, Path.QUANTUM))
            since = dict.fromkeys(Path, 0)
        since = {path: seen + (not event.check_of) for path, seen in since.items()}
        for demotion in policy.ended(event):
            assert since[demotion.path] >= jobs
            since[demotion.path] = 0


def means(quantum: float, classical: float, random: float) -> dict[str, float]:
    """A problem's figures: the mean energy of each path's samples."""
    return {
        "quantum_mean_energy": quantum,
        "classical_mean_energy": classical,
        "random_mean_energy": random,
    }


def test_gaps_have_no_units() -> None:
    """0 is the twin, 1 is random strings, whatever the energies; a flat problem has no scale."""
    for scale in (1e-3, 1.0, 1e6):
        assert energy_gap(means(-8 * scale, -9 * scale, -5 * scale)) == pytest.approx(0.25)
    assert energy_gap(means(-9, -9, -5)) == 0.0
    assert energy_gap(means(-5, -9, -5)) == 1.0
    assert energy_gap(means(0.0, 0.0, 0.0)) is None
    assert energy_gap({"energy_gap": 0.0, "random_energy_gap": 0.0}) is None  # of older records
    assert energy_gap(means(1.0, 0.0, 0.001)) == GAP_MAX
    assert recorded("membership_gap")({"membership_gap": float("nan")}) is None
    two = {"p0": {"membership_gap": 0.1}, "p1": {"membership_gap": 0.3}, "p2": {}}
    assert of_job(two, recorded("membership_gap")) == pytest.approx(0.2)
    assert of_job({}, recorded("membership_gap")) is None
