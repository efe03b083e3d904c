"""A changed calibration withdraws what was computed under any other, once, whoever sees it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from enrichment.provider.contract import Description
from enrichment.records import Control
from enrichment.rollout.control import ControlFold, ControlState
from enrichment.sample.calibration_watch import CalibrationWatch
from enrichment.sample.calibrations import HAND, SETTLE_MS, Seen, change, current_of, seen
from tests.rollout.controls import record
from tests.rollout.test_control import covered, sampled
from tests.sample.fakes import Clock

DEVICE = Description(
    name="qsim",
    qubits_max=20,
    gate_set=(),
    calibration_id="",
    calibration_time_ms=0,
    queue_s=0.0,
    price_per_shot=0.0,
    idempotent_submission=True,
    sdk_versions={},
)


@dataclass(slots=True, kw_only=True)
class Topic:
    """The control topic in memory: the newest record of each key, and every write."""

    standing: dict[str, Control] = field(default_factory=dict)
    written: list[Control] = field(default_factory=list)
    reads: int = 0
    away: bool = False
    # What another worker does between this one's reading and its writing.
    faster: Callable[[], object] = lambda: None

    def read(self) -> Mapping[str, Control]:
        """What stands."""
        self.reads += 1
        if self.away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return dict(self.standing)

    def write(self, control: Control, former: Control | None) -> bool:
        """Put it there, if the former still stands."""
        self.faster()
        key = record(control)[0].decode()
        if self.standing.get(key) != former:
            return False
        self.written.append(control)
        self.standing[key] = control
        return True

    def state(self) -> ControlState:
        """What every process makes of it, without a complaint."""
        fold = ControlFold("payments")
        assert fold.take(record(control) for control in self.written) == []
        return fold.state


@dataclass(slots=True, kw_only=True)
class Device:
    """What one worker is told by a device, at its own times."""

    now: Description = DEVICE

    def describe(self) -> Description:
        """Say it."""
        return self.now

    def calibrate(self, name: str, at_ms: int = 0) -> None:
        """Be calibrated anew."""
        self.now = replace(self.now, calibration_id=name, calibration_time_ms=at_ms)


def watch(topic: Topic, clock: Clock, *devices: Device) -> CalibrationWatch:
    """A worker's hand."""
    describe: list[Callable[[], Description]] = [device.describe for device in devices]
    return CalibrationWatch("payments", describe, topic.read, topic.write, now_ms=clock)


def test_a_worker_that_is_overtaken_writes_nothing_old() -> None:
    """What another said in between stands, and is looked at again in the next round."""
    topic, clock, device, other = Topic(), Clock(), Device(), Device()
    slow, fast = watch(topic, clock, device), watch(topic, clock, other)
    device.calibrate("c1", 1)
    slow.check()
    device.calibrate("c2", 2)
    other.calibrate("c3", 3)

    def overtake() -> None:
        topic.faster = lambda: None
        fast.check()

    topic.faster = overtake
    slow.check()
    assert [current_of(one) for one in topic.written] == ["c1", "c3"]
    slow.check()
    assert [current_of(one) for one in topic.written] == ["c1", "c3"]
    clock.now_ms += SETTLE_MS  # its device still says so: it may be that one that is right
    slow.check()
    assert [current_of(one) for one in topic.written] == ["c1", "c3", "c2"]


def test_a_change_withdraws_all_other_calibrations() -> None:
    """Those of the last one and any before; what is computed under the new one counts."""
    topic, clock, device = Topic(), Clock(), Device()
    hand = watch(topic, clock, device)
    hand.check()
    assert (topic.written, topic.reads) == ([], 0)  # nothing is known yet
    device.calibrate("c1", 1)
    hand.check()
    assert not covered(topic.state(), sampled(calibration="c1"))
    device.calibrate("c2", 2)
    hand.check()
    state = topic.state()
    for gone in ("c0", "c1"):
        assert covered(state, sampled(calibration=gone))
    for stays in ("c2", ""):
        assert not covered(state, sampled(calibration=stays))
    assert not covered(state, sampled(calibration="c1", backend="other"))
    last = topic.written[-1]
    assert (last.issued_by, len(topic.written), len(topic.standing)) == (HAND, 2, 1)
    assert "c1" in last.reason
    assert "c2" in last.reason
    assert last.withdrawal is not None
    assert last.withdrawal.calibration_id == "c1"  # which processes of before understand


def test_an_unchanged_calibration_is_neither_read_about_nor_written_again() -> None:
    """A round that brings nothing new asks Kafka for nothing."""
    topic, clock, device = Topic(), Clock(), Device()
    hand = watch(topic, clock, device)
    device.calibrate("c1", 1)
    for _ in range(5):
        hand.check()
    device.calibrate("")  # not known for a while
    hand.check()
    device.calibrate("c1", 1)
    hand.check()
    assert (topic.reads, len(topic.written)) == (1, 1)


def test_a_change_while_no_worker_ran_is_noticed() -> None:
    """What stands on the topic is the memory: the first worker to start replaces it."""
    topic, clock, device = Topic(), Clock(), Device()
    device.calibrate("c1", 1)
    watch(topic, clock, device).check()
    device.calibrate("c2", 2)
    clock.now_ms += 10**9
    watch(topic, clock, device).check()
    assert covered(topic.state(), sampled(calibration="c1"))
    watch(topic, clock, device).check()  # one more start
    assert len(topic.written) == 2


def test_two_workers_write_one_record_and_the_one_behind_nothing() -> None:
    """They see the change a minute apart: the later one finds it said, and lets it stand."""
    topic, clock = Topic(), Clock()
    early, late = Device(), Device()
    ahead, behind = watch(topic, clock, early), watch(topic, clock, late)
    for device in (early, late):
        device.calibrate("c1", 1)
    for hand in (ahead, behind):
        hand.check()
    early.calibrate("c2", 2)
    ahead.check()
    for _ in range(12):
        clock.now_ms += 5_000
        behind.check()
    restarted = watch(topic, clock, late)
    restarted.check()
    late.calibrate("c2", 2)
    for hand in (behind, restarted, ahead):
        hand.check()
    assert [current_of(control) for control in topic.written] == ["c1", "c2"]


def test_a_device_that_goes_back_is_followed_in_a_while() -> None:
    """To an earlier calibration: at first nobody can tell it from a worker that is behind."""
    topic, clock, device = Topic(), Clock(), Device()
    hand = watch(topic, clock, device)
    for number in (1, 2):
        device.calibrate(f"c{number}", number)
        hand.check()
    device.calibrate("c1", 1)
    hand.check()
    clock.now_ms += SETTLE_MS - 1
    hand.check()
    assert len(topic.written) == 2
    clock.now_ms += 1
    hand.check()
    assert not covered(topic.state(), sampled(calibration="c1"))
    assert covered(topic.state(), sampled(calibration="c2"))


def test_trouble_with_kafka_is_met_by_the_next_round() -> None:
    """Nothing counts as said that was not."""
    topic, clock, device = Topic(away=True), Clock(), Device()
    hand = watch(topic, clock, device)
    device.calibrate("c1", 1)
    with pytest.raises(KafkaException):
        hand.check()
    topic.away = False
    hand.check()
    assert [current_of(control) for control in topic.written] == ["c1"]


def test_two_devices_of_a_chain_have_records_of_their_own() -> None:
    """A change at one withdraws nothing of the other's."""
    topic, clock = Topic(), Clock()
    one, other = Device(), Device(now=replace(DEVICE, name="other"))
    hand = watch(topic, clock, one, other)
    one.calibrate("c1", 1)
    other.calibrate("d1", 1)
    hand.check()
    one.calibrate("c2", 2)
    hand.check()
    state = topic.state()
    assert covered(state, sampled(calibration="c1"))
    assert not covered(state, sampled(calibration="d1", backend="other"))
    assert len(topic.standing) == 2


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6), st.integers(0, 200_000))))
def test_one_record_stands_and_names_what_was_told_last(
    told: list[tuple[int, int, int]],
) -> None:
    """Whoever is told what and when: one key, and in the end what all are told stands there.

    Of three workers each hears of calibrations in an order of its own; then all hear of the last.
    """
    topic, clock = Topic(), Clock()
    devices = [Device() for _ in range(3)]
    hands = [watch(topic, clock, device) for device in devices]
    for worker, number, wait_ms in told:
        devices[worker].calibrate(f"c{number}", number)
        hands[worker].check()
        clock.now_ms += wait_ms
    for device in devices:
        device.calibrate("c4", 4)
    for _ in range(3):
        for hand in hands:
            hand.check()
        clock.now_ms += SETTLE_MS
    (standing,) = topic.standing.values()
    assert current_of(standing) == "c4"
    before = len(topic.written)
    for hand in hands:
        hand.check()
    assert len(topic.written) == before


def test_what_is_not_known_changes_nothing() -> None:
    """A description without a calibration leaves what was known, and since when."""
    known = Seen(backend="qsim", calibration_id="c1", calibrated_ms=1, since_ms=5)
    assert seen(None, DEVICE, 9) is None
    assert seen(known, DEVICE, 9) is known
    again = replace(DEVICE, calibration_id="c1", calibration_time_ms=1)
    assert seen(known, again, 9) is known
    first = change("payments", known, None, 9)
    assert first is not None
    assert change("payments", known, first, 10) is None
