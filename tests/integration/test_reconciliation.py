"""A takeover of a full ledger, on a real Kafka: what it takes, and that nothing is passed over."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from enrichment.lab.servers import LocalServers
from enrichment.pipelines import load
from enrichment.records import Job, JobState, MicroBatch
from enrichment.sample.budget import NoMoney
from enrichment.sample.ledger import Ledger, LedgerState
from enrichment.sample.machine import TERMINAL
from enrichment.sample.outbox import Addresses
from enrichment.sample.stage import write
from enrichment.sample.worker import Worker
from enrichment.stream.topics import FEATURES, JOB_EVENTS, JOBS, partition_for, shard_key
from tests.integration.sampling import PARTITIONS, SHARDS, Stage, open_stage, until
from tests.sample.fakes import ScriptedProvider
from tests.sample.streams import batch, problem

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

ENTRIES = 10_000
OPEN = 1_000
"""Of the entries: two workers' worth of unfinished jobs, as after the loss of a machine."""

WITHIN_S = 20.0
"""What is to be reached is 5 s (the figure is printed); a machine at work beside must not fail."""


@pytest.fixture
def stage(servers: LocalServers, tmp_path: Path) -> Iterator[Stage]:
    """A pipeline that only this test knows, with its topics there."""
    with open_stage(servers, tmp_path) as one:
        yield one


def entry(one: MicroBatch, *, finished: bool) -> Job:
    """A ledger entry of that micro-batch."""
    now_ms = time.time_ns() // 1_000_000
    return Job(
        job_id=one.micro_batch_id,
        pipeline=one.pipeline,
        shard=one.shard,
        micro_batch_id=one.micro_batch_id,
        state=JobState.SUCCEEDED if finished else JobState.SUBMITTED,
        attempt=1,
        created_ms=now_ms,
        updated_ms=now_ms,
        deadline_ms=now_ms + 3_600_000,
        provider="qsim",
        shots=100,
        problems=len(one.problems),
        content_hash=one.content_hash,
        micro_batch=None if finished else one,
    )


def test_ten_thousand_entries_are_taken_over_in_seconds(  # noqa: PLR0915  # one story
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the assignment until every unfinished job is taken up, submitted and in the ledger."""
    producer = Producer({"bootstrap.servers": stage.bootstrap, "linger.ms": 20})
    bytes_ = 0
    for number in range(ENTRIES):
        shard = SHARDS[number % len(SHARDS)]
        problems = tuple(problem(k) for k in range(4))
        one = batch(number, problems, shard=shard, pipeline=stage.pipeline)
        job = entry(one, finished=number < ENTRIES - OPEN)
        partition = partition_for(shard_key(stage.pipeline, shard), PARTITIONS)
        value = msgspec.json.encode(job)
        bytes_ += len(value)
        while True:
            try:
                producer.produce(JOBS, key=job.job_id, value=value, partition=partition)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush(30)

    clock = type("Clock", (), {"__call__": lambda _: time.time_ns() // 1_000_000})()
    provider = ScriptedProvider(name="qsim", clock=clock, holds=True, jobs_max=OPEN)
    pipeline = load(str(stage.toml))
    worker = Worker(pipeline, lambda _: provider, NoMoney(), now_ms=clock, draw=lambda: 0.5)
    assigned: list[float] = []

    def adopt(partition: int, state: LedgerState) -> None:
        worker.adopt(partition, state)
        assigned.append(time.monotonic())

    ledger = Ledger(
        {"bootstrap.servers": stage.bootstrap},
        stage.pipeline,
        "reconciler",
        on_assigned=adopt,
        on_revoked=worker.drop,
        stopping=lambda: False,
    )
    to = Addresses(pipeline=stage.pipeline, partitions=dict.fromkeys((FEATURES, JOB_EVENTS), 4))
    begun: list[float] = []
    take_over = ledger._assigned

    def assigned_now(*given: Any) -> None:
        begun.append(time.monotonic())
        take_over(*given)

    monkeypatch.setattr(ledger, "_assigned", assigned_now)
    ledger.join()
    try:
        while len(assigned) < PARTITIONS or len(provider.accepted) < OPEN:
            ledger.poll(0.02)
            worker.tick()
            write(ledger, worker, to)
        taken_s = time.monotonic() - begun[0]
    finally:
        ledger.close()
    until(lambda: sum(one.adoptions for one in stage.jobs().values()) == OPEN)
    jobs = stage.jobs()
    assert len(jobs) == ENTRIES
    assert sum(job.state in TERMINAL for job in jobs.values()) == ENTRIES - OPEN
    said = (
        f"{ENTRIES} entries ({bytes_ / 1e6:.1f} MB, {OPEN} unfinished): fenced and read in "
        f"{assigned[-1] - begun[0]:.2f} s, all taken up and submitted after {taken_s:.2f} s"
    )
    with capsys.disabled():
        sys.stdout.write(f"\n{said}\n")
    assert taken_s < WITHIN_S
