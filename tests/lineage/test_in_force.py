"""What was in force at a decision is what the changes by then had left standing."""

from typing import Any

import msgspec

from enrichment.lineage.in_force import from_changes, from_control
from enrichment.records import Change, ChangeKind, Control, Path, Rollout, Stage
from enrichment.rollout.control import in_force

PIPELINE = "payments"
T = 1_780_000_000_000


def rollout(share: float, at_ms: int, pipeline: str = PIPELINE) -> Control:
    """The classical path as a canary of that share."""
    return Control(
        pipeline=pipeline,
        name="rollout.classical",
        issued_at_ms=at_ms,
        issued_by="ann",
        reason="evidence",
        rollout=Rollout(path=Path.CLASSICAL, stage=Stage.CANARY, share=share),
    )


def change(control: Control | None, at_ms: int, **fields: Any) -> Change:
    """The record of it; without a control record it was lifted."""
    after = "" if control is None else msgspec.json.encode(control).decode()
    told: dict[str, Any] = {
        "change_id": f"c{at_ms}",
        "pipeline": PIPELINE,
        "kind": ChangeKind.ROLLOUT,
        "subject": "rollout.classical",
        "changed_at_ms": at_ms,
        "changed_by": "ann",
        "reason": "evidence",
        "after": after,
    }
    return Change(**{**told, **fields})


def test_the_newest_change_of_each_subject_by_then_stands() -> None:
    """Later ones, other pipelines', lifted ones and what is done once are not in force."""
    first, second = rollout(0.1, T), rollout(0.5, T + 10_000)
    changes = [
        change(second, T + 10_000),
        change(first, T),
        change(rollout(0.9, T, "cards"), T, pipeline="cards"),
        change(None, T + 20_000, subject="serve", kind=ChangeKind.SERVE),
        change(None, T, subject="j", kind=ChangeKind.ORDER, after="cancelled"),
        change(None, T, subject="budget", kind=ChangeKind.BUDGET, pipeline="*", after="day = 5"),
        change(None, T, subject="file", kind=ChangeKind.PIPELINE, after="[stream]\nname = 1\n"),
    ]
    revision = in_force(PIPELINE, [first]).revision
    told = from_changes(changes, PIPELINE, T + 9_000, revision)
    assert told.same is True
    assert {one.subject: one.what for one in told.standing} == {
        "rollout.classical": "classical is canary for 10.00% of the accounts",
        "budget": "day = 5",
        "file": "a text of 2 lines",
    }
    later = from_changes(changes, PIPELINE, T + 30_000, revision)
    assert later.same is False
    assert later.derived_revision == in_force(PIPELINE, [second]).revision
    assert "another revision" in later.note
    lifted = from_changes([*changes, change(None, T + 40_000)], PIPELINE, T + 50_000, "")
    assert [one.subject for one in lifted.standing] == ["budget", "file"]
    assert lifted.same is None


def test_a_process_may_decide_by_the_last_word_for_two_seconds() -> None:
    """The revision of just before a change is no contradiction right behind it."""
    changes = [change(rollout(0.1, T), T), change(rollout(0.5, T + 10_000), T + 10_000)]
    before = in_force(PIPELINE, [rollout(0.1, T)]).revision
    assert from_changes(changes, PIPELINE, T + 10_500, before).same is True
    assert from_changes(changes, PIPELINE, T + 12_500, before).same is False


def test_without_changes_on_record_what_still_stands_is_told_and_accuses_nobody() -> None:
    """What was lifted since is not on the control topic: another revision is not known."""
    held = [rollout(0.1, T), rollout(0.2, T + 10, "cards")]
    revision = in_force(PIPELINE, held[:1]).revision
    told = from_control(held, PIPELINE, T + 5, revision, "why")
    assert (told.same, told.note, len(told.standing)) == (True, "why", 1)
    assert from_control(held, PIPELINE, T + 5, "another", "").same is None
    assert from_control(held, PIPELINE, T - 1, revision, "").standing == ()
    assert from_changes([], PIPELINE, T, revision).told_by == ""
