"""Kept answers before the vendors' real clients: what is attached to, and what is never doubled."""

from collections.abc import Iterator
from typing import Any

import pytest

from enrichment.provider import open_provider
from enrichment.provider.contract import FailureKind, Handle, Result
from enrichment.provider.google import Google
from enrichment.provider.ionq import Ionq
from enrichment.provider.kept import UNCALIBRATED_MS, Kept
from enrichment.provider.pool import Pool
from tests.provider.answers import MemoryAnswers
from tests.provider.ionq_service import DEVICE, IonqService
from tests.provider.quantum_engine import QuantumEngine
from tests.provider.quantum_processor import CALIBRATION_S
from tests.provider.requests import (
    answer_of,
    failure_of,
    model_of,
    now_ms,
    request_of,
    result_of,
    until,
)

ONE, TWO, THREE = model_of(5, 1), model_of(4, 2), model_of(6, 3)
WHOLE: dict[str, Any] = {"models": (ONE, TWO, THREE, TWO), "seeds": (1, 2, 3, 4)}


@pytest.fixture
def pool() -> Iterator[Pool]:
    """A pool that is not needed: no twins are asked for."""
    pool = Pool(workers=1)
    yield pool
    pool.close()


@pytest.fixture
def engine() -> Iterator[QuantumEngine]:
    """Google's engine."""
    engine = QuantumEngine().start()
    yield engine
    engine.close()


@pytest.fixture
def ionq() -> Iterator[IonqService]:
    """IonQ."""
    service = IonqService().start()
    yield service
    service.close()


def google_of(engine: QuantumEngine, answers: MemoryAnswers, pool: Pool) -> Kept:
    """The provider, its calibration known already."""
    options = engine.options() | {"price_per_shot": 0.01}
    device = open_provider("google", pool, now_ms=now_ms, options=options)
    assert isinstance(device, Google)
    kept = Kept(device, answers, pool, now_ms)
    until(lambda: kept.describe().calibration_id == str(CALIBRATION_S))
    return kept


def paid(kept: Kept, answers: MemoryAnswers, name: str, **changes: Any) -> Result:
    """The result of a request, its answers having arrived where they are kept."""
    before = answers.puts
    result = result_of(kept, request_of(name, **changes))
    until(lambda: answers.puts > before)
    return result


def test_a_part_is_run_on_the_engine(engine: QuantumEngine, pool: Pool) -> None:
    """What is kept is not in the program; each set says how its own circuit was run."""
    answers = MemoryAnswers()
    kept = google_of(engine, answers, pool)
    first = paid(kept, answers, "first", models=(TWO,), seeds=(1,))
    second = result_of(kept, request_of("second", **WHOLE))
    assert [found.kept is not None for found in second.sets] == [False, True, False, True]
    assert second.sets[1].device_run is not None
    assert first.sets[0].device_run is not None
    assert second.sets[1].device_run.qubits == first.sets[0].device_run.qubits
    assert second.cost == pytest.approx(0.01 * 200)  # the rest shares a circuit
    assert len(engine.jobs) == 2
    third = result_of(kept, request_of("third", **WHOLE))
    assert (third.cost, len(engine.jobs)) == (0.0, 2)
    kept.close()


def test_a_job_that_runs_more_than_is_asked_for_now_is_attached_to(
    engine: QuantumEngine, pool: Pool
) -> None:
    """A worker dies with a job at the engine, and meanwhile another's answer to a part is kept.

    Its successor looks up more than it had found: the engine's job is the one that was paid for,
    and has the rest. Nothing is submitted a second time.
    """
    engine.queue_s = 1.0
    answers = MemoryAnswers()
    dying = google_of(engine, answers, pool)
    assert isinstance(dying.submit(request_of("job", **WHOLE)), Handle)
    until(lambda: dying.poll("job") and engine.jobs)
    engine.queue_s = 0.0
    other = google_of(engine, answers, pool)
    paid(other, answers, "other", models=(ONE,), seeds=(9,))
    successor = google_of(engine, answers, pool)
    result = result_of(successor, request_of("job", **WHOLE))
    assert [found.kept is not None for found in result.sets] == [True, False, False, False]
    assert not (result.sets[1].bits == result.sets[3].bits).all()  # equals, each drawn by itself
    assert len(engine.jobs) == 2
    for kept in (dying, other, successor):
        kept.close()


def test_a_job_that_runs_less_than_is_asked_for_now_is_never_doubled(
    engine: QuantumEngine, pool: Pool
) -> None:
    """Where what was kept is lost between the two, the job fails, and goes to the fallback."""
    answers = MemoryAnswers()
    dying = google_of(engine, answers, pool)
    paid(dying, answers, "first", models=(TWO,), seeds=(1,))
    engine.queue_s = 0.5
    assert isinstance(dying.submit(request_of("job", **WHOLE)), Handle)
    until(lambda: dying.poll("job") and len(engine.jobs) == 2)
    answers.values.clear()
    successor = google_of(engine, answers, pool)
    assert isinstance(successor.submit(request_of("job", **WHOLE)), Handle)
    failure = failure_of(successor, "job")
    assert (failure.kind, len(engine.jobs)) == (FailureKind.ALGORITHM, 2)
    assert isinstance(answer_of(dying, "job"), Result)
    for kept in (dying, successor):
        kept.close()


def test_a_vendor_without_calibrations_has_its_answers_kept_for_an_hour(
    ionq: IonqService, pool: Pool
) -> None:
    """IonQ's devices: the second job is not posted, and says whose samples it has."""
    answers = MemoryAnswers()
    options = ionq.options() | {"target": DEVICE, "price_per_shot": 0.01}
    device = open_provider("ionq", pool, now_ms=now_ms, options=options)
    assert isinstance(device, Ionq)
    kept = Kept(device, answers, pool, now_ms)
    first = paid(kept, answers, "first")
    assert first.cost == pytest.approx(0.01 * 200 * 2)
    assert set(answers.ttls_ms.values()) == {UNCALIBRATED_MS}
    second = result_of(kept, request_of("second"))
    assert (ionq.posts, second.cost) == (1, 0.0)
    assert second.provider_job_id == first.provider_job_id
    assert second.sets[0].kept is not None
    assert second.sets[0].kept.calibration_id == ""
    assert not kept.describe().idempotent_submission
    kept.close()
