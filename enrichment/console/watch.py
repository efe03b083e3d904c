"""Everything that the console follows, opened and closed together, and what it amounts to now."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from enrichment.console.board import (
    Board,
    cases_by_status,
    flow_plain,
    jobs_by_state,
    shown_cases,
    shown_jobs,
)
from enrichment.console.folds import Cases, CasesFold, Controls, ControlsFold, Jobs, JobsFold
from enrichment.console.gauge import STALE_S, Gauge, Gauged
from enrichment.pipelines import Pipeline
from enrichment.rollout.shown import shown
from enrichment.stream.follow import Follower
from enrichment.stream.topics import CASES, CONTROL, JOBS


class Known(Protocol):
    """What the console knows: what every answer from memory is made of."""

    @property
    def jobs(self) -> Jobs:
        """Jobs of the ledger."""

    @property
    def cases(self) -> Cases:
        """Cases."""

    @property
    def controls(self) -> Controls:
        """What stands on the control topic."""

    @property
    def gauged(self) -> Gauged:
        """Flow and answers."""

    def started(self) -> bool:
        """Whether every topic has been read to its end once."""

    def trouble(self) -> dict[str, str]:
        """What cannot be read now, by name, and why."""

    def alive(self) -> bool:
        """Whether all that follows is still there to follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Followers of jobs, cases and controls, and the gauge. See `watching`."""

    follow_jobs: Follower[Jobs]
    follow_cases: Follower[Cases]
    follow_controls: Follower[Controls]
    gauge: Gauge

    @property
    def jobs(self) -> Jobs:
        """Jobs of the ledger."""
        return self.follow_jobs.state

    @property
    def cases(self) -> Cases:
        """Cases."""
        return self.follow_cases.state

    @property
    def controls(self) -> Controls:
        """What stands on the control topic."""
        return self.follow_controls.state

    @property
    def gauged(self) -> Gauged:
        """Flow and answers."""
        return self.gauge.latest

    def started(self) -> bool:
        """Whether every topic has been read to its end once."""
        followers = (self.follow_jobs, self.follow_cases, self.follow_controls)
        return self.gauge.age_s() is not None and all(one.ready.is_set() for one in followers)

    def trouble(self) -> dict[str, str]:
        """What cannot be read now, by name, and why."""
        found = {
            one.topic: "not followed now: what is shown is the last that was known"
            if one.ready.is_set()
            else "not read to its end yet"
            for one in (self.follow_jobs, self.follow_cases, self.follow_controls)
            if one.away or not one.ready.is_set()
        }
        age_s = self.gauge.age_s()
        if self.gauge.away:
            found["flow"] = self.gauge.away
        elif age_s is None or age_s > STALE_S:
            found["flow"] = "not read yet" if age_s is None else f"last read {age_s:.0f} s ago"
        return found

    def alive(self) -> bool:
        """Whether all that follows is still there to follow."""
        return self.gauge.alive


@contextlib.contextmanager
def watching(kafka: Mapping[str, Any], pipeline: str) -> Iterator[Watch]:
    """What the topics say of a pipeline, followed while the block runs; not awaited."""
    with (
        Follower(kafka, JOBS, lambda: JobsFold(pipeline)) as jobs,
        Follower(kafka, CASES, lambda: CasesFold(pipeline)) as cases,
        Follower(kafka, CONTROL, lambda: ControlsFold(pipeline)) as controls,
        Gauge(kafka, pipeline) as gauge,
    ):
        yield Watch(follow_jobs=jobs, follow_cases=cases, follow_controls=controls, gauge=gauge)


def board_of(known: Known, pipeline: Pipeline, now_ms: Callable[[], int]) -> Board:
    """What the page shows at a glance now."""
    jobs, cases, controls, gauged = known.jobs, known.cases, known.controls, known.gauged
    return Board(
        pipeline=pipeline.name,
        at_ms=now_ms(),
        amount_scale=pipeline.stream.amount_scale,
        trouble=known.trouble(),
        flow=flow_plain(gauged.flow),
        answers=gauged.shares,
        jobs_by_state=jobs_by_state(jobs),
        jobs_dropped=jobs.dropped,
        jobs=shown_jobs(jobs.rows),
        cases_by_status=cases_by_status(cases),
        cases_dropped=cases.dropped,
        cases=shown_cases(cases.rows),
        rollout=shown(pipeline, controls.rows, controls.malformed),
    )
