"""Evidence from topics on a real Kafka: answers, outcomes, jobs and micro-batches, hand-made."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.lab.servers import LocalServers
from enrichment.records import (
    Assigned,
    Control,
    Enriched,
    Experiment,
    JobEvent,
    JobState,
    Level,
    Origin,
    Scores,
    Verdict,
)
from enrichment.records import (
    Path as ServedPath,
)
from enrichment.rollout.answered import Answered
from enrichment.rollout.evidence import Evidence
from enrichment.rollout.gather import experimented, latest_look
from enrichment.rollout.instruct import instruct
from enrichment.rollout.redraw import sampler_of
from enrichment.stream.topics import CASES, CONTROL, JOB_EVENTS, MICRO_BATCHES, shard_key
from tests.integration.stages import Stream
from tests.rollout.streams import SINCE_MS, Simulated, simulated
from tests.sample.streams import batch, problem

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]

RULES = """[rollout.gate]
looks = [10, 20, 10000]
matured_ms = 10000
k = 20

[features]
"""
HOW = Simulated(events=300, rings=6)
MEANS = {"quantum_mean_energy": -3.0, "classical_mean_energy": -4.0, "random_mean_energy": -2.0}


@pytest.fixture
def stream(servers: LocalServers, tmp_path: Path) -> Iterator[Stream]:
    """A stream whose looks are at few bad events, with the topics of jobs beside its own."""
    made = Stream(
        tmp_path,
        like="payments",
        bootstrap=servers.bootstrap,
        redis_url=servers.redis_url,
        changes={"[features]\n": RULES},
    )
    admin = AdminClient({"bootstrap.servers": servers.bootstrap})
    there = admin.list_topics(timeout=10).topics
    wanted = [name for name in (JOB_EVENTS, MICRO_BATCHES, CASES) if name not in there]
    missing = [NewTopic(name, 4, 1) for name in wanted]
    for future in admin.create_topics(missing).values() if missing else ():
        future.result(30)
    yield made
    made.close()


def record(stream: Stream, one: Answered, offset: int) -> Enriched:
    """The answer as the hot path writes it."""
    account, device, beneficiary = one.entities
    event = {
        "event_id": one.event_id,
        "account_id": account,
        "device_id": device,
        "beneficiary_id": beneficiary,
        "amount": one.amount,
    }
    return Enriched(
        event_id=one.event_id,
        pipeline=stream.name,
        origin=Origin(stream.topics.events, 0, offset),
        occurred_at_ms=one.occurred_at_ms,
        decided_at_ms=one.decided_at_ms,
        event=msgspec.Raw(msgspec.json.encode(event)),
        verdict=Verdict(one.verdict, ""),
        path=ServedPath.HEURISTIC,
        scores=Scores(
            served=one.heuristic,
            heuristic=one.heuristic,
            classical=one.classical,
            quantum=one.quantum,
        ),
        level=Level.NORMAL,
        decision=one.decision,
        reasons=(),
        features=(),
        pipeline_version=stream.pipeline.version,
        score_version=stream.pipeline.score.version,
        rollout=Assigned(experiment_id="x"),
    )


def fill(stream: Stream, since_ms: int) -> None:
    """An experiment of 300 seconds: its answers and outcomes, three jobs, and what cannot be read.

    What comes from the simulation is moved to `since_ms`.
    """
    kafka = {"bootstrap.servers": stream.bootstrap}
    producer = Producer(kafka)
    answers, outcomes = simulated(HOW, 5)
    by_ms = since_ms - SINCE_MS
    answers.append(replace(answers[0], decided_at_ms=answers[0].decided_at_ms + 7))
    for offset, one in enumerate(answers):
        at_ms = one.decided_at_ms + by_ms
        moved = replace(one, decided_at_ms=at_ms, occurred_at_ms=one.occurred_at_ms + by_ms)
        value = msgspec.json.encode(record(stream, moved, offset))
        producer.produce(stream.topics.enriched, value, timestamp=at_ms - 6)
    for said in outcomes:
        at_ms = said.decided_at_ms + by_ms
        value = msgspec.json.encode(msgspec.structs.replace(said, decided_at_ms=at_ms))
        producer.produce(stream.topics.outcomes, value, timestamp=at_ms)
    producer.produce(stream.topics.outcomes, b"hardly an outcome")
    for number in range(3):
        made = batch(number, (problem(number, seed=number),))
        made = msgspec.structs.replace(
            made,
            pipeline=stream.name,
            micro_batch_id=f"{stream.name}|all|{number}|0",
            closed_at_ms=since_ms + 1_000 * number,
        )
        key = shard_key(stream.name, "all")
        producer.produce(MICRO_BATCHES, msgspec.json.encode(made), key)
        ending = JobEvent(
            job_id=made.micro_batch_id,
            pipeline=stream.name,
            shard="all",
            attempt=1,
            at_ms=made.closed_at_ms + 250,
            event="SamplesReceived",
            state_before=JobState.EXECUTING,
            state_after=JobState.SUCCEEDED,
            provider="qsim",
            durations_ms={"execution": 20.0},
            differences={"p": {"membership_gap": 0.1, **MEANS}},
            experiment_id="x",
        )
        producer.produce(JOB_EVENTS, msgspec.json.encode(ending), ending.job_id)
    assert producer.flush(20) == 0


def command(stream: Stream, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `enrichment evidence` as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "enrichment", "evidence", *arguments, "-p", stream.name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ
        | {
            "ENRICHMENT_KAFKA_BOOTSTRAP": stream.bootstrap,
            "ENRICHMENT_PIPELINES_DIR": str(stream.folder),
            "COLUMNS": "130",
        },
    )


def test_evidence_is_read_from_the_topics_and_is_the_same_for_everybody(stream: Stream) -> None:
    """A look by the gate's function, and by the command a moment later: one evidence, one id.

    Answers, outcomes, jobs and micro-batches meet, and what cannot be read is told.
    """
    now_ms = time.time_ns() // 1_000_000
    since_ms = now_ms - 400_000
    fill(stream, since_ms)
    kafka = {"bootstrap.servers": stream.bootstrap}
    of = Experiment(
        experiment_id="x",
        started_ms=since_ms,
        pipeline_version=stream.pipeline.version,
        score_version=stream.pipeline.score.version,
    )
    control = Control(
        pipeline=stream.name,
        name="experiment",
        issued_at_ms=since_ms,
        issued_by="test",
        reason="evidence",
        experiment=of,
    )
    partitions = len(AdminClient(kafka).list_topics(CONTROL, timeout=10).topics[CONTROL].partitions)
    instruct(kafka, control, partitions)

    sampler = sampler_of(stream.pipeline)
    found = latest_look(kafka, stream.pipeline, experimented(of), now_ms=now_ms, sampler=sampler)
    assert found is not None
    assert (found.look, found.counts.bad) == (2, 20)
    assert found.sampling.jobs == 3
    figures = {name: figure.value for name, figure in found.sampling.figures.items()}
    assert figures["energy_gap"] == 0.5
    assert figures["latency_p50_ms"] == 250.0
    assert figures["repeat_deviation"] is not None
    assert found.hot_path_p50_ms.value == 6.0
    assert found.counts.events < HOW.events  # what came after the look is not in it

    to = stream.folder / "evidence.json"
    plot = stream.folder / "evidence.svg"
    done = command(stream, "export", "--to", str(to), "--plot", str(plot))
    assert done.returncode == 0, done.stderr
    assert "1 records cannot be read" in done.stderr
    assert msgspec.json.decode(to.read_bytes(), type=Evidence) == found
    assert "look 1" in plot.read_text()
