"""Instructions on a real topic: written once, read back, framed where there is a registry."""

from pathlib import Path

import msgspec
import pytest

from enrichment.lab.servers import LocalServers
from enrichment.records import Control
from enrichment.rollout.control import ControlFold, MalformedControlError
from enrichment.rollout.instruct import instruct, lift, standing
from enrichment.stream.follow import Follower
from enrichment.stream.framing import FRAMED_CONTENT_TYPE, Framing
from enrichment.stream.headers import header
from enrichment.stream.topics import CHANGES, CONTROL
from tests.integration.stages import Stream, eventually
from tests.rollout.controls import control


@pytest.mark.servers
def test_what_is_written_is_followed_and_read_back(servers: LocalServers, tmp_path: Path) -> None:
    """Bare or framed; a tombstone says by whom it was lifted and why."""
    stream = Stream(
        tmp_path, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
    )
    kafka = {"bootstrap.servers": servers.bootstrap}
    bare = control("withdraw.job.j1", pipeline=stream.name, job_id="j1")
    framed = control("withdraw.job.j2", pipeline=stream.name, job_id="j2")
    with Follower(kafka, CONTROL, lambda: ControlFold(stream.name)) as follower:
        first = instruct(kafka, bare, 1)
        second = instruct(kafka, framed, 1, Framing({CONTROL: 7, CHANGES: 8}))
        assert second.offset == first.offset + 2  # the transaction's end takes one
        wanted = ControlFold(stream.name)
        wanted.take(
            [
                (f"{one.pipeline}|{one.name}".encode(), msgspec.json.encode(one))
                for one in (bare, framed)
            ]
        )
        eventually("followed", lambda: follower.state == wanted.state)
        found = standing(kafka, 1).controls
        assert (found[first.key], found[second.key]) == (bare, framed)
        for key in (first.key, second.key):
            lift(kafka, key, 1, by="someone", reason="it was good")
        eventually("lifted", lambda: follower.state == ControlFold(stream.name).state)
    found = standing(kafka, 1).controls
    assert not {first.key, second.key} & found.keys()
    messages = [each for each in stream.read(CONTROL) if each.key() == second.key.encode()]
    assert header(messages[0].headers(), "content-type") == FRAMED_CONTENT_TYPE
    assert header(messages[0].headers(), "ce_type") == b"enrichment.control.v1"
    assert header(messages[1].headers(), "enrichment-by") == b"someone"


def test_what_nobody_would_follow_is_not_written() -> None:
    """An instruction that says nothing, or more than a record may hold, goes nowhere."""
    nothing, endless = control("x"), control("x", job_id="j" * 10_000)
    for bad in (nothing, endless):
        assert isinstance(bad, Control)
        with pytest.raises(MalformedControlError):
            instruct({"bootstrap.servers": "127.0.0.1:1"}, bad, 1)
