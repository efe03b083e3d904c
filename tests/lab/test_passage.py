"""What was known of an event: nothing of what came after it, and the same for every sampler."""

import numpy as np
import pytest

from enrichment.enrich.features import Cache, FeaturePlan, Features, Known
from enrichment.lab import passage
from enrichment.lab.as_known import PATHS, AsKnown, Matrix
from enrichment.lab.passage import BATCH_MS, Passage, as_known, gone_through
from enrichment.lab.scenario import SimulationSettings
from enrichment.lab.simulate import Outcome, Ring, Simulated, Truth, timeline
from enrichment.pipelines import load

PIPELINE = load("payments")
SETTINGS = SimulationSettings(
    seed=3, seconds=20, rate_per_s=100, start_ms=1_767_225_600_000, accounts=300, rings=3,
    ring_strength=0.75,
)  # fmt: skip
DUE = list(timeline(SETTINGS))
SIMULATED = [what for _, what in DUE if isinstance(what, Simulated)]
TOLD = [what for _, what in DUE if isinstance(what, Outcome)]


def seen(passed: Passage) -> tuple[Matrix, dict[str, Matrix]]:
    """Graph features, and every path's ring features, of each event."""
    _, classical, rings, _ = passed.rows.columns(np.array(passed.seen))
    return classical, rings


def tick_of(at: int) -> int:
    """The tick in which that event comes."""
    return SIMULATED[at].payment.occurred_at // BATCH_MS


def test_an_event_knows_nothing_of_what_came_after_it() -> None:
    """A stream cut off, its later outcomes with it, showed its events what the whole one did."""
    half = len(SIMULATED) // 2
    # In the middle of a tick: what comes later in it is not known either.
    cut = next(
        at
        for at in range(half, len(SIMULATED))
        if tick_of(at - 2) == tick_of(at) != tick_of(at + 1)
    )
    earlier = [said for said in TOLD if said.decided_at < tick_of(cut) * BATCH_MS]
    assert 0 < len(earlier) < len(TOLD)
    whole = seen(gone_through(SIMULATED, TOLD, PIPELINE))
    part = seen(gone_through(SIMULATED[:cut], earlier, PIPELINE))
    np.testing.assert_array_equal(whole[0][:cut], part[0])
    for path in PATHS:
        np.testing.assert_array_equal(whole[1][path][:cut], part[1][path])


@pytest.fixture(scope="module")
def known() -> AsKnown:
    """What was known of the stream's events."""
    return as_known(SETTINGS, PIPELINE)


def test_every_sampler_is_known_of_the_same_events(known: AsKnown) -> None:
    """The same subgraphs, one for one, and none of them before it was sampled."""
    assert known.problems > 0
    there = {path: ~np.isnan(columns) for path, columns in known.rings.items()}
    assert there["quantum"].any()
    for path in PATHS:
        np.testing.assert_array_equal(there[path], there["quantum"])
    first_ms = SIMULATED[int(np.flatnonzero(there["quantum"].any(axis=1))[0])].payment.occurred_at
    assert first_ms >= SETTINGS.start_ms + PIPELINE.window.size_ms + BATCH_MS


def test_the_optimum_and_the_exact_twin_agree_on_energies(known: AsKnown) -> None:
    """Both are proven minima of one model; random strings and circuits are at best as low."""
    energy = {path: columns[:, 1] for path, columns in known.rings.items()}
    sampled = ~np.isnan(energy["optimum"])
    np.testing.assert_allclose(energy["optimum"][sampled], energy["classical"][sampled], atol=1e-5)
    for path in ("random", "quantum", "annealing"):
        assert (energy[path][sampled] <= energy["optimum"][sampled] + 1e-5).all()


def test_an_event_sees_only_what_was_computed_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that bears a later time than its own, by whatever stage."""
    inner = FeaturePlan.features
    seen_ms: list[int] = []

    def looked_up(  # noqa: PLR0917  # as the plan has it
        plan: FeaturePlan, role: str, id_: str, known: Known, shard: str, cache: Cache, at_ms: int
    ) -> Features:
        told = [*known.updates.values(), *cache.heard.values()]
        seen_ms.extend(update.computed_at_ms for update in told)
        assert all(update.computed_at_ms <= at_ms for update in told)
        return inner(plan, role, id_, known, shard, cache, at_ms)

    monkeypatch.setattr(FeaturePlan, "features", looked_up)
    gone_through(SIMULATED, TOLD, PIPELINE)
    assert seen_ms


def test_a_ring_is_drawn_together(known: AsKnown) -> None:
    """A bootstrap draws whole rings, those too whose members nothing ties."""
    recording = passage._recording(SIMULATED, PIPELINE, SETTINGS)
    account = {one.payment.account_id: at for at, one in enumerate(SIMULATED)}
    members = tuple(account)[:3]
    rows = [account[member] for member in members]
    ring = Ring(
        ring_id="r", members=members, devices=(), beneficiaries=(), region="north", active_from_ms=0
    )
    nobody, together = (
        passage._groups(recording, PIPELINE, Truth(rings=rings, decoys=()), SIMULATED)
        for rings in ((), (ring,))
    )
    assert len(set(nobody[rows].tolist())) == 3
    assert len(set(together[rows].tolist())) == 1
    assert len(set(together.tolist())) == len(set(nobody.tolist())) - 2
    by_ring: dict[str, set[int]] = {}
    for one, group in zip(SIMULATED, known.groups.tolist(), strict=True):
        if one.origin == "ring":
            by_ring.setdefault(one.group, set()).add(group)
    assert len(by_ring) == 3
    assert all(len(groups) == 1 for groups in by_ring.values())


def test_without_outcomes_nobody_is_known_to_be_bad(known: AsKnown) -> None:
    """With them, some are."""
    near = [number for number, name in enumerate(known.names) if "known_bad" in name]
    untold = as_known(SETTINGS, PIPELINE, with_outcomes=False)
    assert np.nanmax(known.classical[:, near]) > 0
    assert np.nanmax(untold.classical[:, near]) == 0


def test_a_file_keeps_all_of_it(known: AsKnown, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Written by one process and read by another, it is the same."""
    file = tmp_path_factory.mktemp("kept") / "known.npz"
    known.write(file)
    again = AsKnown.read(file)
    assert (again.seed, again.roles, again.names, again.problems) == (
        known.seed, known.roles, known.names, known.problems,
    )  # fmt: skip
    np.testing.assert_array_equal(again.classical, known.classical)
    for path in PATHS:
        np.testing.assert_array_equal(again.rings[path], known.rings[path])
    for role in known.roles:
        np.testing.assert_array_equal(again.fresh[role], known.fresh[role])
