"""Operators' orders by the command line, carried out by the sample stage on a real Kafka."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from typer.testing import Result

from enrichment.cli import jobs as jobs_cli
from enrichment.lab.servers import LocalServers
from enrichment.records import Change, ChangeKind, FeatureUpdate, JobOrder, JobState
from enrichment.sample.quarantine import ADOPTIONS_MAX
from enrichment.settings import Settings
from enrichment.stream.changes import recorded
from enrichment.stream.topics import FEATURES, ORDERS
from tests.cli.commands import runner_of
from tests.integration.sampling import Stage, open_stage, until
from tests.provider.ionq_service import CREATE, Fault, IonqService
from tests.sample.streams import batch, problem

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

SAMPLE = "enrichment sample"  # what the stage notices when it starts
REFUSED = Fault(status=403, text="no access")

KILLED_AT = """
import os, pathlib, signal, sys
from enrichment.pipelines import load
from enrichment.sample.sending import Sending
from enrichment.settings import Settings
from enrichment.wiring.sampling import run_sample

submit = Sending._handed_over

def deadly(self, opened, now_ms):
    if opened.job.job_id == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
    return submit(self, opened, now_ms)

Sending._handed_over = deadly
run_sample(Settings(), load(sys.argv[1]))
"""
"""The stage, but for a job that ends its process whenever it is submitted."""


@pytest.fixture
def stage(servers: LocalServers, tmp_path: Path) -> Iterator[Stage]:
    """A stage of a pipeline that only this test knows, with its topics there."""
    with open_stage(servers, tmp_path) as one:
        yield one


@pytest.fixture
def vendor(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[IonqService]:
    """The fake of IonQ, which is the pipeline's only provider."""
    service = IonqService().start()
    given = service.options()
    monkeypatch.setenv("ENRICHMENT_IONQ_API_KEY", given["api_key"])
    monkeypatch.setenv("ENRICHMENT_IONQ_URL", given["url"])
    stage.toml.write_text(
        stage.toml.read_text().replace('provider = "qsim"', 'provider = "ionq"\nfallback = []')
    )
    yield service
    service.close()


def run(stage: Stage, *arguments: str) -> Result:
    """One command of `enrichment jobs`."""
    settings = Settings(kafka_bootstrap=stage.bootstrap)
    return runner_of(jobs_cli.register)("jobs", *arguments, settings=settings)


def told(stage: Stage, *arguments: str, code: int = 0) -> Any:
    """What one command says as JSON."""
    result = run(stage, *arguments, "--json")
    assert result.exit_code == code, result.output + result.stderr
    return json.loads(result.stdout)


def states(stage: Stage) -> set[JobState]:
    """The states in which the jobs are."""
    return {job.state for job in stage.jobs().values()}


def changes(stage: Stage) -> list[Change]:
    """What is on record of the pipeline."""
    found = recorded({"bootstrap.servers": stage.bootstrap}).changes
    return [one for one in found if one.pipeline == stage.pipeline and one.changed_by != SAMPLE]


def features(stage: Stage) -> list[FeatureUpdate]:
    """Every feature update that is committed."""
    return [
        msgspec.json.decode(value or b"", type=FeatureUpdate)
        for _, _, value in stage.read(FEATURES)
    ]


def test_a_job_in_flight_at_a_vendor_is_cancelled_there(stage: Stage, vendor: IonqService) -> None:
    """By its id, then the rest by a filter: failed here with who and why, cancelled there."""
    vendor.queue_s = 600.0
    stage.start()
    stage.send(*stage.batches(range(2)))
    until(lambda: len(vendor.jobs) == len(stage.sent))
    until(lambda: states(stage) <= {JobState.SUBMITTED, JobState.EXECUTING})
    job_id = stage.sent[0].micro_batch_id
    done = run(stage, "cancel", job_id, "--reason", "test data", "--by", "kim")
    assert done.exit_code == 0, done.output + done.stderr
    assert done.stdout == f"cancel: {job_id} is failed\n"
    job = stage.jobs()[job_id]
    assert (job.state, job.detail) == (JobState.FAILED, "cancel by kim: test data")
    [change] = changes(stage)
    assert (change.kind, change.subject, change.changed_by) == (ChangeKind.ORDER, job_id, "kim")
    assert json.loads(change.before)["state"] in {"submitted", "executing"}
    assert json.loads(change.after)["order"] == "cancel"
    until(lambda: [one.ended for one in vendor.jobs.values()].count("canceled") == 1)

    by_filter = ("cancel", "-p", stage.pipeline, "--provider", "ionq", "--reason", "vendor hangs")
    seen = told(stage, *by_filter, "--dry-run")
    assert len(seen["jobs"]) == len(stage.sent) - 1
    assert run(stage, *by_filter, "--json").exit_code == 2  # nobody is there to say yes
    given = told(stage, *by_filter, "--yes")
    assert given["counts"] == {"done": len(stage.sent) - 1}
    assert len(changes(stage)) == len(stage.sent)
    until(vendor.all_cancelled)
    assert states(stage) == {JobState.FAILED}
    again = run(stage, "cancel", job_id, "--reason", "again")
    assert again.exit_code == 2
    assert "it is failed" in again.stderr


def test_after_an_outage_a_retry_brings_the_features_and_of_old_windows_none(
    stage: Stage, vendor: IonqService
) -> None:
    """Grouped by how they failed, retried by filter; an overtaken window stays unpublished."""
    old = batch(0, (problem(0),), shard="eu", pipeline=stage.pipeline)
    new = batch(1, (problem(0, seed=1),), shard="eu", pipeline=stage.pipeline)
    others = [
        batch(number, (problem(1, first=700_000),), shard="us", pipeline=stage.pipeline)
        for number in range(2)
    ]
    vendor.fail(CREATE, *[REFUSED] * 3)
    stage.start()
    stage.send(old, *others)
    until(lambda: len(stage.jobs()) == 3 and states(stage) == {JobState.FAILED})
    stage.send(new)
    until(stage.all_done)
    assert {update.version for update in features(stage)} == {new.version}

    (group,) = told(stage, "list", "-p", stage.pipeline, "--failing")["failing"]
    assert (group["jobs"], group["shards"]) == (3, ["eu", "us"])
    assert group["shape"].startswith("ionq: permission: ")
    like = ("retry", "--like", old.micro_batch_id, "-p", stage.pipeline, "--since", "1h")
    given = told(stage, *like, "--reason", "vendor is back", "--yes")
    assert given["counts"] == {"done": 3}
    until(lambda: states(stage) == {JobState.SUCCEEDED})
    from_ = [update.source.job_id for update in features(stage) if update.source is not None]
    assert list(dict.fromkeys(one for one in from_ if "|us|" in one)) == [
        one.micro_batch_id for one in others
    ]
    assert {one for one in from_ if "|eu|" in one} == {new.micro_batch_id}
    shown = run(stage, "show", old.micro_batch_id)
    assert "RetryOrdered" in shown.output
    assert "vendor is back" in shown.output
    assert "not published: a newer window of the shard had published" in shown.output


def test_orders_given_while_no_worker_runs_are_heard_at_the_next_start_and_act_once(
    stage: Stage, vendor: IonqService
) -> None:
    """The command says that nobody has heard them; the same order twice is one attempt."""
    vendor.fail(CREATE, *[REFUSED] * 2)
    process = stage.start()
    stage.send(batch(0, (problem(0),), pipeline=stage.pipeline))
    until(lambda: states(stage) == {JobState.FAILED})
    process.kill()
    process.wait(10)
    job_id = stage.sent[0].micro_batch_id
    given = told(stage, "retry", job_id, "--reason", "try", "--wait", "0.5", code=4)
    assert given["counts"] == {"unheard": 1}
    assert told(stage, "show", job_id)["unheard"] == [given["jobs"][0]["order_id"]]
    assert "not heard by a worker: retry by" in run(stage, "show", job_id).output

    ((partition, key, value),) = stage.read(ORDERS)
    producer = Producer({"bootstrap.servers": stage.bootstrap})
    producer.produce(ORDERS, key=key, value=value, partition=partition)
    producer.produce(ORDERS, key=key, value=b"no order", partition=partition)
    producer.flush(10)
    before = stage.jobs()[job_id].attempt
    stage.start()
    until(lambda: stage.jobs()[job_id].attempt > before)
    until(lambda: states(stage) == {JobState.FAILED})  # refused once more, and no third time
    order = msgspec.json.decode(value or b"", type=JobOrder)
    assert stage.jobs()[job_id].ordered_ms == order.issued_at_ms
    stage.send(batch(1, (problem(0),), pipeline=stage.pipeline))
    until(stage.all_done)
    assert stage.jobs()[job_id].attempt == before + 1
    assert told(stage, "show", job_id)["unheard"] == []


def test_a_job_that_ends_its_workers_is_set_aside_and_the_rest_is_done(stage: Stage) -> None:
    """Started again each time, as a supervisor does: it alone is quarantined."""
    stage.send(*stage.batches(range(2)))
    victim = stage.sent[1].micro_batch_id
    command = [sys.executable, "-c", KILLED_AT, str(stage.toml), victim]
    env = os.environ | {
        "ENRICHMENT_KAFKA_BOOTSTRAP": stage.bootstrap,
        "ENRICHMENT_INSTANCE": "one",
    }
    killed = 0
    process = subprocess.Popen(command, env=env)
    stage.processes.append(process)

    def done() -> bool:
        nonlocal process, killed
        if process.poll() is not None:
            killed += 1
            process = subprocess.Popen(command, env=env)
            stage.processes.append(process)
        return stage.all_done()

    until(done, 200)
    jobs = stage.jobs()
    assert [one for one, job in jobs.items() if job.quarantined] == [victim]
    # Nine starts may take the others past their deadline: then the fallback has answered.
    others = {job.state for one, job in jobs.items() if one != victim}
    assert others <= {JobState.SUCCEEDED, JobState.FALLBACK_COMPLETE}
    assert jobs[victim].state is JobState.FAILED
    assert killed == ADOPTIONS_MAX + 1
    assert f"found unfinished {ADOPTIONS_MAX} times" in jobs[victim].detail
    listed = told(stage, "list", "-p", stage.pipeline, "--quarantined")
    assert [job["job_id"] for job in listed["jobs"]] == [victim]

    process.kill()
    process.wait(10)
    stage.start()
    refused = run(stage, "retry", victim, "--reason", "mended")
    assert refused.exit_code == 2
    assert "--quarantined" in refused.stderr
    given = told(stage, "retry", victim, "--reason", "mended", "--quarantined", "--wait", "60")
    assert given["counts"] == {"done": 1}
    until(lambda: states(stage) == {JobState.SUCCEEDED})


def test_what_cannot_be_understood_is_said(stage: Stage) -> None:
    """Neither or both of ids and options, unknown ids, states, times: exit code 2 and a hint."""
    stage.start()
    stage.send(*stage.batches(range(1)))
    until(stage.all_done)
    why = ("--reason", "x")
    job_id = stage.sent[0].micro_batch_id
    for arguments, said in (
        (("cancel", *why), "say which jobs"),
        (("cancel", job_id, "--state", "pending", *why), "not both"),
        (("cancel", job_id[:-1] + "7", *why), job_id),
        (("retry", job_id, *why), "it is succeeded"),
        (("retry", "-p", stage.pipeline, *why), "there is no job to retry"),
        (("retry", "--state", "faild", *why), "fallback_complete"),
        (("retry", "--since", "soon", *why), "nor so long ago: 30s, 10m"),
        (("retry", "--like", "nothing", *why), "there is no job 'nothing'"),
        (("quarantine", job_id, "--reason", " "), "say why"),
    ):
        result = run(stage, *arguments)
        assert result.exit_code == 2, arguments
        assert said in result.stderr, (arguments, result.stderr)
    assert not stage.read(ORDERS)
