"""Five hundred jobs in flight at a slow device: room for them, and memory that stays flat."""

import gc
import os
import time
from collections.abc import Iterator
from functools import partial

import pytest

from enrichment.lab.bench.observe import memory_mib
from enrichment.provider.contract import Failure, FailureKind, Handle, Result, Running
from enrichment.provider.jobs import OVERDUE_S, Jobs
from enrichment.provider.kept import Kept
from enrichment.provider.pool import Pool
from enrichment.provider.remote import REMOTE_MAX
from tests.provider.answers import MemoryAnswers
from tests.provider.requests import answer_of, now_ms, request_of, sleep, until
from tests.provider.slow_device import SlowDevice

IN_FLIGHT = 500
WAVES = 5
ANSWER_MIB = 0.011
"""Of one job here: two models of 5 and 4 variables, 200 shots, twins."""


@pytest.fixture
def pool() -> Iterator[Pool]:
    """A pool for the twins, with a child as soon as there are some."""
    pool = Pool(workers=1)
    yield pool
    pool.close()


@pytest.fixture
def device(pool: Pool) -> Iterator[SlowDevice]:
    """A device that does not answer yet."""
    device = SlowDevice(pool, now_ms, answering=False)
    yield device
    device.close()


@pytest.mark.parametrize("wrapped", [False, True])
def test_memory_is_flat_at_five_hundred_in_flight(
    device: SlowDevice, pool: Pool, wrapped: bool
) -> None:
    """Wave after wave of 500 jobs waits at once, all are answered, and nothing of them is left.

    From the second wave's wait to the last one's: what was kept of each job, its answer or only
    its models, would be three times as much as is allowed.
    """
    waiting: list[float] = []
    provider: Jobs = device
    if wrapped:
        provider = Kept(device, MemoryAnswers(away=True), pool, now_ms)
    for wave in range(WAVES):
        names = [f"{wave}-{number}" for number in range(IN_FLIGHT)]
        for name in names:
            assert isinstance(provider.submit(request_of(name, twins=("random",))), Handle)
        until(partial(_all_accepted, provider, device, names))
        gc.collect()
        waiting.append(memory_mib(os.getpid()))
        device.open.set()
        left = set(names)
        end = time.monotonic() + 60
        while left:
            assert time.monotonic() < end, f"{len(left)} jobs not answered"
            for name in tuple(left):
                news = provider.poll(name)
                assert not isinstance(news, Failure), news
                if isinstance(news, Result):
                    left.discard(name)
            time.sleep(0.01)
        device.open.clear()
        assert not device._runs
    assert device.fetched == WAVES * IN_FLIGHT
    assert waiting[-1] - waiting[1] < (WAVES - 2) * IN_FLIGHT * ANSWER_MIB / 3


def test_there_is_room_for_a_workers_jobs(device: SlowDevice) -> None:
    """As many as are described are accepted, a worker's 500 among them, and no more."""
    most = device.describe().jobs_max
    assert most == REMOTE_MAX >= IN_FLIGHT
    for number in range(most):
        assert isinstance(device.submit(request_of(f"{number}")), Handle)
    full = device.submit(request_of("one more"))
    assert isinstance(full, Failure)
    assert full.kind is FailureKind.QUOTA


def test_twins_wait_for_the_samples(device: SlowDevice, pool: Pool) -> None:
    """While a job waits at the device none of its twins is computed or kept."""
    device.submit(request_of("waits", twins=("random",)))
    until(lambda: device.sent)
    assert isinstance(device.poll("waits"), Running)
    assert (pool.in_flight, device._runs["waits"].twins.task) == (0, None)
    device.open.set()
    answer = answer_of(device, "waits")
    assert isinstance(answer, Result)
    assert len(answer.twins["random"]) == 2


def test_samples_that_wait_for_twins_are_bounded(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers are left at the service while as many as may wait for their twins, then fetched."""
    monkeypatch.setattr("enrichment.provider.remote.DRAWN_MAX", 2)
    device = SlowDevice(pool, now_ms)
    assert not isinstance(pool.submit(sleep, 1.0), Failure)
    names = [f"{number}" for number in range(5)]
    for name in names:
        device.submit(request_of(name, twins=("random",)))
    began = time.monotonic()
    while time.monotonic() < began + 0.6:
        assert all(isinstance(device.poll(name), Running) for name in names)
        time.sleep(0.01)
    assert device.fetched == 2
    assert all(isinstance(answer_of(device, name), Result) for name in names)
    assert device.fetched == 5
    device.close()


def test_jobs_that_a_caller_has_lost_do_not_fill_the_provider(
    device: SlowDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute past their deadline those that nobody has asked after make room, and are cancelled.

    So it is where a worker has lost a partition, and its jobs are another's to ask after.
    """
    monkeypatch.setattr(device, "jobs_max", 2)
    for name in ("a", "b"):
        assert isinstance(device.submit(request_of(name)), Handle)
    until(lambda: len(device.sent) == 2)
    assert isinstance(device.submit(request_of("c")), Failure)
    wall_s = time.time
    late_s = 60 + OVERDUE_S
    monkeypatch.setattr("enrichment.provider.jobs.time.time", lambda: wall_s() + late_s - 5)
    assert isinstance(device.submit(request_of("c")), Failure)
    monkeypatch.setattr("enrichment.provider.jobs.time.time", lambda: wall_s() + late_s + 5)
    assert isinstance(device.submit(request_of("c")), Handle)
    for name in ("a", "b"):
        lost = device.poll(name)
        assert isinstance(lost, Failure)
        assert lost.kind is FailureKind.UNKNOWN
    until(lambda: sorted(device.told) == ["a", "b"])
    assert set(device._runs) == {"c"}


def test_room_for_samples_is_given_back(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a job is answered, cancelled while its twins are awaited, or closed."""
    monkeypatch.setattr("enrichment.provider.remote.DRAWN_MAX", 1)
    device = SlowDevice(pool, now_ms)
    assert isinstance(device.submit(request_of("answered")), Handle)
    assert isinstance(answer_of(device, "answered"), Result)
    assert not isinstance(pool.submit(sleep, 0.5), Failure)
    for name in ("cancelled", "closed"):
        device.submit(request_of(name, twins=("random",)))
        run = device._runs[name]
        drawn = partial(_drawn, device, name)
        until(drawn)
        assert not device._room.acquire(blocking=False)
        if name == "cancelled":
            assert device.cancel(name) is None
        else:
            device.close()
        assert run.future.cancelled()
        assert device._room.acquire(blocking=False)
        device._room.release()


def _all_accepted(provider: Jobs, device: SlowDevice, names: list[str]) -> bool:
    """Ask after jobs; whether the device has them all, and those of the waves before."""
    for name in names:
        provider.poll(name)
    wave = int(names[0].partition("-")[0])
    return device.accepted == (wave + 1) * len(names)


def _drawn(device: SlowDevice, name: str) -> bool:
    """Ask after a job; whether its samples are here."""
    device.poll(name)
    return device._runs[name].drawn is not None


def test_a_run_that_ends_between_two_looks_is_let_go_of(
    device: SlowDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its samples do not stay behind where the last step ends just as its job is asked after."""
    device.open.set()
    device.submit(request_of("ends"))
    run = device._runs["ends"]
    assert run.step is not None
    until(run.step.done)
    drive = device._drive

    def drive_and_wait(job_id: str) -> None:
        drive(job_id)
        until(run.future.done)

    monkeypatch.setattr(device, "_drive", drive_and_wait)
    assert isinstance(device.poll("ends"), Result)
    assert not device._runs
