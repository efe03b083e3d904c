"""A judgement as a record of change: the gate was asked, by whom, on what, and what it said. Pure.

A refusal is on record as a pass is: whoever asks until it lets something in can be seen to.
"""

import msgspec

from enrichment.records import Change, ChangeKind
from enrichment.rollout.control import ROLLOUT
from enrichment.rollout.judgement import Judgement


def asked(
    judgement: Judgement, told: tuple[str, int], *, by: str, reason: str, override: bool
) -> Change:
    """The record of it, by the change's id and time. `override`: what follows is against it."""
    change_id, now_ms = told
    return Change(
        change_id=change_id,
        pipeline=judgement.pipeline,
        kind=ChangeKind.EVIDENCE,
        subject=f"{ROLLOUT}{judgement.path.value}",
        changed_at_ms=now_ms,
        changed_by=by,
        reason=reason,
        after=msgspec.json.encode(judgement).decode(),
        experiment_id=judgement.experiment_id,
        evidence_id=judgement.evidence_id,
        override=override,
    )
