"""Looks: reached by facts of the log, the same whoever asks and whenever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.pipelines.rollout import Gate
from enrichment.records import Decision
from enrichment.rollout.looks import labels, level_of, matured, reached_ms
from tests.rollout.streams import SINCE_MS, answered, joined, outcome, pipeline_with

PIPELINE = pipeline_with()
OLD_MS = 10


def test_a_look_is_reached_when_so_many_bad_events_have_matured() -> None:
    """At the later of maturity and word; an event that was declined is never among them."""
    rows = joined(
        PIPELINE,
        [
            answered("early", SINCE_MS),
            answered("late", SINCE_MS + 1),
            answered("declined", SINCE_MS, decision=Decision.DECLINE),
        ],
        [
            outcome("early", SINCE_MS + 3),
            outcome("late", SINCE_MS + 30),
            outcome("declined", SINCE_MS),
        ],
    )
    assert reached_ms(rows, (1, 2, 3), OLD_MS) == [SINCE_MS + 10, SINCE_MS + 30]


def test_what_was_cleared_before_it_matured_never_counted() -> None:
    """A correction in time leaves no trace; one that comes later takes the event out again."""
    rows = joined(
        PIPELINE,
        [answered("in-time", SINCE_MS), answered("later", SINCE_MS), answered("bad", SINCE_MS + 5)],
        [
            outcome("in-time", SINCE_MS + 2),
            outcome("in-time", SINCE_MS + 4, fraud=False),
            outcome("later", SINCE_MS + 2),
            outcome("later", SINCE_MS + 12, fraud=False),
            outcome("bad", SINCE_MS + 5),
        ],
    )
    assert reached_ms(rows, (1, 2), OLD_MS) == [SINCE_MS + 10]
    assert labels(rows, SINCE_MS + 11).sum() == 2
    assert labels(rows, SINCE_MS + 12).sum() == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 60), st.booleans(), st.integers(0, 7)),
        max_size=30,
    )
)
def test_a_look_is_what_counting_at_that_time_gives(told: list[tuple[int, int, bool, int]]) -> None:
    """The first moment with so many bad events among the matured, counted one by one."""
    answers = [answered(f"e{number}", SINCE_MS + number) for number in range(8)]
    words = [
        outcome(f"e{number}", SINCE_MS + min(decided, written), fraud=fraud)
        for decided, written, fraud, number in told
    ]
    rows = joined(PIPELINE, answers, words)
    counts = {
        at_ms: int((labels(rows, at_ms) & matured(rows, at_ms, OLD_MS)).sum())
        for at_ms in range(SINCE_MS, SINCE_MS + 80)
    }
    looks = (1, 2, 3)
    slow = [next((at for at, n in counts.items() if n >= look), None) for look in looks]
    assert reached_ms(rows, looks, OLD_MS) == [at for at in slow if at is not None]


def test_confidence_is_split_over_the_looks() -> None:
    """Three looks at 95 % in all are three intervals at 98.3 %."""
    assert level_of(Gate(confidence=0.95, looks=(1, 2, 3))) == pytest.approx(1 - 0.05 / 3)
