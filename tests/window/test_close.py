"""Windows close once, hold each digest once, and close the same way again from their log."""

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from enrichment.records import Cause, Digest, FeatureUpdate, MicroBatch, Outcome, OutcomeKind
from enrichment.window.partition import Log
from tests.window import sketch
from tests.window.sketch import HORIZON_MS, PANE_MS, SIZE_MS, Event, Run, digest, pipeline, progress

# (source, how far time moves on, how far back the pane lies, accounts, shard)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 60),
        st.integers(0, 120),
        st.lists(st.sampled_from("abcdef"), min_size=0, max_size=4),
        st.sampled_from("st"),
    ),
    min_size=1,
    max_size=50,
)
Steps = list[tuple[int, int, int, list[str], str]]


def digests(steps: Steps) -> list[tuple[int, Digest]]:
    """Digests of some sources in some disorder, with offsets that leave gaps."""
    made = []
    now_ms = 1_000
    for number, (source, ahead_ms, behind_ms, accounts, shard) in enumerate(steps):
        now_ms += ahead_ms
        at_ms = (now_ms - behind_ms) // PANE_MS * PANE_MS
        events: list[Event] = [(at_ms, a, f"d{ord(a) % 2}", "", 100) for a in accounts]
        if events:
            one = digest(events, source=source, shard=shard, progress_ms=now_ms)
        else:
            one = progress(now_ms, source=source)
        made.append((2 * number, one))
    return made


def events_of(batches: list[MicroBatch]) -> int:
    """The events in those micro-batches."""
    return sum(batch.events for batch in batches)


@given(steps=STEPS, events_max=st.integers(3, 50))
def test_every_digest_is_in_one_close_or_late(steps: Steps, events_max: int) -> None:
    """By the end all events are in micro-batches or counted as late, and identities are unique."""
    run = Run(pipeline(events_max=events_max))
    made = digests(steps)
    run.feed(made)
    run.settle()
    run.idle()
    late = len(run.partition.counts.late_ms)
    in_closes = events_of(run.closed)
    total = sum(one.events for _, one in made)
    assert late > 0 or in_closes == total
    assert total - in_closes <= 4 * late
    assert len({batch.micro_batch_id for batch in run.closed}) == len(run.closed)
    covered = [offset for batch in run.closed for offset in batch.digest_offsets]
    assert all(first <= last for _, first, last in covered)


@given(steps=STEPS)
def test_windows_are_half_open_and_in_order(steps: Steps) -> None:
    """Windows are aligned, of one size, and a shard's versions only rise."""
    run = Run(pipeline(events_max=6))
    run.feed(digests(steps))
    run.settle()
    run.idle()
    versions: dict[str, int] = {}
    for batch in run.closed:
        assert batch.window_start_ms % SIZE_MS == 0
        assert batch.window_end_ms == batch.window_start_ms + SIZE_MS
        if batch.cause is Cause.WATERMARK:
            assert batch.window_end_ms <= batch.watermark_ms
        assert batch.version > versions.get(batch.shard, -1)
        versions[batch.shard] = batch.version


def test_an_event_on_the_border_belongs_to_the_window_that_starts() -> None:
    """A window holds `start <= at < end`."""
    run = Run(pipeline())
    early = digest([(SIZE_MS - 1, "a", "d", "", 1)])
    border = digest([(SIZE_MS, "a", "d", "", 1)])
    run.feed([(0, early), (1, border), (2, progress(2 * SIZE_MS))])
    assert [(batch.window_start_ms, batch.events) for batch in run.closed] == [
        (0, 1),
        (SIZE_MS, 1),
    ]


@given(steps=STEPS, cut=st.integers(0, 50), behind=st.integers(0, 5), events_max=st.integers(3, 9))
# A close that was made long after its last digest had come: till then another must not be decided.
@example(
    steps=[
        (0, 48, 120, ["c"], "s"),
        (1, 35, 31, ["a", "d"], "t"),
        (1, 41, 37, ["f", "e", "a", "a"], "s"),
        (0, 15, 82, ["d", "d", "e"], "s"),
    ],
    cut=4,
    behind=0,
    events_max=4,
)
# A source that has come no further since the offset that was committed still holds the watermark.
@example(
    steps=[(0, 0, 0, [], "s"), (0, 0, 0, [], "s"), (1, 40, 1, ["a"], "s"), (1, 0, 0, [], "s")],
    cut=2,
    behind=0,
    events_max=3,
)
def test_a_restart_follows_the_log(steps: Steps, cut: int, behind: int, events_max: int) -> None:
    """Whenever it crashes, a worker that rebuilds from log and digests closes as if it had not.

    Identities, causes, contents and offsets are those of an undisturbed run, and so is the graph
    in the end; what was logged is not published again, and its content is found to be the same.
    """
    made = digests(steps)
    spec = pipeline(events_max=events_max)
    undisturbed = Run(spec)
    undisturbed.feed(made)
    crashed = Run(spec)
    committed = max(0, cut - behind)
    crashed.feed(made[:committed])
    start, log_start = crashed.partition.safe()
    watermark = crashed.partition.watermark()
    crashed.feed(made[committed:cut])
    log = Log(
        closes=tuple(entry for entry in crashed.log if entry[0] >= log_start),
        end=len(crashed.log),
        watermark=watermark,
    )
    again = Run(spec, start=start, log=log)
    again.log = list(crashed.log)
    again.feed(entry for entry in made if entry[0] >= start)
    assert again.partition.counts.conflicts == []
    published = [batch.micro_batch_id for batch in crashed.closed + again.closed]
    assert len(set(published)) == len(published)
    expected = [timeless(batch) for batch in undisturbed.closed]
    assert [timeless(batch) for batch in crashed.closed + again.closed] == expected
    if again.closed:
        for name, shard in again.partition._shards.items():
            twin = undisturbed.partition._shards[name].horizon
            assert shard.horizon.now_ms == twin.now_ms
            assert sketch.ties(shard.horizon) == sketch.ties(twin)
            assert sketch.tallies(shard.horizon) == sketch.tallies(twin)


def timeless(batch: MicroBatch) -> tuple[object, ...]:
    """What of a micro-batch a restart may not change."""
    return (
        batch.micro_batch_id,
        batch.cause,
        batch.content_hash,
        batch.events,
        batch.digest_offsets,
    )


def test_a_changed_digest_is_a_counted_conflict() -> None:
    """A logged close that its digests no longer give is reported, and is not published again."""
    first = Run(pipeline())
    one = digest([(0, "a", "d", "", 1)])
    first.feed([(0, one), (1, progress(SIZE_MS))])
    again = Run(pipeline(), log=Log(closes=tuple(first.log), end=1))
    again.feed([(0, msgspec.structs.replace(one, events=2)), (1, progress(SIZE_MS))])
    assert again.closed == []
    assert again.partition.counts.conflicts == [first.closed[0].micro_batch_id]


def test_a_full_window_closes_by_count_and_goes_on() -> None:
    """events_max closes a window early; the rest of it is the next sequence."""
    run = Run(pipeline(events_max=3))
    events: list[Event] = [(0, a, "d", "", 1) for a in "abc"]
    run.feed([(0, digest(events)), (1, digest([(5, "d", "d", "", 1)])), (2, progress(SIZE_MS))])
    assert [(b.sequence, b.cause, b.events) for b in run.closed] == [
        (0, Cause.COUNT, 3),
        (1, Cause.WATERMARK, 1),
    ]


def test_a_wrong_clock_holds_no_window_open_for_ever() -> None:
    """A live source that is hours behind holds the watermark; past open_max_ms the window closes.

    What comes for it afterwards goes into its next close, and is not late.
    """
    run = Run(pipeline(open_max_ms=500))
    longest_ms = 500 + SIZE_MS
    behind = [(2 * n + 1, progress(n, source=1)) for n in range(3)]
    run.now_ms = 10
    run.feed([behind[0], (2, digest([(5_000, "a", "d", "", 1)])), behind[1]])
    run.now_ms += longest_ms - 2
    run.feed([(4, digest([(9_000, "b", "d", "", 1)]))])
    assert run.closed == []
    run.feed([behind[2]])
    assert [(b.window_start_ms, b.cause) for b in run.closed] == [(5_000, Cause.MAXIMUM_AGE)]
    run.feed([(8, digest([(5_001, "c", "d", "", 1)]))])
    assert run.partition.counts.late_ms == []


def test_what_is_far_in_the_future_is_quarantined() -> None:
    """It is in no window and moves no watermark: it is counted, and all else goes on as before."""
    run = Run(pipeline(ahead_max_ms=1_000))
    far_ms = 50_000
    run.feed(
        [
            (0, digest([(0, "a", "d", "", 1)])),
            (1, digest([(far_ms, "b", "d", "", 1)], progress_ms=far_ms)),
            (2, digest([(SIZE_MS - 1, "c", "d", "", 1)])),
        ]
    )
    assert run.closed == []
    assert run.partition.counts.ahead_ms == [far_ms - 2]
    run.feed([(3, progress(SIZE_MS))])
    run.settle()
    run.idle()
    assert [(b.window_start_ms, b.events) for b in run.closed] == [(0, 2)]


def test_an_idle_shard_keeps_a_window_that_has_not_begun() -> None:
    """Closed, it would make late whatever comes before it."""
    run = Run(pipeline(ahead_max_ms=60_000))
    run.feed([(0, digest([(0, "a", "d", "", 1)])), (1, digest([(40_000, "b", "d", "", 1)]))])
    run.idle()
    assert [(b.window_start_ms, b.cause) for b in run.closed] == [(0, Cause.IDLE)]
    run.feed([(2, digest([(30_000, "c", "d", "", 1)]))])
    assert run.partition.counts.late_ms == []
    run.now_ms = 40_000
    run.idle()
    assert [b.window_start_ms for b in run.closed] == [0, 30_000, 40_000]


def test_a_late_digest_is_counted_and_joins_the_next_close() -> None:
    """What comes for a closed window is in no micro-batch, but in the graph of the next."""
    run = Run(pipeline())
    run.feed(
        [
            (0, digest([(0, "a", "d", "", 1)])),
            (1, progress(SIZE_MS)),
            (2, digest([(5, "b", "d", "", 1)], progress_ms=SIZE_MS)),
            (3, digest([(SIZE_MS, "c", "d", "", 1)])),
            (4, progress(2 * SIZE_MS)),
        ]
    )
    assert run.partition.counts.late_ms == [SIZE_MS]
    assert [batch.events for batch in run.closed] == [1, 1]
    assert run.closed[1].problems[0].nodes == ("a", "b", "c")


def test_all_digests_of_a_transaction_come_before_what_they_say_of_progress() -> None:
    """A batch that spans windows bears its end's progress on each digest, and nothing is late."""
    run = Run(pipeline())
    end_ms = 5 * SIZE_MS
    run.feed([(n, digest([(n * SIZE_MS, "a", "d", "", 1)], progress_ms=end_ms)) for n in range(5)])
    run.settle()
    assert [batch.events for batch in run.closed] == [1] * 5
    assert run.partition.counts.late_ms == []


def test_an_unchanged_subgraph_is_not_solved_again() -> None:
    """The same ring touched again is left out as unchanged; one more member makes it new."""
    run = Run(pipeline(horizon_ms=100_000))  # so that no tie ages by a step
    ring: list[Event] = [(0, a, "d", "", 1) for a in "abc"]
    run.feed([(0, digest(ring)), (1, progress(SIZE_MS))])
    run.feed([(2, digest([(SIZE_MS, "a", "d", "", 1)])), (3, progress(2 * SIZE_MS))])
    run.feed([(4, digest([(2 * SIZE_MS, "e", "d", "", 1)])), (5, progress(3 * SIZE_MS))])
    assert [len(batch.problems) for batch in run.closed] == [1, 0, 1]
    assert run.closed[1].left_out == {"unchanged": 1}
    assert run.closed[2].problems[0].nodes == ("a", "b", "c", "e")


def test_the_cap_is_counted() -> None:
    """Beyond problems_max the rest is left out, where least was moved."""
    run = Run(pipeline())
    events: list[Event] = [
        (0, f"{group}{n}", group, "", 100 * (ord(group) - ord("a")))
        for group in "abcdef"
        for n in range(3)
    ]
    run.feed([(0, digest(events)), (1, progress(SIZE_MS))])
    (batch,) = run.closed
    assert [problem.nodes[0] for problem in batch.problems] == ["f0", "e0", "d0", "c0"]
    assert batch.left_out == {"cap": 2}


def close_features(
    run: Run, feed: list[tuple[int, Digest]]
) -> dict[tuple[str, str], FeatureUpdate]:
    """The features of the one close that the digests lead to."""
    for offset, one in feed:
        run.partition.receive(one, offset, written_ms=0, now_ms=0)
    (close,) = list(run.partition.due(0))
    run.partition.published(close, 0)
    return {(update.entity, update.id): update for update in close.features}


def test_who_drops_out_of_a_subgraph_is_told() -> None:
    """When a tie expires, its account's subgraph becomes "", and the others' a new one."""
    run = Run(pipeline())
    ring: list[Event] = [(0, a, "d", "", 1) for a in "abc"]
    first = close_features(run, [(0, digest(ring)), (1, progress(SIZE_MS))])
    later = HORIZON_MS - SIZE_MS
    again: list[Event] = [(later, a, "d", "", 1) for a in "ab"]
    close_features(run, [(2, digest(again)), (3, progress(later + SIZE_MS))])
    end_ms = later + 2 * SIZE_MS
    last = close_features(
        run, [(4, digest([(end_ms - SIZE_MS, "z", "y", "", 1)])), (5, progress(end_ms))]
    )
    assert first["account", "c"].subgraph == first["device", "d"].subgraph != ""
    for who in (("account", "a"), ("account", "b"), ("account", "c"), ("device", "d")):
        assert last[who].subgraph == "", who
    assert last["account", "c"].values["events"] == 0
    assert last["account", "a"].values["size"] == 2


def test_an_outcome_touches_its_account_once_it_is_decided() -> None:
    """The subgraph of an account that is confirmed is solved again at the next close."""
    run = Run(pipeline())
    ring: list[Event] = [(0, a, "d", "", 1) for a in "abc"]
    run.feed([(0, digest(ring)), (1, progress(SIZE_MS))])
    run.partition.judge(
        Outcome(
            outcome_id="o",
            event_id="e",
            entity="account",
            id="b",
            shard="s",
            kind=OutcomeKind.CONFIRMED_FRAUD,
            decided_at_ms=2 * SIZE_MS,
        ),
        now_ms=0,
    )
    run.feed([(2, digest([(SIZE_MS, "z", "y", "", 1)])), (3, progress(2 * SIZE_MS))])
    run.feed([(4, digest([(2 * SIZE_MS, "z", "y", "", 1)])), (5, progress(3 * SIZE_MS))])
    assert [[p.known_bad for p in batch.problems] for batch in run.closed] == [[()], [], [(1,)]]


def test_heartbeats_say_how_far_a_shard_has_come() -> None:
    """Each shard is heard at closes and by the clock, with rising versions; quiet ones too."""
    run = Run(pipeline())
    first = close_features(run, [(0, digest([(0, "a", "d", "", 1)])), (1, progress(SIZE_MS))])
    at_close = first["shard", "s"]
    run.partition.receive(progress(3 * SIZE_MS), 2, written_ms=0, now_ms=0)
    assert run.partition.heartbeats(5_000, 4_000) == []
    (beat,) = run.partition.heartbeats(5_000, 5_000)
    assert at_close.values == {"watermark_ms": SIZE_MS}
    assert beat.event_time_ms == 3 * SIZE_MS
    assert beat.version > at_close.version


def test_safe_moves_on_with_the_horizon() -> None:
    """A digest is needed while it is in an open window or the horizon, and no longer."""
    run = Run(pipeline())
    step = digest([(0, "a", "d", "", 1)])
    run.feed([(0, step), (3, progress(SIZE_MS))])
    assert run.partition.safe() == (0, 0)
    at_ms = HORIZON_MS + SIZE_MS
    run.feed([(5, digest([(at_ms, "b", "d", "", 1)])), (6, progress(at_ms + SIZE_MS))])
    assert run.partition.safe() == (5, 1)
