"""A change of a device's calibration on real servers, from workers' threads to every process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as replaced

from enrichment.lab.servers import LocalServers
from enrichment.pipelines import load
from enrichment.provider.contract import Description
from enrichment.provider.pool import Pool
from enrichment.records import Control, FeatureUpdate
from enrichment.rollout import instruct
from enrichment.rollout.control import ControlFold, ControlState
from enrichment.sample.calibration_watch import CalibrationWatch
from enrichment.sample.calibrations import current_of
from enrichment.settings import Settings
from enrichment.stream.follow import Follower
from enrichment.stream.topics import CONTROL
from enrichment.wiring.clock import now_ms
from enrichment.wiring.providers import calibration_watch, noting_devices, opened_providers
from tests.integration.stages import Stream, eventually
from tests.rollout.test_control import sampled
from tests.sample.test_calibrations import DEVICE, Device


@pytest.mark.servers
def test_every_process_hears_of_a_change_once(
    servers: LocalServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers see it; whoever starts later, or after all were away, needs to see nothing else.

    One record stands, and what is withdrawn by it is withdrawn for a process that starts then.
    """
    monkeypatch.setattr("enrichment.sample.calibration_watch.CHECK_S", 0.05)
    stream = Stream(
        tmp_path, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
    )
    kafka = {"bootstrap.servers": servers.bootstrap}
    device = Device()

    def write(control: Control, former: Control | None) -> bool:
        try:
            instruct.instruct(kafka, control, 1, in_place_of=former)
        except instruct.OvertakenError:
            return False
        return True

    def hand() -> CalibrationWatch:
        describe: list[Callable[[], Description]] = [device.describe]
        return CalibrationWatch(
            stream.name,
            describe,
            lambda: instruct.standing(kafka, 1).controls,
            write,
            now_ms=now_ms,
        )

    def covers(state: ControlState, calibration: str) -> bool:
        value: FeatureUpdate = sampled(calibration=calibration)
        return state.withdrawals is not None and state.withdrawals.covers(value)

    with Follower(kafka, CONTROL, lambda: ControlFold(stream.name)) as follower:
        with hand(), hand():
            device.calibrate("c1", 1)
            eventually("c1 is said", lambda: covers(follower.state, "c0"))
            device.calibrate("c2", 2)
            eventually("c1 is withdrawn", lambda: covers(follower.state, "c1"))
            assert not covers(follower.state, "c2")
        device.now = replace(DEVICE, calibration_id="c3", calibration_time_ms=3)
        with hand():
            eventually("c2 is withdrawn", lambda: covers(follower.state, "c2"))
            assert not covers(follower.state, "c3")
        with Follower(kafka, CONTROL, lambda: ControlFold(stream.name)) as later:
            eventually("read to the end", later.ready.is_set)
            assert later.state == follower.state
    standing = instruct.standing(kafka, 1).controls
    assert [key for key in standing if key.startswith(f"{stream.name}|")] == [
        f"{stream.name}|calibration.qsim"
    ]


@pytest.mark.servers
def test_the_stage_watches_the_devices_of_its_chain(
    servers: LocalServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `virtual` in it the calibration is said; without a device no broker is asked."""
    monkeypatch.setattr("enrichment.sample.calibration_watch.CHECK_S", 0.05)
    stream = Stream(
        tmp_path, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
    )
    settings = Settings(kafka_bootstrap=servers.bootstrap)
    payments = load("payments")
    pipeline = replaced(payments, stream=replaced(payments.stream, name=stream.name))
    virtual = replaced(pipeline, sampling=replaced(pipeline.sampling, provider="virtual"))
    pool = Pool(workers=1)
    kafka = {"bootstrap.servers": servers.bootstrap}
    with opened_providers(settings, virtual, pool, pool) as provider:
        _, none = noting_devices(provider, pipeline)
        with calibration_watch(Settings(kafka_bootstrap="127.0.0.1:1"), pipeline, none):
            assert none == []
        _, devices = noting_devices(provider, virtual)
        with calibration_watch(settings, virtual, devices):
            key = f"{stream.name}|calibration.virtual"
            eventually("said", lambda: key in instruct.standing(kafka, 1).controls)
        (standing,) = (instruct.standing(kafka, 1).controls[key],)
        assert current_of(standing) == provider("virtual").describe().calibration_id
    pool.close()
