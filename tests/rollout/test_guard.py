"""The guard as a process: what it sees, what it writes, and what it does when it cannot."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path as FilePath

import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.lab.servers import LocalServers
from enrichment.pipelines import Pipeline
from enrichment.records.control import Control, Rollout
from enrichment.records.enriched import Path, Stage
from enrichment.rollout.control import ControlFold, ControlState
from enrichment.rollout.evidence import Evidence
from enrichment.rollout.guard import Guard, Ports, Weighing
from enrichment.rollout.instruct import instruct, standing
from enrichment.rollout.policy import BY, Demotion, Policy, demoted
from enrichment.stream.follow import Follower
from enrichment.stream.topics import CONTROL, JOB_EVENTS
from tests.integration.stages import Stream, eventually
from tests.rollout.deciding import guarded, in_force
from tests.rollout.evidences import differing, evidence, figure
from tests.rollout.test_policy import LET_IN, ended

BAD = ended(energy=0.9)


class MemoryControl:
    """A control topic in memory, which may refuse a write."""

    def __init__(self, state: ControlState = LET_IN) -> None:
        self.state = state
        self.written: list[Demotion] = []
        self.refuses = 0

    def demote(self, demotion: Demotion) -> None:
        """Take it, unless told to refuse."""
        if self.refuses:
            self.refuses -= 1
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        self.written.append(demotion)
        self.state = in_force(Stage.SHADOW, demotion.path)

    def guard(self, jobs: int = 3) -> Guard:
        """A guard of this topic."""
        ports = Ports(control=lambda: self.state, evidence=lambda: None, demote=self.demote)
        return Guard(Policy(guarded(jobs)), ports, lambda: 0)


def test_what_tips_a_window_is_written_in_the_same_turn() -> None:
    """Once: by then the path is in shadow."""
    control = MemoryControl()
    guard = control.guard()
    guard.turn([BAD, BAD], None)
    assert control.written == []
    guard.turn([BAD], None)
    assert [one.figure for one in control.written] == ["energy_gap"]
    guard.turn([BAD] * 9, None)
    assert len(control.written) == 1


def test_outcomes_are_written_as_jobs_are() -> None:
    """With the evidence that they were weighed in."""
    control = MemoryControl()
    lost = differing(evidence(), quantum_heuristic=figure(-0.1, -0.2, -0.05))
    control.guard().turn([], lost)
    assert [one.evidence_id for one in control.written] == ["v1"]


def test_what_kafka_does_not_take_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though no further job says so; but not once somebody else has decided about the path."""
    monkeypatch.setattr("enrichment.rollout.guard.AGAIN_S", 0.0)
    control = MemoryControl()
    control.refuses = 2
    guard = control.guard()
    guard.turn([BAD] * 3, None)
    guard.turn([], None)
    assert control.written == []
    guard.turn([], None)
    assert len(control.written) == 1

    control = MemoryControl()
    control.refuses = 1
    guard = control.guard()
    guard.turn([BAD] * 3, None)
    control.state = in_force(Stage.CANARY, Path.QUANTUM)
    guard.turn([], None)
    assert control.written == []


def test_a_demotion_says_who_and_why() -> None:
    """A record that control understands, which puts the path into shadow."""
    lost = differing(evidence(), quantum_heuristic=figure(-0.1, -0.2, -0.05))
    policy = Policy(guarded())
    policy.heed(LET_IN)
    [demotion] = policy.weighed(lost)
    control = demoted("payments", demotion, 7)
    assert (control.issued_by, control.issued_at_ms, control.name) == (BY, 7, "rollout.quantum")
    assert control.rollout == Rollout(path=Path.QUANTUM, stage=Stage.SHADOW, evidence_id="v1")
    fold = ControlFold("payments")
    assert fold.take([(b"payments|rollout.quantum", msgspec.json.encode(control))]) == []
    assert fold.state.rollouts["quantum"].stage is Stage.SHADOW


def test_weighing_goes_on_after_trouble_and_keeps_the_newest_alone() -> None:
    """Whoever weighs may fail; nobody waits for it, and nothing piles up."""
    numbers = iter(range(10_000))

    def weigh() -> Evidence | None:
        number = next(numbers)
        if number == 0:
            raise TimeoutError("a topic cannot be read")
        return evidence(evidence_id=str(number)) if number > 1 else None

    with Weighing(weigh, every_s=0.001) as weighing:
        eventually("it has gone on", lambda: next(numbers) > 20)
        first = weighing.newest()
        assert first is not None
        assert int(first.evidence_id) > 2


def job_events(bootstrap: str) -> None:
    """The topic, where no test before has needed it."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    if JOB_EVENTS not in admin.list_topics(timeout=10).topics:
        for future in admin.create_topics([NewTopic(JOB_EVENTS, 4, 1)]).values():
            future.result(30)
    # A broker that is busy knows of it a little later than it says so.
    eventually("there", lambda: bool(admin.list_topics(JOB_EVENTS).topics[JOB_EVENTS].partitions))


@contextlib.contextmanager
def watching(stream: Stream, pipeline: Pipeline) -> Iterator[Follower[ControlState]]:
    """A guard on real servers, in a thread; what it is told of control."""
    kafka = {"bootstrap.servers": stream.bootstrap}
    stop = threading.Event()
    with Follower(kafka, CONTROL, lambda: ControlFold(pipeline.name)) as follower:
        assert follower.await_ready(10)

        def demote(demotion: Demotion) -> None:
            now_ms = time.time_ns() // 1_000_000
            instruct(kafka, demoted(pipeline.name, demotion, now_ms), 1)

        ports = Ports(control=lambda: follower.state, evidence=lambda: None, demote=demote)
        guard = Guard(Policy(pipeline), ports, lambda: time.time_ns() // 1_000_000)
        thread = threading.Thread(target=guard.run, args=(kafka, stop))
        thread.start()
        try:
            yield follower
        finally:
            stop.set()
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.servers
def test_noise_takes_the_path_out_on_real_topics(servers: LocalServers, tmp_path: FilePath) -> None:
    """Two guards at once; from the job event that tips it to the record within two seconds."""
    stream = Stream(
        tmp_path, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
    )
    job_events(servers.bootstrap)
    kafka = {"bootstrap.servers": servers.bootstrap}
    rollout = msgspec.structs.replace(
        stream.pipeline.rollout,
        guard=msgspec.structs.replace(stream.pipeline.rollout.guard, jobs=3),
    )
    pipeline = msgspec.structs.replace(stream.pipeline, rollout=rollout)
    let_in = Control(
        pipeline=pipeline.name,
        name="rollout.quantum",
        issued_at_ms=1,
        issued_by="a test",
        reason="to see it taken out",
        rollout=Rollout(path=Path.QUANTUM, stage=Stage.LIVE, override=True),
    )
    instruct(kafka, let_in, 1)
    producer = Producer(kafka | {"linger.ms": 0})
    bad = msgspec.structs.replace(BAD, pipeline=pipeline.name, provider=pipeline.sampling.provider)

    def stage(follower: Follower[ControlState]) -> Stage:
        return follower.state.rollouts["quantum"].stage

    with watching(stream, pipeline) as one, watching(stream, pipeline) as other:
        time.sleep(1.0)  # each has its place at the ends
        for _ in range(2):
            producer.produce(JOB_EVENTS, msgspec.json.encode(bad), "j")
        producer.produce(JOB_EVENTS, b"junk", "j")
        assert producer.flush(10) == 0
        time.sleep(0.5)
        assert stage(one) is Stage.LIVE
        started_s = time.monotonic()
        producer.produce(JOB_EVENTS, msgspec.json.encode(bad), "j")
        assert producer.flush(10) == 0
        eventually("taken out", lambda: Stage.SHADOW is stage(one) is stage(other))
        took_s = time.monotonic() - started_s
        time.sleep(0.5)
        assert stage(one) is Stage.SHADOW
    record = standing(kafka, 1).controls[f"{pipeline.name}|rollout.quantum"]
    assert record.issued_by == BY
    assert "energy gap 0.9 over the last 3 jobs" in record.reason
    assert took_s < 2.0
