"""How far each path of a pipeline is let in: since when, by whom and why, and what caps it. Pure.

For programs and pages: the command line, the HTTP API and the console show the same.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from enrichment.pipelines import Pipeline
from enrichment.records import Control
from enrichment.rollout.assign import capped, rollouts_of
from enrichment.rollout.control import EVERY, by_weight, in_force
from enrichment.rollout.words import in_words


def shown(
    pipeline: Pipeline, controls: Mapping[str, Control], malformed: Mapping[str, str]
) -> dict[str, Any]:
    """The rollout as these control records, one for each key, have it."""
    held = by_weight(pipeline.name, controls.values())
    state = in_force(pipeline.name, held)
    by_path = {one.rollout.path: one for one in held if one.rollout is not None}
    paths = []
    for rollout in rollouts_of(pipeline, state):
        serves = rollout.stage.value != "shadow" and not capped(state, rollout.path)
        row = {
            "path": rollout.path.value,
            "stage": rollout.stage.value,
            "share": rollout.share if rollout.share else float(rollout.stage.value == "live"),
            "serves": serves,
            "capped": capped(state, rollout.path),
            "override": rollout.override,
            "evidence_id": rollout.evidence_id,
            "said_by": "file" if rollout.path not in by_path else "record",
        }
        paths.append(row | _who(by_path.get(rollout.path)))
    return {
        "pipeline": pipeline.name,
        "revision": state.revision,
        "serve": state.serve,
        "caps": [_plain(one) for one in held if one.serve],
        "paths": paths,
        "untreated_share": pipeline.rollout.untreated_share,
        "untreated_amount_max": pipeline.rollout.untreated_amount_max,
        "compute": next(
            (_plain(one) | {"said": in_words(one)} for one in reversed(held) if one.compute), None
        ),
        "experiment": next((_plain(one) for one in reversed(held) if one.experiment), None),
        "malformed": {
            key: said
            for key, said in malformed.items()
            if key.partition("|")[0] in (pipeline.name, EVERY)
        },
    }


def _who(control: Control | None) -> dict[str, Any]:
    """Since when, by whom and why; of what the pipeline's file says nobody knows."""
    if control is None:
        return {"since_ms": None, "by": "", "reason": ""}
    return {"since_ms": control.issued_at_ms, "by": control.issued_by, "reason": control.reason}


def _plain(control: Control) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(control)
    return plain
