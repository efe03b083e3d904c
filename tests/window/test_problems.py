"""Which problems come first, and what becomes of those for which there is no room."""

import msgspec

from enrichment.pipelines import Pipeline
from tests.window.sketch import SIZE_MS, Event, Run, digest, pipeline, progress


def with_room(problems: int) -> Pipeline:
    """A pipeline that solves so many problems a window."""
    spec = pipeline()
    limited = msgspec.structs.replace(spec.problem, problems_max=problems)
    return msgspec.structs.replace(spec, problem=limited)


def ring(name: str, window: int, amount_minor: int) -> list[Event]:
    """Three accounts on one device."""
    at_ms = window * SIZE_MS
    return [(at_ms, f"{name}{n}", f"device-{name}", "", amount_minor) for n in range(3)]


def solved(windows: list[list[Event]], problems: int) -> list[list[str]]:
    """The first letter of each problem's accounts, window by window."""
    run = Run(with_room(problems))
    offset = 0
    for number, events in enumerate(windows):
        for one in (digest(events), progress((number + 1) * SIZE_MS)):
            run.feed([(offset, one)])
            offset += 1
        run.settle()
    return [[problem.nodes[0][0] for problem in batch.problems] for batch in run.closed]


def test_what_was_left_out_is_part_of_the_next_close() -> None:
    """Three rings and room for one: each is solved in its turn, those that moved most first."""
    first = ring("x", 0, 10) + ring("y", 0, 30) + ring("z", 0, 20)
    quiet = [[(window * SIZE_MS, "other", "its own", "", 1)] for window in (1, 2, 3)]
    assert solved([first, *quiet], 1) == [["y"], ["z"], ["x"], []]


def test_rank_counts_from_the_last_time_solved() -> None:
    """What was moved before the last problem is forgotten: then the smaller one comes first."""
    first = ring("x", 0, 50) + ring("y", 0, 10)
    # A new member changes each subgraph, so that both are to be solved again.
    joined = [(SIZE_MS, f"{name}9", f"device-{name}", "", 20) for name in "xy"]
    assert solved([first, joined], 1) == [["x"], ["y"]]
    assert solved([first, joined], 2) == [["x", "y"], ["x", "y"]]
