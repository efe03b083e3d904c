"""Which paths an account is given: by file, record and cap; shares that are kept and only grow."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.pipelines import Pipeline, load
from enrichment.records import Assigned, Experiment, Path, Rollout, Stage
from enrichment.rollout.assign import FULL, Policy, case_path, positions, rollouts_of
from enrichment.rollout.control import ROLLOUT, ControlState, in_force
from tests.rollout.controls import control

PAYMENTS = load("payments")  # whose file says quantum
QUANTUM, CLASSICAL, HEURISTIC = Path.QUANTUM, Path.CLASSICAL, Path.HEURISTIC
SHARES = st.floats(1e-6, 1.0)
ACCOUNTS = [f"acc-{number:06}" for number in range(20_000)]


def serving(path: str) -> Pipeline:
    """Payments, with that path in its file."""
    score = msgspec.structs.replace(PAYMENTS.score, serve=path)
    return msgspec.structs.replace(PAYMENTS, score=score)


def untreated(share: float, amount_max: float) -> Pipeline:
    """Payments of which that share is untreated."""
    rollout = msgspec.structs.replace(
        PAYMENTS.rollout, untreated_share=share, untreated_amount_max=amount_max
    )
    return msgspec.structs.replace(PAYMENTS, rollout=rollout)


def told(*rollouts: Rollout, serve: str = "", experiment: str = "") -> ControlState:
    """What these amount to."""
    controls = [control(f"{ROLLOUT}{one.path.value}", rollout=one) for one in rollouts]
    if serve:
        controls.append(control("serve", serve=serve))
    if experiment:
        begun = Experiment(
            experiment_id=experiment, started_ms=1, pipeline_version="p", score_version="s"
        )
        controls.append(control("experiment", experiment=begun))
    return in_force("payments", controls)


def canary(path: Path, share: float, **fields: Any) -> Rollout:
    """That path for that share of the accounts."""
    return Rollout(path=path, stage=Stage.CANARY, share=share, **fields)


def assigned(pipeline: Pipeline, state: ControlState, account: str = "a") -> Assigned:
    """What an event of this account is given."""
    policy = Policy(pipeline, state)
    return policy.choices[policy.choice(account)]


@pytest.mark.parametrize(
    ("file", "paths"),
    [("heuristic", ()), ("classical", (CLASSICAL,)), ("quantum", (QUANTUM, CLASSICAL))],
)
def test_without_a_record_the_file_says_what_is_live(file: str, paths: tuple[Path, ...]) -> None:
    """A path at or below the file's is live for all; others are in shadow; nothing is in force."""
    state = ControlState(pipeline="payments")
    policy = Policy(serving(file), state)
    assert not policy.in_force
    assert policy.everybody is not None
    found = policy.choices[policy.everybody]
    assert (found.paths, found.stage) == (paths, Stage.LIVE if paths else Stage.SHADOW)
    live = {one.path for one in rollouts_of(serving(file), state) if one.stage is Stage.LIVE}
    assert live == set(paths)


def test_a_record_takes_the_files_place() -> None:
    """Of its own path alone: up or down."""
    quantum = Rollout(path=QUANTUM, stage=Stage.LIVE)
    assert assigned(serving("heuristic"), told(quantum)).paths == (QUANTUM,)
    shadow = Rollout(path=QUANTUM, stage=Stage.SHADOW)
    assert assigned(PAYMENTS, told(shadow)).paths == (CLASSICAL,)
    both = told(shadow, Rollout(path=CLASSICAL, stage=Stage.SHADOW))
    assert assigned(PAYMENTS, both) == Assigned(revision=both.revision)


@pytest.mark.parametrize(
    ("cap", "paths"),
    [("heuristic", ()), ("classical", (CLASSICAL,)), ("quantum", (QUANTUM, CLASSICAL))],
)
def test_a_cap_beats_everything(cap: str, paths: tuple[Path, ...]) -> None:
    """No path above it serves: the file's, one that is live, a canary, or one by override."""
    states = (
        told(serve=cap),
        told(
            *(Rollout(path=p, stage=Stage.LIVE, override=True) for p in paths or (QUANTUM,)),
            serve=cap,
        ),
        told(canary(QUANTUM, 1.0, override=True), serve=cap),
    )
    for state in states:
        found = assigned(PAYMENTS, state)
        assert set(found.paths) <= set(paths)
        assert found.override is False or found.paths
        assert Policy(PAYMENTS, state).in_force
    assert assigned(PAYMENTS, states[0]).paths == paths


@given(path=st.sampled_from([QUANTUM, CLASSICAL]), shares=st.tuples(SHARES, SHARES))
def test_a_larger_share_holds_the_smaller(path: Path, shares: tuple[float, float]) -> None:
    """Growing a canary never drops an account, nor does going live."""
    small, large = (
        {account for account in ACCOUNTS[:300] if path in assigned_by(canary(path, share), account)}
        for share in sorted(shares)
    )
    assert small <= large


def assigned_by(rollout: Rollout, account: str) -> tuple[Path, ...]:
    """The ring paths that an account is given, where the file lets none in."""
    return assigned(serving("heuristic"), told(rollout), account).paths


@pytest.mark.parametrize("share", [0.001, 0.05, 0.3, 0.9, 1.0])
def test_a_share_is_kept(share: float) -> None:
    """Of twenty thousand accounts whose ids differ in a digit, within five standard deviations."""
    policy = Policy(serving("heuristic"), told(canary(QUANTUM, share)))
    inside = sum(bool(policy.choices[policy.choice(account)].paths) for account in ACCOUNTS)
    deviation = (share * (1 - share) / len(ACCOUNTS)) ** 0.5
    assert abs(inside / len(ACCOUNTS) - share) <= 5 * deviation


def test_the_canaries_of_two_paths_are_independent() -> None:
    """A third of the accounts for each: a ninth in both, which a CRC of equal lengths misses."""
    third = FULL // 3
    where = [positions("payments", account) for account in ACCOUNTS]
    both = sum(first < third and second < third for first, second in where)
    assert abs(both / len(ACCOUNTS) - 1 / 9) <= 5 * (8 / 81 / len(ACCOUNTS)) ** 0.5
    other = [positions("cards", account) for account in ACCOUNTS]
    same = sum(one[0] < third and two[0] < third for one, two in zip(where, other, strict=True))
    assert abs(same / len(ACCOUNTS) - 1 / 9) <= 5 * (8 / 81 / len(ACCOUNTS)) ** 0.5


def test_positions_are_the_same_for_ever() -> None:
    """Another hash would move every account: what was measured on a canary would be of others."""
    assert positions("payments", "acc-000001") == (
        18_153_205_591_427_040_687,
        15_654_505_001_716_033_505,
    )


def test_an_event_says_how_far_its_first_path_is_let_in() -> None:
    """Canary in its share, live outside, with experiment and revision; override while it serves."""
    rollouts = (canary(QUANTUM, 0.5, override=True), Rollout(path=CLASSICAL, stage=Stage.LIVE))
    state = told(*rollouts, experiment="x1")
    policy = Policy(PAYMENTS, state)
    assert policy.everybody is None
    found = {policy.choices[policy.choice(account)] for account in ACCOUNTS[:50]}
    common: Any = {"revision": state.revision, "experiment_id": "x1"}
    assert found == {
        Assigned(paths=(QUANTUM, CLASSICAL), stage=Stage.CANARY, override=True, **common),
        Assigned(paths=(CLASSICAL,), stage=Stage.LIVE, **common),
    }


def test_an_experiment_alone_is_in_force() -> None:
    """Its events are known by it, though no path moved; of a withdrawal they say nothing."""
    state = told(experiment="x1")
    assert Policy(PAYMENTS, state).in_force
    assert assigned(PAYMENTS, state).experiment_id == "x1"
    assert not Policy(PAYMENTS, in_force("payments", [control("w", job_id="j1")])).in_force


def test_untreated_events_are_a_share_of_the_small_ones() -> None:
    """By the event and not its account; at the bound, in either direction, and never above it."""
    policy = Policy(untreated(0.05, 20.0), ControlState(pipeline="payments"))
    events = [f"e{number}" for number in range(20_000)]
    chosen = {event for event in events if policy.untreated(event, 2_000)}
    deviation = (0.05 * 0.95 / len(events)) ** 0.5
    assert abs(len(chosen) / len(events) - 0.05) <= 5 * deviation
    assert chosen == {event for event in events if policy.untreated(event, -2_000)}
    assert not any(
        policy.untreated(event, amount) for event in events for amount in (2_001, -2_001)
    )
    more = Policy(untreated(0.1, 20.0), ControlState(pipeline="payments"))
    assert all(more.untreated(event, 0) for event in chosen)
    assert not Policy(PAYMENTS, ControlState(pipeline="payments")).leaves_untreated


def test_cases_are_made_by_the_path_that_is_live() -> None:
    """Not by a canary, not by one that is capped; where none is live, by the classical one."""
    nothing = ControlState(pipeline="payments")
    assert case_path(PAYMENTS, nothing) is QUANTUM
    assert case_path(serving("heuristic"), nothing) is CLASSICAL
    assert case_path(PAYMENTS, told(canary(QUANTUM, 0.9))) is CLASSICAL
    assert case_path(PAYMENTS, told(serve="classical")) is CLASSICAL
    assert case_path(serving("heuristic"), told(Rollout(path=QUANTUM, stage=Stage.LIVE))) is QUANTUM
