"""The sample stage as a process, on a real Kafka: in, out, killed, stopped, restarted."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner, Result

from enrichment.cli import jobs as jobs_cli
from enrichment.lab.servers import LocalServers
from enrichment.records import Case, CaseStatus, FeatureUpdate, JobEvent, JobState
from enrichment.sample.machine import TERMINAL
from enrichment.settings import Settings
from enrichment.stream.topics import (
    CASES,
    FEATURES,
    JOB_EVENTS,
    JOBS,
    partition_for,
    shard_key,
)
from enrichment.stream.transaction import TransactionalProducer
from tests.integration.sampling import PARTITIONS, PIPELINE_TOML, SHARDS, Stage, open_stage, until
from tests.provider.ionq_service import IonqService
from tests.sample.streams import batch
from tests.sample.told import FRAUD, of_case, of_event

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]


@pytest.fixture
def stage(servers: LocalServers, tmp_path: Path) -> Iterator[Stage]:
    """A stage of a pipeline that only this test knows, with its topics there."""
    with open_stage(servers, tmp_path) as one:
        yield one


def test_micro_batches_become_features_cases_and_terminal_jobs(stage: Stage) -> None:
    """Each micro-batch gives one terminal job, features of all paths, a case and its history."""
    stage.start()
    stage.send(*stage.batches(range(3), problems=2))
    stage.send(batch(3, shard="eu", pipeline=stage.pipeline))
    until(stage.all_done)
    jobs = stage.jobs()
    assert {job.state for job in jobs.values()} == {JobState.SUCCEEDED}
    assert all(job.micro_batch is None for job in jobs.values())
    assert jobs[stage.sent[-1].micro_batch_id].detail == "nothing to solve"
    where = {key: partition for partition, key, _ in stage.read(JOBS)}
    for one in stage.sent:
        expected = partition_for(shard_key(one.pipeline, one.shard), PARTITIONS)
        assert where[one.micro_batch_id] == expected

    updates = [
        (partition, key, msgspec.json.decode(value or b"", type=FeatureUpdate))
        for partition, key, value in stage.read(FEATURES)
    ]
    # 3 windows x 3 shards x 2 problems x (6 accounts, a device, a beneficiary)
    assert len(updates) == 3 * 3 * 2 * 8
    for partition, key, update in updates:
        assert key == f"{stage.pipeline}|{update.entity}|{update.id}|ring"
        assert partition == partition_for(key, PARTITIONS)
        assert set(update.estimates) == {"quantum", "classical", "random"}
        assert update.source is not None
        assert update.source.backend == "qsim"
        assert update.source.circuit_hash
        assert update.source.shots == 200

    cases = [
        msgspec.json.decode(value, type=Case)
        for _, _, value in stage.read(CASES)
        if value is not None
    ]
    assert len({case.case_id for case in cases}) == 6
    assert all(len(case.members) >= 3 for case in cases)

    events = [
        msgspec.json.decode(value or b"", type=JobEvent) for _, _, value in stage.read(JOB_EVENTS)
    ]
    last = [event for event in events if event.event == "SamplesReceived"]
    assert len(last) == 9
    for event in last:
        assert event.state_after is JobState.SUCCEEDED
        assert set(event.differences) == {"p0", "p1"}
        assert len(event.circuit_hashes) == len(event.seeds) == 2
        assert event.sdk_versions["qsimcirq"]


def test_outcomes_turn_the_status_of_cases_over_also_those_of_a_stopped_stage(
    stage: Stage,
) -> None:
    """Two chargebacks confirm a case; what is said while nobody runs is heard at the next start."""
    process = stage.start()
    stage.send(*stage.batches(range(1)))
    until(stage.all_done)
    until(lambda: len(stage.cases()) == len(SHARDS))
    case = next(case for case in stage.cases().values() if case.shard == "eu")
    key = f"{stage.pipeline}|{case.case_id}"
    told = [of_event(member.id, FRAUD, 10) for member in case.members[:2]]
    stage.tell(told[0], told[0])
    stage.tell(told[1])
    until(lambda: stage.cases()[key].status is CaseStatus.CONFIRMED)

    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    stage.tell(of_case(case.case_id, fraud=False, at_ms=20))
    stage.start()
    until(lambda: stage.cases()[key].status is CaseStatus.DISMISSED)
    stage.tell(of_case(case.case_id, fraud=True, at_ms=15), of_event("nobody", FRAUD, 30))
    stage.tell(of_case(case.case_id, fraud=True, at_ms=25))
    until(lambda: stage.cases()[key].status is CaseStatus.CONFIRMED)
    (last,) = (one.verdict for one in stage.cases().values() if one.case_id == case.case_id)
    assert last is not None
    assert last.decided_at_ms == 25
    others = {one.status for one in stage.cases().values() if one.case_id != case.case_id}
    assert others == {CaseStatus.OPEN}


def test_jobs_can_be_listed_and_shown(stage: Stage) -> None:
    """`enrichment jobs list` counts by state, `show` tells the story; an unknown id is told."""
    app = typer.Typer()
    jobs_cli.register(app)
    settings = Settings(kafka_bootstrap=stage.bootstrap)
    stage.start()
    stage.send(*stage.batches(range(1)), batch(2, pipeline=stage.pipeline))
    until(stage.all_done)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["jobs", *arguments], obj=settings)

    listed = json.loads(run("list", "-p", stage.pipeline, "--json").output)
    assert listed["counts"] == {"succeeded": 4}
    assert {job["job_id"] for job in listed["jobs"]} == {one.micro_batch_id for one in stage.sent}
    none = run("list", "-p", stage.pipeline, "--state", "failed")
    assert none.output.strip() == "no jobs"
    job_id = stage.sent[0].micro_batch_id
    told = run("show", job_id)
    assert "SamplesReceived" in told.output
    assert "membership_gap" in told.output
    events = json.loads(run("show", job_id, "--json").output)["events"]
    assert events[0]["event"] == "MicroBatchClaimed"
    unknown = run("show", job_id[:-1] + "7")
    assert unknown.exit_code == 2
    assert job_id in unknown.stderr
    assert run("list", "--state", "done").exit_code == 2


def test_killed_in_the_middle_it_resumes_from_the_ledger(stage: Stage) -> None:
    """After kill -9 and restart every job ends once, and no feature version goes back."""

    def done() -> int:
        return sum(job.state in TERMINAL for job in stage.jobs().values())

    # As much at once as a slow machine can do; where a fast one is done before it is killed, more.
    for start in range(0, 200, 20):
        process = stage.start()
        before = done()
        stage.send(*stage.batches(range(start, start + 20), problems=20))
        until(lambda before=before: done() >= before + 5)  # type: ignore[misc]
        process.kill()
        process.wait(10)
        if any(job.state not in TERMINAL for job in stage.jobs().values()):
            break
    else:
        pytest.fail("it was always done before it was killed")
    stage.start()
    stage.send(*stage.batches(range(300, 302)))
    until(stage.all_done)

    assert stage.ends() == {one.micro_batch_id: 1 for one in stage.sent}
    newest: dict[str, int] = {}
    for _, key, value in stage.read(FEATURES):
        version = msgspec.json.decode(value or b"", type=FeatureUpdate).version
        assert version > newest.get(key, -1), key
        newest[key] = version
    assert {job.state for job in stage.jobs().values()} == {JobState.SUCCEEDED}


def test_a_repeated_micro_batch_is_not_solved_again(stage: Stage) -> None:
    """The same identity once more, even after a restart, gives no second job."""
    process = stage.start()
    batches = stage.batches(range(2))
    stage.send(*batches, *batches)
    until(stage.all_done)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    stage.start()
    stage.send(*batches)
    stage.send(batch(9, pipeline=stage.pipeline))
    until(stage.all_done)
    claimed = [
        event.job_id
        for _, _, value in stage.read(JOB_EVENTS)
        if (event := msgspec.json.decode(value or b"", type=JobEvent)).event == "MicroBatchClaimed"
    ]
    assert sorted(claimed) == sorted({one.micro_batch_id for one in stage.sent})


def test_sigterm_ends_it_and_its_children_within_five_seconds(stage: Stage) -> None:
    """SIGTERM under load: exit code 0 in time, children gone; the next one finishes the work."""
    process = stage.start()
    stage.send(*stage.batches(range(20), problems=8))
    until(lambda: len(stage.jobs()) > 0)
    children = _children(process.pid)
    assert children
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert time.monotonic() - begun < 5
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 2)
    stage.start()
    until(stage.all_done)


def test_sigterm_cancels_what_nobody_could_fetch(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs in flight at a vendor that knows no id of ours are cancelled there as the stage ends."""
    service = IonqService(queue_s=600.0).start()
    given = service.options()
    monkeypatch.setenv("ENRICHMENT_IONQ_API_KEY", given["api_key"])
    monkeypatch.setenv("ENRICHMENT_IONQ_URL", given["url"])
    stage.toml.write_text(
        # Longer than the vendor predicts, or all but the first few are not even sent there.
        PIPELINE_TOML.format(name=stage.pipeline, deadline_ms=900_000).replace(
            'provider = "qsim"', 'provider = "ionq"'
        )
    )
    process = stage.start()
    stage.send(*stage.batches(range(3)))
    until(lambda: len(service.jobs) == len(stage.sent))
    assert not any(job.ended for job in service.jobs.values())
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert service.all_cancelled()
    service.close()


def test_two_workers_share_the_partitions_and_one_takes_over(stage: Stage) -> None:
    """With a second instance each works on some; when one is killed, the other does it all."""
    one = stage.start("one")
    stage.send(*stage.batches(range(2)))
    until(stage.all_done)
    stage.start("two")
    stage.send(*stage.batches(range(2, 30), problems=4))
    time.sleep(4)
    one.kill()
    stage.send(*stage.batches(range(30, 40)))
    until(stage.all_done)
    assert stage.ends() == {one.micro_batch_id: 1 for one in stage.sent}


def test_fenced_by_another_it_joins_anew_and_goes_on(stage: Stage) -> None:
    """A producer that takes over every transactional id: nothing lost, nothing done twice."""
    process = stage.start()
    stage.send(*stage.batches(range(2)))
    until(stage.all_done)
    for number in range(PARTITIONS):
        name = f"enrichment.sample.{stage.pipeline}.{number}"
        TransactionalProducer.open({"bootstrap.servers": stage.bootstrap}, name).close()
    stage.send(*stage.batches(range(2, 5)))
    until(stage.all_done)
    assert process.poll() is None, "it ended, and somebody had to start it again"
    assert stage.ends() == {one.micro_batch_id: 1 for one in stage.sent}


def test_a_killed_child_is_replaced_and_its_jobs_are_tried_again(stage: Stage) -> None:
    """Kill -9 of the process that runs circuits: every job still ends with its quantum estimate."""
    process = stage.start()
    stage.send(*stage.batches(range(1), problems=1))
    until(stage.all_done)
    for start in range(1, 200, 20):
        stage.send(*stage.batches(range(start, start + 20), problems=16))
        # A kill that falls between two jobs proves nothing: then there is a next one.
        time.sleep(0.3)
        (child,) = (
            pid
            for pid in _children(process.pid)
            if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        os.kill(child, signal.SIGKILL)
        until(stage.all_done)
        assert {job.state for job in stage.jobs().values()} == {JobState.SUCCEEDED}
        if max(job.attempt for job in stage.jobs().values()) > 1:
            return
    pytest.fail("every kill fell between two jobs")


def test_past_its_deadline_a_job_ends_with_the_classical_estimate_alone(stage: Stage) -> None:
    """With a deadline that no circuit can keep: fallback_complete, and nothing called quantum."""
    stage.toml.write_text(PIPELINE_TOML.format(name=stage.pipeline, deadline_ms=1))
    stage.start()
    stage.send(*stage.batches(range(2), problems=2))
    until(stage.all_done)
    jobs = stage.jobs().values()
    assert {job.state for job in jobs} == {JobState.FALLBACK_COMPLETE}
    assert {job.provider for job in jobs} == {"exact"}
    for _, _, value in stage.read(FEATURES):
        update = msgspec.json.decode(value or b"", type=FeatureUpdate)
        assert set(update.estimates) == {"classical"}


def _children(pid: int) -> list[int]:
    """The children of every thread of a process: the kernel lists them by who started them."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for one in lists for child in one.read_text().split()]
