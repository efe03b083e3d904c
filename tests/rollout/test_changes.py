"""Records of change, folded, chosen and held side by side."""

from typing import Any

import msgspec
import pytest

from enrichment.records import (
    Change,
    ChangeKind,
    Compute,
    Control,
    Experiment,
    Path,
    Rollout,
    Stage,
)
from enrichment.rollout.changes import (
    TEXT_MAX,
    Wanted,
    chosen,
    differences,
    kept,
    kind_of,
    kind_of_name,
    lets_less_in,
    matching,
    stood_at,
    unified,
)
from enrichment.rollout.words import change_in_words
from tests.rollout.controls import control

SHADOW = Rollout(path=Path.QUANTUM, stage=Stage.SHADOW)
CANARY = Rollout(path=Path.QUANTUM, stage=Stage.CANARY, share=0.05)
EXPERIMENT = Experiment(experiment_id="x1", started_ms=1, pipeline_version="p", score_version="s")


def change(subject: str, after: str = "", **fields: Any) -> Change:
    """A change of the kill switch, where nothing else is said."""
    known: dict[str, Any] = {
        "change_id": f"id-{subject}",
        "pipeline": "payments",
        "kind": ChangeKind.SERVE,
        "changed_at_ms": 1,
        "changed_by": "a test",
        "reason": "to see",
    }
    return Change(**(known | fields), subject=subject, after=after)


@pytest.mark.parametrize(
    ("one", "kind", "less"),
    [
        (control("serve", serve="heuristic"), ChangeKind.SERVE, True),
        (control("serve", serve="quantum"), ChangeKind.SERVE, False),
        (control("withdraw.all", everything=True), ChangeKind.WITHDRAWAL, True),
        (control("rollout.quantum", rollout=SHADOW), ChangeKind.ROLLOUT, True),
        (control("rollout.quantum", rollout=CANARY), ChangeKind.ROLLOUT, False),
        (control("compute", compute=Compute(provider="qsim")), ChangeKind.COMPUTE, False),
        (control("experiment", experiment=EXPERIMENT), ChangeKind.EXPERIMENT, False),
    ],
)
def test_what_is_changed_and_whether_it_lets_less_in(
    one: Control, kind: ChangeKind, less: bool
) -> None:
    """The kind follows from what the record says; only what takes out needs no record of change."""
    stood = control("serve", serve="classical")
    assert (kind_of(one), lets_less_in(one, stood if one.serve else None)) == (kind, less)
    if kind is not ChangeKind.WITHDRAWAL:
        assert kind_of_name(one.name) is kind
    assert kind_of_name("junk") is ChangeKind.WITHDRAWAL


def test_a_canary_of_fewer_accounts_lets_less_in() -> None:
    """Than one of more, or than a path that is live; and never where nothing is known to stand."""
    live = control("rollout.quantum", rollout=Rollout(path=Path.QUANTUM, stage=Stage.LIVE))
    more = control("rollout.quantum", rollout=msgspec.structs.replace(CANARY, share=0.5))
    few = control("rollout.quantum", rollout=CANARY)
    assert [lets_less_in(few, stood) for stood in (live, more, few, None)] == [True] * 3 + [False]
    assert [lets_less_in(one, few) for one in (live, more)] == [False, False]


def test_what_stood_at_a_time_is_folded_from_what_each_change_left() -> None:
    """What ended is gone, what merely happened leaves nothing, and pipelines are kept apart."""
    changes = [
        change("serve", '{"a":1}'),
        change("payments.toml", "old\n", kind=ChangeKind.PIPELINE),
        change("serve", '{"a":2}', pipeline="cards"),
        change("job", '{"order":"retry"}', kind=ChangeKind.ORDER),
        change("serve"),
        change("payments.toml", "new\n", kind=ChangeKind.PIPELINE),
    ]
    before, after = stood_at(changes[:3]), stood_at(changes)
    assert before == {
        ("payments", "serve"): '{"a":1}',
        ("payments", "payments.toml"): "old\n",
        ("cards", "serve"): '{"a":2}',
    }
    assert [(one.subject, one.before, one.after) for one in differences(before, after)] == [
        ("payments.toml", "old\n", "new\n"),
        ("serve", '{"a":1}', ""),
    ]


def test_json_is_held_side_by_side_line_by_line() -> None:
    """One member changed is one line less and one more; a file's own lines stay as they are."""
    lines = unified("n", '{"a":1,"b":2}', '{"b":3,"a":1}')
    assert [line for line in lines if line[0] in "+-"][2:] == ['-  "b": 2', '+  "b": 3']
    assert unified("n", "x = 1\ny = 2\n", "x = 1\ny = 2\n") == []
    assert unified("n", '{"a":1}', '{ "a": 1 }') == []
    assert "-x = 1" in unified("n", "x = 1\n", "")


def test_changes_are_chosen_by_what_is_asked() -> None:
    """What concerns all pipelines concerns each; and each one's experiment, while it is on."""
    begun = msgspec.json.encode(control("experiment", experiment=EXPERIMENT)).decode()
    of_all = {"pipeline": "*", "changed_at_ms": 5}
    changes = [
        change("too early", "x", **of_all),
        change("experiment", begun, kind=ChangeKind.EXPERIMENT, experiment_id="x1"),
        change("kill", "x", **of_all),
        change("rollout.quantum", "x", experiment_id="x1", changed_by="kim"),
        change("elsewhere", "x", pipeline="cards"),
        change("experiment", kind=ChangeKind.EXPERIMENT, experiment_id="x1"),
        change("too late", "x", **of_all),
    ]

    def subjects(**wanted: Any) -> list[str]:
        return [one.subject for one in chosen(changes, Wanted(**wanted))]

    within = ["experiment", "kill", "rollout.quantum", "experiment"]
    assert subjects(experiment_id="x1") == within
    assert subjects(pipeline="cards") == ["too early", "kill", "elsewhere", "too late"]
    assert subjects(kinds=frozenset({ChangeKind.EXPERIMENT})) == ["experiment", "experiment"]
    assert subjects(by="kim") == ["rollout.quantum"]
    assert subjects(since_ms=2) == ["too early", "kill", "too late"]
    assert subjects(until_ms=4, pipeline="cards") == ["elsewhere"]
    assert len(subjects()) == len(changes)


def test_an_id_is_found_by_its_beginning() -> None:
    """Where that is unique, or the very id."""
    changes = [change("1"), change("12"), change("2")]
    assert matching(changes, "id-2") == [2]
    assert matching(changes, "id-1") == [0]
    assert matching(changes, "id-") == [0, 1, 2]
    assert matching(changes, "x") == []


def test_a_text_too_long_for_a_message_leaves_its_hash() -> None:
    """The change is written all the same."""
    assert kept("x" * TEXT_MAX, "h") == "x" * TEXT_MAX
    assert kept("x" * (TEXT_MAX + 1), "h") == f"{TEXT_MAX + 1} characters, sha256 h"


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (change("serve"), "serve ended"),
        (
            change("serve", msgspec.json.encode(control("serve", serve="heuristic")).decode()),
            "nothing above heuristic serves",
        ),
        (
            change("serve", before=msgspec.json.encode(control("serve", serve="quantum")).decode()),
            "no longer: nothing above quantum serves",
        ),
        (change("a.toml", before="x", kind=ChangeKind.PIPELINE), "a.toml ended"),
        (change("serve", '{"of":"another version"}'), "serve"),
        (change("j", '{"order":"retry"}', kind=ChangeKind.ORDER), "retry j"),
        (change("a.toml", "x", kind=ChangeKind.PIPELINE), "a.toml, as first recorded"),
        (
            change("a.toml", "x\ny", before="x\nz\nw", kind=ChangeKind.PIPELINE),
            "a.toml: 1 lines more, 2 less",
        ),
    ],
)
def test_a_change_in_words(one: Change, said: str) -> None:
    """What it says now, or how much of it is another."""
    assert change_in_words(one) == said
