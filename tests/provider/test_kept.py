"""No circuit is paid for twice under one calibration, and nothing else changes."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from enrichment.problem.ising import variables
from enrichment.provider.contract import Failure, FailureKind, Handle, Result, Running, SampleSet
from enrichment.provider.kept import KEPT_MS, UNCALIBRATED_MS, Kept
from enrichment.provider.pool import Pool
from tests.provider.answers import MemoryAnswers
from tests.provider.requests import (
    NOW_MS,
    answer_of,
    failure_of,
    model_of,
    now_ms,
    request_of,
    result_of,
    until,
)
from tests.provider.slow_device import PRICE, SlowDevice
from tests.sample.faulty import SET_FAULTS, Fault

ONE, TWO, THREE = model_of(5, 1), model_of(4, 2, vartype="SPIN"), model_of(6, 3)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """One child for the twins of all tests."""
    pool = Pool(workers=1)
    yield pool
    pool.close()


@pytest.fixture
def device(pool: Pool) -> SlowDevice:
    """A device that answers at once."""
    return SlowDevice(pool, now_ms)


@pytest.fixture
def answers() -> MemoryAnswers:
    """What is kept."""
    return MemoryAnswers()


@pytest.fixture
def kept(device: SlowDevice, answers: MemoryAnswers, pool: Pool) -> Iterator[Kept]:
    """The device, wrapped."""
    kept = Kept(device, answers, pool, now_ms)
    yield kept
    kept.close()


def paid(kept: Kept, answers: MemoryAnswers, name: str, **changes: Any) -> Result:
    """The result of a request, its answers having arrived where they are kept."""
    before = answers.puts
    result = result_of(kept, request_of(name, **changes))
    until(lambda: answers.puts > before)
    return result


def test_what_was_paid_for_is_not_submitted_again(
    kept: Kept, device: SlowDevice, answers: MemoryAnswers
) -> None:
    """The second job costs nothing, whatever its seeds, and says whose samples it has."""
    first = paid(kept, answers, "first")
    assert first.cost == pytest.approx(PRICE * 200 * 2)
    assert [found.kept for found in first.sets] == [None, None]
    second = result_of(kept, request_of("second", seeds=(7, 8), twins=("random",)))
    assert device.accepted == 1
    assert (second.cost, second.queue_ms, second.execution_ms) == (0.0, 0.0, 0.0)
    assert (second.provider_job_id, second.calibration_id) == ("slow-1", "c1")
    for number, (old, new) in enumerate(zip(first.sets, second.sets, strict=True)):
        assert (old.bits == new.bits).all()
        assert (old.energies == new.energies).all()
        assert (old.circuit_hash, old.gammas, old.betas) == (
            new.circuit_hash,
            new.gammas,
            new.betas,
        )
        assert new.seed == 7 + number
        assert new.kept is not None
        assert (new.kept.job_id, new.kept.provider_job_id) == ("first", "slow-1")
        assert (new.kept.calibration_id, new.kept.seed) == ("c1", 11 + number)
        assert new.kept.at_ms == NOW_MS
        same_run(old, new)
    assert [found.seed for found in second.twins["random"]] == [7, 8]


def same_run(old: SampleSet, new: SampleSet, *, shift: float = 0.0) -> None:
    """Hold the device's account of one set against that of another, energies shifted."""
    one, other = old.device_run, new.device_run
    assert one is not None
    assert other is not None
    for name in ("processor", "calibration_id", "qubits", "depth", "two_qubit_gates", "line_cost"):
        assert getattr(one, name) == getattr(other, name)
    assert other.mean_energy.value == pytest.approx(one.mean_energy.value + shift)
    assert other.mean_energy.read == pytest.approx(one.mean_energy.read + shift)
    assert other.mean_energy.error_corrected == one.mean_energy.error_corrected
    assert (other.marginals.value == one.marginals.value).all()


def test_only_what_is_missing_is_submitted(
    kept: Kept, device: SlowDevice, answers: MemoryAnswers
) -> None:
    """Kept and new answers are joined in the request's order, twins too; new ones are paid."""
    first = paid(kept, answers, "first", models=(TWO,), seeds=(1,))
    models = (ONE, TWO, THREE, TWO)
    second = result_of(
        kept, request_of("second", models=models, seeds=(1, 2, 3, 4), twins=("random", "exact"))
    )
    assert [len(request.models) for request in device.sent] == [1, 2]
    assert device.sent[1].seeds == (1, 3)
    assert second.cost == pytest.approx(PRICE * 200 * 2)
    assert second.provider_job_id == "slow-2"
    assert [found.kept is not None for found in second.sets] == [False, True, False, True]
    assert (second.sets[1].bits == first.sets[0].bits).all()
    for sets in (second.sets, *second.twins.values()):
        assert [found.variables for found in sets] == [variables(model) for model in models]
        assert [found.seed for found in sets] == [1, 2, 3, 4]


def test_labels_and_offset_are_the_askers_own(kept: Kept, answers: MemoryAnswers) -> None:
    """The same circuit under other names, with another constant: energies are the new model's."""
    first = paid(kept, answers, "first", models=(ONE,), seeds=(1,))
    other = ONE.copy()
    other.relabel_variables({label: f"w{label}" for label in ONE.variables})
    other.offset = ONE.offset + 3.0
    second = result_of(kept, request_of("second", models=(other,), seeds=(1,)))
    [old], [new] = first.sets, second.sets
    assert new.kept is not None
    assert new.variables == variables(other)
    assert new.energies == pytest.approx(old.energies + 3.0)
    same_run(old, new, shift=3.0)


def changed_calibration(device: SlowDevice) -> dict[str, Any]:
    """Calibrate the device anew."""
    device.calibration_id = "c2"
    return {}


def changed_conditions(device: SlowDevice) -> dict[str, Any]:
    """Take another processor."""
    device.conditions = {"processor": "other"}
    return {}


def changed_versions(device: SlowDevice) -> dict[str, Any]:
    """Compile by another version."""
    device.versions = {"slow": "2"}
    return {}


@pytest.mark.parametrize(
    "change",
    [
        changed_calibration,
        changed_conditions,
        changed_versions,
        lambda _: {"layers": 2},
        lambda _: {"shots": 201},
        lambda _: {"models": (model_of(5, 9), model_of(4, 9))},
    ],
    ids=["calibration", "conditions", "versions", "layers", "more shots", "models"],
)
def test_what_samples_depend_on_is_in_the_key(
    kept: Kept,
    device: SlowDevice,
    answers: MemoryAnswers,
    change: Callable[[SlowDevice], dict[str, Any]],
) -> None:
    """Another calibration, set-up, version, depth or model, or more shots: drawn and paid anew."""
    paid(kept, answers, "first")
    second = result_of(kept, request_of("second", **change(device)))
    assert device.accepted == 2
    assert [found.kept for found in second.sets] == [None, None]
    assert second.cost > 0


def test_fewer_shots_are_the_first_of_more(
    kept: Kept, device: SlowDevice, answers: MemoryAnswers
) -> None:
    """Shots are in no order, so that a part of them is as good as drawn so."""
    first = paid(kept, answers, "first")
    second = result_of(kept, request_of("second", shots=50))
    assert device.accepted == 1
    for old, new in zip(first.sets, second.sets, strict=True):
        assert (old.bits[:50] == new.bits).all()
        assert new.energies.shape == (50,)


@pytest.mark.parametrize("described", ["c1", ""])
def test_an_answer_belongs_to_the_calibration_that_it_bears(
    kept: Kept, device: SlowDevice, answers: MemoryAnswers, described: str
) -> None:
    """A device calibrated while the job waits, or not known at first: kept as it ran, found so."""
    device.calibration_id, device.run_under = described, "c2"
    first = paid(kept, answers, "first")
    assert first.calibration_id == "c2"
    result_of(kept, request_of("before the change is seen"))
    assert device.accepted == 2
    device.calibration_id = "c2"
    third = result_of(kept, request_of("after"))
    assert device.accepted == 2
    assert third.calibration_id == "c2"


def test_joined_answers_bear_their_own_calibrations(
    kept: Kept, device: SlowDevice, answers: MemoryAnswers
) -> None:
    """Where the device was calibrated while the rest waited, each part says which it is of."""
    paid(kept, answers, "first", models=(ONE,), seeds=(1,))
    device.run_under = "c2"
    second = result_of(kept, request_of("second"))
    old, new = second.sets
    assert (second.calibration_id, new.kept) == ("c2", None)
    assert old.kept is not None
    assert old.kept.calibration_id == "c1"


@pytest.mark.parametrize(("calibration", "ttl_ms"), [("c1", KEPT_MS), ("", UNCALIBRATED_MS)])
def test_answers_are_kept_for_a_while(
    kept: Kept, device: SlowDevice, answers: MemoryAnswers, calibration: str, ttl_ms: int
) -> None:
    """For a day, and for an hour where nobody can tell whether the device has changed."""
    device.calibration_id = calibration
    paid(kept, answers, "first")
    assert set(answers.ttls_ms.values()) == {ttl_ms}
    assert len(answers.values) == 2
    assert all(key.startswith("kept:1:") and len(key) == 39 for key in answers.values)


def test_asked_again_under_its_own_id_it_is_the_jobs_own(
    kept: Kept, device: SlowDevice, answers: MemoryAnswers, pool: Pool
) -> None:
    """Whoever takes a job over after a crash finds its answer, and the price that was paid."""
    first = paid(kept, answers, "first")
    successor = Kept(device, answers, pool, now_ms)
    again = result_of(successor, request_of("first"))
    assert device.accepted == 1
    assert again.cost == pytest.approx(first.cost)
    assert again.provider_job_id == "slow-1"
    assert [found.kept for found in again.sets] == [None, None]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", SET_FAULTS)
def test_what_a_worker_would_refuse_is_not_kept(
    kept: Kept, device: SlowDevice, answers: MemoryAnswers, name: str
) -> None:
    """Not even the part of it in which nothing is wrong."""
    fault: Fault = SET_FAULTS[name][0]
    device.spoil = fault  # type: ignore[assignment]  # it changes the sets of whatever has them
    kept.submit(request_of("spoilt"))
    answer_of(kept, "spoilt")
    kept.close()
    until(lambda: not any(thread.is_alive() for thread in kept._threads._threads))
    assert (answers.values, answers.puts) == ({}, 0)


def other_circuit(raw: bytes) -> bytes:
    """The entry with another digit at the beginning of its circuit's hash."""
    place = raw.index(b"circuit_hash") + len(b"circuit_hash") + 2
    return raw[:place] + (b"0" if raw[place : place + 1] != b"0" else b"1") + raw[place + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda raw: raw[:-1],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"\x80\x04" + raw,
        lambda raw: raw.replace(b"\xa5shots\xcc\xc8", b"\xa5shots\xcc\xc9"),
        other_circuit,
        lambda _: bytes(65_537),
    ],
    ids=["empty", "a byte short", "half", "a pickle", "other shots", "other circuit", "huge"],
)
def test_what_cannot_be_an_answer_is_as_if_it_were_not_there(
    kept: Kept, device: SlowDevice, answers: MemoryAnswers, spoil: Callable[[bytes], bytes]
) -> None:
    """Whatever stands in the store: the circuit is run, and the entry replaced."""
    paid(kept, answers, "first")
    for key, raw in answers.values.items():
        answers.values[key] = spoil(raw)
        assert answers.values[key] != raw
    second = paid(kept, answers, "second")
    assert device.accepted == 2
    assert [found.kept for found in second.sets] == [None, None]
    result_of(kept, request_of("third"))
    assert device.accepted == 2


def test_a_store_that_is_away_keeps_nothing_and_stops_nothing(
    kept: Kept, device: SlowDevice, answers: MemoryAnswers
) -> None:
    """As if nothing had ever been kept: jobs are run, and cost."""
    paid(kept, answers, "first")
    answers.away = True
    assert paid(kept, answers, "second").cost > 0
    assert device.accepted == 2


class Slow(MemoryAnswers):
    """A store whose calls take half a second."""

    def get(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Take it, then answer."""
        time.sleep(0.5)
        return super().get(keys)


def test_nobody_waits_for_the_store(device: SlowDevice, pool: Pool) -> None:
    """However long a look-up takes, no call of the provider's does; cancelled, nothing is sent."""
    kept = Kept(device, Slow(), pool, now_ms)
    began = time.monotonic()
    assert isinstance(kept.submit(request_of("one")), Handle)
    assert isinstance(kept.submit(request_of("two")), Handle)
    for _ in range(10):
        news = kept.poll("one")
        assert isinstance(news, Running)
        assert news.queue_s > 0
    assert kept.cancel("two") is None
    assert time.monotonic() - began < 0.2
    assert isinstance(answer_of(kept, "one"), Result)
    assert failure_of(kept, "two").kind is FailureKind.CANCELLED
    assert [request.job_id for request in device.sent] == ["one"]
    kept.close()


def test_a_deadline_ends_a_look_up(device: SlowDevice, pool: Pool) -> None:
    """What is found out too late is not begun."""
    kept = Kept(device, Slow(), pool, now_ms)
    kept.submit(request_of("late", deadline_ms=NOW_MS + 100))
    failure = failure_of(kept, "late")
    assert (failure.kind, "0 of 2" in failure.detail) == (FailureKind.CANCELLED, True)
    kept.close()
    assert not device.sent


def test_cancelling_reaches_the_device(
    kept: Kept, device: SlowDevice, answers: MemoryAnswers
) -> None:
    """A job given up while its rest is at the device is cancelled there; another of it is anew."""
    paid(kept, answers, "first", models=(ONE,), seeds=(1,))
    device.open.clear()
    kept.submit(request_of("second"))
    until(lambda: isinstance(kept.poll("second"), Running) and device.accepted == 2)
    assert kept.cancel("second") is None
    until(lambda: device.told == ["second"])
    device.open.set()
    assert isinstance(result_of(kept, request_of("second")), Result)
    assert device.accepted == 3


def test_the_devices_failures_are_the_jobs(kept: Kept, device: SlowDevice) -> None:
    """Refused or failed there it is the same failure here."""
    device.jobs_max = 0
    kept.submit(request_of("refused"))
    refused = failure_of(kept, "refused")
    assert refused.kind is FailureKind.QUOTA
    device.jobs_max = 10

    def broken(_: object) -> Any:
        raise RuntimeError("broken")

    device.spoil = broken
    kept.submit(request_of("failed"))
    failed = failure_of(kept, "failed")
    assert isinstance(failed, Failure)
    assert (failed.kind, "broken" in failed.detail) == (FailureKind.ALGORITHM, True)


def test_it_is_described_as_the_device_is(kept: Kept, device: SlowDevice) -> None:
    """Name, calibration, price and room are the device's."""
    assert kept.describe() == device.describe()


def test_figures_survive_being_kept(kept: Kept, answers: MemoryAnswers) -> None:
    """Sizes that do not fill bytes, one shot, and the largest problem come back bit for bit."""
    for size, shots in ((1, 1), (3, 7), (20, 333)):
        model = model_of(size, size)
        changes = {"models": (model,), "seeds": (2**64 - 1,), "shots": shots}
        [first] = paid(kept, answers, f"a{size}", **changes).sets
        [second] = result_of(kept, request_of(f"b{size}", **changes)).sets
        assert second.kept is not None
        assert second.bits.dtype == np.uint8
        assert (first.bits == second.bits).all()
        assert first.summary.membership == pytest.approx(second.summary.membership)


def test_every_paid_answer_is_kept(kept: Kept, device: SlowDevice, answers: MemoryAnswers) -> None:
    """Where a queue of many is answered at once the device is asked no faster than they are."""
    device.open.clear()
    names = [f"{number}" for number in range(60)]
    for number, name in enumerate(names):
        models = (model_of(4, number), model_of(5, number))
        assert isinstance(kept.submit(request_of(name, models=models)), Handle)
    until(lambda: [kept.poll(name) for name in names] and device.accepted == len(names))
    device.open.set()
    for name in names:
        assert isinstance(answer_of(kept, name), Result)
    until(lambda: answers.puts == len(names))
    assert len(answers.values) == 2 * len(names)
