"""CircuitSampler is a dimod sampler: dimod's own suite, and what it says on bad days."""

import json
import subprocess
import sys
import time
import unittest
from collections.abc import Iterator
from dataclasses import fields

import dimod
import dimod.testing
import numpy as np
import pytest

from enrichment.circuit import CircuitSampler, SamplingError, circuit_hash, scaled_angles
from enrichment.circuit import sampler as module
from enrichment.circuit.port import Request
from enrichment.provider import contract, open_provider
from enrichment.provider.contract import Failure, FailureKind, Running, SampleRequest
from enrichment.provider.pool import Pool
from tests.circuit.memory_provider import MemoryProvider
from tests.circuit.models import random_model


class Sharing:
    """Samplers over one provider per name, on a pool of one child that outlives a single test."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self.pool: Pool | None = None

    def sampler(self, name: str) -> CircuitSampler:
        """Return a sampler over the named provider."""
        if self.pool is None:
            self.pool = Pool(workers=1)
        return CircuitSampler(open_provider(name, self.pool, now_ms=module.wall_clock_ms))

    def close(self) -> None:
        """End the child."""
        if self.pool is not None:
            self.pool.close()
            self.pool = None


SHARED = Sharing()


@pytest.fixture(scope="module", autouse=True)
def _pool() -> Iterator[None]:
    """End the module's child with the module."""
    yield
    SHARED.close()


class Late(dimod.Sampler):  # type: ignore[misc]  # dimod is not followed by mypy
    """A sampler that opens its provider when it first samples: dimod makes them at import."""

    def __init__(self, name: str) -> None:
        """Remember the provider's name."""
        self.name = name

    @property
    def parameters(self) -> dict[str, list[str]]:
        """Those of the sampler behind."""
        return SHARED.sampler(self.name).parameters

    @property
    def properties(self) -> dict[str, object]:
        """Those of the sampler behind."""
        return SHARED.sampler(self.name).properties

    def sample(self, bqm: dimod.BinaryQuadraticModel, **parameters: int) -> dimod.SampleSet:
        """Sample with the sampler behind."""
        return SHARED.sampler(self.name).sample(bqm, **parameters)


def over_exact() -> Late:
    """Return a sampler over the exact provider."""
    return Late("exact")


def over_qsim() -> Late:
    """Return a sampler over the qsim provider."""
    return Late("qsim")


@dimod.testing.load_sampler_bqm_tests(CircuitSampler)
class TestDefault(unittest.TestCase):
    """dimod's suite without a provider: SPIN and BINARY, odd labels, empty models, offsets."""


@dimod.testing.load_sampler_bqm_tests(over_exact)
class TestOverExact(unittest.TestCase):
    """dimod's suite over the exact provider, in a child process."""


@dimod.testing.load_sampler_bqm_tests(over_qsim)
class TestOverQsim(unittest.TestCase):
    """dimod's suite over the qsim provider, in a child process."""


def samplers() -> list[str]:
    """Return the kinds of samplers that are tested side by side."""
    return ["direct", "exact", "qsim", "annealing", "random"]


def sampler_of(kind: str) -> CircuitSampler:
    """Return a sampler of that kind."""
    return CircuitSampler() if kind == "direct" else SHARED.sampler(kind)


def test_dimods_suite_is_there() -> None:
    """The decorator has put dimod's tests into each class: 32 of them, and more would do."""
    for case in (TestDefault, TestOverExact, TestOverQsim):
        assert len([name for name in dir(case) if name.startswith("test_sample")]) >= 32


@pytest.mark.parametrize("kind", samplers())
def test_api_is_dimods(kind: str) -> None:
    """Parameters and properties are dimod's, and whatever bounds a parameter is a property."""
    sampler = sampler_of(kind)
    dimod.testing.assert_sampler_api(sampler)
    assert set(sampler.parameters) == {"num_reads", "layers", "seed", "within_ms"}
    for bounds in sampler.parameters.values():
        assert set(bounds) <= set(sampler.properties)
    assert sampler.properties["variables_max"] >= 20
    with sampler:  # dimod closes samplers; ours has nothing to close
        pass


@pytest.mark.parametrize("kind", samplers())
@pytest.mark.parametrize("vartype", ["SPIN", "BINARY"])
def test_samples_are_the_models(kind: str, vartype: str) -> None:
    """As many as asked for, in the model's vartype and order, with the model's energies."""
    model = random_model(5, vartype, seed=3)
    answer = sampler_of(kind).sample(model, num_reads=50, layers=1, seed=9)
    dimod.testing.assert_response_energies(answer, model)
    dimod.testing.assert_sampleset_energies(answer, model)
    assert len(answer) == 50
    assert answer.vartype is model.vartype
    assert list(answer.variables) == list(model.variables)
    assert answer.info["seed"] == 9
    assert answer.info["sampler"] == kind.replace("direct", "qsim")
    assert (answer.info["template"], answer.info["template_version"]) == ("qaoa", 1)


@pytest.mark.parametrize("kind", ["direct", "qsim"])
def test_info_names_the_circuit(kind: str) -> None:
    """Hash and angles are those of the model's circuit, as `circuit_hash` would have it."""
    model = random_model(4, "BINARY", seed=5)
    info = sampler_of(kind).sample(model, num_reads=10, layers=3, seed=1).info
    assert (info["gammas"], info["betas"]) == scaled_angles(model, 3)
    assert info["circuit_hash"] == circuit_hash(model, *scaled_angles(model, 3))
    assert info["layers"] == 3
    assert bool(info["job_id"]) is (kind == "qsim")


def test_classical_providers_name_no_circuit() -> None:
    """Where no circuit was run there is no hash and there are no angles to mislead."""
    info = sampler_of("exact").sample(random_model(3, "SPIN", seed=1), num_reads=5).info
    assert (info["circuit_hash"], info["gammas"], info["betas"]) == ("", (), ())


def test_with_and_without_the_qsim_provider_samples_are_the_same() -> None:
    """One seed, one set of samples: here, in a child, SPIN or BINARY; another seed, others."""
    model = random_model(6, "BINARY", seed=7)
    here, there, other = (
        sampler_of(kind).sample(model, num_reads=200, seed=seed).record.sample
        for kind, seed in (("direct", 4), ("qsim", 4), ("direct", 5))
    )
    assert (here == there).all()
    assert (here != other).any()
    spin = model.change_vartype(dimod.SPIN, inplace=False)
    assert (
        CircuitSampler().sample(spin, num_reads=200, seed=4).record.sample == 2 * here - 1
    ).all()


def test_a_seed_is_drawn_and_said_where_none_is_given() -> None:
    """Without a seed two calls differ, and each can be repeated from its `info`."""
    model = random_model(6, "SPIN", seed=8)
    one, two = CircuitSampler().sample(model), CircuitSampler().sample(model)
    assert one.info["seed"] != two.info["seed"]
    again = CircuitSampler().sample(model, seed=one.info["seed"])
    assert (again.record.sample == one.record.sample).all()


def test_info_survives_dimods_serialisation() -> None:
    """A sample set goes through dimod's JSON with its `info`."""
    answer = CircuitSampler().sample(random_model(3, "SPIN", seed=8), num_reads=5)
    text = json.dumps(answer.to_serializable())
    back = dimod.SampleSet.from_serializable(json.loads(text))
    assert back.info["circuit_hash"] == answer.info["circuit_hash"]
    assert back.info["seed"] == answer.info["seed"]


def test_low_energies_are_favoured() -> None:
    """The circuit's mean energy is well below that of uniformly random strings."""
    model = random_model(8, "BINARY", seed=2)
    ours = CircuitSampler().sample(model, num_reads=2000, seed=1).record.energy.mean()
    every = dimod.ExactSolver().sample(model).record.energy
    assert (every.mean() - ours) / (every.mean() - every.min()) > 0.4


@pytest.mark.parametrize("provider", [None, MemoryProvider()])
def test_no_variables_cost_nothing(provider: MemoryProvider | None) -> None:
    """A model with only an offset has it for the energy of every read; no job is made of it."""
    model = dimod.BinaryQuadraticModel({}, {}, 2.5, dimod.BINARY)
    answer = CircuitSampler(provider).sample(model, num_reads=3)
    assert answer.record.energy.tolist() == [2.5, 2.5, 2.5]
    assert answer.info["circuit_hash"] == ""
    assert provider is None or not provider.requests


def test_no_coefficients_are_sampled_uniformly() -> None:
    """Variables without any coefficient are all equally good: about half ones each."""
    model = dimod.BinaryQuadraticModel({"a": 0.0, "b": 0.0}, {}, -1.0, dimod.BINARY)
    answer = CircuitSampler().sample(model, num_reads=1000, seed=1)
    assert (answer.record.energy == -1.0).all()
    assert answer.record.sample.mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.08)


@pytest.mark.parametrize("method", ["sample", "sample_ising", "sample_qubo"])
def test_unknown_keywords_are_an_error(method: str) -> None:
    """`shots` is not `num_reads`: it raises, where dimod's own would warn and sample on."""
    arguments = {
        "sample": (random_model(2, "SPIN", seed=1),),
        "sample_ising": ({"a": 1.0}, {}),
        "sample_qubo": ({("a", "a"): 1.0},),
    }[method]
    with pytest.raises(TypeError, match="shots"):
        getattr(CircuitSampler(), method)(*arguments, shots=10)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"num_reads": 0}, "num_reads must be 1 to 10000: 0"),
        ({"num_reads": 10_001}, "num_reads"),
        ({"layers": 0}, "layers must be 1 to 3: 0"),
        ({"layers": 4}, "layers"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"within_ms": 0}, "within_ms"),
    ],
)
def test_arguments_out_of_bounds_are_refused(arguments: dict[str, int], match: str) -> None:
    """A ValueError says what is allowed and what was given; a fraction is a TypeError."""
    model = random_model(2, "SPIN", seed=1)
    with pytest.raises(ValueError, match=match):
        CircuitSampler().sample(model, **arguments)
    with pytest.raises(TypeError):
        CircuitSampler().sample(model, num_reads=1.5)  # type: ignore[arg-type]


def test_too_many_variables_are_refused() -> None:
    """21 variables in this process, five on four qubits: a ValueError that names the bound."""
    with pytest.raises(ValueError, match="qsim takes models of at most 20 variables: 21"):
        CircuitSampler().sample(random_model(21, "SPIN", seed=1))
    provider = MemoryProvider()
    with pytest.raises(ValueError, match="memory takes models of at most 4 variables: 5"):
        CircuitSampler(provider).sample(random_model(5, "SPIN", seed=1))
    assert not provider.requests


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e7])
@pytest.mark.parametrize("place", ["field", "offset"])
def test_what_is_no_number_is_refused(value: float, place: str) -> None:
    """NaN, infinity and coefficients beyond the bound never reach a simulator."""
    model = random_model(2, "SPIN", seed=1)
    if place == "field":
        model.add_linear(next(iter(model.variables)), value)
    else:
        model.offset = value
    with pytest.raises(ValueError, match="finite"):
        CircuitSampler().sample(model)


@pytest.mark.parametrize("kind", list(FailureKind))
@pytest.mark.parametrize("when", ["submitted", "polled"])
def test_failures_are_raised_with_kind_detail_and_advice(kind: FailureKind, when: str) -> None:
    """Whatever the kind, at submission or later: the exception holds it and says what to do."""
    failure = Failure(kind=kind, detail="the cryostat is warm")
    provider = (
        MemoryProvider(refusal=failure)
        if when == "submitted"
        else MemoryProvider(Running(job_id="x"), failure)
    )
    with pytest.raises(SamplingError, match="the cryostat is warm") as caught:
        CircuitSampler(provider).sample(random_model(3, "SPIN", seed=1))
    assert caught.value.kind == kind.value
    assert caught.value.detail == "the cryostat is warm"
    assert caught.value.job_id == provider.requests[0].job_id
    for part in ("memory", kind.value, caught.value.job_id, module.HINTS[kind.value]):
        assert part in str(caught.value)
    assert len(provider.requests) == 1  # never submitted again by itself


def test_every_kind_has_advice() -> None:
    """The table of hints names the contract's kinds, all of them and no other."""
    assert set(module.HINTS) == {kind.value for kind in FailureKind}


def test_a_provider_that_never_answers_is_given_up() -> None:
    """After `within_ms` the job is cancelled once, and the exception says how to wait longer."""
    provider = MemoryProvider(Running(job_id="x"))
    began = time.monotonic()
    with pytest.raises(SamplingError, match=r"no answer within 30 ms.*within_ms"):
        CircuitSampler(provider).sample(random_model(3, "SPIN", seed=1), within_ms=30)
    assert time.monotonic() - began >= 0.03
    assert provider.cancelled == [provider.requests[0].job_id]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("the line is dead")])
def test_an_interrupted_wait_cancels_its_job(error: BaseException) -> None:
    """A Ctrl-C, or a provider that raises, leaves no job behind that nobody fetches."""
    provider = MemoryProvider(Running(job_id="x"), error)
    with pytest.raises(type(error)):
        CircuitSampler(provider).sample(random_model(3, "SPIN", seed=1))
    assert provider.cancelled == [provider.requests[0].job_id]


@pytest.mark.parametrize(
    ("provider", "match"),
    [
        (MemoryProvider(bits=np.ones((9, 3), np.uint8)), "shape"),
        (MemoryProvider(bits=np.ones((10, 2), np.uint8)), "shape"),
        (MemoryProvider(bits=np.full((10, 3), 2, np.uint8)), "bits must be 0 or 1"),
        (MemoryProvider(bits=np.full((10, 3), np.nan)), "bits must be 0 or 1"),
        (MemoryProvider(sets=2), "2 sample sets for one model"),
        (MemoryProvider(circuit_hash="f" * 32), "is not this model's"),
    ],
)
def test_answers_that_are_no_samples_are_not_let_in(provider: MemoryProvider, match: str) -> None:
    """Wrong shapes, values, or another circuit are an algorithm failure and no sample set."""
    with pytest.raises(SamplingError, match=match) as caught:
        CircuitSampler(provider).sample(random_model(3, "SPIN", seed=1), num_reads=10)
    assert caught.value.kind == "algorithm"


def test_what_a_provider_is_asked() -> None:
    """One model in Ising form, positions for labels, the caller's bounds, an id of its own."""
    provider = MemoryProvider()
    sampler = CircuitSampler(provider, now_ms=lambda: 5_000)
    model = random_model(3, "BINARY", seed=1)
    answer = sampler.sample(model, num_reads=10, layers=3, seed=77, within_ms=250)
    again = sampler.sample(model, num_reads=10, layers=3, seed=77, within_ms=250)
    request = provider.requests[0]
    assert (request.layers, request.shots, request.seeds) == (3, 10, (77,))
    assert (request.deadline_ms, request.twins) == (5_250, ())
    assert contract.refusal(request, variables_max=4, now_ms=5_000) is None
    (asked,) = request.models
    assert list(asked.variables) == [0, 1, 2]
    assert circuit_hash(asked, (0.1,), (0.2,)) == circuit_hash(model, (0.1,), (0.2,))
    assert answer.info["job_id"] == request.job_id != again.info["job_id"]
    assert answer.info["calibration_id"] == "cal-7"
    assert (answer.record.sample == 1).all()


def test_labels_of_any_kind_come_back() -> None:
    """Labels that no other process could be sent come back on their own columns."""
    odd = lambda: None  # noqa: E731  # cannot be pickled, which is the point
    fields = {odd: -5.0, ("a", 1): 5.0, 0: -5.0}
    model = dimod.BinaryQuadraticModel(fields, {}, 0.0, dimod.SPIN)
    best = sampler_of("exact").sample(model, num_reads=100, seed=1).first.sample
    assert best == {odd: 1, ("a", 1): -1, 0: 1}


def test_dimods_composites_take_it() -> None:
    """A composite of dimod's wraps the sampler as any other."""
    composite = dimod.TrackingComposite(CircuitSampler())
    model = random_model(3, "SPIN", seed=1)
    dimod.testing.assert_sampleset_energies(composite.sample(model, num_reads=20), model)
    assert composite.input["num_reads"] == 20


def test_request_and_bounds_are_the_contracts() -> None:
    """The room's own request and bounds, which import no provider, have not drifted from it."""
    assert [(f.name, f.type, f.default) for f in fields(Request)] == [
        (f.name, f.type, f.default) for f in fields(SampleRequest)
    ]
    assert module.VARIABLES_MAX == contract.VARIABLES_MAX
    assert module.READS_MAX == contract.SHOTS_MAX
    assert module.COEFFICIENT_MAX == contract.COEFFICIENT_MAX


def test_without_a_provider_none_is_imported_nor_cirq() -> None:
    """The default samples in this process without the provider room and without cirq."""
    program = (
        "import sys\n"
        "from enrichment.circuit import CircuitSampler\n"
        "CircuitSampler().sample_ising({'a': 1.0}, {}, num_reads=5)\n"
        "seen = {name for name in sys.modules if name.startswith('enrichment.provider')}\n"
        "seen |= {'cirq', 'qsimcirq'} & set(sys.modules)\n"
        "assert not seen, seen\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
