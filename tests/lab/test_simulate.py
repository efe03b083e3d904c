"""The simulated stream is ordered, seeded, and holds what was planted and nothing else."""

import json
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enrichment.lab.draw import CHUNK_PAYMENTS, ORIGINS
from enrichment.lab.scenario import DecoyCounts, OutcomeSettings, SimulationSettings
from enrichment.lab.simulate import (
    Outcome,
    Ring,
    Simulated,
    Truth,
    ground_truth,
    simulate,
    timeline,
)
from enrichment.lab.spoil import WAYS, Spoiled
from enrichment.rollout.metrics import auc

DEMO = SimulationSettings(seed=11, seconds=60, start_ms=1_700_000_000_000)

scenarios = st.builds(
    SimulationSettings,
    seed=st.integers(0, 2**63),
    seconds=st.floats(0.5, 20),
    rate_per_s=st.floats(1, 300),
    start_ms=st.integers(0, 2_000_000_000_000),
    accounts=st.integers(50, 400),
    rings=st.integers(0, 4),
    ring_size=st.sampled_from([(3, 3), (4, 9)]),
    ring_strength=st.floats(0, 1),
    lone_fraud_share=st.floats(0, 0.2),
)


@pytest.fixture(scope="module")
def demo() -> list[Simulated]:
    """The demo's stream: a minute at two thousand payments a second."""
    return list(simulate(DEMO))


@pytest.fixture(scope="module")
def truth() -> Truth:
    """What was planted in the demo's stream."""
    return ground_truth(DEMO)


def by_ring(demo: list[Simulated], truth: Truth) -> dict[str, tuple[Ring, list[Simulated]]]:
    """Each ring with all payments of its members."""
    member_of = {member: ring for ring in truth.rings for member in ring.members}
    found: dict[str, tuple[Ring, list[Simulated]]] = {
        ring.ring_id: (ring, []) for ring in truth.rings
    }
    for one in demo:
        if ring := member_of.get(one.payment.account_id):
            found[ring.ring_id][1].append(one)
    return found


@settings(max_examples=60, deadline=None)
@given(scenarios)
def test_any_scenario_is_ordered_unique_and_in_bounds(scenario: SimulationSettings) -> None:
    """Times never fall and stay within the stream; event ids are unique; fields are sane."""
    found = list(simulate(scenario))
    times = [one.payment.occurred_at for one in found]
    assert all(a <= b for a, b in pairwise(times))
    assert all(scenario.start_ms <= at < scenario.end_ms for at in times)
    assert len({one.payment.event_id for one in found}) == len(found)
    for one in found:
        assert 0.5 <= one.payment.amount <= 100_000
        assert round(one.payment.amount, 2) == one.payment.amount
        assert one.origin in ORIGINS


@settings(max_examples=20, deadline=None)
@given(scenarios)
def test_equal_settings_give_equal_bytes(scenario: SimulationSettings) -> None:
    """A scenario drawn twice is the same to the byte, with its outcomes and its truth."""
    encode = msgspec.json.encode
    assert encode(list(simulate(scenario))) == encode(list(simulate(replace(scenario))))
    assert encode(ground_truth(scenario)) == encode(ground_truth(replace(scenario)))


@settings(max_examples=20, deadline=None)
@given(scenarios)
def test_another_seed_is_another_stream(scenario: SimulationSettings) -> None:
    """Another seed shares neither an event id nor an account with this one."""
    other = replace(scenario, seed=scenario.seed + 1)
    mine, theirs = list(simulate(scenario)), list(simulate(other))
    for field in ("event_id", "account_id"):
        ids = {getattr(one.payment, field) for one in mine}
        assert ids.isdisjoint(getattr(one.payment, field) for one in theirs)


@settings(max_examples=40, deadline=None)
@given(scenarios)
def test_ring_fraud_is_exactly_what_goes_from_ring_device_to_mule(
    scenario: SimulationSettings,
) -> None:
    """A ring's payment is fraud if and only if device and beneficiary both are the ring's.

    And no member pays the ring's mule for other reasons.
    """
    rings = {ring.ring_id: ring for ring in ground_truth(scenario).rings}
    mules_of = {member: ring.beneficiaries for ring in rings.values() for member in ring.members}
    for one in simulate(scenario):
        if one.origin == "ring":
            ring = rings[one.group]
            assert one.payment.account_id in ring.members
            assert one.payment.occurred_at >= ring.active_from_ms
            both = one.payment.device_id in ring.devices
            both &= one.payment.beneficiary_id in ring.beneficiaries
            assert one.is_fraud == both
        else:
            assert one.is_fraud == (one.origin in {"card_test", "takeover"})
            assert one.payment.beneficiary_id not in mules_of.get(one.payment.account_id, ())


def test_payments_arrive_at_the_rate_asked_for(demo: list[Simulated]) -> None:
    """Counts per second are a Poisson process's; order and ids hold across chunks, too."""
    assert len(demo) == pytest.approx(120_000, rel=0.01)
    assert all(a.payment.occurred_at <= b.payment.occurred_at for a, b in pairwise(demo))
    assert len({one.payment.event_id for one in demo}) == len(demo)
    per_s = Counter((one.payment.occurred_at - DEMO.start_ms) // 1000 for one in demo)
    counts = np.array([per_s[second] for second in range(60)])
    assert counts.mean() == pytest.approx(2000, rel=0.02)
    assert 0.5 < counts.var() / counts.mean() < 2


def test_fraud_is_rare_and_of_both_sorts(demo: list[Simulated]) -> None:
    """About one payment in a hundred is fraud, most of it by rings, some by loners."""
    frauds = Counter(one.origin for one in demo if one.is_fraud)
    assert 0.003 < sum(frauds.values()) / len(demo) < 0.02
    assert frauds["ring"] > 3 * frauds["card_test"] > 0
    assert frauds["takeover"] > 0


def test_members_of_rings_also_behave_as_others_do(demo: list[Simulated], truth: Truth) -> None:
    """A member's payments are innocent before the ring is active and half of them after."""
    before, after, of_ring = 0, 0, 0
    for ring, payments in by_ring(demo, truth).values():
        for one in payments:
            if one.payment.occurred_at < ring.active_from_ms:
                before += 1
                assert one.origin != "ring"
            else:
                after += 1
                of_ring += one.origin == "ring"
    assert before > 300
    assert of_ring / after == pytest.approx(DEMO.ring_strength, abs=0.05)


@pytest.mark.parametrize("strength", [0.0, 0.2, 1.0])
def test_strength_is_the_share_of_ring_payments(strength: float) -> None:
    """Ring strength is the share of active members' payments that touch what the ring shares."""
    scenario = replace(DEMO, ring_strength=strength, seconds=20, lone_fraud_share=0)
    found = by_ring(list(simulate(scenario)), ground_truth(scenario)).values()
    active = [
        one
        for ring, payments in found
        for one in payments
        if one.payment.occurred_at >= ring.active_from_ms
    ]
    share = sum(one.origin == "ring" for one in active) / len(active)
    assert share == pytest.approx(strength, abs=0.06 if 0 < strength < 1 else 0)


def test_rings_have_the_count_size_and_place_asked_for(truth: Truth) -> None:
    """Rings are as many and as large as asked, disjoint, and begin in the first half."""
    assert len(truth.rings) == DEMO.rings
    members = [member for ring in truth.rings for member in ring.members]
    assert len(set(members)) == len(members)
    mules = [mule for ring in truth.rings for mule in ring.beneficiaries]
    assert len(set(mules)) == len(mules)
    for ring in truth.rings:
        assert 5 <= len(ring.members) <= 10
        assert 1 <= len(ring.devices) <= 3
        assert 1 <= len(ring.beneficiaries) <= 3
        assert 0 < ring.active_from_ms - DEMO.start_ms <= 30_000


def test_an_account_lives_in_one_region_and_a_ring_mostly_so(
    demo: list[Simulated], truth: Truth
) -> None:
    """No account changes its region; nine ring members in ten live where their ring does."""
    home: dict[str, str] = {}
    for one in demo:
        assert home.setdefault(one.payment.account_id, one.payment.region) == one.payment.region
    assert set(home.values()) == {"north", "south", "east", "west"}
    same = [home[m] == ring.region for ring in truth.rings for m in ring.members if m in home]
    assert np.mean(same) == pytest.approx(0.9, abs=0.06)


def test_decoys_share_what_rings_share_but_are_no_fraud(
    demo: list[Simulated], truth: Truth
) -> None:
    """Each kind of decoy is planted in its size, shares its entities, and none of it is fraud."""
    sizes = {"family": (2, 5), "kiosk": (10, 60), "office": (30, 120), "payee": (40, 200)}
    sizes["club"] = (8, 12)
    shared: defaultdict[str, set[str]] = defaultdict(set)
    for one in demo:
        assert not (one.is_fraud and one.group.split("-")[0] in sizes)
        for entity in (one.payment.device_id, one.payment.beneficiary_id):
            shared[entity].add(one.payment.account_id)
    kinds = Counter(decoy.kind for decoy in truth.decoys)
    assert kinds == {"family": 909, "kiosk": 25, "office": 12, "payee": 20, "club": 50}
    for decoy in truth.decoys:
        low, high = sizes[decoy.kind]
        assert low <= len(decoy.members) <= high
        assert bool(decoy.devices) == (decoy.kind in {"family", "kiosk", "office"})
        if decoy.kind in {"payee", "club"}:
            assert len(decoy.beneficiaries) == 1
    families = [decoy for decoy in truth.decoys if decoy.kind == "family"]
    together = [len(shared[family.devices[0]]) > 1 for family in families]
    assert np.mean(together) > 0.8
    assert any(len(family.beneficiaries) > 0 and len(family.members) == 5 for family in families)


def test_a_shared_device_alone_does_not_tell_a_ring(demo: list[Simulated]) -> None:
    """Of payments from devices that three accounts share, by far the most are innocent."""
    users: defaultdict[str, set[str]] = defaultdict(set)
    for one in demo:
        users[one.payment.device_id].add(one.payment.account_id)
    crowded = [one.is_fraud for one in demo if len(users[one.payment.device_id]) >= 3]
    assert sum(crowded) > 400
    assert 0.01 < np.mean(crowded) < 0.2


def test_amounts_of_rings_overlap_with_all_others(demo: list[Simulated]) -> None:
    """An amount tells little of a ring: as a score it is not far above a coin's toss."""
    found = [one for one in demo if not one.is_fraud or one.origin == "ring"]
    labels = np.array([one.is_fraud for one in found])
    amounts = np.array([one.payment.amount for one in found])
    assert 0.5 < auc(labels, amounts) < 0.68


def test_an_id_tells_nothing(demo: list[Simulated], truth: Truth) -> None:
    """Ids of ring members, devices and mules look like all others and sort among them."""
    accounts = sorted({one.payment.account_id for one in demo})
    members = {member for ring in truth.rings for member in ring.members}
    ranks = [rank / len(accounts) for rank, one in enumerate(accounts) if one in members]
    assert np.mean(ranks) == pytest.approx(0.5, abs=0.08)
    for entity in ("account_id", "device_id", "beneficiary_id"):
        assert {len(getattr(one.payment, entity)) for one in demo} == {13}


def test_a_stream_is_drawn_as_it_is_read() -> None:
    """A stream of years starts at once: nothing of it is drawn ahead but one chunk."""
    scenario = replace(DEMO, seconds=10**8, lone_fraud_share=0)
    first = list(islice(simulate(scenario), CHUNK_PAYMENTS + 10))
    assert first[-1].payment.occurred_at - DEMO.start_ms < 6_000


def test_outcomes_come_late_and_mostly_true(demo: list[Simulated]) -> None:
    """Most frauds are confirmed and a few payments cleared, after the delay, errors corrected."""
    frauds = [one for one in demo if one.is_fraud]
    known = [one for one in demo if one.outcomes]
    assert np.mean([bool(one.outcomes) for one in frauds]) == pytest.approx(0.95, abs=0.03)
    cleared = sum(not one.is_fraud for one in known) / (len(demo) - len(frauds))
    assert cleared == pytest.approx(0.02, abs=0.003)
    delays = [one.outcomes[0].decided_at - one.payment.occurred_at for one in known]
    assert min(delays) > 0
    assert np.mean(delays) == pytest.approx(5_000, rel=0.1)
    wrong = [one for one in known if one.outcomes[0].is_fraud != one.is_fraud]
    assert len(wrong) / len(known) == pytest.approx(0.02, abs=0.01)
    for one in known:
        assert one.outcomes[-1].is_fraud == one.is_fraud
        assert all(a.decided_at < b.decided_at for a, b in pairwise(one.outcomes))
        assert {o.event_id for o in one.outcomes} == {one.payment.event_id}
        assert {o.account_id for o in one.outcomes} == {one.payment.account_id}


def test_the_wire_bears_no_label(demo: list[Simulated]) -> None:
    """A published payment has the fields of the pipeline and nothing that tells its outcome."""
    sent = json.loads(msgspec.json.encode(demo[0].payment))
    assert list(sent) == [
        "event_id",
        "account_id",
        "occurred_at",
        "amount",
        "currency",
        "device_id",
        "beneficiary_id",
        "region",
        "channel",
    ]


def test_the_timeline_loses_nothing_and_keeps_order() -> None:
    """Payments and outcomes come merged by the time they are due, each exactly once."""
    scenario = replace(DEMO, seconds=5, outcomes=OutcomeSettings(delay_mean_s=2))
    found = list(timeline(scenario))
    assert all(a <= b for (a, _), (b, _) in pairwise(found))
    payments = [what for _, what in found if isinstance(what, Simulated)]
    outcomes = [what for _, what in found if isinstance(what, Outcome)]
    assert payments == list(simulate(scenario))
    promised = [outcome for one in payments for outcome in one.outcomes]
    assert sorted(o.event_id for o in outcomes) == sorted(o.event_id for o in promised)
    assert all(due == what.decided_at for due, what in found if isinstance(what, Outcome))
    assert {type(what) for _, what in found} == {Simulated, Outcome}


def usable(value: bytes) -> bool:
    """Whether a record is a payment that a strict reader would take."""
    try:
        fields: Any = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return False
    if not isinstance(fields, dict):
        return False
    amount, at_ms = fields.get("amount"), fields["occurred_at"]
    return isinstance(amount, float) and isinstance(fields["account_id"], str) and at_ms < 10**14


def test_spoiled_records_are_extra_and_of_every_kind() -> None:
    """Malformed records are put between the payments, which they leave as they were."""
    scenario = replace(DEMO, seconds=5, bad_share=0.05)
    found = [what for _, what in timeline(scenario)]
    spoiled = [what for what in found if isinstance(what, Spoiled)]
    payments = [what for what in found if isinstance(what, Simulated)]
    assert payments == list(simulate(replace(scenario, bad_share=0)))
    assert len(spoiled) / len(payments) == pytest.approx(0.05, abs=0.01)
    assert {one.reason for one in spoiled} == set(WAYS)
    assert all(not usable(one.value) for one in spoiled)
    assert usable(msgspec.json.encode(payments[0].payment))
    assert found == [what for _, what in timeline(scenario)]


NONE = DecoyCounts(families=0, kiosks=0, offices=0, payees=0, clubs=0)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"seconds": 0}, "seconds is 0: it must be above 0"),
        ({"rate_per_s": float("nan")}, "rate_per_s is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"ring_strength": 1.5}, "ring_strength is 1.5: it must be between 0 and 1"),
        ({"bad_share": -0.1}, "bad_share"),
        ({"ring_size": (2, 5)}, "ring_size"),
        ({"ring_size": (6, 5)}, "ring_size"),
        ({"accounts": 19, "rings": 0}, "accounts is 19"),
        ({"accounts": 200}, "rings may need 300 of 200 accounts"),
        ({"decoys": replace(NONE, families=1601)}, "families may need 8005"),
        ({"decoys": replace(NONE, kiosks=134)}, "kiosks and offices may need 8040"),
        ({"decoys": replace(NONE, clubs=667)}, "payees and clubs may need 8004"),
    ],
)
def test_impossible_scenarios_are_refused(change: dict[str, Any], complaint: str) -> None:
    """A setting out of bounds, or groups too many for the accounts, raise and name it."""
    with pytest.raises(ValueError, match=complaint):
        replace(DEMO, **change)


def test_impossible_parts_are_refused() -> None:
    """Negative counts and impossible outcome shares raise and are named."""
    with pytest.raises(ValueError, match="kiosks is -1"):
        replace(NONE, kiosks=-1)
    with pytest.raises(ValueError, match="error_share is 2"):
        OutcomeSettings(error_share=2)
    with pytest.raises(ValueError, match="delay_mean_s is 0"):
        OutcomeSettings(delay_mean_s=0)


def test_the_fullest_possible_scenario_can_be_drawn() -> None:
    """Groups that take all the room they may are still all filled."""
    scenario = replace(
        DEMO, accounts=200, seconds=2, rings=16, ring_size=(10, 10), decoys=replace(NONE, clubs=13)
    )
    found = ground_truth(scenario)
    assert [len(ring.members) for ring in found.rings] == [10] * 16
    assert len(found.decoys) == 13
