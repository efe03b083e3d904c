"""Which jobs are meant: the options that `jobs list`, `retry`, `cancel` and `quarantine` share."""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Final

import typer

from enrichment.cli.app import fail

if TYPE_CHECKING:
    from enrichment.records import Job

EXIT_MISUSE: Final = 2
UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a job must be like; what is not given does not matter."""

    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="Only jobs of this pipeline.")
    ] = None
    shard: Annotated[str | None, typer.Option("--shard", help="Only jobs of this shard.")] = None
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            help="Only jobs in this state, such as pending, failed or fallback_complete; may be "
            "given several times.",
        ),
    ] = None
    provider: Annotated[
        str | None,
        typer.Option("--provider", help="Only jobs that are, or ended, at this provider."),
    ] = None
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            help="Only jobs taken up since then: 10m, 2h, 3d, or a time like 2026-11-25T03:00:00Z.",
        ),
    ] = None
    until: Annotated[
        str | None, typer.Option("--until", help="Only jobs taken up before then, said like that.")
    ] = None
    older: Annotated[
        str | None, typer.Option("--older", help="Only jobs that have been open for so long: 5m.")
    ] = None
    attempts_min: Annotated[
        int | None, typer.Option("--attempts-min", help="Only jobs with so many attempts.", min=1)
    ] = None
    detail: Annotated[
        str | None, typer.Option("--detail", help="Only jobs whose detail has this text in it.")
    ] = None
    checks: Annotated[
        bool,
        typer.Option(
            "--checks",
            help="Only spot checks: jobs done again by another provider, to be compared. `retry` "
            "takes none without it, unless it is named.",
        ),
    ] = False
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            help="Only jobs that ended as this one (a job's id): the same text, ids and numbers "
            "aside.",
        ),
    ] = None

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return all(not getattr(self, each.name) for each in fields(self))

    def chosen(self, jobs: "Iterable[Job]") -> "list[Job]":
        """The jobs that are meant; ends the command where an option cannot be understood."""
        from enrichment.sample.machine import TERMINAL
        from enrichment.sample.quarantine import shape_of

        jobs = list(jobs)
        self._check_states()
        now_ms = time.time_ns() // 1_000_000
        since_ms = self._time("since", now_ms)
        until_ms = self._time("until", now_ms)
        older_ms = self._time("older", now_ms)
        shape = self._shape(jobs)
        return [
            job
            for job in jobs
            if self.pipeline in (None, job.pipeline)
            and self.shard in (None, job.shard)
            and self.provider in (None, job.provider)
            and (not self.state or job.state.value in self.state)
            and (since_ms is None or job.created_ms >= since_ms)
            and (until_ms is None or job.created_ms < until_ms)
            and (older_ms is None or (job.state not in TERMINAL and job.created_ms < older_ms))
            and job.attempt >= (self.attempts_min or 0)
            and (job.check_of or not self.checks)
            and (self.detail or "") in job.detail
            and (shape is None or shape_of(job.detail) == shape)
        ]

    def _check_states(self) -> None:
        from enrichment.records import JobState

        known = [one.value for one in JobState]
        for name in self.state or ():
            if name not in known:
                fail(f"there is no state '{name}'; states: {', '.join(known)}", EXIT_MISUSE)

    def _time(self, option: str, now_ms: int) -> int | None:
        """The time that an option says, or None where it says none."""
        said = getattr(self, option)
        if said is None:
            return None
        try:
            return ago_or_time(said, now_ms)
        except ValueError as error:
            fail(f"--{option}: {error}", EXIT_MISUSE)

    def _shape(self, jobs: "list[Job]") -> str | None:
        """The shape of the job that `--like` names."""
        from enrichment.sample.quarantine import shape_of

        if self.like is None:
            return None
        for job in jobs:
            if job.job_id == self.like:
                if not job.detail:
                    fail(f"--like: '{self.like}' has no detail to go by", EXIT_MISUSE)
                return shape_of(job.detail)
        return fail(f"--like: there is no job '{self.like}' in the ledger", EXIT_MISUSE)


def ago_or_time(said: str, now_ms: int) -> int:
    """Milliseconds since 1970 of so long ago (`10m`) or of a time. Raises ValueError."""
    from enrichment.rollout.words import time_of

    span = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", said)
    if span is not None:
        return now_ms - int(float(span[1]) * UNIT_MS[span[2]])
    try:
        return time_of(said, now_ms)
    except ValueError as error:
        raise ValueError(f"{error}, nor so long ago: 30s, 10m, 2h, 3d") from error
