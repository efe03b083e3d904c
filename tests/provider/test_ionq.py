"""IonQ behind the contract: what is sent, what is made of the answer, and who may use it."""

import logging
from collections.abc import Callable
from typing import Any

import dimod
import numpy as np
import pytest
from cirq_ionq import Job as ClientJob

from enrichment.circuit import qaoa_circuit, scaled_angles
from enrichment.provider import open_provider
from enrichment.provider.contract import FailureKind, Result, Running
from enrichment.provider.ionq import Ionq
from enrichment.provider.ionq_circuits import (
    GATES,
    TEXT_MAX,
    _counted,
    job_name,
    program_of,
    sets_of,
)
from enrichment.provider.ionq_client import Client
from enrichment.provider.pool import Pool
from tests.provider.ionq_service import (
    CREATE,
    DEVICE,
    KEY,
    LOST,
    IonqService,
    probabilities,
)
from tests.provider.requests import (
    answer_of,
    failure_of,
    model_of,
    model_of_fields,
    now_ms,
    opened,
    request_of,
    result_of,
    until,
)

K = FailureKind


SERVICE = IonqService


def biased() -> dimod.BinaryQuadraticModel:
    """Return a model whose variables each have a bias of their own, and one lone optimum."""
    return model_of_fields(z=-1.0, a=1.5, m=0.5, b=-2.0, y=-0.7)


@pytest.mark.parametrize("vartype", ["BINARY", "SPIN"])
def test_what_is_sent_is_the_ansatz(vartype: str) -> None:
    """Run as IonQ's JSON says, each circuit has the probabilities of the source of truth."""
    models = (model_of(4, 3, vartype=vartype), model_of(3, 4, vartype=vartype))
    program = program_of(
        request_of("x", models=models, layers=2), target="simulator", noise_model=""
    )
    assert len(program.input["circuits"]) == 2
    for model, sent in zip(models, program.input["circuits"], strict=True):
        gates = sent["circuit"]
        assert {gate["gate"] for gate in gates} <= set(GATES)
        state = qaoa_circuit(model, *scaled_angles(model, 2), measure=False).final_state_vector()
        size = model.num_variables
        # The state's first qubit is the highest bit, the fake's the lowest.
        wanted = np.abs(state.reshape((2,) * size).transpose().reshape(-1)) ** 2
        assert probabilities(gates, size) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"noise_model": "forte-1"}, {"target": DEVICE}])
def test_columns_are_the_variables(service: IonqService, options: dict[str, Any]) -> None:
    """Each variable's share of ones is its own, whatever the target: no order is mistaken."""
    model = biased()
    state = qaoa_circuit(model, *scaled_angles(model, 2), measure=False).final_state_vector()
    shares = (np.abs(state.reshape((2,) * 5)) ** 2,)
    wanted = [float(shares[0].take(1, axis=k).sum()) for k in range(5)]
    assert len({round(share, 1) for share in wanted}) >= 4  # else they could be mixed up
    request = request_of("order", models=(model,), seeds=(1,), shots=2000, layers=2)
    with opened(service, **options) as provider:
        means = result_of(provider, request).sets[0].bits.mean(axis=0)
        assert means == pytest.approx(wanted, abs=0.08)


@pytest.mark.parametrize("options", [{"noise_model": "forte-1"}, {"target": DEVICE}])
def test_counts_are_taken_as_they_are_and_come_in_no_order(
    service: IonqService, options: dict[str, Any]
) -> None:
    """A device's histogram is its shots: each state as often as it was counted, shuffled."""
    model = model_of(5, 1)
    with opened(service, **options) as provider:
        request = request_of("counts", models=(model,), seeds=(1,), shots=400)
        bits = result_of(provider, request).sets[0].bits
        (job,) = service.jobs.values()
        (histogram,) = job.results.values()
        numbers = bits @ (1 << np.arange(5))
        found = dict(zip(*np.unique(numbers, return_counts=True), strict=True))
        assert found == {int(state): round(400 * share) for state, share in histogram.items()}
        assert (np.diff(numbers) < 0).sum() > 100


def test_reading_agrees_with_the_clients_own(service: IonqService) -> None:
    """Of a good answer, counts are what the client's `Job.results` makes of it."""
    with opened(service, target=DEVICE) as provider:
        request = request_of("agree", shots=300)
        result = result_of(provider, request)
        client = Client(service.options()["url"], KEY)
        job = client.get_job(result.provider_job_id)
        job["metadata"] |= {"measurements": "[]", "qubit_numbers": "[5, 4]"}
        theirs = ClientJob(client, job).results()
        assert isinstance(theirs, list)
        for ours, their in zip(result.sets, theirs, strict=True):
            size = ours.bits.shape[1]
            numbers = ours.bits @ (1 << np.arange(size)[::-1])
            found = dict(zip(*np.unique(numbers, return_counts=True), strict=True))
            assert found == {state: count for state, count in their.counts().items() if count}


def test_result_says_where_when_and_for_how_much(service: IonqService) -> None:
    """IonQ's own id, its times and the cost are in the result; problems share one job."""
    with opened(service, target=DEVICE, price_per_shot=0.01) as provider:
        result = result_of(provider, request_of("an id / with änything in it"))
        (job,) = service.jobs.values()
        assert result.provider_job_id == job.id
        assert result.execution_ms == pytest.approx(500)
        assert result.cost == pytest.approx(0.01 * 200 * 2)
        assert job.body["name"] == "an id / with änything in it"
        assert job.body["settings"] == {"error_mitigation": {"debiasing": False}}
        assert result.sets[0].circuit_hash != result.sets[1].circuit_hash


def test_noise_is_asked_for_with_a_seed(service: IonqService) -> None:
    """The noisy simulator is told its model and a seed made of the request's own."""
    with opened(service, noise_model="aria-1") as provider:
        one = result_of(provider, request_of("one", seeds=(1, 2)))
        two = result_of(provider, request_of("two", seeds=(1, 2)))
        noise = [job.body["noise"] for job in service.jobs.values()]
        result_of(provider, request_of("three", seeds=(1, 3)))
        assert [job.body["noise"] for job in service.jobs.values()][2] != noise[0]
        assert noise[0] == noise[1]
        assert noise[0]["model"] == "aria-1"
        assert (one.sets[0].bits == two.sets[0].bits).all()


def test_description_tells_what_is_known(service: IonqService, provider: Ionq) -> None:
    """The queue is what IonQ last predicted; a device takes more variables than the simulator."""
    assert provider.describe().queue_s == 0.0
    service.queue_s = 5.0
    provider.submit(request_of("waits"))
    until(
        lambda: isinstance(provider.poll("waits"), Running) and provider.describe().queue_s == 5.0
    )
    found = provider.describe()
    assert found.sdk_versions["cirq-ionq"]
    with opened(service, target=DEVICE) as other:
        assert other.describe().qubits_max > found.qubits_max


def test_job_seen_running_waits_no_more(service: IonqService, provider: Ionq) -> None:
    """Of a job that IonQ has started no wait is told."""
    service.queue_s, service.run_s = 0.3, 0.5
    provider.submit(request_of("runs"))
    until(lambda: getattr(provider.poll("runs"), "queue_s", 0.0) > 0.0)
    until(lambda: getattr(provider.poll("runs"), "queue_s", 1.0) == 0.0)
    assert isinstance(answer_of(provider, "runs"), Result)


def test_name_is_short_and_told_apart() -> None:
    """A long id is cut, and still another name than another long id's."""
    one, two = job_name("x" * 500 + "1"), job_name("x" * 500 + "2")
    assert one != two
    assert len(one) == len(two) == TEXT_MAX


def renamed(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """Return what changes the first circuit's histogram."""

    def spoil(results: dict[str, Any]) -> dict[str, Any]:
        first = next(iter(results))
        return results | {first: change(results[first])}

    return spoil


SPOILT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "too many bits": renamed(lambda found: {str(int(k) + 32): p for k, p in found.items()}),
    "one state of too many bits": renamed(lambda found: found | {"32": 0.0}),
    "bit strings": renamed(lambda found: {f"{int(k):05b}x": p for k, p in found.items()}),
    "a sign": renamed(lambda found: {f"-{k}": p for k, p in found.items()}),
    "no plain number": renamed(lambda found: {f"{k}_": p for k, p in found.items()}),
    "a state twice": renamed(lambda found: found | {"0" + next(iter(found)): 0.0}),
    "nan": renamed(lambda found: found | {next(iter(found)): float("nan")}),
    "null": renamed(lambda found: found | {next(iter(found)): None}),
    "infinite": renamed(lambda found: found | {next(iter(found)): float("inf")}),
    "negative": renamed(lambda found: found | {next(iter(found)): -0.1}),
    "too much": renamed(lambda found: {k: 1.01 * p for k, p in found.items()}),
    "too little": renamed(lambda found: {k: p for k, p in found.items() if k != max(found)}),
    "nothing": renamed(lambda _: {}),
    "a list": renamed(lambda _: [0.5, 0.5]),
    "a circuit missing": lambda results: dict(list(results.items())[:1]),
    "another job's": lambda results: {f"x{k}": v for k, v in results.items()},
    "in another order": lambda results: dict(reversed(results.items())),
    "of one circuit": lambda results: next(iter(results.values())),
    "no object": lambda _: [1, 2],
}

SPOILT_JOBS: dict[str, dict[str, Any]] = {
    "other circuits": {"metadata": {"job": "spoilt", "circuits": "others"}},
    "no metadata": {"metadata": None},
    "other shots": {"shots": 150},
    "fewer qubits": {"stats": {"qubits": 4}},
    "another backend": {"backend": "qpu.aria-1"},
}


@pytest.mark.parametrize("spoil", list(SPOILT))
def test_what_is_not_the_answer_is_not_let_in(
    service: IonqService, provider: Ionq, spoil: str
) -> None:
    """Wrong bits, shares, circuits or order are an ALGORITHM failure, and cost one job."""
    service.spoil = SPOILT[spoil]
    provider.submit(request_of("spoilt"))
    assert failure_of(provider, "spoilt").kind is K.ALGORITHM
    assert service.posts == 1


@pytest.mark.parametrize("spoil", list(SPOILT_JOBS))
def test_what_is_not_the_job_is_not_let_in(
    service: IonqService, provider: Ionq, spoil: str
) -> None:
    """An answer to other circuits, of other shots, qubits or backend is an ALGORITHM failure."""
    service.spoil_job = lambda job: job.update(SPOILT_JOBS[spoil])
    provider.submit(request_of("spoilt"))
    assert failure_of(provider, "spoilt").kind is K.ALGORITHM


@pytest.mark.parametrize("options", [{"noise_model": "forte-1"}, {"target": DEVICE}])
def test_shares_that_are_no_counts_are_not_let_in(
    service: IonqService, options: dict[str, Any]
) -> None:
    """What a device answers has to be its shots: 150 of 200, or weighted ones, are not."""
    with opened(service, **options) as provider:
        service.spoil = renamed(lambda _: {"0": 50 / 150, "1": 100 / 150})
        provider.submit(request_of("fewer"))
        assert failure_of(provider, "fewer").kind is K.ALGORITHM


def test_counts_add_up_to_the_shots_or_are_refused() -> None:
    """Shares that are counts, of one shot too many, are not taken."""
    states = np.array([0, 1])
    assert len(_counted(states, np.array([0.5, 0.5]), 10_000)) == 10_000
    with pytest.raises(ValueError, match="10001"):
        _counted(states, np.array([0.5, 0.5001]), 10_000)


def test_other_request_under_a_known_id_is_not_answered(
    service: IonqService, provider: Ionq, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id that was accepted for other circuits is no answer to these, nor a second job."""
    monkeypatch.setattr("enrichment.provider.jobs.KEPT_MAX", 1)
    for name in ("reused", "a", "b"):
        result_of(provider, request_of(name))
    provider.submit(request_of("reused", models=(model_of(5, 9), model_of(4, 8))))
    assert failure_of(provider, "reused").kind is K.ALGORITHM
    assert service.posts == 3


def test_a_batch_without_children_is_taken_in_its_order() -> None:
    """Where the job does not name its circuits' jobs, the answer's order is theirs."""
    request = request_of("order", models=(model_of(2, 1), model_of(2, 2)), shots=50)
    program = program_of(request, target="simulator", noise_model="")
    job = {"metadata": program.metadata, "shots": "50", "backend": "simulator"}
    answers = {"b": {"1": 1.0}, "a": {"2": 1.0}}
    sets = sets_of(request, job, answers, target="simulator", exact=True)
    assert [found.bits[0].tolist() for found in sets] == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"api_key": ""}, "ENRICHMENT_IONQ_API_KEY"),
        ({"api_key": KEY + "\n"}, "ENRICHMENT_IONQ_API_KEY"),
        ({"api_key": "schlüssel"}, "ENRICHMENT_IONQ_API_KEY"),
        ({"url": "http://api.ionq.co"}, "ENRICHMENT_IONQ_URL"),
        ({"url": "api.ionq.co"}, "ENRICHMENT_IONQ_URL"),
        ({"target": "rigetti"}, "ENRICHMENT_IONQ_TARGET"),
        ({"target": DEVICE, "noise_model": "forte-1"}, "ENRICHMENT_IONQ_NOISE_MODEL"),
    ],
)
def test_unusable_options_say_what_to_set(options: dict[str, Any], says: str) -> None:
    """There is no provider, and the message names the setting and does not hold the key."""
    with pytest.raises(ValueError, match=says) as raised:
        open_provider("ionq", Pool(workers=1), now_ms=now_ms, options={"api_key": KEY} | options)
    assert KEY not in str(raised.value)


def test_wrong_key_is_permission_and_no_key_is_shown(
    service: IonqService, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key that IonQ does not know is a PERMISSION failure; no message, log or text shows it."""
    secret = "another-key"  # noqa: S105  # of this test alone
    with caplog.at_level(logging.DEBUG), opened(service, api_key=secret) as provider:
        provider.submit(request_of("who"))
        failure = failure_of(provider, "who")
        assert failure.kind is K.PERMISSION
        service.fail(CREATE, LOST)
        provider.submit(request_of("lost"))
        texts = [failure.detail, failure_of(provider, "lost").detail, repr(provider._options)]
        texts += [repr(provider.describe()), caplog.text, *capsys.readouterr()]
    assert not any(secret in text for text in texts)
