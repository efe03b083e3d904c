"""What a close makes of subgraphs that it touches at one end."""

from tests.window.sketch import SIZE_MS, Event, Run, digest, pipeline, progress


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
