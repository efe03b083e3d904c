"""What the wiring does by itself."""

import gc
import weakref
from collections.abc import Iterator
from types import SimpleNamespace

import msgspec
import pytest
from pydantic import SecretStr

from enrichment.pipelines import load
from enrichment.pipelines.definition import Budget, Calls
from enrichment.provider.ionq import Ionq
from enrichment.provider.kept import Kept
from enrichment.provider.pool import Pool
from enrichment.settings import Settings
from enrichment.wiring.errors import ConfigurationError
from enrichment.wiring.money import allowance_of, check_budget
from enrichment.wiring.providers import opened_providers
from enrichment.wiring.stages import GC_OBJECTS, check_stages, collect_young


class Node:
    """Something that may refer to itself."""

    def __init__(self) -> None:
        self.itself: Node | None = None


@pytest.fixture
def disabled() -> Iterator[None]:
    """The collector as the hot path has it."""
    gc.collect()
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.usefixtures("disabled")
def test_new_cycles_are_found_and_what_is_kept_is_not_looked_at_again() -> None:
    """A cycle that was dropped is gone once enough has been made; all that lives is frozen."""
    dropped = Node()
    dropped.itself = dropped
    gone = weakref.ref(dropped)
    del dropped
    collect_young()
    assert gone() is not None  # too little has been made to look through it
    kept = [Node() for _ in range(GC_OBJECTS + 1)]
    before = gc.get_freeze_count()
    collect_young()
    assert gone() is None
    assert gc.get_freeze_count() >= before + len(kept)
    assert gc.get_count()[0] < GC_OBJECTS


def test_vendors_key_reaches_its_client_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ENRICHMENT_IONQ_*` make the provider; the key is in its requests' header and in no text."""
    monkeypatch.setenv("ENRICHMENT_IONQ_API_KEY", "some-key")
    monkeypatch.setenv("ENRICHMENT_IONQ_TARGET", "qpu.forte-1")
    monkeypatch.setenv("ENRICHMENT_IONQ_PRICE_PER_SHOT", "0.5")
    monkeypatch.setenv("ENRICHMENT_KEPT_ANSWERS_S", "0")
    settings = Settings()
    pool = Pool(workers=1)
    with opened_providers(settings, load("payments"), pool, pool) as opened:
        provider = opened("ionq")
        assert isinstance(provider, Ionq)
        assert provider._client.headers["Authorization"] == "apiKey some-key"
        assert provider.describe().price_per_shot == 0.5
        assert provider._options.target == "qpu.forte-1"
        shown = repr(settings) + str(settings.model_dump()) + repr(provider._options)
        assert "some-key" not in shown
    pool.close()


@pytest.mark.parametrize(
    ("name", "options", "kept_s", "kept"),
    [
        ("ionq", {"target": "qpu.forte-1"}, 60, True),
        ("ionq", {"target": "qpu.forte-1"}, 0, False),
        ("ionq", {"target": "simulator"}, 60, False),
        ("google", {}, 60, True),
        ("google", {}, 0, False),
        ("virtual", {}, 60, False),
        ("qsim", {}, 60, False),
    ],
)
def test_answers_of_devices_alone_are_kept(
    name: str, options: dict[str, str], kept_s: int, kept: bool
) -> None:
    """For as long as the settings say; a simulator's seed gives its samples again for nothing."""
    settings = Settings(
        ionq_api_key=SecretStr("some-key"),
        ionq_target=options.get("target", "simulator"),
        google_project="some-project",
        google_processor="some-processor",
        kept_answers_s=kept_s,
    )
    pool = Pool(workers=1)
    with opened_providers(settings, load("payments"), pool, pool) as opened:
        provider = opened(name)
        assert provider.describe().name == name
        assert isinstance(provider, Kept) is kept
        if isinstance(provider, Kept):
            assert provider._kept_ms == 60_000
    pool.close()


def test_every_opened_provider_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is opened once, by name, and closed at the end, however that comes."""
    closed: list[str] = []

    def open_provider(name: str, *_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(name=name, close=lambda: closed.append(name))

    monkeypatch.setattr("enrichment.provider.open_provider", open_provider)
    pool = Pool(workers=1)

    def run() -> None:
        with opened_providers(Settings(), load("payments"), pool, pool) as opened:
            assert opened("qsim") is opened("qsim")
            opened("exact")
            raise RuntimeError("the end")

    with pytest.raises(RuntimeError, match="the end"):
        run()
    assert closed == ["exact", "qsim"]
    pool.close()


def test_a_provider_that_costs_money_needs_a_budget() -> None:
    """The stage does not start where the pipeline's chain names one and its file gives none."""
    payments = load("payments")
    priced = Settings(ionq_price_per_shot=0.01)
    check_budget(priced, payments)  # nobody names it
    for sampling in (
        msgspec.structs.replace(payments.sampling, provider="ionq"),
        msgspec.structs.replace(payments.sampling, fallback=("exact", "ionq")),
    ):
        paid = msgspec.structs.replace(payments, sampling=sampling)
        check_budget(Settings(), paid)  # it costs nothing there
        with pytest.raises(ConfigurationError, match=r"ionq costs 0.01 a shot.*\[budget\]"):
            check_budget(priced, paid)
        check_budget(priced, msgspec.structs.replace(paid, budget=Budget(day=1.0)))


def test_limits_come_from_the_settings_and_the_pipelines_file() -> None:
    """All pipelines', the pipeline's own and each provider's, in millionths."""
    payments = msgspec.structs.replace(load("payments"), budget=Budget(day=2.0))
    settings = Settings(budget_day=3.0, budget_providers={"ionq": 1.5})
    allowance = allowance_of(settings, payments)
    assert allowance.limits("payments", "ionq") == (3_000_000, 2_000_000, 1_500_000)
    assert allowance_of(Settings(), payments).limits("payments", "ionq") == (None, 2_000_000, None)


def test_a_pipeline_of_calls_has_a_sampler_and_a_projector_alone() -> None:
    """Its micro-batches are no window's: a window stage would take them for its own closes."""
    payments = load("payments")
    calls = msgspec.structs.replace(payments, calls=Calls())
    check_stages(payments, "enrich", "window", "sample", "guard", "project")
    check_stages(calls, "sample", "project")
    for stage in ("enrich", "window", "guard"):
        with pytest.raises(ConfigurationError, match=f"has no stage {stage}: its micro-batches"):
            check_stages(calls, "sample", stage)
