"""Micro-batches derived again are those that were logged; what differs, or is gone, is said."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from enrichment.records import Digest, MicroBatch
from enrichment.window.replay import Compared, Finding, Replay
from tests.window.sketch import SIZE_MS, Run, digest, pipeline, progress
from tests.window.test_close import STEPS, Steps, digests

ENCODE = msgspec.json.Encoder().encode


def replayed(
    made: list[tuple[int, Digest]],
    closes: list[MicroBatch],
    *,
    events_max: int = 50,
    start: int = 0,
) -> list[Compared]:
    """What comes of those digests and that log."""
    replay = Replay(pipeline(events_max=events_max), 0, start=start, closes=closes)
    for written_ms, (offset, one) in enumerate(made, 1):
        if offset >= start:
            replay.read(one, offset, written_ms)
    replay.finish()
    return replay.compared


@given(steps=STEPS, events_max=st.integers(3, 50))
def test_the_same_digests_and_closes_give_the_same_bytes(steps: Steps, events_max: int) -> None:
    """Every micro-batch, problems and all, in the order of the log."""
    made = digests(steps)
    run = Run(pipeline(events_max=events_max))
    run.feed(made)
    run.settle()
    run.idle()
    found = replayed(made, run.closed, events_max=events_max)
    assert {one.finding for one in found} <= {Finding.SAME}
    assert all(one.same_problems for one in found)
    logged = sorted(batch.micro_batch_id for batch in run.closed)
    assert sorted(one.micro_batch.micro_batch_id for one in found) == logged


def closed_twice() -> tuple[list[tuple[int, Digest]], list[MicroBatch]]:
    """Two windows of one shard, and their digests."""
    made = [
        (0, digest([(0, "a", "d", "", 1)])),
        (1, digest([(5, "b", "d", "", 1)])),
        (2, digest([(SIZE_MS, "c", "d", "", 1)])),
        (3, progress(2 * SIZE_MS)),
    ]
    run = Run(pipeline())
    run.feed(made)
    return made, run.closed


def test_another_content_is_found() -> None:
    """A digest that is not what it was changes the one close that covers it."""
    made, closes = closed_twice()
    made[1] = (1, msgspec.structs.replace(made[1][1], events=7))
    assert [one.finding for one in replayed(made, closes)] == [Finding.DIFFERENT, Finding.SAME]


def test_digests_that_are_gone_leave_a_close_incomplete() -> None:
    """Nothing is said of a close some of whose digests the topic no longer has."""
    made, closes = closed_twice()
    found = replayed(made, closes, start=1)
    assert [one.finding for one in found] == [Finding.INCOMPLETE, Finding.SAME]
    nothing = replayed(made[:0], closes)
    assert [one.finding for one in nothing] == [Finding.INCOMPLETE, Finding.INCOMPLETE]
