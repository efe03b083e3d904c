"""What a close makes of subgraphs that it touches at one end."""

from tests.window.sketch import HORIZON_MS, SIZE_MS, Event, Run, digest, pipeline, progress


def test_a_ring_outlasts_a_member_who_goes_shopping() -> None:
    """However many strangers share a shop with a member, the others are still found with him."""
    ring: list[Event] = [(0, f"z{n}", "d", "", 1) for n in range(4)]
    crowd: list[Event] = [(0, f"a{n}", f"shop{n // 7}", "", 1) for n in range(420)]
    visits: list[Event] = [(SIZE_MS, "z0", f"shop{n}", "", 1) for n in range(60)]
    run = Run(pipeline())
    run.feed([(0, digest([*ring, *crowd])), (1, progress(SIZE_MS))])
    run.feed([(2, digest(visits)), (3, progress(2 * SIZE_MS))])
    for batch in run.closed:
        # Again in the second: its ties have aged.
        assert [problem.nodes for problem in batch.problems] == [("z0", "z1", "z2", "z3")]


def test_who_is_left_alone_hears_of_it() -> None:
    """When the other one's tie to a shared device leaves the horizon, degree and size are told."""
    run = Run(pipeline())
    steps: list[list[Event]] = [
        [(0, "a", "d", "", 1), (0, "b", "d", "", 1)],
        [(200, "a", "d", "", 1)],
        [(HORIZON_MS + SIZE_MS, "c", "e", "", 1)],
    ]
    told: list[dict[str, float]] = []
    for number, events in enumerate(steps):
        ended_ms = events[0][0] + SIZE_MS
        for offset, one in enumerate((digest(events), progress(ended_ms)), 2 * number):
            run.partition.receive(one, offset, written_ms=offset, now_ms=offset)
        for close in run.partition.due(0):
            run.partition.published(close, number)
            told += [update.values for update in close.features if update.id == "a"]
    assert [(values["degree"], values["size"]) for values in told] == [(1, 2), (1, 2), (0, 1)]
