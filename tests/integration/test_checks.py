"""Control's word on providers, heard by a running sample stage: a switch, and spot checks."""

from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

import msgspec
import pytest

from enrichment.lab.servers import LocalServers
from enrichment.records import Compute, Control, FeatureUpdate, Job, JobEvent, JobState
from enrichment.rollout import instruct
from enrichment.rollout.control import COMPUTE
from enrichment.sample.estimate import check_name
from enrichment.sample.machine import TERMINAL
from enrichment.stream.topics import FEATURES, JOB_EVENTS, JOBS
from tests.integration.sampling import SHARDS, Stage, open_stage, until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]

WINDOWS_MAX = 40
"""Published while control is not heard: a window takes a tenth of a second, hearing one second."""


@pytest.fixture
def stage(servers: LocalServers, tmp_path: Path) -> Iterator[Stage]:
    """A stage of a pipeline that only this test knows, with its topics there."""
    with open_stage(servers, tmp_path) as one:
        yield one


def say(stage: Stage, compute: Compute) -> None:
    """Put it in force, as the command does."""
    control = Control(
        pipeline=stage.pipeline,
        name=COMPUTE,
        issued_at_ms=1,
        issued_by="test",
        reason="to see",
        compute=compute,
    )
    instruct.instruct({"bootstrap.servers": stage.bootstrap}, control, 1)


def all_over(stage: Stage) -> bool:
    """Whether all that was sent is done, and every check beside it."""
    return stage.all_done() and all(job.state in TERMINAL for job in stage.jobs().values())


Jobs = dict[str, Job]


def send_until(stage: Stage, windows: Iterator[int], seen: Callable[[Jobs, str], bool]) -> None:
    """Publish window after window until all jobs of one are as wanted: control is heard meanwhile.

    `seen` is asked with the ledger and a micro-batch's id.
    """
    for number in islice(windows, WINDOWS_MAX):
        batches = stage.batches(range(number, number + 1))
        stage.send(*batches)
        ids = [one.micro_batch_id for one in batches]
        until(lambda ids=ids: set(ids) <= stage.jobs().keys())  # type: ignore[misc]
        jobs = stage.jobs()
        if all(seen(jobs, one) for one in ids):
            return
    raise AssertionError(f"not within {WINDOWS_MAX} windows")


def test_checks_begin_and_a_provider_is_switched_while_the_stage_runs(stage: Stage) -> None:
    """No restart: the next micro-batches are checked, and then computed elsewhere.

    A check is in its job's partition, ends once, and no feature is of it.
    """
    windows = count()
    stage.start()
    send_until(stage, windows, lambda jobs, one: jobs[one].chosen == "qsim")
    say(stage, Compute(check_provider="random", check_every=1))
    send_until(stage, windows, lambda jobs, one: check_name(one) in jobs)
    say(stage, Compute(provider="exact"))
    send_until(stage, windows, lambda jobs, one: jobs[one].chosen == "exact")
    until(lambda: all_over(stage))

    jobs = stage.jobs()
    checks = {key: job for key, job in jobs.items() if job.check_of}
    assert {job.state for job in jobs.values()} == {JobState.SUCCEEDED}
    assert len(checks) >= len(SHARDS)
    assert set(checks) == {check_name(job.check_of) for job in checks.values()}
    where = {key: partition for partition, key, _ in stage.read(JOBS)}
    assert all(where[key] == where[job.check_of] for key, job in checks.items())
    assert set(stage.ends().values()) == {1}
    events = [
        msgspec.json.decode(value or b"", type=JobEvent) for _, _, value in stage.read(JOB_EVENTS)
    ]
    last = [event for event in events if event.check_of and event.seeds]
    assert {event.job_id for event in last} == set(checks)
    for event in last:
        assert event.provider == event.chosen == "random"
        assert event.differences["p0"]["simulator_membership_gap"] > 0.0
    backends = set()
    for _, _, value in stage.read(FEATURES):
        source = msgspec.json.decode(value or b"", type=FeatureUpdate).source
        assert source is not None
        assert source.job_id not in checks
        backends.add(source.backend)
    assert backends == {"qsim", "exact"}
