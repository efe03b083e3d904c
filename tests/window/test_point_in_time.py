"""A close knows nothing of what came after its window, though the worker may have read it."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from enrichment.records import Outcome, OutcomeKind
from enrichment.window.shard import Close
from tests.window.sketch import SIZE_MS, Event, Run, digest, pipeline, progress


def events(window: int) -> st.SearchStrategy[list[Event]]:
    """Some events of that window's first pane."""
    return st.lists(
        st.tuples(
            st.just(window * SIZE_MS),
            st.sampled_from("abcdef"),
            st.sampled_from("xyz"),
            st.sampled_from(["", "a", "b"]),
            st.integers(1, 1_000),
        ),
        min_size=1,
        max_size=8,
    )


def first_close(now: list[Event], after: list[Event], known_late: list[str]) -> Close:
    """What the first window gives; `after` and those outcomes come before it closes."""
    run = Run(pipeline(spans_ms=[SIZE_MS, 200]))
    run.feed([(0, digest(now, progress_ms=0))])
    if after:
        run.feed([(1, digest(after, source=1, progress_ms=0))])
    for number, account in enumerate(known_late):
        run.partition.judge(
            Outcome(
                outcome_id=f"o{number}", event_id=f"e{number}", entity="account", id=account,
                shard="s", kind=OutcomeKind.CONFIRMED_FRAUD, decided_at_ms=SIZE_MS + number,
            ),
            now_ms=0,
        )  # fmt: skip
    for source in (0, 1):
        run.partition.receive(progress(SIZE_MS, source=source), 2 + source, written_ms=0, now_ms=0)
    run.partition.settle()
    return next(run.partition.due(0))


def told(close: Close) -> Any:
    """All of it but how far the worker had read."""
    batch = msgspec.structs.replace(close.micro_batch, digest_offsets=(), read_through=0)
    return batch, sorted(close.features, key=lambda update: (update.entity, update.id))


@given(
    now=events(0),
    after=events(1),
    known_late=st.lists(st.sampled_from("abcdef"), max_size=3),
)
def test_nothing_learnt_after_the_window_is_in_its_features(
    now: list[Event], after: list[Event], known_late: list[str]
) -> None:
    """Problems and features are those of somebody who never saw a later event or outcome."""
    assert told(first_close(now, after, known_late)) == told(first_close(now, [], []))
