"""An instruction and its record of change: both or neither, on a real Kafka."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from enrichment.lab.servers import LocalServers
from enrichment.records import Change, ChangeKind, Control, Experiment, Rollout
from enrichment.records import Path as Served
from enrichment.records import Stage as Let
from enrichment.rollout import instruct
from enrichment.rollout.control import ControlFold, ControlState
from enrichment.stream.changes import message_of, new_change_id, recorded
from enrichment.stream.follow import Follower
from enrichment.stream.topics import CONTROL
from enrichment.stream.transaction import Message, TransactionalProducer
from enrichment.wiring.clock import now_ms
from tests.integration.stages import Stream, eventually
from tests.rollout.controls import control, record

pytestmark = pytest.mark.servers

IN_FORCE_S = 2.0  # what the kill switch promises


class Ground:
    """A pipeline that only one test knows, on the shared broker."""

    def __init__(self, servers: LocalServers, folder: Path) -> None:
        self.stream = Stream(
            folder, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
        )
        self.name = self.stream.name
        self.kafka: dict[str, Any] = {"bootstrap.servers": servers.bootstrap}

    def control(self, name: str, **fields: Any) -> Control:
        """A control record of this pipeline, of now."""
        return control(name, pipeline=self.name, issued_at_ms=now_ms(), **fields)

    def put(self, one: Control) -> instruct.Written:
        """Put it in force."""
        return instruct.instruct(self.kafka, one, 1)

    def lift(self, name: str) -> instruct.Written:
        """End it."""
        return instruct.lift(self.kafka, f"{self.name}|{name}", 1, by="kim", reason="it is over")

    def changes(self) -> list[Change]:
        """What is on record of this pipeline."""
        return [one for one in recorded(self.kafka).changes if one.pipeline == self.name]

    def follower(self) -> "Follower[ControlState]":
        """What every process does."""
        return Follower(self.kafka, CONTROL, lambda: ControlFold(self.name))


@pytest.fixture
def ground(servers: LocalServers, tmp_path: Path) -> Ground:
    """The pipeline."""
    return Ground(servers, tmp_path)


def test_every_instruction_leaves_a_change(ground: Ground) -> None:
    """In order, with before and after, by whom and why, within the experiment that is on."""
    experiment = Experiment(
        experiment_id="x1", started_ms=1, pipeline_version="p", score_version="s"
    )
    canary = Rollout(
        path=Served.QUANTUM, stage=Let.CANARY, share=0.1, evidence_id="e1", override=True
    )
    told = [
        ground.control("withdraw.job.j1", job_id="j1"),
        ground.control("experiment", experiment=experiment),
        ground.control("rollout.quantum", rollout=canary),
        ground.control("serve", serve="classical"),
        ground.control("serve", serve="heuristic"),
    ]
    written = [ground.put(one) for one in told]
    written.append(ground.lift("serve"))
    written.append(ground.lift("experiment"))
    written.append(ground.put(told[0]))
    found = ground.changes()
    assert [one.change_id for one in found] == [one.change_id for one in written]
    assert [one.kind for one in found] == [
        ChangeKind.WITHDRAWAL,
        ChangeKind.EXPERIMENT,
        ChangeKind.ROLLOUT,
        *[ChangeKind.SERVE] * 3,
        ChangeKind.EXPERIMENT,
        ChangeKind.WITHDRAWAL,
    ]
    texts = [msgspec.json.encode(one).decode() for one in told]
    assert [(one.before, one.after) for one in found] == [
        ("", texts[0]),
        ("", texts[1]),
        ("", texts[2]),
        ("", texts[3]),
        (texts[3], texts[4]),
        (texts[4], ""),
        (texts[1], ""),
        (texts[0], texts[0]),
    ]
    assert [one.experiment_id for one in found] == ["", *["x1"] * 6, ""]
    assert [(one.override, one.evidence_id) for one in found if one.override] == [(True, "e1")]
    assert (found[5].changed_by, found[5].reason) == ("kim", "it is over")
    for name in ("withdraw.job.j1", "rollout.quantum"):
        ground.lift(name)


def test_a_writer_that_dies_leaves_neither_and_does_not_hide_the_kill_switch(
    ground: Ground,
) -> None:
    """Its open transaction would hide all that comes for ten seconds: the next writer ends it."""
    half = ground.control("serve", serve="classical")
    key, value = record(half)
    change_id = new_change_id(half.issued_at_ms)
    lost = Change(
        change_id=change_id,
        pipeline=ground.name,
        kind=ChangeKind.SERVE,
        subject="serve",
        changed_at_ms=half.issued_at_ms,
        changed_by="who dies",
        reason="-",
    )
    with ground.follower() as follower:
        assert follower.await_ready(20)
        dead = TransactionalProducer.open(ground.kafka, instruct.TRANSACTIONAL_ID)
        dead.begin()
        dead.produce(Message(topic=CONTROL, partition=0, key=key, value=value))
        dead.produce(message_of(lost))
        dead.producer.flush(10)  # both are on the broker, and nothing says that they count
        began_s = time.monotonic()
        ground.put(ground.control("serve", serve="heuristic"))
        eventually("killed", lambda: follower.state.serve == "heuristic", IN_FORCE_S)
        assert time.monotonic() - began_s < IN_FORCE_S
        time.sleep(2.5)  # by then it has looked whether it is at the end, past what was aborted
        assert not follower.away
        ground.lift("serve")
        eventually("lifted", lambda: not follower.state.serve)
    [killed, lifted] = ground.changes()
    assert change_id not in {killed.change_id, lifted.change_id}
    assert (killed.before, lifted.before) == ("", killed.after)
    dead.close()


def test_writers_at_once_come_one_after_the_other(ground: Ground) -> None:
    """Each change's before is the one before's after: nobody writes between reading and commit."""
    told = [
        msgspec.structs.replace(ground.control("serve", serve="heuristic"), issued_by=f"n{number}")
        for number in range(6)
    ]
    with ThreadPoolExecutor(3) as pool:
        written = list(pool.map(ground.put, told))
    found = ground.changes()
    assert {one.change_id for one in found} == {one.change_id for one in written}
    assert len(found) == len(told)
    assert [one.before for one in found] == ["", *(one.after for one in found[:-1])]
    ground.lift("serve")


def test_what_is_meant_for_what_stood_takes_no_other_place(ground: Ground) -> None:
    """Who decided by what they read is told that something else stands, and changes nothing."""
    first, other, late = (
        ground.control("serve", serve=serve) for serve in ("classical", "heuristic", "quantum")
    )
    instruct.instruct(ground.kafka, first, 1, in_place_of=None)
    instruct.instruct(ground.kafka, other, 1, in_place_of=first)
    for former in (first, None):
        with pytest.raises(instruct.OvertakenError):
            instruct.instruct(ground.kafka, late, 1, in_place_of=former)
    assert instruct.standing(ground.kafka, 1).controls[f"{ground.name}|serve"] == other
    assert len(ground.changes()) == 2
    ground.lift("serve")


def test_without_the_topic_of_changes_only_less_is_let_in(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kill switch works and says that it is on no record; to lift it is refused."""
    monkeypatch.setattr("enrichment.stream.changes.CHANGES", "nowhere.changes")
    killed = ground.put(ground.control("serve", serve="heuristic"))
    assert killed.change_id == ""
    assert "enrichment topics apply" in killed.unrecorded
    ground.put(ground.control("withdraw.all", everything=True))
    live = Rollout(path=Served.QUANTUM, stage=Let.LIVE)
    for refused in (
        ground.control("serve", serve="quantum"),
        ground.control("rollout.quantum", rollout=live),
    ):
        with pytest.raises(instruct.UnrecordedError, match="topics apply"):
            ground.put(refused)
    with pytest.raises(instruct.UnrecordedError, match="topics apply"):
        ground.lift("serve")
    own = [
        one
        for key, one in instruct.standing(ground.kafka, 1).controls.items()
        if key.startswith(f"{ground.name}|")
    ]
    assert {(one.name, one.serve) for one in own} == {("serve", "heuristic"), ("withdraw.all", "")}
    monkeypatch.undo()
    assert ground.changes() == []
    ground.lift("serve")
    ground.lift("withdraw.all")
