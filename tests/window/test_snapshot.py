"""What is kept of a horizon gives the horizon again, whatever was written of it before a crash."""

from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from enrichment.records.horizon_slice import HorizonSlice
from enrichment.window import snapshot
from enrichment.window.horizon import Horizon
from enrichment.window.slices import Held, Origin, Through
from enrichment.window.snapshot import Snapshot
from tests.window import sketch
from tests.window.sketch import Event, content, pipeline

SHARD = "s"
Topic = dict[str, HorizonSlice]

EVENT = st.tuples(
    st.integers(0, 900),
    st.sampled_from("abcdef"),
    st.sampled_from("xyz"),
    st.sampled_from(["", "a", "b"]),
    st.integers(0, 10_000),
)
EVENTS = st.lists(EVENT, max_size=30)


def new() -> Horizon:
    """An empty one, with a span and two aggregates."""
    return Horizon(pipeline(spans_ms=[100]))


def state(horizon: Horizon) -> Any:
    """All that a close looks at."""
    return (
        sketch.ties(horizon),
        sketch.tallies(horizon),
        [sketch.tallies(horizon, span.totals) for span in horizon.spans],
        [running.totals for running in horizon.aggregates],
        {
            (structure.name, start_ms): rows(structure.entries(start_ms))
            for structure in horizon.structures
            for start_ms in range(0, 1_000, 10)
        },
        horizon.estimated_bytes,  # with all batches of a slice made one, as they are now
        horizon.now_ms,
    )


def rows(held: Held | None) -> set[tuple[object, ...]] | None:
    """What is held, row by row."""
    if held is None:
        return None
    return {
        (kind, *row)
        for columns in (held.ties, held.tallies, held.aggregates)
        for kind, column in columns.items()
        for row in zip(*msgspec.structs.astuple(column), strict=True)
    }


def write(topic: Topic, records: Iterable[tuple[str, HorizonSlice | None]]) -> None:
    """Write records to a compacted topic."""
    for key, value in records:
        if value is None:
            topic.pop(key, None)
        else:
            topic[key] = value


def loaded(topic: Topic) -> tuple[Snapshot, Horizon]:
    """A worker that takes over."""
    kept, horizon = Snapshot("p"), new()
    for key, value in topic.items():
        kept.read(key, value)
    kept.load({SHARD: horizon} if kept.shards else {})
    return kept, horizon


# What comes after an event: writing all of it, a crash, or a crash within the writing.
STEPS = st.lists(
    st.tuples(EVENT, st.sampled_from(["", "", "write", "crash", "torn"]), st.floats(0, 1)),
    max_size=25,
)


@settings(max_examples=400)
@given(steps=STEPS, entries_max=st.sampled_from([1, 2, 20_000]))
def test_a_restart_has_what_there_was(
    steps: list[tuple[Event, str, float]], entries_max: int
) -> None:
    """Closes go in one by one; a crash, in the middle of writing too, loses and doubles none."""
    reference = new()
    topic: Topic = {}
    kept, horizon = Snapshot("p"), new()
    written = 0  # closes before this are kept for certain
    before, snapshot.PART_ENTRIES_MAX = snapshot.PART_ENTRIES_MAX, entries_max
    try:
        for number, (event, what, share) in enumerate(steps):
            for one in (reference, horizon):
                one.fold(content([event]), number)
                one.advance(event[0])
            if what in {"write", "torn"}:
                records = list(kept.changes(SHARD, horizon, Through(number + 1, 0), number))
                torn = round(share * len(records)) if what == "torn" else len(records)
                write(topic, records[:torn])
                written = number + 1 if what == "write" else written
            if what in {"crash", "torn"}:
                kept, horizon = loaded(topic)
                for again in range(written, number + 1):
                    horizon.fold(content([steps[again][0]]), again, Origin(close=again))
                    horizon.advance(steps[again][0][0])
        write(topic, kept.changes(SHARD, horizon, Through(len(steps), 0), len(steps)))
        _, last = loaded(topic)
    finally:
        snapshot.PART_ENTRIES_MAX = before
    last.advance(reference.now_ms)
    assert state(last) == state(reference)


@given(events=EVENTS)
def test_what_has_left_is_deleted(events: list[Event]) -> None:
    """Nothing stands on the topic of a horizon that is empty."""
    topic: Topic = {}
    kept, horizon = Snapshot("p"), new()
    for number, event in enumerate(events):
        horizon.fold(content([event]), number)
        write(topic, kept.changes(SHARD, horizon, Through(number + 1, 0), number))
    horizon.advance(10_000)
    write(topic, kept.changes(SHARD, horizon, Through(len(events), 0), len(events)))
    assert topic == {}


def test_late_digests_are_held_once() -> None:
    """A late digest that is read again is in what was loaded, and one after it is not."""
    topic: Topic = {}
    kept, horizon = Snapshot("p"), new()
    horizon.fold(content([(0, "a", "x", "", 1)]), 7, Origin(late=7))
    write(topic, kept.changes(SHARD, horizon, Through(0, 8), 8))
    _, again = loaded(topic)
    again.fold(content([(0, "a", "x", "", 1)]), 7, Origin(late=7))
    assert [tie.events for tie in sketch.ties(again).values()] == [1]
    again.fold(content([(0, "a", "x", "", 1)]), 8, Origin(late=8))
    assert [tie.events for tie in sketch.ties(again).values()] == [2]
