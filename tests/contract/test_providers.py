"""Every provider keeps the contract: one suite, no exceptions for anyone.

`google` and `ionq` are the real clients against fakes of their services. What not all can claim is
asked of each as it is: that a seed fixes the samples is not asked of a device (nor of `google`,
whose fake is like one; `ionq` draws from the simulator's probabilities here), what is said of a
calibration is another for each, and what a submission that another process repeats comes to is
what the provider says of itself.

`kept` is no provider of its own, but `google` wrapped so that no circuit is paid for twice.
"""

from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
import pytest

from enrichment.problem.ising import variables
from enrichment.provider import PROVIDERS, open_pool, open_provider
from enrichment.provider.contract import (
    CLASSICAL_EXACT_MAX,
    PROBLEMS_MAX,
    SHOTS_MAX,
    Failure,
    FailureKind,
    Handle,
    Provider,
    Result,
    Running,
)
from enrichment.provider.google import Google
from enrichment.provider.kept import Kept
from enrichment.provider.pool import Pool
from tests.faults.vendor import Vendor
from tests.provider.answers import MemoryAnswers
from tests.provider.ionq_service import IonqService
from tests.provider.quantum_engine import QuantumEngine
from tests.provider.quantum_processor import CALIBRATION_S
from tests.provider.requests import (
    NOW_MS,
    answer_of,
    model_of,
    model_of_fields,
    now_ms,
    request_of,
    result_of,
    sleep,
)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """One warmed child for the whole suite."""
    pool = open_pool(workers=1)
    yield pool
    pool.close()


KEPT = "kept"

SERVICES = {"google": QuantumEngine, "ionq": IonqService, KEPT: QuantumEngine, "vendor": Vendor}
"""The fake of the service that a provider's client talks to, where there is one."""

OWN = {"vendor": "tests.faults.vendor_client"}
"""What only tests use: most faults are made at it, so it must be like the others."""

Fake = QuantumEngine | IonqService | Vendor


@pytest.fixture(params=[*PROVIDERS, KEPT, *OWN])
def named(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each provider's name in turn."""
    for name, module in OWN.items():
        monkeypatch.setitem(cast("dict[str, str]", PROVIDERS), name, module)
    return str(request.param)


@pytest.fixture
def service(named: str) -> Iterator[Fake | None]:
    """The service that it needs, if it needs one."""
    if named not in SERVICES:
        yield None
        return
    service = SERVICES[named]().start()
    yield service
    service.close()


@pytest.fixture
def opening(named: str, service: Fake | None, pool: Pool) -> Callable[[], Provider]:
    """What opens it, as one more process would."""
    options = service.options() if service is not None else None
    if named != KEPT:
        return lambda: open_provider(named, pool, now_ms=now_ms, options=options)
    answers = MemoryAnswers()  # which processes share

    def kept() -> Provider:
        device = open_provider("google", pool, now_ms=now_ms, options=options)
        assert isinstance(device, Google)
        return Kept(device, answers, pool, now_ms)

    return kept


@pytest.fixture
def provider(opening: Callable[[], Provider]) -> Iterator[Provider]:
    """It, opened."""
    provider = opening()
    yield provider
    provider.close()


@pytest.fixture
def keep_busy(service: Fake | None, pool: Pool) -> Callable[[float], None]:
    """What lets the provider's next job wait for so many seconds."""

    def keep_busy(seconds: float) -> None:
        if service is not None:
            service.queue_s = seconds
        else:
            assert not isinstance(pool.submit(sleep, seconds), Failure)

    return keep_busy


def test_result_has_a_set_per_model_in_order(provider: Provider) -> None:
    """Bits are uint8 of (shots, n), columns in the model's own order, models in the request's."""
    request = request_of("shape", twins=("classical", "random"))
    result = result_of(provider, request)
    assert (result.job_id, result.provider) == ("shape", provider.describe().name)
    for sets in (result.sets, *result.twins.values()):
        assert len(sets) == len(request.models)
        for model, found, seed in zip(request.models, sets, request.seeds, strict=True):
            assert found.variables == variables(model)
            assert found.bits.dtype == np.uint8
            assert found.bits.shape == (request.shots, model.num_variables)
            assert found.seed == seed
    assert {s.sampler for s in result.twins["classical"]} == {"exact"}
    assert {s.sampler for s in result.twins["random"]} == {"random"}


def test_energies_are_the_models_of_the_bits(provider: Provider) -> None:
    """Energies, recomputed by dimod from the bits, are those of the result, SPIN or BINARY."""
    request = request_of("energies")
    for model, found in zip(request.models, result_of(provider, request).sets, strict=True):
        values = found.bits.astype(np.int8)
        if model.vartype.name == "SPIN":
            values = 2 * values - 1
        assert found.energies == pytest.approx(model.energies((values, list(found.variables))))
        assert found.summary.best_energy == pytest.approx(found.energies.min())
        assert ((found.summary.low <= found.summary.high) & (found.summary.low >= 0)).all()


def test_samples_beat_or_are_random(provider: Provider) -> None:
    """A sampler's mean energy is below that of random strings; random's is not far from it."""
    request = request_of(
        "better", models=(model_of(8, 3),), seeds=(4,), shots=1000, layers=2, twins=("random",)
    )
    result = result_of(provider, request)
    one, null = result.sets[0].summary.mean_energy, result.twins["random"][0].summary.mean_energy
    if provider.describe().name == "random":
        assert one == null  # the same seed, the same stream
    else:
        assert one < null - 0.5


def test_columns_are_in_the_models_order(provider: Provider) -> None:
    """Where each variable has a bias of its own, lone ones are 1 and 0 in their own columns."""
    model = model_of_fields(z=-1.0, a=1.0, m=1.0, b=-1.0, y=1.0)
    request = request_of("order", models=(model,), seeds=(1,), shots=500, layers=3)
    found = result_of(provider, request).sets[0]
    assert found.variables == ("z", "a", "m", "b", "y")
    means = found.bits.mean(axis=0)
    if provider.describe().name == "random":
        assert means == pytest.approx(0.5, abs=0.12)
    else:
        assert (means > 0.5).tolist() == [True, False, False, True, False]


def test_closed_provider_has_forgotten_its_jobs(
    provider: Provider, keep_busy: Callable[[float], None]
) -> None:
    """After close, open and answered jobs are unknown, and closing does not wait for any."""
    result_of(provider, request_of("answered"))
    keep_busy(0.3)
    assert isinstance(provider.submit(request_of("open")), Handle)
    provider.close()
    for name in ("answered", "open"):
        answer = provider.poll(name)
        assert isinstance(answer, Failure)
        assert answer.kind is FailureKind.UNKNOWN


def test_same_seed_same_samples(provider: Provider) -> None:
    """A job run again under another id gives the same samples for the same seeds, others else."""
    if provider.describe().name == "google":
        pytest.skip("a device takes no seed")
    models = (model_of(6, 5), model_of(6, 5))
    one = result_of(provider, request_of("seed-1", models=models, seeds=(1, 2)))
    two = result_of(provider, request_of("seed-2", models=models, seeds=(1, 3)))
    assert (one.sets[0].bits == two.sets[0].bits).all()
    if provider.describe().name != "annealing":  # which finds the one optimum with every seed
        assert not (one.sets[1].bits == two.sets[1].bits).all()
        assert not (one.sets[0].bits == one.sets[1].bits).all()


def test_samples_are_not_sorted(provider: Provider) -> None:
    """The first half of the shots is like the second: a prefix may be taken."""
    request = request_of("shuffled", models=(model_of(8, 3),), seeds=(4,), shots=2000)
    bits = result_of(provider, request).sets[0].bits
    assert np.abs(bits[:1000].mean(axis=0) - bits[1000:].mean(axis=0)).max() < 0.12


def test_duplicate_submission_attaches(provider: Provider) -> None:
    """A second submission under the same id starts nothing, running or done, and has one answer."""
    request = request_of("twice")
    first, second = provider.submit(request), provider.submit(request)
    assert isinstance(first, Handle)
    assert isinstance(second, Handle)
    assert (first.attached, second.attached) == (False, True)
    assert first.provider_job_id == second.provider_job_id
    answer = answer_of(provider, "twice")
    assert isinstance(answer, Result)
    third = provider.submit(request)
    assert isinstance(third, Handle)
    assert third.attached
    assert provider.poll("twice") is answer


def test_repeated_elsewhere_is_one_job_or_said_not_to_be(
    service: Fake | None,
    provider: Provider,
    opening: Callable[[], Provider],
) -> None:
    """What another process submits under a known id runs again only where that is said of it.

    A provider of our own processes runs it again for nothing, with the same samples.
    """
    found = provider.describe()
    other = opening()
    results = [result_of(each, request_of("elsewhere")) for each in (provider, other)]
    other.close()
    if service is not None:
        assert len(service.jobs) == (1 if found.idempotent_submission else 2)
    else:
        assert found.idempotent_submission
        assert found.price_per_shot == 0.0
        assert (results[0].sets[0].bits == results[1].sets[0].bits).all()


def test_cancelled_job_says_so_and_may_start_anew(
    provider: Provider, keep_busy: Callable[[float], None]
) -> None:
    """A cancelled job is a CANCELLED failure at once; its id may be submitted again."""
    keep_busy(0.3)
    assert isinstance(provider.submit(request_of("cancel")), Handle)
    assert isinstance(provider.poll("cancel"), Running)
    assert provider.cancel("cancel") is None
    answer = provider.poll("cancel")
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.CANCELLED
    assert isinstance(result_of(provider, request_of("cancel")), Result)
    too_late = provider.cancel("cancel")
    assert isinstance(too_late, Failure)
    assert too_late.kind is FailureKind.VALIDATION


def test_unknown_job_is_unknown(provider: Provider) -> None:
    """An id never submitted here is UNKNOWN to poll and to cancel, by name."""
    for answer in (provider.poll("nobody"), provider.cancel("nobody")):
        assert isinstance(answer, Failure)
        assert answer.kind is FailureKind.UNKNOWN
        assert "nobody" in answer.detail


def test_passed_deadline_is_not_begun(provider: Provider) -> None:
    """A request whose deadline is now or earlier is CANCELLED at submission."""
    answer = provider.submit(request_of("late", deadline_ms=NOW_MS))
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.CANCELLED


def test_deadline_ends_a_waiting_job(
    provider: Provider, keep_busy: Callable[[float], None]
) -> None:
    """A job whose deadline passes before its turn is given up and not run."""
    keep_busy(0.3)
    assert isinstance(provider.submit(request_of("waits", deadline_ms=NOW_MS + 50)), Handle)
    answer = answer_of(provider, "waits")
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.CANCELLED
    assert "0 of 2" in answer.detail


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("job_id", "", "job_id"),
        ("models", (), "models"),
        ("models", (model_of(2, 1),) * (PROBLEMS_MAX + 1), "models"),
        ("seeds", (1,), "one seed per model"),
        ("seeds", (1, -1), "unsigned"),
        ("shots", 0, "shots"),
        ("shots", SHOTS_MAX + 1, "shots"),
        ("layers", 0, "layers"),
        ("layers", 4, "layers"),
        ("template", "other", "template"),
        ("template_version", 99, "template"),
        ("twins", ("neighbour",), "twins"),
    ],
)
def test_malformed_request_is_refused(
    provider: Provider, field: str, value: object, says: str
) -> None:
    """A request that no provider could serve is a VALIDATION failure that names its fault."""
    job_id = "malformed" if field != "job_id" else ""
    request = request_of(job_id, **({field: value} if field != "job_id" else {}))
    answer = provider.submit(request)
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.VALIDATION
    assert says in answer.detail
    assert isinstance(provider.poll(job_id), Failure)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e300])
@pytest.mark.parametrize("where", ["linear", "quadratic", "offset"])
def test_coefficients_must_be_numbers(provider: Provider, where: str, value: float) -> None:
    """NaN, infinity and absurd sizes are a VALIDATION failure that names the model."""
    bad = model_of(3, 1)
    labels = list(bad.variables)
    if where == "linear":
        bad.set_linear(labels[0], value)
    elif where == "quadratic":
        bad.set_quadratic(labels[0], labels[1], value)
    else:
        bad.offset = value
    answer = provider.submit(request_of("nan", models=(model_of(3, 2), bad)))
    assert isinstance(answer, Failure)
    assert answer.kind is FailureKind.VALIDATION
    assert "model 1" in answer.detail


def test_size_is_bounded_by_the_description(provider: Provider) -> None:
    """No variable, or one more than described, is a VALIDATION failure; one is served."""
    most = provider.describe().qubits_max
    for size in (0, most + 1):
        answer = provider.submit(request_of("size", models=(model_of(size, 1),), seeds=(1,)))
        assert isinstance(answer, Failure)
        assert answer.kind is FailureKind.VALIDATION
    tiny = result_of(provider, request_of("tiny", models=(model_of(1, 1),), seeds=(1,), shots=1))
    assert tiny.sets[0].bits.shape == (1, 1)


def test_largest_model_is_served(provider: Provider) -> None:
    """A model of as many variables as described comes back, its classical twin with it."""
    most = provider.describe().qubits_max
    request = request_of(
        "largest", models=(model_of(most, 1),), seeds=(1,), shots=50, twins=("classical",)
    )
    result = result_of(provider, request)
    assert result.sets[0].bits.shape == (50, most)
    wanted = "exact" if most <= CLASSICAL_EXACT_MAX else "annealing"
    assert result.twins["classical"][0].sampler == wanted


def test_description_is_complete(provider: Provider) -> None:
    """Ids are ours, versions are named, no price was configured; devices alone are calibrated."""
    found = provider.describe()
    assert found.name in PROVIDERS
    assert found.idempotent_submission is (found.name != "ionq")  # which takes no id from us
    assert found.gate_set or found.name in ("exact", "annealing", "random")
    assert found.price_per_shot == 0.0  # none was configured
    assert found.queue_s >= 0
    assert found.sdk_versions["dimod"]
    result = result_of(provider, request_of("described"))
    if found.name == "google":
        assert result.calibration_id == str(CALIBRATION_S)
    elif found.name == "virtual":
        assert result.calibration_id == found.calibration_id != ""
        assert found.calibration_time_ms > 0
    else:
        assert (found.calibration_id, found.calibration_time_ms) == ("", 0)
        assert result.calibration_id == ""
    assert result.cost == 0.0


def test_unfetched_jobs_are_bounded(
    provider: Provider, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nobody fetches, the provider says that it is full and forgets nothing."""
    monkeypatch.setattr(provider, "jobs_max", 2)
    for name in ("one", "two"):
        assert isinstance(provider.submit(request_of(name)), Handle)
    full = provider.submit(request_of("three"))
    assert isinstance(full, Failure)
    assert full.kind is FailureKind.QUOTA
    for name in ("one", "two"):
        assert isinstance(answer_of(provider, name), Result)
    assert isinstance(provider.submit(request_of("three")), Handle)
    assert isinstance(answer_of(provider, "three"), Result)
    assert pool.in_flight == 0


def test_cancelled_jobs_do_not_fill_the_provider(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that gives jobs up and never comes back for them is still served."""
    monkeypatch.setattr(provider, "jobs_max", 2)
    for name in ("a", "b", "c"):
        assert isinstance(provider.submit(request_of(name)), Handle)
        provider.cancel(name)
    assert isinstance(result_of(provider, request_of("d")), Result)


def test_unknown_provider_names_the_nearest(pool: Pool) -> None:
    """A misspelt provider is a ValueError with a suggestion."""
    with pytest.raises(ValueError, match="did you mean 'annealing'"):
        open_provider("anealing", pool, now_ms=now_ms)
