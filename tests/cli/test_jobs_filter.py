"""Which jobs a filter means, and that a dataclass of options becomes options."""

import time

import msgspec
import pytest
import typer

from enrichment.cli.jobs_filter import Filter, ago_or_time
from enrichment.cli.options import spread
from enrichment.records import Job, JobState
from enrichment.settings import Settings
from tests.cli.commands import runner_of
from tests.sample.test_machine import job_of

MINUTE_MS = 60_000


def job(name: str, state: JobState, age_ms: int, **fields: object) -> Job:
    """A job that was taken up so long ago."""
    now_ms = time.time_ns() // 1_000_000
    return msgspec.structs.replace(job_of(state), job_id=name, created_ms=now_ms - age_ms, **fields)


def jobs() -> tuple[Job, ...]:
    """Those of now: tests may run long after they were collected."""
    return (
        job("open", JobState.SUBMITTED, 7 * MINUTE_MS, provider="ionq", attempt=3),
        job("young", JobState.PENDING, MINUTE_MS, shard="us"),
        job("one", JobState.FAILED, 20 * MINUTE_MS, detail="qsim: transient: 17 away"),
        job("other", JobState.FAILED, 90 * MINUTE_MS, detail="qsim: transient: 4 away"),
        job("third", JobState.FALLBACK_COMPLETE, 30 * MINUTE_MS, detail="qsim: quota: 4 away"),
        job("check", JobState.SUCCEEDED, MINUTE_MS, check_of="young"),
    )


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        (Filter(), {"open", "young", "one", "other", "third", "check"}),
        (Filter(older="5m"), {"open"}),
        (Filter(since="25m"), {"open", "young", "one", "check"}),
        (Filter(since="2h", until="25m"), {"other", "third"}),
        (Filter(like="one"), {"one", "other"}),
        (Filter(like="one", since="1h"), {"one"}),
        (Filter(detail="away", state=["failed"]), {"one", "other"}),
        (Filter(provider="ionq"), {"open"}),
        (Filter(attempts_min=2), {"open"}),
        (Filter(shard="us"), {"young"}),
        (Filter(checks=True), {"check"}),
        (Filter(pipeline="cards"), set()),
    ],
)
def test_every_option_narrows(wanted: Filter, meant: set[str]) -> None:
    """Each by itself and together; older means open, like means the text's shape."""
    assert {job.job_id for job in wanted.chosen(jobs())} == meant
    assert wanted.is_empty is (wanted == Filter())


def test_times_are_spans_or_moments() -> None:
    """So long ago, RFC 3339 with a zone, milliseconds; anything else says what is understood."""
    assert ago_or_time("90s", 100_000) == 10_000
    assert ago_or_time("1.5h", 10_000_000) == 4_600_000
    assert ago_or_time("2026-11-25T03:00:00Z", 0) == 1_795_575_600_000
    with pytest.raises(ValueError, match="30s, 10m"):
        ago_or_time("an hour", 0)


def test_a_dataclass_of_options_is_spread_over_the_command() -> None:
    """Its fields are options with their help, and the command gets it whole."""
    seen: list[Filter] = []

    @spread
    def command(*, wanted: Filter, twice: bool = False) -> None:
        """Do nothing."""
        seen.append(wanted)
        assert twice

    def register(app: typer.Typer) -> None:
        app.command("do")(command)

    run = runner_of(register)
    assert (
        run("do", "--state", "failed", "--older", "5m", "--twice", settings=Settings()).exit_code
        == 0
    )
    assert seen == [Filter(state=["failed"], older="5m")]
    assert "--attempts-min" in run("do", "--help", settings=Settings()).output


def test_like_wants_a_job_that_says_something() -> None:
    """An unknown job, or one without a word: exit code 2."""
    for name in ("nobody", "young"):
        with pytest.raises(typer.Exit) as ended:
            Filter(like=name).chosen(jobs())
        assert ended.value.exit_code == 2
