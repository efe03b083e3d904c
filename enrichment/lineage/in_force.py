"""What was in force when an event was decided, from the records of change. Pure."""

from collections.abc import Iterable
from typing import Final

import msgspec

from enrichment.lineage.tree import InForce, Standing
from enrichment.records import Change, ChangeKind, Control
from enrichment.rollout.control import EVERY, in_force
from enrichment.rollout.words import in_words

LASTING: Final = frozenset(
    {
        ChangeKind.ROLLOUT,
        ChangeKind.SERVE,
        ChangeKind.COMPUTE,
        ChangeKind.EXPERIMENT,
        ChangeKind.WITHDRAWAL,
        ChangeKind.BUDGET,
        ChangeKind.PIPELINE,
        ChangeKind.SCORE_TABLE,
    }
)
"""Kinds of change that stand until the next one of their subject; others are done once."""

FOLLOW_MS: Final = 2_000
"""Within this every process follows a change: until then an event may be decided by the last."""

WHAT_MAX: Final = 200
"""Characters of what is no control record; a file's text is not for a tree, and is counted."""


def from_changes(
    changes: Iterable[Change], pipeline: str, decided_at_ms: int, revision: str
) -> InForce:
    """What the changes by then left standing, held against the revision that the event bears."""
    known = [change for change in changes if change.pipeline in (pipeline, EVERY)]
    known.sort(key=lambda change: change.changed_at_ms)
    standing = _standing(known, decided_at_ms)
    # An event may have been decided by what was in force until a moment before.
    moments = {decided_at_ms} | {
        change.changed_at_ms - 1
        for change in known
        if decided_at_ms - FOLLOW_MS < change.changed_at_ms <= decided_at_ms
    }
    revisions = {_revision(_standing(known, at_ms), pipeline) for at_ms in moments}
    now = _revision(standing, pipeline)
    same = None if not revision or not known else revision in revisions
    return InForce(
        told_by="enrichment.changes" if known else "",
        standing=tuple(_told(change) for change in standing),
        revision=revision,
        derived_revision=revision if same else now,
        same=same,
        note="" if same is not False else "what is on record as changes gives another revision: "
        "was something written to enrichment.control without one?",
    )  # fmt: skip


def from_control(
    controls: Iterable[Control], pipeline: str, decided_at_ms: int, revision: str, note: str
) -> InForce:
    """What still stands of what was given by then: where no changes are on record."""
    held = [one for one in controls if one.pipeline in (pipeline, EVERY)]
    held = sorted(
        (one for one in held if one.issued_at_ms <= decided_at_ms),
        key=lambda one: one.issued_at_ms,
    )
    derived = in_force(pipeline, held).revision
    return InForce(
        told_by="enrichment.control",
        standing=tuple(
            Standing(
                subject=one.name,
                kind="control",
                at_ms=one.issued_at_ms,
                by=one.issued_by,
                reason=one.reason,
                what=in_words(one),
                override=one.rollout is not None and one.rollout.override,
                evidence_id=one.rollout.evidence_id if one.rollout is not None else "",
            )
            for one in held
        ),
        revision=revision,
        derived_revision=derived,
        # What has been lifted or replaced since is not on that topic any more.
        same=True if revision and revision == derived else None,
        note=note,
    )


def _standing(changes: Iterable[Change], at_ms: int) -> list[Change]:
    """The newest change of each subject by then, in order; what was lifted does not stand."""
    newest: dict[tuple[str, str], Change] = {}
    for change in changes:
        if change.changed_at_ms <= at_ms and change.kind in LASTING:
            newest.pop((change.pipeline, change.subject), None)
            newest[change.pipeline, change.subject] = change
    return [change for change in newest.values() if change.after]


def _revision(standing: Iterable[Change], pipeline: str) -> str:
    """The revision that the control records among them amount to."""
    controls = [control for change in standing if (control := _control(change)) is not None]
    return in_force(pipeline, controls).revision


def _control(change: Change) -> Control | None:
    """The control record that the change wrote, or None where it wrote something else."""
    try:
        return msgspec.json.decode(change.after, type=Control)
    except msgspec.DecodeError:
        return None


def _told(change: Change) -> Standing:
    control = _control(change)
    lines = change.after.splitlines()
    said = lines[0][:WHAT_MAX] if len(lines) == 1 else f"a text of {len(lines)} lines"
    what = in_words(control) if control is not None else said
    return Standing(
        subject=change.subject,
        kind=change.kind.value,
        at_ms=change.changed_at_ms,
        by=change.changed_by,
        reason=change.reason,
        what=what,
        override=change.override,
        evidence_id=change.evidence_id,
    )
