"""What gate and guard make of one stream's evidence, look by look."""

from collections.abc import Iterable
from typing import Final

import msgspec

from enrichment.pipelines import Pipeline, load
from enrichment.records.control import Compute, Rollout
from enrichment.records.enriched import Path, Stage
from enrichment.rollout.control import ControlState
from enrichment.rollout.evidence import Evidence
from enrichment.rollout.gate import judge
from enrichment.rollout.policy import Policy
from tests.rollout.evidences import GATE, PROVED, question

PAYMENTS: Final = load("payments")


def in_force(stage: Stage, *paths: Path, provider: str = "virtual") -> ControlState:
    """A state in which these paths are let in so far, against the gate."""
    share = 0.1 if stage is Stage.CANARY else 0.0
    return ControlState(
        pipeline="payments",
        rollouts={
            path.value: Rollout(path=path, stage=stage, share=share, override=True)
            for path in paths
        },
        compute=Compute(provider=provider),
    )


def guarded(jobs: int = 20) -> Pipeline:
    """Payments, with a window of so many jobs."""
    guard = msgspec.structs.replace(PAYMENTS.rollout.guard, jobs=jobs)
    return msgspec.structs.replace(
        PAYMENTS, rollout=msgspec.structs.replace(PAYMENTS.rollout, guard=guard)
    )


def asked_at(stream: Iterable[Evidence], path: Path = Path.QUANTUM) -> int | None:
    """The first look at which the gate lets the path in; None where it never does."""
    for evidence in stream:
        if judge(evidence, question(path), GATE, PROVED).passed:
            return evidence.look
    return None


def taken_out_at(stream: Iterable[Evidence], path: Path = Path.QUANTUM) -> int | None:
    """The first look at which outcomes take out the path that was forced in; None: at none."""
    policy = Policy(PAYMENTS)
    policy.heed(in_force(Stage.LIVE, path))
    for evidence in stream:
        if any(one.path is path for one in policy.weighed(evidence)):
            return evidence.look
    return None
