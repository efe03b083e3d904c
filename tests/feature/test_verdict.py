"""The verdict on age: whatever the cache holds, nobody is told that old news is fresh."""

from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from enrichment.feature.verdict import (
    CHANGED,
    FROM_FUTURE,
    HEARD,
    IN_NO_SUBGRAPH,
    LAST_KNOWN,
    NEVER_SEEN,
    NOT_SAMPLED,
    SHARD_SILENT,
    SUBGRAPH_UNKNOWN,
    TOO_OLD,
    UNAVAILABLE,
    UNCHANGED,
    WITHDRAWN,
    Judged,
    Rules,
    decayed,
    judge_graph,
    judge_ring,
    last_known,
    of_event,
)
from enrichment.pipelines import load
from enrichment.records import FeatureUpdate, Verdict, VerdictName
from enrichment.rollout.control import FOREVER_MS, Withdrawals
from tests.feature.cached import NOW_MS, heartbeat, ring, update

RULES = Rules(
    fresh_ms=30_000, stale_ms=600_000, half_life_ms=60_000, skew_ms=1_000, by_event_time=False
)

# Often close to now, where fresh, stale and the future meet.
TIMES = st.integers(NOW_MS - 2_000_000, NOW_MS + 100_000) | st.integers(
    NOW_MS - 10_000, NOW_MS + 10_000
)
SUBGRAPHS = st.sampled_from(["", "s1", "s2"])


def timed(found: FeatureUpdate, event_ms: int, wall_ms: int) -> FeatureUpdate:
    """The update with its two times set apart."""
    return msgspec.structs.replace(found, event_time_ms=event_ms, computed_at_ms=wall_ms)


def graph_of(subgraph: str, event_ms: int, wall_ms: int, since_ms: int | None) -> FeatureUpdate:
    """A graph value; `since_ms` may be missing, as in what another version wrote."""
    values = {} if since_ms is None else {"subgraph_since_ms": float(since_ms)}
    found = update("account", "a1", "graph", subgraph=subgraph, values=values)
    return timed(found, event_ms, wall_ms)


RINGS = st.none() | st.builds(
    lambda subgraph, event_ms, wall_ms: timed(
        ring("account", "a1", 0.8, subgraph=subgraph), event_ms, wall_ms
    ),
    st.sampled_from(["s1", "s2"]),
    TIMES,
    TIMES,
)
GRAPHS = st.none() | st.builds(graph_of, SUBGRAPHS, TIMES, TIMES, st.none() | TIMES)
BEATS = st.none() | st.builds(lambda e, w: timed(heartbeat(), e, w), TIMES, TIMES)
ANY_RULES = st.builds(
    Rules,
    fresh_ms=st.integers(1, 100_000),
    stale_ms=st.integers(100_000, 1_000_000),
    half_life_ms=st.integers(1, 1_000_000),
    skew_ms=st.integers(0, 5_000),
    by_event_time=st.booleans(),
)
CACHED = {"found": RINGS, "graph": GRAPHS, "heard": BEATS, "rules": ANY_RULES}


@given(**CACHED)
def test_what_came_from_a_changed_subgraph_is_never_fresh(
    found: FeatureUpdate | None,
    graph: FeatureUpdate | None,
    heard: FeatureUpdate | None,
    rules: Rules,
) -> None:
    """A usable fresh ring was computed from the subgraph that the graph shows now, by any clock."""
    judged = judge_ring(found, graph, heard, rules, now_ms=NOW_MS)
    if judged.verdict.name is VerdictName.FRESH and judged.usable:
        assert found is not None
        assert graph is not None
        assert found.subgraph == graph.subgraph != ""


@given(**CACHED)
def test_nothing_from_the_future_is_used(
    found: FeatureUpdate | None,
    graph: FeatureUpdate | None,
    heard: FeatureUpdate | None,
    rules: Rules,
) -> None:
    """Beyond the stated skew, neither a ring, nor its graph, may say anything."""
    latest_ms = NOW_MS + rules.skew_ms
    for value, judged in (
        (found, judge_ring(found, graph, heard, rules, now_ms=NOW_MS)),
        (graph, judge_graph(graph, heard, rules, now_ms=NOW_MS)),
    ):
        if value is not None and rules.time_ms(value) > latest_ms:
            assert not judged.usable
    if graph is not None and rules.time_ms(graph) > latest_ms:
        assert not judge_ring(found, graph, heard, rules, now_ms=NOW_MS).usable


@given(**CACHED)
def test_a_silent_shard_has_nothing_fresh(
    found: FeatureUpdate | None,
    graph: FeatureUpdate | None,
    heard: FeatureUpdate | None,
    rules: Rules,
) -> None:
    """Where no beat and no value lies within `fresh_ms`, or all in the future, nothing is fresh."""
    assume(heard is not None or graph is not None)
    times = [rules.time_ms(each) for each in (heard, graph) if each is not None]
    assume(not any(NOW_MS - rules.fresh_ms <= t <= NOW_MS + rules.skew_ms for t in times))
    for judged in (
        judge_ring(found, graph, heard, rules, now_ms=NOW_MS),
        judge_graph(graph, heard, rules, now_ms=NOW_MS),
    ):
        assert judged.verdict.name is not VerdictName.FRESH


@given(**CACHED)
def test_stale_ends(
    found: FeatureUpdate | None,
    graph: FeatureUpdate | None,
    heard: FeatureUpdate | None,
    rules: Rules,
) -> None:
    """Nothing is used for longer than `stale_ms` after it became outdated; no age is below 0."""
    for judged in (
        judge_ring(found, graph, heard, rules, now_ms=NOW_MS),
        judge_graph(graph, heard, rules, now_ms=NOW_MS),
    ):
        assert judged.age_ms >= 0
        if judged.usable:
            assert judged.age_ms <= rules.stale_ms
        if judged.verdict.name is VerdictName.FRESH:
            assert judged.age_ms == 0


@given(**CACHED, later_ms=st.integers(0, 3_000_000))
def test_waiting_never_makes_a_value_better(
    found: FeatureUpdate | None,
    graph: FeatureUpdate | None,
    heard: FeatureUpdate | None,
    rules: Rules,
    later_ms: int,
) -> None:
    """With the cache as it is, what is fresh may become stale and then fallback, never back.

    Unless it seemed to be from the future: then time may catch up with it.
    """
    known = [each for each in (found, graph, heard) if each is not None]
    assume(all(rules.time_ms(each) <= NOW_MS + rules.skew_ms for each in known))
    order = [VerdictName.FRESH, VerdictName.STALE, VerdictName.FALLBACK]
    later = NOW_MS + later_ms
    for now, then in (
        (
            judge_ring(found, graph, heard, rules, now_ms=NOW_MS),
            judge_ring(found, graph, heard, rules, now_ms=later),
        ),
        (
            judge_graph(graph, heard, rules, now_ms=NOW_MS),
            judge_graph(graph, heard, rules, now_ms=later),
        ),
    ):
        if now.verdict.name is VerdictName.MISSING:
            assert then == now
        else:
            assert order.index(then.verdict.name) >= order.index(now.verdict.name)
            assert then.age_ms >= now.age_ms


@given(
    **CACHED,
    by_wall=st.sampled_from(["everything", "until", "job", "calibration"]),
    late_ms=st.integers(0, 100_000),
)
def test_what_is_withdrawn_is_never_used(
    found: FeatureUpdate | None,
    graph: FeatureUpdate | None,
    heard: FeatureUpdate | None,
    rules: Rules,
    by_wall: str,
    late_ms: int,
) -> None:
    """A covered value is a fallback for one reason, however young; what is not covered stays."""
    assume(found is not None)
    assert found is not None
    assert found.source is not None
    found = msgspec.structs.replace(
        found, source=msgspec.structs.replace(found.source, calibration_id="c1")
    )
    withdrawals = {
        "everything": Withdrawals(until_ms=FOREVER_MS),
        "until": Withdrawals(until_ms=found.computed_at_ms + late_ms),
        "job": Withdrawals(jobs={"j1": FOREVER_MS}),
        "calibration": Withdrawals(calibrations={"c1": FOREVER_MS}),
    }[by_wall]
    judged = judge_ring(found, graph, heard, rules, now_ms=NOW_MS, withdrawals=withdrawals)
    assert judged == Judged(verdict=WITHDRAWN)
    assert not judged.usable
    if graph is not None:
        shown = judge_graph(graph, heard, rules, now_ms=NOW_MS, withdrawals=withdrawals)
        if withdrawals.covers(graph):
            assert shown.verdict == WITHDRAWN
        else:
            assert shown == judge_graph(graph, heard, rules, now_ms=NOW_MS)
    other = Withdrawals(jobs={"j2": FOREVER_MS}, calibrations={"c2": FOREVER_MS})
    for value in (found, None):
        kept = judge_ring(value, graph, heard, rules, now_ms=NOW_MS, withdrawals=other)
        assert kept == judge_ring(value, graph, heard, rules, now_ms=NOW_MS)


@given(**CACHED)
def test_a_ring_is_not_held_against_a_withdrawn_graph(
    found: FeatureUpdate | None,
    graph: FeatureUpdate | None,
    heard: FeatureUpdate | None,
    rules: Rules,
) -> None:
    """Neither that it is fresh, nor that the entity is in no subgraph, can be had from it."""
    assume(graph is not None)
    assert graph is not None
    past = Withdrawals(until_ms=graph.computed_at_ms)
    judged = judge_ring(found, graph, heard, rules, now_ms=NOW_MS, withdrawals=past)
    assert judged.verdict == WITHDRAWN


def test_a_job_is_withdrawn_from_rings_alone() -> None:
    """What the window stage computed stays, though a job's id should stand in its source."""
    gone = Withdrawals(jobs={"j1": FOREVER_MS})
    assert S1.source is not None
    assert S1.source.job_id == "j1"
    assert judge_graph(S1, BEAT, RULES, now_ms=NOW_MS, withdrawals=gone).verdict == HEARD
    found = judge_ring(RING, S1, BEAT, RULES, now_ms=NOW_MS, withdrawals=gone)
    assert found.verdict == WITHDRAWN
    narrowed = Withdrawals(jobs={"j1": RING.computed_at_ms - 1})
    found = judge_ring(RING, S1, BEAT, RULES, now_ms=NOW_MS, withdrawals=narrowed)
    assert found.verdict == UNCHANGED


@given(**CACHED, known_age_ms=st.integers(-5_000, 2_000_000))
def test_what_is_only_remembered_is_never_fresh(
    found: FeatureUpdate | None,
    graph: FeatureUpdate | None,
    heard: FeatureUpdate | None,
    rules: Rules,
    known_age_ms: int,
) -> None:
    """Stale while neither it nor the memory of it is too old; its age is the larger; no missing."""
    for judged in (
        judge_ring(found, graph, heard, rules, now_ms=NOW_MS),
        judge_graph(graph, heard, rules, now_ms=NOW_MS),
    ):
        known = last_known(judged, known_age_ms, rules)
        assert known.verdict in (LAST_KNOWN, UNAVAILABLE, FROM_FUTURE)
        assert (known.verdict == FROM_FUTURE) is (judged.verdict == FROM_FUTURE)
        if known.verdict == LAST_KNOWN:
            assert known.age_ms == max(judged.age_ms, known_age_ms) <= rules.stale_ms
            assert judged.verdict.name in (VerdictName.FRESH, VerdictName.STALE)
            assert known.usable is judged.usable
        if judged.verdict.name is VerdictName.STALE and known_age_ms <= rules.stale_ms:
            assert known.verdict == LAST_KNOWN
        assert known.usable <= judged.usable


def test_a_withdrawal_outlives_the_cache() -> None:
    """What was withdrawn before, or since, the cache went away is not remembered into use."""
    gone = Withdrawals(until_ms=FOREVER_MS)
    judged = judge_ring(RING, S1, BEAT, RULES, now_ms=NOW_MS, withdrawals=gone)
    assert last_known(judged, 10, RULES).verdict == WITHDRAWN


def by_clock(value: FeatureUpdate, rules: Rules, at_ms: int) -> FeatureUpdate:
    """The update at that time by the pipeline's clock; the other clock stands at 0."""
    return timed(value, at_ms if rules.by_event_time else 0, 0 if rules.by_event_time else at_ms)


@given(
    rules=ANY_RULES,
    writer=st.floats(0, 1),
    reader=st.floats(0, 1),
    beaten_ms=st.integers(0, 200_000),
    sampled_ms=st.integers(0, 200_000),
    changed=st.booleans(),
)
def test_promises_hold_up_to_the_stated_skew(
    rules: Rules, writer: float, reader: float, beaten_ms: int, sampled_ms: int, changed: bool
) -> None:
    """Two clocks no further apart than `skew_ms`, either ahead: nothing is from the future.

    Nothing is fresh whose shard was truly silent for longer than `fresh_ms` and the skew, nor whose
    subgraph changed; and what was heard well within `fresh_ms` is not called silent.
    """
    true_ms = NOW_MS
    wrote, now_ms = (true_ms + int(part * rules.skew_ms) for part in (writer, reader))
    offset_ms = wrote - true_ms
    beat = by_clock(heartbeat(), rules, true_ms - beaten_ms + offset_ms)
    graph = graph_of("s2" if changed else "s1", 0, 0, true_ms - beaten_ms + offset_ms)
    graph = by_clock(graph, rules, true_ms - beaten_ms + offset_ms)
    found = by_clock(ring("account", "a1", 0.8), rules, true_ms - sampled_ms + offset_ms)
    for judged in (
        judge_ring(found, graph, beat, rules, now_ms=now_ms),
        judge_graph(graph, beat, rules, now_ms=now_ms),
        judge_ring(found, None, None, rules, now_ms=now_ms),
    ):
        assert judged.verdict != FROM_FUTURE
        if beaten_ms > rules.fresh_ms + rules.skew_ms:
            assert judged.verdict.name is not VerdictName.FRESH
    judged = judge_ring(found, graph, beat, rules, now_ms=now_ms)
    if changed:
        assert judged.verdict.name is not VerdictName.FRESH
    elif beaten_ms <= rules.fresh_ms - rules.skew_ms:
        assert judged.verdict == UNCHANGED


def both(*values: Any) -> tuple[Judged, Judged]:
    """The verdicts on ring and graph, from (ring, graph, heartbeat, rules, time)."""
    found, graph, heard, rules, now_ms = values
    return (
        judge_ring(found, graph, heard, rules, now_ms=now_ms),
        judge_graph(graph, heard, rules, now_ms=now_ms),
    )


@given(**CACHED, shift_ms=st.integers(-1_700_000_000_000, 10**12))
def test_only_differences_of_time_count(
    found: FeatureUpdate | None,
    graph: FeatureUpdate | None,
    heard: FeatureUpdate | None,
    rules: Rules,
    shift_ms: int,
) -> None:
    """A replay of old events is judged as life was: shifting every time changes no verdict."""

    def shifted(value: FeatureUpdate | None) -> FeatureUpdate | None:
        if value is None:
            return None
        values = {
            name: at + shift_ms if name == "subgraph_since_ms" else at
            for name, at in value.values.items()
        }
        moved = msgspec.structs.replace(value, values=values)
        return timed(moved, value.event_time_ms + shift_ms, value.computed_at_ms + shift_ms)

    moved = [shifted(each) for each in (found, graph, heard)]
    assert both(*moved, rules, NOW_MS + shift_ms) == both(found, graph, heard, rules, NOW_MS)


@given(**CACHED, other_ms=st.integers(0, 2 * NOW_MS))
def test_the_other_clock_does_not_count(
    found: FeatureUpdate | None,
    graph: FeatureUpdate | None,
    heard: FeatureUpdate | None,
    rules: Rules,
    other_ms: int,
) -> None:
    """By event time whatever the wall was, by the wall whatever the events' time was."""
    field = "computed_at_ms" if rules.by_event_time else "event_time_ms"
    moved = [
        None if each is None else msgspec.structs.replace(each, **{field: other_ms})
        for each in (found, graph, heard)
    ]
    assert both(*moved, rules, NOW_MS) == both(found, graph, heard, rules, NOW_MS)


FINITE = st.floats(-1e6, 1e6)


@given(value=FINITE, prior=FINITE, younger_ms=st.integers(0, 10**9), more_ms=st.integers(0, 10**9))
def test_decay_goes_towards_the_prior_and_never_past_it(
    value: float, prior: float, younger_ms: int, more_ms: int
) -> None:
    """The older, the closer to the prior; at age 0 it is the value itself."""
    younger = decayed(value, prior, younger_ms, 60_000)
    older = decayed(value, prior, younger_ms + more_ms, 60_000)
    low, high = sorted((value, prior))
    slack = 1e-9 * max(1.0, abs(value), abs(prior))
    assert low - slack <= older <= high + slack
    assert abs(older - prior) <= abs(younger - prior) + slack
    assert decayed(value, prior, 0, 60_000) == value


@given(
    value=FINITE,
    prior=FINITE,
    half_lives=st.integers(0, 20),
    half_life_ms=st.integers(1, 10**8),
)
def test_it_halves_per_half_life(
    value: float, prior: float, half_lives: int, half_life_ms: int
) -> None:
    """After n half-lives 2**-n of the distance to the prior is left, and after one more half."""
    before = decayed(value, prior, half_lives * half_life_ms, half_life_ms)
    after = decayed(value, prior, (half_lives + 1) * half_life_ms, half_life_ms)
    slack = 1e-9 * max(1.0, abs(value), abs(prior))
    assert before - prior == pytest.approx((value - prior) * 2.0**-half_lives, abs=slack)
    assert after - prior == pytest.approx((before - prior) / 2, abs=slack)


def test_half_of_the_distance_goes_each_half_life() -> None:
    """From .9 to a prior of .1: .5 after one half-life, .3 after two."""
    assert decayed(0.9, 0.1, 60_000, 60_000) == pytest.approx(0.5)
    assert decayed(0.9, 0.1, 120_000, 60_000) == pytest.approx(0.3)


S1 = graph_of("s1", NOW_MS, NOW_MS, NOW_MS - 5_000)
S2 = graph_of("s2", NOW_MS, NOW_MS, NOW_MS - 5_000)
NO_SUBGRAPH = graph_of("", NOW_MS, NOW_MS, NOW_MS - 5_000)
OLD_S1 = graph_of("s1", NOW_MS - 50_000, NOW_MS - 50_000, NOW_MS - 90_000)
OLD_NO_SUBGRAPH = graph_of("", NOW_MS - 50_000, NOW_MS - 50_000, NOW_MS - 90_000)
RING = ring("account", "a1", 0.8, at_ms=NOW_MS - 10_000)
AHEAD = ring("account", "a1", 0.8, at_ms=NOW_MS + RULES.skew_ms + 1)
AHEAD_S1 = graph_of("s1", NOW_MS + 1_001, NOW_MS + 1_001, NOW_MS)
BEAT = heartbeat(at_ms=NOW_MS - 100)
LAST_BEAT = heartbeat(at_ms=NOW_MS - 40_000)


@pytest.mark.parametrize(
    ("found", "graph", "heard", "expected"),
    [
        (RING, S1, BEAT, Judged(verdict=UNCHANGED)),
        (RING, OLD_S1, BEAT, Judged(verdict=UNCHANGED)),
        (RING, OLD_S1, LAST_BEAT, Judged(verdict=SHARD_SILENT, age_ms=40_000)),
        (RING, OLD_S1, None, Judged(verdict=SHARD_SILENT, age_ms=50_000)),
        (RING, S2, BEAT, Judged(verdict=CHANGED, age_ms=5_000)),
        (RING, None, BEAT, Judged(verdict=SUBGRAPH_UNKNOWN, age_ms=10_000)),
        (RING, NO_SUBGRAPH, BEAT, Judged(verdict=IN_NO_SUBGRAPH, void=True)),
        (
            RING,
            OLD_NO_SUBGRAPH,
            LAST_BEAT,
            Judged(verdict=SHARD_SILENT, age_ms=40_000, void=True),
        ),
        (AHEAD, S1, BEAT, Judged(verdict=FROM_FUTURE)),
        (AHEAD, S2, BEAT, Judged(verdict=FROM_FUTURE)),
        (AHEAD, None, BEAT, Judged(verdict=FROM_FUTURE)),
        (RING, AHEAD_S1, BEAT, Judged(verdict=FROM_FUTURE)),
        (None, S1, BEAT, Judged(verdict=NOT_SAMPLED)),
        (None, None, BEAT, Judged(verdict=NEVER_SEEN)),
    ],
)
def test_each_verdict_has_its_reason(
    found: FeatureUpdate | None,
    graph: FeatureUpdate | None,
    heard: FeatureUpdate | None,
    expected: Judged,
) -> None:
    """What a reader is told of a ring, and the age that it decays by."""
    assert judge_ring(found, graph, heard, RULES, now_ms=NOW_MS) == expected


def test_a_heartbeat_from_the_future_is_not_heard() -> None:
    """A shard whose clock ran ahead and that then fell silent must not seem alive for hours."""
    ahead = heartbeat(at_ms=NOW_MS + 3_600_000)
    judged = judge_ring(RING, OLD_S1, ahead, RULES, now_ms=NOW_MS)
    assert judged == Judged(verdict=SHARD_SILENT, age_ms=50_000)
    within_skew = heartbeat(at_ms=NOW_MS + RULES.skew_ms)
    assert judge_ring(RING, OLD_S1, within_skew, RULES, now_ms=NOW_MS).verdict == UNCHANGED


def test_age_counts_from_the_change_and_not_from_the_computation() -> None:
    """A ring of days ago, of a subgraph that changed five seconds ago, is five seconds stale."""
    days_old = ring("account", "a1", 0.8, at_ms=NOW_MS - 400_000_000)
    assert judge_ring(days_old, S2, BEAT, RULES, now_ms=NOW_MS).age_ms == 5_000
    assert judge_ring(days_old, S1, BEAT, RULES, now_ms=NOW_MS).verdict == UNCHANGED


def test_a_change_cannot_lie_ahead_of_what_shows_it() -> None:
    """A graph of long ago that dates its change into the future keeps no ring young."""
    odd = graph_of("s2", NOW_MS - 50_000, NOW_MS - 50_000, NOW_MS + 900_000)
    assert judge_ring(RING, odd, BEAT, RULES, now_ms=NOW_MS).age_ms == 50_000


@pytest.mark.parametrize("by_event_time", [True, False])
def test_the_pipelines_clock_counts(by_event_time: bool) -> None:
    """In a replay by event time the wall does not matter, and in life event time does not."""
    rules = Rules(
        fresh_ms=30_000,
        stale_ms=600_000,
        half_life_ms=1,
        skew_ms=0,
        by_event_time=by_event_time,
    )
    wrong: dict[str, Any] = {"computed_at_ms" if by_event_time else "event_time_ms": 10}
    found, graph, heard = (msgspec.structs.replace(each, **wrong) for each in (RING, S1, BEAT))
    assert judge_ring(found, graph, heard, rules, now_ms=NOW_MS).verdict == UNCHANGED
    assert judge_graph(graph, heard, rules, now_ms=NOW_MS).verdict == HEARD


@pytest.mark.parametrize("name", ["payments", "cards", "trust"])
def test_shipped_rules_are_those_of_the_file(name: str) -> None:
    """The rules of a pipeline are its `[features]`."""
    pipeline = load(name)
    rules = Rules.of(pipeline)
    assert (rules.fresh_ms, rules.stale_ms) == (
        pipeline.features.fresh_ms,
        pipeline.features.stale_ms,
    )
    assert rules.by_event_time is (pipeline.features.clock == "event")


ALL = [
    UNCHANGED, IN_NO_SUBGRAPH, HEARD, CHANGED, SUBGRAPH_UNKNOWN, SHARD_SILENT, TOO_OLD,
    FROM_FUTURE, UNAVAILABLE, NEVER_SEEN, NOT_SAMPLED, LAST_KNOWN, WITHDRAWN,
]  # fmt: skip


@given(verdicts=st.lists(st.sampled_from(ALL)))
def test_an_events_verdict_is_the_worst_of_what_is_known(verdicts: list[Verdict]) -> None:
    """Fallback before stale before fresh; missing only where nothing at all was seen."""
    names = {verdict.name for verdict in verdicts}
    for name in (VerdictName.FALLBACK, VerdictName.STALE, VerdictName.FRESH):
        if name in names:
            assert of_event(verdicts).name is name
            assert of_event(verdicts) in verdicts
            return
    assert of_event(verdicts).name is VerdictName.MISSING
