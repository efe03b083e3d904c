"""`enrichment jobs explain` as a command, on jobs that the sample stage did on a real Kafka."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from confluent_kafka import Producer

from enrichment.lab.servers import LocalServers
from enrichment.records import FeatureUpdate, JobEvent
from enrichment.stream.topics import FEATURES, JOB_EVENTS
from tests.integration.sampling import PIPELINE_TOML, Stage, open_stage, until

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def stage(servers: LocalServers, tmp_path: Path) -> Iterator[Stage]:
    """A stage of a pipeline that only this test knows, with its topics there."""
    with open_stage(servers, tmp_path) as one:
        yield one


def explained(stage: Stage, job_id: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, on the stage's own pipeline file."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "enrichment", "jobs", "explain", job_id),
            *("--pipeline", str(stage.toml), *options),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"ENRICHMENT_KAFKA_BOOTSTRAP": stage.bootstrap, "COLUMNS": "100"},
    )


def as_json(done: subprocess.CompletedProcess[str]) -> Any:
    """What the command printed."""
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def put(stage: Stage, topic: str, partition: int, key: str, record: msgspec.Struct) -> None:
    """Write one record, as somebody would who changes what was recorded."""
    producer = Producer({"bootstrap.servers": stage.bootstrap})
    producer.produce(topic, key=key, value=msgspec.json.encode(record), partition=partition)
    producer.flush(10)


def test_a_job_is_explained_and_drawn_again_gives_the_same(stage: Stage, tmp_path: Path) -> None:
    """From micro-batch to features; every sample, figure and feature of the rerun is the same."""
    stage.start()
    stage.send(*stage.batches(range(1), problems=2))
    until(stage.all_done)
    batch = stage.sent[0]
    svg, plot = tmp_path / "circuit.svg", tmp_path / "energies.svg"
    done = explained(stage, batch.micro_batch_id, "--json", "--svg", str(svg), "--plot", str(plot))
    assert done.returncode == 0, done.stderr
    told = as_json(done)
    verdict = told["verdict"]
    assert verdict["same_samples"] is True
    assert verdict["agrees"] is True
    assert verdict["changed"] == []
    assert {check["name"]: check["same"] for check in verdict["checks"]} == dict.fromkeys(
        ("micro-batch", "models", "circuits", "samples", "features", "differences"), True
    )
    problem = told["problem"]
    wanted = batch.problems[problem["number"]]
    assert tuple(node["id"] for node in problem["nodes"]) == wanted.nodes
    assert len(problem["ties"]) == len(wanted.weights)
    assert set(problem["energies"]["counts"]) == {"quantum", "classical", "random"}
    assert {sum(counts) for counts in problem["energies"]["counts"].values()} == {200}
    for node in problem["nodes"]:
        for one in node["memberships"].values():
            assert one["low"] - 1e-9 <= one["membership"] <= one["high"] + 1e-9
    assert problem["circuit"]["hash"] == problem["circuit"]["recorded_hash"]
    assert told["drawing"]["qubits"] == len(wanted.nodes)
    assert told["recipe"]["conditions"]["fuse"]
    assert told["recipe"]["conditions"]["machine"]
    assert told["recipe"]["not_recorded"] == []
    drawn = ET.fromstring(svg.read_text())  # noqa: S314  # our own
    measured = [text.text for text in drawn.iter(f"{SVG}text")]
    assert measured.count("H") == len(wanted.nodes)
    assert wanted.nodes[0] not in svg.read_text()
    assert ET.fromstring(plot.read_text()).tag == f"{SVG}svg"  # noqa: S314  # our own

    text = explained(stage, batch.micro_batch_id, "--problem", "1")
    assert text.returncode == 0, text.stderr
    assert "same samples: yes" in text.stdout
    assert max(map(len, text.stdout.splitlines())) <= 100
    assert batch.problems[1].nodes[0] in text.stdout


def test_a_record_that_was_changed_is_not_the_same(stage: Stage) -> None:
    """Another sample hash, or another figure of a feature: told, and exit code 3."""
    stage.start()
    stage.send(*stage.batches(range(1)))
    until(stage.all_done)
    job_id, other_id = (one.micro_batch_id for one in stage.sent[:2])
    for partition, key, value in stage.read(JOB_EVENTS):
        event = msgspec.json.decode(value or b"", type=JobEvent)
        if key == job_id and event.seeds:
            forged = {**event.sample_hashes, "quantum": ("0" * 32,)}
            changed = msgspec.structs.replace(event, sample_hashes=forged)
            put(stage, JOB_EVENTS, partition, key, changed)
    done = explained(stage, job_id, "--json")
    assert done.returncode == 3, done.stderr
    verdict = as_json(done)["verdict"]
    assert verdict["same_samples"] is False
    assert {check["name"] for check in verdict["checks"] if check["same"] is False} == {"samples"}

    for partition, key, value in stage.read(FEATURES):
        update = msgspec.json.decode(value or b"", type=FeatureUpdate)
        if update.source is not None and update.source.job_id == other_id:
            estimates = {path: dict(figures) for path, figures in update.estimates.items()}
            estimates["quantum"]["membership"] += 0.25
            put(
                stage,
                FEATURES,
                partition,
                key,
                msgspec.structs.replace(update, estimates=estimates),
            )
            break
    done = explained(stage, other_id)
    assert done.returncode == 3, done.stderr
    assert "same samples: yes" in done.stdout
    assert "NOT THE SAME" in done.stdout
    assert "0.2500" in done.stdout


def test_what_cannot_be_run_again_says_why(stage: Stage) -> None:
    """No such job, no such problem, a classical fallback, and nothing asked for."""
    stage.toml.write_text(PIPELINE_TOML.format(name=stage.pipeline, deadline_ms=1))
    stage.start()
    stage.send(*stage.batches(range(1)))
    until(stage.all_done)
    job_id = stage.sent[0].micro_batch_id
    unknown = explained(stage, job_id[:-1] + "7")
    assert unknown.returncode == 2
    assert job_id in unknown.stderr
    assert explained(stage, job_id, "--problem", "5").returncode == 2
    fallback = as_json(explained(stage, job_id, "--json"))
    assert fallback["verdict"]["same_samples"] is True
    assert fallback["problem"]["circuit"] is None
    assert set(fallback["problem"]["energies"]["counts"]) == {"classical"}
    recorded = as_json(explained(stage, job_id, "--json", "--no-run"))
    assert recorded["verdict"]["drawn"] is False
    assert recorded["problem"]["energies"] is None
    assert recorded["problem"]["nodes"][0]["memberships"]["classical"]
