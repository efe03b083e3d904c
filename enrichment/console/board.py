"""What the page shows at a glance, as one plain value: pushed to it whenever it changes. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from enrichment.console.answers import Shares
from enrichment.console.flow import Flow
from enrichment.console.folds import Cases, JobRow, Jobs
from enrichment.records import Case

JOBS_SHOWN: Final = 25
CASES_SHOWN: Final = 25


class CaseRow(msgspec.Struct, frozen=True, kw_only=True):
    """One case in the work list."""

    case_id: str
    status: str
    shard: str
    members: int
    ties: int
    amount_at_risk_minor: int
    first_seen_ms: int
    last_seen_ms: int
    job_id: str
    # Path -> the highest membership of a member; not a probability.
    highest: dict[str, float]
    decided_by: str = ""


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """The page at a glance, of one pipeline, as of `at_ms`."""

    pipeline: str
    at_ms: int
    amount_scale: int
    # What the console cannot read now, by name; empty where all is well.
    trouble: dict[str, str]
    flow: dict[str, Any]
    answers: Shares
    jobs_by_state: dict[str, int]
    jobs_dropped: int
    jobs: tuple[JobRow, ...]
    cases_by_status: dict[str, int]
    cases_dropped: int
    cases: tuple[CaseRow, ...]
    rollout: dict[str, Any]


def jobs_newest(jobs: Iterable[JobRow]) -> list[JobRow]:
    """Jobs, those that were changed last first."""
    return sorted(jobs, key=lambda job: (-job.updated_ms, job.job_id))


def cases_by_risk(cases: Iterable[Case]) -> list[Case]:
    """Cases to work first, first: open ones, then by the amount at risk."""
    return sorted(
        cases,
        key=lambda case: (case.status.value != "open", -case.amount_at_risk_minor, case.case_id),
    )


def row_of(case: Case) -> CaseRow:
    """A case's line in the work list."""
    highest: dict[str, float] = {}
    for member in case.members:
        for path, share in member.memberships.items():
            highest[path] = max(share, highest.get(path, 0.0))
    return CaseRow(
        case_id=case.case_id,
        status=case.status.value,
        shard=case.shard,
        members=len(case.members),
        ties=len(case.evidence),
        amount_at_risk_minor=case.amount_at_risk_minor,
        first_seen_ms=case.first_seen_ms,
        last_seen_ms=case.last_seen_ms,
        job_id=case.job_id,
        highest=highest,
        decided_by="" if case.verdict is None else case.verdict.decided_by,
    )


def jobs_by_state(jobs: Jobs) -> dict[str, int]:
    """How many of the jobs that are kept stand where."""
    return dict(sorted(Counter(job.state for job in jobs.rows.values()).items()))


def cases_by_status(cases: Cases) -> dict[str, int]:
    """How many of the cases that are kept are what."""
    return dict(sorted(Counter(case.status.value for case in cases.rows.values()).items()))


def flow_plain(flow: Flow) -> dict[str, Any]:
    """The flow as JSON would have it; figures of a monotonic clock mean nothing to others."""
    return {
        "topics": {
            topic: {"per_s": per_s, "end": flow.ends.get(topic, 0)}
            for topic, per_s in flow.topics.items()
        },
        "stages": [msgspec.to_builtins(stage) for stage in flow.stages],
        "history": [list(point) for point in flow.history],
    }


def shown_jobs(jobs: Mapping[str, JobRow]) -> tuple[JobRow, ...]:
    """The jobs that the board lists."""
    return tuple(jobs_newest(jobs.values())[:JOBS_SHOWN])


def shown_cases(cases: Mapping[str, Case]) -> tuple[CaseRow, ...]:
    """The cases that the board lists."""
    return tuple(row_of(case) for case in cases_by_risk(cases.values())[:CASES_SHOWN])
