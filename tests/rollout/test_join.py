"""Outcomes joined with what was answered: order does not matter, and nothing is known early."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.pipelines import load
from enrichment.records import Decision, OutcomeKind
from enrichment.rollout import join as module
from enrichment.rollout.answered import reader_of
from enrichment.rollout.join import DECLINED, WITHHELD, Experimented, Join, Rows, TooManyError
from enrichment.rollout.looks import labels
from tests.rollout.streams import OF, SINCE_MS, answered, joined, outcome, pipeline_with

PIPELINE = pipeline_with()
# An input record (an offset) names the same entities whenever it is answered.
EVENTS = st.builds(
    lambda number, late_ms, offset: answered(
        f"e{number}",
        SINCE_MS + late_ms,
        offset=offset,
        entities=(f"a{(number + offset) % 4}", f"d{number % 2}", None),
        decision=Decision.DECLINE if offset == 2 else Decision.APPROVE,
    ),
    st.integers(0, 5),
    st.integers(-2, 5),
    st.integers(0, 3),
)
OUTCOMES = st.builds(
    lambda number, at_ms, fraud, case, account: outcome(
        f"e{number}" if case < 2 else f"case-{case}",
        SINCE_MS + at_ms,
        fraud=fraud,
        id=f"a{account}",
        case_id=f"case-{case}" if case else "",
    ),
    st.integers(0, 6),
    st.integers(0, 9),
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 3),
)


def plain(rows: Rows) -> dict[str, Any]:
    """The rows without the numbers of entities, which depend on who came first."""
    return {
        "ids": rows.ids,
        "words": dict(rows.words),
        "arrays": [
            column.tolist()
            for column in (rows.decided_at_ms, rows.flags, rows.unmatched_ms, rows.left_out_ms)
        ],
        "alike": [(column[:, None] == column).tolist() for column in rows.entities],
    }


@given(st.lists(EVENTS, max_size=12), st.lists(OUTCOMES, max_size=12), st.randoms())
def test_order_and_repetition_do_not_matter(answers: Any, outcomes: Any, random: Any) -> None:
    """Any permutation of the records, with any of them again, gives the same join."""
    told = [*answers, *outcomes]
    again = [*told, *(random.choice(told) for _ in range(5) if told)]
    random.shuffle(again)
    join = Join(PIPELINE, OF)
    for each in again:
        if hasattr(each, "outcome_id"):
            join.outcome(each)
        else:
            join.answer(each)
    assert plain(join.rows()) == plain(joined(PIPELINE, answers, outcomes))


def test_an_event_counts_as_it_was_answered_first() -> None:
    """A repeated event id is one event, with the first answer's scores."""
    rows = joined(
        PIPELINE,
        [answered("e", SINCE_MS + 9, quantum=90.0), answered("e", SINCE_MS + 1, quantum=20.0)],
    )
    assert rows.ids == ("e",)
    assert rows.scores["quantum"].tolist() == [20.0]


def test_what_was_not_known_by_then_is_not_seen() -> None:
    """An outcome counts once it is decided and written; a correction replaces it from then on."""
    join = Join(PIPELINE, OF)
    join.answer(answered("e"))
    join.outcome(outcome("e", SINCE_MS + 10), written_ms=SINCE_MS + 30)
    join.outcome(outcome("e", SINCE_MS + 20, fraud=False), written_ms=SINCE_MS + 40)
    join.outcome(outcome("e", SINCE_MS + 20, fraud=False), written_ms=SINCE_MS + 60)
    rows = join.rows()
    seen = [bool(labels(rows, SINCE_MS + at_ms)[0]) for at_ms in (10, 29, 30, 39, 40)]
    assert seen == [False, False, True, True, False]


def test_of_two_words_the_one_decided_later_stands_however_late_the_other_comes() -> None:
    """An older verdict that is written afterwards changes nothing; of two at once fraud stands."""
    join = Join(PIPELINE, OF)
    join.answer(answered("late"))
    join.outcome(outcome("late", SINCE_MS + 20, fraud=False))
    join.outcome(outcome("late", SINCE_MS + 10), written_ms=SINCE_MS + 50)
    join.answer(answered("both"))
    join.outcome(outcome("both", SINCE_MS + 10))
    join.outcome(outcome("both", SINCE_MS + 10, fraud=False))
    assert dict(zip(join.rows().ids, labels(join.rows(), SINCE_MS + 99).tolist(), strict=True)) == {
        "late": False,
        "both": True,
    }


def test_a_verdict_on_a_case_is_about_the_events_that_tie_its_members() -> None:
    """Not about what a member does alone, nor what came after it, nor what a hub ties."""
    crowd = [
        answered(f"c{i}", entities=(f"c{i}", "d", "shop")) for i in range(31)
    ]  # one more than the link's degree_max
    mine = [
        answered("m1", entities=("m1", "shared", "shop")),
        answered("m2", entities=("m2", "shared", "other")),
        answered("alone", entities=("m2", "own", "shop")),
        answered("stranger", entities=("z", "shared", "other")),
        answered("after", SINCE_MS + 99, entities=("m1", "shared", "x")),
    ]
    words = [
        outcome(
            "case-1",
            SINCE_MS + 50,
            id=id_,
            case_id="case-1",
            kind=OutcomeKind.ANALYST_FRAUD,
        )
        for id_ in ("m1", "m2")
    ]
    rows = joined(PIPELINE, crowd + mine, words)
    bad = labels(rows, SINCE_MS + 50)
    assert [id_ for id_, is_bad in zip(rows.ids, bad, strict=True) if is_bad] == ["m1", "m2"]


def test_records_of_another_file_table_or_experiment_are_left_out_and_counted() -> None:
    """They are no evidence of this one; what came before it is not even counted."""
    rows = joined(
        PIPELINE,
        [
            answered("file", pipeline_version="w"),
            answered("table", score_version="t"),
            answered("other", experiment_id="y"),
            answered("early", SINCE_MS - 1),
            answered("unnamed", experiment_id=""),
        ],
        [outcome("elsewhere", SINCE_MS)],
    )
    assert rows.ids == ("unnamed",)
    assert len(rows.left_out_ms) == 3
    assert len(rows.unmatched_ms) == 1


def test_declined_and_untreated_are_told_apart() -> None:
    """A withheld decline is known as such; the heuristic's own decline is a decline."""
    rows = joined(
        PIPELINE,
        [
            answered("d", decision=Decision.DECLINE),
            answered("w", untreated=True, withheld=Decision.DECLINE),
            answered("u", untreated=True),
        ],
    )
    assert rows.flagged(DECLINED).tolist() == [True, False, False]
    assert rows.flagged(WITHHELD).tolist() == [False, False, True]


def test_more_events_than_are_held_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, and whoever asks is told what to do."""
    monkeypatch.setattr(module, "EVENTS_MAX", 1)
    with pytest.raises(TooManyError, match="--since"):
        joined(PIPELINE, [answered("a"), answered("b")])


def test_a_record_is_read_as_it_was_written() -> None:
    """Scores that are not known are NaN, ids are text, and what is not needed is not parsed."""
    pipeline = load("trust")
    event = {"source": 7, "target": "8", "rating": 3}
    value = msgspec.json.encode(
        {
            "event_id": "e",
            "pipeline": "trust",
            "origin": {"topic": "t", "partition": 1, "offset": 2},
            "occurred_at_ms": 1,
            "decided_at_ms": 2,
            "event": event,
            "verdict": {"name": "stale", "reason": "old"},
            "scores": {"served": 1.0, "heuristic": 2.0, "classical": 3.0},
            "decision": "approve",
            "features": "whatever",
            "pipeline_version": "v",
            "score_version": "s",
            "rollout": {"untreated": True, "withheld": "decline", "experiment_id": "x"},
        }
    )
    read = reader_of(pipeline)(value, 77)
    assert read.entities == ("7", "8")
    assert (read.classical, np.isnan(read.quantum), read.published_ms) == (3.0, True, 77)
    assert read.withheld is Decision.DECLINE
    assert Experimented(since_ms=0, pipeline_version="v", score_version="s").has(read)
