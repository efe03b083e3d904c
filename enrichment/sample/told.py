"""What the sample stage tells of itself: of a job that is over once that is in the ledger."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.context import Context

from enrichment.records.job import Job, JobEvent, JobState
from enrichment.sample.cases import Change
from enrichment.stream.topics import MICRO_BATCHES
from enrichment.telemetry import metrics, trace

REPORT_S: Final = 5.0
"""How often levels are told: a scrape comes no more often."""

FIGURES: Final = ("energy_gap", "membership_gap", "histogram_distance", "mean_energy_gap")
"""What is told of the differences between circuit and classical twin; the record has them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A job that is over: its last event, and the sampled events that its micro-batch had in it."""

    job: Job
    event: JobEvent
    traces: tuple[str, ...] = ()
    # When it was ordered to be tried again; 0 where it has not been over before.
    again_ms: int = 0

    @property
    def began_ms(self) -> int:
        """When it was claimed, or ordered again."""
        return self.again_ms or self.job.created_ms


def tell_ended(ended: Ended) -> None:
    """Count it, and make its spans."""
    job, event = ended.job, ended.event
    provider = {"provider": event.provider}
    took_ms = max(0, event.at_ms - ended.began_ms)
    within = _trace(ended, took_ms) if trace.opened() else None
    metrics.job_duration.record(took_ms, provider | {"state": job.state.value}, within)
    for step, step_ms in event.durations_ms.items():
        metrics.job_step.record(step_ms, provider | {"step": step}, within)
    if event.run is not None:
        drawn = job.problems - len(event.kept)
        metrics.shots.add(event.run.shots * max(0, drawn), provider)
    for figures in event.differences.values():
        for figure in FIGURES:
            if figure in figures:
                metrics.differences.record(abs(figures[figure]), {"figure": figure})
    for run in event.device_runs.values():
        metrics.circuit_depth.record(run.depth, provider)
        metrics.two_qubit_gates.record(run.two_qubit_gates, provider)
    for charge in job.charges:
        # What came before an order was told when the job was over first.
        if (
            charge.settled
            and charge.micro
            and (not ended.again_ms or charge.attempt == job.attempt)
        ):
            metrics.cost.add(charge.micro, {"provider": charge.provider})


def _trace(ended: Ended, took_ms: int) -> Context:
    job, event = ended.job, ended.event
    work = trace.Work(
        topic=MICRO_BATCHES,
        group=f"enrichment.sample.{job.pipeline}",
        messages=1,
        start_ms=ended.began_ms,
        end_ms=ended.began_ms + took_ms,
        attributes={
            "enrichment.micro_batch.id": job.micro_batch_id,
            "enrichment.job.state": job.state.value,
            "enrichment.job.attempt": job.attempt,
            "enrichment.provider": event.provider,
            "enrichment.problems": job.problems,
            "enrichment.shots": event.run.shots if event.run is not None else 0,
        },
        steps=event.durations_ms,
        problem="no provider answered" if job.state is JobState.FAILED else "",
    )
    followed = [trace.Followed(traceparent=sent) for sent in ended.traces]
    return trace.tell(work, followed, job_id=job.job_id, again=ended.again_ms > 0)


def tell_cases(changes: Sequence[Change]) -> None:
    """Count what has been published of cases."""
    for change in changes:
        status = "merged" if change.case is None else change.case.status.value
        metrics.cases.add(1, {"status": status})


class Due:
    """Says every few seconds that levels are to be told."""

    def __init__(self) -> None:
        self._due_s = 0.0

    def now(self) -> bool:
        """Whether it is time; it is then not for a while."""
        now_s = time.monotonic()
        if now_s < self._due_s:
            return False
        self._due_s = now_s + REPORT_S
        return True
