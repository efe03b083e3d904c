"""When a path that was let in is taken out again, by what is seen of it. Pure.

Fast, by finished jobs: noise shows in them long before outcomes are known. Slow, by evidence: what
a path is for is outcomes. It only ever takes out. A window is full before it is judged, and begins
anew whenever the path's rollout or its provider is another: nobody is demoted for what was seen
before they were let in, or twice for the same.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final

from enrichment.pipelines import Pipeline
from enrichment.pipelines.definition import CLASSICAL_PROVIDERS, RANDOM_PROVIDER
from enrichment.records.control import Control, Rollout
from enrichment.records.enriched import Path, Stage
from enrichment.records.job import JobEvent, JobState
from enrichment.rollout.assign import RING_PATHS, rollouts_of
from enrichment.rollout.control import ROLLOUT, ControlState
from enrichment.rollout.evidence import NONE, Evidence
from enrichment.rollout.gap import energy_gap, figure, of_job

ENDED: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.FALLBACK_COMPLETE})

UNASKED: Final = frozenset({"NothingToSolve", "CancelOrdered", "Quarantined"})
"""Ends that say nothing of a provider: nothing was asked for, or somebody has decided so."""

MICRO: Final = 1_000_000

BY: Final = "guard"
"""Who has issued it, on record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demotion:
    """A path to be taken out: by which figure, and what it may be."""

    path: Path
    figure: str
    value: float
    threshold: float
    reason: str
    # Of what outcomes have shown; "" of what jobs have.
    evidence_id: str = ""
    experiment_id: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a path is let in now, and which provider computes it."""

    rollout: Rollout
    provider: str

    @property
    def let_in(self) -> bool:
        """Whether it serves anybody, any cap apart."""
        return self.rollout.stage is not Stage.SHADOW


def standing_of(path: Path, pipeline: Pipeline, state: ControlState) -> Standing:
    """What control says of the path, and where it says nothing the pipeline's file."""
    chosen = state.compute.provider if state.compute is not None else ""
    [rollout] = [one for one in rollouts_of(pipeline, state) if one.path is path]
    return Standing(rollout, chosen or pipeline.sampling.provider)


def demoted(pipeline: str, demotion: Demotion, now_ms: int) -> Control:
    """The control record that puts the path into shadow."""
    return Control(
        pipeline=pipeline,
        name=f"{ROLLOUT}{demotion.path.value}",
        issued_at_ms=now_ms,
        issued_by=BY,
        reason=demotion.reason,
        rollout=Rollout(path=demotion.path, stage=Stage.SHADOW, evidence_id=demotion.evidence_id),
    )


class Policy:
    """The windows of a pipeline's paths: `heed` control, then `ended` jobs and `weighed` evidence.

    Bounded: at most `guard.jobs` numbers for each figure of each path.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        """All rules are the pipeline file's."""
        self._pipeline = pipeline
        self._guard = pipeline.rollout.guard
        self._standings: dict[Path, Standing] = {}
        self._windows: dict[Path, dict[str, deque[float]]] = {path: {} for path in RING_PATHS}

    def heed(self, state: ControlState) -> None:
        """Take note of what is in force."""
        for path in RING_PATHS:
            now = standing_of(path, self._pipeline, state)
            if now != self._standings.get(path):
                self._standings[path] = now
                self._windows[path].clear()

    def standing(self, path: Path) -> Standing | None:
        """How the path stands, as far as it was heeded; None before that."""
        return self._standings.get(path)

    def _let_in(self, path: Path) -> bool:
        standing = self._standings.get(path)
        return standing is not None and standing.let_in

    def ended(self, event: JobEvent) -> list[Demotion]:
        """What follows from a transition of a job; only a full window is judged."""
        if event.pipeline != self._pipeline.name or event.check_of:
            return []
        if event.state_after not in ENDED or event.event in UNASKED:
            return []
        return [found for path in RING_PATHS if (found := self._of_job(path, event)) is not None]

    def weighed(self, evidence: Evidence) -> list[Demotion]:
        """What follows from evidence, of a look or between two.

        It counts once there are as many bad events as the first look needs: of fewer, intervals do
        not cover what they say.
        """
        gate = self._pipeline.rollout.gate
        if evidence.pipeline != self._pipeline.name or evidence.counts.bad < gate.looks[0]:
            return []
        bounds = {
            Path.CLASSICAL: ((NONE, -self._guard.loss_max),),
            Path.QUANTUM: ((NONE, -self._guard.loss_max), (Path.CLASSICAL.value, -gate.margin)),
        }
        found = []
        for path in RING_PATHS:
            lost = _lost(evidence, path, bounds[path]) if self._let_in(path) else None
            if lost is not None:
                self._windows[path].clear()
                found.append(lost)
        return found

    def _of_job(self, path: Path, event: JobEvent) -> Demotion | None:
        standing = self._standings.get(path)
        if standing is None or not standing.let_in:
            return None
        figures = _figures(path, standing.provider, event)
        windows = self._windows[path]
        for name, value in figures.items():
            windows.setdefault(name, deque(maxlen=self._guard.jobs)).append(value)
        for name, threshold in self._bounds():
            window = windows.get(name, ())
            if name not in figures or len(window) < self._guard.jobs:
                continue
            mean = sum(window) / len(window)
            if mean > threshold:
                reason = (
                    f"{name.replace('_', ' ')} {mean:.4g} over the last {len(window)} jobs of "
                    f"{standing.provider}: above {threshold:.4g}"
                )
                windows.clear()
                return Demotion(
                    path=path, figure=name, value=mean, threshold=threshold, reason=reason
                )
        return None

    def _bounds(self) -> Iterable[tuple[str, float]]:
        """Figure -> what its mean may be."""
        guard = self._guard
        return (
            ("energy_gap", guard.energy_gap_max),
            ("membership_gap", guard.membership_gap_max),
            ("failed_share", guard.failed_share_max),
            ("cost_per_job", guard.cost_per_job_max),
        )


def _figures(path: Path, provider: str, event: JobEvent) -> Mapping[str, float]:
    """What one ended job says of a path, by figure; nothing where it is of another provider.

    The classical path is computed beside every job, by the chain's later members too: it is failed
    only by a job that had no answer at all, and costs nothing.
    """
    answered = event.state_after is JobState.SUCCEEDED
    if path is Path.CLASSICAL:
        return {"failed_share": float(event.state_after is JobState.FAILED)}
    if provider in CLASSICAL_PROVIDERS or provider == RANDOM_PROVIDER:
        return {}
    if event.chosen not in {"", provider} or (answered and event.provider != provider):
        return {}  # begun before another provider was chosen
    figures = {"failed_share": float(not answered), "cost_per_job": event.cost_micro / MICRO}
    if answered:
        for name, gap in (("energy_gap", energy_gap), ("membership_gap", figure("membership_gap"))):
            if (value := of_job(event.differences, gap)) is not None:
                figures[name] = value
    return figures


def _lost(evidence: Evidence, path: Path, bounds: Iterable[tuple[str, float]]) -> Demotion | None:
    """The first difference that lies below its bound with its whole interval."""
    for other, threshold in bounds:
        found = evidence.differences.get(f"{path.value}-{other}")
        high = None if found is None else found.high
        if high is not None and isfinite(high) and high < threshold:
            reason = (
                f"outcomes: average precision over {other} is at most {high:+.4f}, below "
                f"{threshold:+.4f}, on {evidence.counts.bad} bad events"
            )
            return Demotion(
                path=path,
                figure=f"{path.value}-{other}",
                value=high,
                threshold=threshold,
                reason=reason,
                evidence_id=evidence.evidence_id,
                experiment_id=evidence.experiment_id,
            )
    return None
