"""`ring_probability`: monotone, between 0 and 1, and better than the bare share where it counts."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from enrichment.lab.as_known import AsKnown
from enrichment.lab.calibration import Brier
from enrichment.lab.passage import as_known
from enrichment.lab.recorded import Recorder, Recording, RecordingError, Selection, outcomes_of
from enrichment.lab.ring_probability import (
    STEP_POSITIVES_MIN,
    Ringed,
    calibrate,
    judged,
    ringed,
    steps_of,
)
from enrichment.lab.scenario import SimulationSettings
from enrichment.pipelines import Entity
from enrichment.records import Verdict, VerdictName
from enrichment.rollout.bootstrap import Bootstrap
from enrichment.rollout.metrics import value_of
from tests.lab.recordings import PAYMENTS, drawn, enriched, outcomes, used

QUICK = Bootstrap(seed=0, resamples=50)
ENERGY = -4.0


def recording(
    seed: int, count: int = 3_000, *, energy: float | None = ENERGY, serve: str = "quantum"
) -> Recording:
    """A drawn stream as a fit sees it."""
    events = drawn(seed, count, energy=energy)
    recorder = Recorder(PAYMENTS, outcomes_of(outcomes(events)), serve=serve)
    recorder.take(each.value for each in events)
    return recorder.recording(Selection())


@given(
    rows=st.lists(
        st.tuples(st.floats(0, 20) | st.sampled_from([0.0, 1.5, 3.0]), st.booleans()),
        min_size=1,
        max_size=300,
    ),
    probes=st.lists(st.floats(-5, 1e6), min_size=2, max_size=20),
)
@example(rows=[(n / 10, n < 100) for n in range(200)], probes=[1.0, 5.0, 15.0])
@example(
    rows=[(n / 10, n % 4 != 3 if n < 120 else n % 4 == 0) for n in range(240)],
    probes=[1.0, 8.0, 15.0, 20.0],
)
def test_more_surplus_is_never_worth_less(
    rows: list[tuple[float, bool]], probes: list[float]
) -> None:
    """Whatever it was fitted on, the map rises, and says neither never nor always."""
    surplus, bad = (np.array(column) for column in zip(*rows, strict=True))
    steps = steps_of("account", surplus, bad)
    assert steps.fault == ""
    worth = [steps.at(probe) for probe in sorted(probes)]
    assert worth == sorted(worth)
    assert worth[0] > 0
    assert worth[-1] < 1


@given(seed=st.integers(0, 50))
def test_every_step_but_a_lone_one_has_seen_enough(seed: int) -> None:
    """Ten bad events and ten good ones: a step of fewer would be single events' word."""
    rng = np.random.default_rng(seed)
    surplus = rng.gamma(2.0, 2.0, 800)
    bad = rng.random(800) < surplus / 20
    steps = steps_of("account", surplus, bad)
    assert len(steps.surplus) > 1
    step = np.searchsorted(np.array(steps.surplus), surplus, side="right")
    assert np.bincount(step, bad)[1:].min() >= STEP_POSITIVES_MIN


@pytest.fixture(scope="module")
def known() -> tuple[AsKnown, AsKnown]:
    """Two small simulated streams, with what was known of each event as it came."""
    settings = SimulationSettings(
        seed=1, seconds=60, rate_per_s=100, start_ms=1_767_225_600_000, accounts=1_000, rings=6,
        ring_strength=0.75,
    )  # fmt: skip
    return as_known(settings, PAYMENTS), as_known(replace(settings, seed=2), PAYMENTS)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["quantum", "classical"])
def test_on_a_seed_not_seen_it_beats_the_bare_share_and_the_membership(
    known: tuple[AsKnown, AsKnown], path: str
) -> None:
    """Brier score of accounts, fitted on one simulated seed and judged on another."""
    parts = []
    for one in known:
        fresh = one.fresh["account"]
        parts.append(
            Ringed(
                membership=one.membership(path, "account")[fresh],
                surplus=one.surplus(path, "account")[fresh],
                bad=one.bad[fresh],
                groups=one.groups[fresh],
            )
        )
    fitted, unseen = parts
    found = judged(steps_of("account", fitted.surplus, fitted.bad), unseen, QUICK)
    assert found.gain_on_share.low > 0
    assert found.brier.high < found.brier_of_membership.low
    # Membership alone would not do: hardly better than knowing nothing.
    alone = steps_of("account", fitted.membership, fitted.bad)
    of_membership = [alone.at(each) for each in unseen.membership.tolist()]
    brier = value_of(Brier(unseen.bad, np.array(of_membership)), len(unseen.bad))
    assert brier > found.brier.value


def test_a_recording_shows_fresh_memberships_alone() -> None:
    """Events without a ring, with a stale one or without its energy have none to learn from."""
    event = {
        "event_id": "e", "account_id": "a", "device_id": "d", "beneficiary_id": "b",
        "region": "eu", "occurred_at": 1_700_000_000_000, "amount": 1.0,
    }  # fmt: skip
    ring = used("device", "ring", quantum={"membership": 0.5, "optimum_energy": -3.0})
    stale = msgspec.structs.replace(ring, verdict=Verdict(VerdictName.STALE, "subgraph_changed"))
    bare = used("device", "ring", quantum={"membership": 0.5})
    recorder = Recorder(PAYMENTS, {}, serve="quantum")
    for number, features in enumerate(([ring], [stale], [bare], [])):
        recorder.take([enriched(event | {"event_id": f"e{number}"}, features)])
    rings = recorder.recording(Selection()).rings["device"]
    assert rings[0].tolist() == [0.5, 1.5]
    assert np.isnan(rings[1:]).all()


def test_what_is_told_is_what_was_drawn() -> None:
    """The odds of a drawn stream are found again: expected and observed agree on another seed."""
    found = calibrate(PAYMENTS, "quantum", recording(1, 6_000), recording(2), QUICK)
    (device,) = found.judged
    assert device.kind == "device"
    assert found.left_out == ("account", "beneficiary")
    assert device.expected == pytest.approx(device.positives, rel=0.2)
    assert device.gain_on_share.low > 0
    assert found.sampled.sampler == "qsim"


@pytest.mark.parametrize(
    ("path", "elsewhere", "said"),
    [
        ("heuristic", 2, "path 'heuristic' has no memberships of one sampler"),
        ("quantum", 1, "holds a simulated run that the table is fitted on"),
        ("classical", 2, "no event shows a fresh membership"),
    ],
)
def test_what_would_be_no_calibration_is_refused(path: str, elsewhere: int, said: str) -> None:
    """A path without a sampler, the very seed again, or nothing recorded of the path."""
    serve = "classical" if path == "classical" else "quantum"
    with pytest.raises(RecordingError, match=said):
        calibrate(PAYMENTS, path, recording(1, serve=serve), recording(elsewhere), QUICK)


def test_records_without_energies_are_told_what_they_lack() -> None:
    """Not fitted on membership alone, which says next to nothing: the term that is missing."""
    with pytest.raises(RecordingError, match="a term that reads ROLE"):
        calibrate(PAYMENTS, "quantum", recording(1, energy=None), recording(2), QUICK)


def test_two_roles_of_one_kind_are_two_rows() -> None:
    """As source and target of `trust` are: an event shows a membership of either."""
    one = recording(1, 200)
    known = one.rings["device"]
    both = replace(one, rings={"device": known, "beneficiary": known})
    of_one_kind = {
        **PAYMENTS.entities,
        "beneficiary": Entity(field="beneficiary_id", kind="device"),
    }
    found = ringed(msgspec.structs.replace(PAYMENTS, entities=of_one_kind), both)
    assert list(found) == ["device"]
    assert len(found["device"].bad) == 2 * int((~np.isnan(known[:, 1])).sum())
