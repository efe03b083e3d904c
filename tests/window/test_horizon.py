"""The horizon holds exactly what a recomputation over the live windows gives, and no more."""

import tracemalloc
from collections import Counter
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.window.entities import Entity
from enrichment.window.graph import DIRECT
from enrichment.window.horizon import Horizon
from tests.window import sketch
from tests.window.sketch import (
    HORIZON_MS,
    SIZE_MS,
    Event,
    TieKey,
    content,
    horizon,
    numbers,
    pipeline,
)

EVENTS = st.lists(
    st.tuples(
        st.integers(0, 1_500),
        st.sampled_from("abcdef"),
        st.sampled_from("xyz"),
        st.sampled_from(["", "a", "b", "c"]),
        st.integers(0, 10_000),
    ),
    max_size=40,
)


def live(events: list[Event], now_ms: int, retention_ms: int = HORIZON_MS) -> list[Event]:
    """The events whose window is not a horizon old."""
    return [e for e in events if (e[0] // SIZE_MS + 1) * SIZE_MS + retention_ms > now_ms]


@given(events=EVENTS, steps=st.lists(st.integers(1, 600), max_size=6), late=st.booleans())
def test_expiry_equals_recomputation(events: list[Event], steps: list[int], *, late: bool) -> None:
    """After any advance, ties, tallies and aggregates are those of the live events alone."""
    built = Horizon(pipeline())
    order = events if late else sorted(events)
    now_ms, seen = 0, 0
    for step in [0, *steps]:
        now_ms += step
        some = order[seen : seen + 1 + len(order) // 4]
        seen += len(some)
        for event in some:
            built.fold(content([event]), 0)
        built.advance(now_ms)
        check(built, order[:seen], now_ms)


def check(built: Horizon, events: list[Event], now_ms: int) -> None:
    """Compare with a recomputation from scratch."""
    kept = live(events, now_ms)
    ties: Counter[TieKey] = Counter()
    newest: dict[TieKey, int] = {}
    first: dict[TieKey, int] = {}
    tallies: Counter[Entity] = Counter()
    for at_ms, account, device, payee, _ in kept:
        keys = [TieKey("device", account, device)]
        if payee and payee != account:
            keys.append(TieKey(DIRECT, account, payee))
        for key in keys:
            ties[key] += 1
            newest[key] = max(newest.get(key, 0), at_ms)
            first[key] = min(first.get(key, at_ms), at_ms // SIZE_MS * SIZE_MS)
        tallies.update(Entity("account", id_) for id_ in {account, payee} - {""})
        tallies[Entity("device", device)] += 1
    found = sketch.ties(built)
    assert {key: tie.events for key, tie in found.items()} == dict(ties)
    assert {key: tie.newest_ms for key, tie in found.items()} == newest
    assert {key: tie.first_ms for key, tie in found.items()} == first
    assert {entity: events for entity, (events, _) in sketch.tallies(built).items()} == dict(
        tallies
    )
    paid, risk = built.aggregates
    assert paid.totals == sums(kept, 1)
    ripe = [e for e in live(events, now_ms, 150) if (e[0] // SIZE_MS + 1) * SIZE_MS + 50 <= now_ms]
    assert risk.totals == sums(ripe, 2)


def sums(events: list[Event], field: int) -> dict[str, list[int]]:
    """Count and sum in millionths, by the account or the device."""
    totals: dict[str, list[int]] = {}
    for event in events:
        entry = totals.setdefault(str(event[field]), [0, 0])
        entry[0] += 1
        entry[1] += event[4] * 10_000
    return totals


def test_a_bound_pushes_the_oldest_out() -> None:
    """Beyond its bound the horizon drops what was seen least lately, and says whom it untied."""
    events = [(SIZE_MS * n, f"a{n}", f"d{n}", "", 1) for n in range(10)]
    built = horizon(events, edges_max=4)
    assert {key.a for key in sketch.ties(built)} == {"a6", "a7", "a8", "a9"}
    assert built.evicted_slices == 6
    changes = built.fold(content([(SIZE_MS * 10, "new", "d", "", 1)]), 0)
    assert changes.untied == {*numbers(built, ["a6"]), *numbers(built, ["d6"], "device")}


def test_bytes_are_bounded_too() -> None:
    """A graph that is estimated to be larger than the pipeline allows drops its oldest slices."""
    built = Horizon(pipeline(horizon_max_mib=1))
    for window in range(10):
        start_ms = window * SIZE_MS
        built.fold(content([(start_ms, f"a{window}-{n}", f"d{n}", "", 1) for n in range(300)]), 0)
        assert built.estimated_bytes <= 2**20
    assert built.evicted_slices > 0
    accounts = {key.a for key in sketch.ties(built)}
    assert {account.split("-")[0] for account in accounts} >= {"a9"}
    assert "a0-0" not in accounts


@pytest.mark.parametrize(("accounts", "windows"), [(500, 8), (30, 60), (2_000, 3)])
def test_the_estimate_of_bytes_is_about_right(accounts: int, windows: int) -> None:
    """Within a third of what Python's own account of memory says, whatever the graph's shape."""
    draw = Random(1)
    spec = pipeline(horizon_ms=100_000, spans_ms=[1_000])
    spec = msgspec.structs.replace(spec, aggregates=())  # which are not in the estimate
    tracemalloc.start()
    try:
        built = Horizon(spec)
        for window in range(windows):
            at_ms = window * 1_600
            events = [
                (
                    at_ms,
                    f"a-{draw.randrange(accounts):09}",
                    f"d-{draw.randrange(accounts):09}",
                    "",
                    1,
                )
                for _ in range(1_000)
            ]
            built.fold(content(events), window)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert built.estimated_bytes == pytest.approx(taken, rel=1 / 3)


@given(events=EVENTS, steps=st.lists(st.integers(1, 600), max_size=4))
def test_the_estimate_of_bytes_forgets_what_leaves(events: list[Event], steps: list[int]) -> None:
    """What is estimated is that of a graph that was never larger, and nothing of an empty one."""
    built = Horizon(pipeline(spans_ms=[100]))
    for event in events:
        built.fold(content([event]), 0)
        if steps:
            built.advance(built.now_ms + steps.pop())
    fresh = Horizon(pipeline(spans_ms=[100]))
    fresh.advance(built.now_ms)
    for event in events:
        fresh.fold(content([event]), 0)
    assert built.estimated_bytes == fresh.estimated_bytes
    built.advance(10_000)
    assert built.estimated_bytes == 0


def test_maturing_is_told() -> None:
    """An aggregate that enters after its delay, or leaves after its span, names its entity."""
    built = horizon([(0, "a", "x", "", 100)], now_ms=89)
    assert built.advance(90).restated == {*numbers(built, ["x"], "device")}
    assert built.advance(189).restated == set()
    assert built.advance(190).restated == {*numbers(built, ["x"], "device")}


def test_the_oldest_offset_is_kept_while_it_is_needed() -> None:
    """A rebuild starts at the oldest digest that still counts."""
    built = Horizon(pipeline())
    built.fold(content([(0, "a", "x", "", 1)]), 17)
    built.fold(content([(100, "a", "x", "", 1)]), 11)
    built.fold(content([(200, "a", "x", "", 1)]), 23)
    assert built.oldest_offset() == 11
    built.advance(120 + HORIZON_MS)
    assert built.oldest_offset() == 23
