"""Features say what the samples say: recomputed by brute force, one entity one value."""

import math
from collections import Counter
from dataclasses import replace
from itertools import product

import msgspec
import numpy as np
import pytest

from enrichment.circuit.readout import Corrected
from enrichment.circuit.template import QAOA, QAOA_VERSION
from enrichment.pipelines import load
from enrichment.pipelines.probability import (
    RING_PROBABILITY,
    RingProbability,
    Sampled,
    Steps,
    surplus_of,
)
from enrichment.pipelines.table import Provenance as FittedOn
from enrichment.problem import KINDS
from enrichment.provider.contract import DeviceRun, Result, SampleRequest, SampleSet
from enrichment.records import FeatureUpdate, MicroBatch, Problem, Shared
from enrichment.sample.estimate import (
    Provenance,
    answers_of,
    density,
    differences_of,
    features,
    seed_of,
    shared_owners,
)
from enrichment.sample.publish import device_runs
from tests.sample.fakes import result_of
from tests.sample.streams import batch, problem


def sampled(problems: tuple[Problem, ...], provider: str = "qsim", shots: int = 203) -> Result:
    """A true answer; 203 shots, so that the best fifth ends within a shot."""
    classical = provider in {"exact", "annealing"}
    request = SampleRequest(
        job_id="job",
        models=tuple(KINDS["ring"](p.nodes, p.weights, ()) for p in problems),
        template=QAOA,
        template_version=QAOA_VERSION,
        layers=1,
        shots=shots,
        seeds=tuple(seed_of("job", p.problem_id) for p in problems),
        deadline_ms=1,
        twins=() if classical else ("classical", "random"),
    )
    return result_of(request, provider)


def made_of(
    one: MicroBatch, result: Result, probability: RingProbability | None = None
) -> dict[tuple[str, str], FeatureUpdate]:
    """The features of a micro-batch by entity; each entity once."""
    origin = Provenance(
        batch=one,
        job_id="job",
        backend=result.provider,
        calibration_id="cal-1",
        computed_at_ms=77,
        amount_scale=100,
        probability=probability,
    )
    answers = answers_of(result)
    updates = list(features(origin, answers, differences_of(one.problems, answers)))
    by_entity = {(update.entity, update.id): update for update in updates}
    assert len(by_entity) == len(updates), "an entity twice"
    return by_entity


def best_fifth(answer: SampleSet) -> list[float]:
    """The mean of each bit over the best fifth, the slow way: shot by shot, ties shared."""
    wanted = len(answer.energies) / 5
    levels: dict[int, list[int]] = {}
    for shot, energy in enumerate(answer.energies):
        levels.setdefault(round(float(energy) * 1e9), []).append(shot)
    total = np.zeros(answer.bits.shape[1])
    left = wanted
    for level in sorted(levels):
        shots = levels[level]
        weight = min(1.0, left / len(shots))
        total += weight * answer.bits[shots].sum(axis=0)
        left -= weight * len(shots)
        if left <= 0:
            break
    return [float(value) for value in total / wanted]


def test_membership_is_the_mean_over_the_best_fifth_on_every_path() -> None:
    """Each account's membership equals the brute-force mean, for quantum, classical and random."""
    one = batch(1, (problem(0), problem(1, size=8, ring=5, seed=3)))
    result = sampled(one.problems)
    made = made_of(one, result)
    for path, sets in answers_of(result).items():
        for index, subgraph in enumerate(one.problems):
            expected = best_fifth(sets[index])
            for node, share in zip(subgraph.nodes, expected, strict=True):
                estimate = made["account", node].estimates[path]
                assert estimate["membership"] == pytest.approx(share, abs=1e-9)
                assert estimate["membership_low"] <= estimate["membership"] + 1e-9
                assert estimate["membership_high"] >= estimate["membership"] - 1e-9


def test_the_classical_path_knows_optimum_and_gibbs_marginals() -> None:
    """Both equal sums over all strings of the model, at the solver's stated temperature."""
    one = batch(1, (problem(0),))
    subgraph = one.problems[0]
    result = sampled(one.problems)
    made = made_of(one, result)
    model = KINDS["ring"](subgraph.nodes, subgraph.weights, ())
    strings = list(product((0, 1), repeat=len(subgraph.nodes)))
    energies = np.array(
        [model.energy(dict(zip(subgraph.nodes, string, strict=True))) for string in strings]
    )
    temperature = result.twins["classical"][0].temperature
    assert temperature is not None
    weights = np.exp(-energies / temperature)
    marginals = weights @ np.array(strings) / weights.sum()
    for node, marginal in zip(subgraph.nodes, marginals, strict=True):
        classical = made["account", node].estimates["classical"]
        assert classical["optimum_energy"] == pytest.approx(energies.min())
        assert classical["gibbs_marginal"] == pytest.approx(marginal)
        assert "gibbs_marginal" not in made["account", node].estimates["quantum"]


def test_a_shared_attribute_has_the_mean_of_its_two_highest_members() -> None:
    """For the device that ties the ring, by each path and figure."""
    one = batch(1, (problem(0, size=7, ring=4),))
    subgraph = one.problems[0]
    made = made_of(one, sampled(one.problems))
    device = made["device", "dev-0"]
    assert device.values["size"] == 4
    assert device.values["amount"] == 900.0
    for path in ("quantum", "classical", "random"):
        members = [made["account", subgraph.nodes[i]].estimates[path] for i in range(4)]
        top = sorted((member["membership"] for member in members), reverse=True)[:2]
        assert device.estimates[path]["membership"] == pytest.approx(sum(top) / 2)


def test_an_attribute_of_several_problems_is_described_where_it_ties_most() -> None:
    """One entity has one value: that of the larger tie, the first of equals."""
    tie = Shared(entity="device", id="x", members=(0, 1), events=1, amount_minor=1)
    small = replace_shared(problem(0), (tie,))
    large = replace_shared(problem(1), (replace_members(tie, (0, 1, 2)),))
    equal = replace_shared(problem(2), (replace_members(tie, (1, 2, 3)),))
    assert shared_owners((small, large, equal)) == {("device", "x"): 1}
    one = batch(1, (small, large, equal))
    assert made_of(one, sampled(one.problems))["device", "x"].subgraph == large.subgraph


def replace_shared(one: Problem, shared: tuple[Shared, ...]) -> Problem:
    """The problem with other ties."""
    return msgspec.structs.replace(one, shared=shared)


def replace_members(one: Shared, members: tuple[int, ...]) -> Shared:
    """The tie with other members."""
    return msgspec.structs.replace(one, members=members)


def test_a_feature_says_where_it_comes_from() -> None:
    """Version, times, subgraph and source are those of the micro-batch and of the circuit."""
    one = batch(4, (problem(0),))
    result = sampled(one.problems)
    update = made_of(one, result)["account", one.problems[0].nodes[0]]
    assert update.version == one.version
    assert update.group == "ring"
    assert update.subgraph == one.problems[0].subgraph
    assert (update.event_time_ms, update.computed_at_ms) == (one.window_end_ms, 77)
    source = update.source
    assert source is not None
    assert (source.backend, source.calibration_id) == ("qsim", "cal-1")
    assert (source.micro_batch_id, source.job_id) == (one.micro_batch_id, "job")
    assert (source.problem_id, source.shots) == ("p0", 203)
    assert source.circuit_hash == result.sets[0].circuit_hash
    assert source.seed == result.sets[0].seed == seed_of("job", "p0")
    assert update.values["density"] == density(6, one.problems[0].weights)
    assert update.values["amount"] == 1_200.0


@pytest.mark.parametrize("provider", ["exact", "annealing"])
def test_a_fallback_is_never_called_quantum(provider: str) -> None:
    """What a classical sampler drew is the classical path, alone."""
    one = batch(1, (problem(0),))
    for update in made_of(one, sampled(one.problems, provider)).values():
        assert set(update.estimates) == {"classical"}


def test_differences_are_zero_between_equals_and_told_for_both_twins() -> None:
    """A sampler has no gap to itself; the null's figures stand beside, with a prefix."""
    problems = (problem(0),)
    result = sampled(problems)
    mirror = {"quantum": result.sets, "classical": result.sets}
    figures = differences_of(problems, mirror)["p0"]
    assert figures["energy_gap"] == figures["membership_gap"] == 0.0
    assert figures["histogram_distance"] == 0.0
    told = differences_of(problems, answers_of(result))["p0"]
    assert told["random_membership_gap"] > 0.0
    assert told["random_histogram_distance"] > 0.0
    assert differences_of(problems, {"classical": result.sets}) == {}


def test_differences_are_in_every_record_and_no_fallback_has_any() -> None:
    """Accounts, devices and beneficiaries bear those of their problem, as the job's event does."""
    problems = (problem(0), problem(1, seed=2))
    one = batch(1, problems)
    result = sampled(problems)
    told = differences_of(problems, answers_of(result))
    made = made_of(one, result)
    assert len(made) == 2 * 8
    for update in made.values():
        assert update.source is not None
        figures = told[update.source.problem_id]
        # Its paths' own mean energies are in its estimates already.
        assert update.source.differences == {
            name: value for name, value in figures.items() if "mean_energy" not in name
        }
        assert {"energy_gap", "membership_gap", "histogram_distance", "optimum_gap"} < set(
            update.source.differences
        )
    for update in made_of(one, sampled(problems, "exact")).values():
        assert update.source is not None
        assert update.source.differences == {}


def test_the_best_string_is_told_with_its_energy() -> None:
    """Each account's x_i in it, and x_i times its energy; attributes have the mean of their two."""
    one = batch(1, (problem(0, size=7, ring=4),))
    subgraph = one.problems[0]
    result = sampled(one.problems)
    made = made_of(one, result)
    model = KINDS["ring"](subgraph.nodes, subgraph.weights, ())
    for path, sets in answers_of(result).items():
        string = sets[0].summary.best
        energy = model.energy(dict(zip(subgraph.nodes, string.tolist(), strict=True)))
        assert energy == pytest.approx(sets[0].energies.min())
        for node, x in zip(subgraph.nodes, string, strict=True):
            estimate = made["account", node].estimates[path]
            assert estimate["in_best"] == x
            assert estimate["in_best_energy"] == pytest.approx(x * energy)
    device = made["device", "dev-0"].estimates["classical"]
    assert device["in_best"] == 1.0
    lowest = result.twins["classical"][0].energies.min()
    assert device["in_best_energy"] == pytest.approx(lowest)


def test_entropy_and_near_optima_are_those_of_the_strings() -> None:
    """Recounted string by string; an attribute has its problem's."""
    one = batch(1, (problem(0),))
    result = sampled(one.problems)
    made = made_of(one, result)
    for path, sets in answers_of(result).items():
        strings = Counter(map(tuple, sets[0].bits.tolist()))
        shots = strings.total()
        entropy = -sum(n / shots * math.log2(n / shots) for n in strings.values())
        lowest, mean = float(sets[0].energies.min()), float(sets[0].energies.mean())
        bound = lowest + 0.05 * (mean - lowest)
        near = {
            tuple(string)
            for string, energy in zip(sets[0].bits.tolist(), sets[0].energies, strict=True)
            if energy <= bound + 1e-9
        }
        for entity in (("account", one.problems[0].nodes[0]), ("device", "dev-0")):
            estimate = made[entity].estimates[path]
            assert estimate["entropy"] == pytest.approx(entropy)
            assert estimate["near_optima"] == len(near)
            assert estimate["mean_energy"] == pytest.approx(mean)


def test_density_is_the_mean_over_all_pairs() -> None:
    """Of all nodes, or of some of them; nothing for fewer than two."""
    weights = ((0, 1, 16), (1, 2, 8), (2, 3, 4))
    assert density(4, weights) == pytest.approx((1 + 0.5 + 0.25) / 6)
    assert density(4, weights, frozenset({0, 1, 2})) == pytest.approx(0.5)
    assert density(4, weights, frozenset({0})) == 0.0


def test_seeds_differ_by_problem_and_stay_exact_in_json() -> None:
    """Derived from the job and the problem, the same each time, below 2^53."""
    seeds = {seed_of("job", f"p{number}") for number in range(1_000)}
    assert len(seeds) == 1_000
    assert max(seeds) < 2**53
    assert seed_of("job", "p1") == seed_of("job", "p1") != seed_of("bob", "p1")


def test_runs_on_a_device_are_told_by_problem() -> None:
    """Qubits, depth, gates and the mean energy with its switch; a simulator has no run to tell."""
    problems = (problem(0), problem(1))
    sets = sampled(problems).sets
    assert device_runs(problems, sets) == {}
    size = len(problems[1].nodes)
    energy = Corrected(value=-2.5, read=-2.0, applied=True, error_read=0.5, error_corrected=0.1)
    shares = np.full(size, 0.5)
    run = DeviceRun(
        processor="willow_pink",
        calibration_id="cal-1",
        qubits=tuple(f"q(0, {k})" for k in range(size)),
        depth=64,
        two_qubit_gates=77,
        line_cost=0.4,
        mean_energy=energy,
        marginals=Corrected(
            value=shares, read=shares, applied=False, error_read=0.1, error_corrected=0.2
        ),
    )
    told = device_runs(problems, (sets[0], replace(sets[1], device_run=run)))
    assert set(told) == {"p1"}
    found = told["p1"]
    assert (found.processor, found.depth, found.two_qubit_gates) == ("willow_pink", 64, 77)
    assert found.qubits == run.qubits
    assert found.calibration_id == run.calibration_id != ""
    assert (found.mean_energy_read, found.mean_energy, found.readout_corrected) == (
        -2.0,
        -2.5,
        True,
    )


def calibrated(path: str, sampler: str) -> RingProbability:
    """A calibration of accounts and devices on that path, as that sampler draws it."""
    return RingProbability(
        version="payments-ring-1",
        sampled=Sampled(
            path="quantum" if path == "quantum" else "classical", sampler=sampler, layers=2,
            shots=203, problem="ring", variables_max=12, weight_min=0.35,
        ),
        steps=(
            Steps(kind="account", share=0.1, surplus=(0.0, 1.0), probability=(0.01, 0.25)),
            Steps(kind="device", share=0.2, surplus=(0.0, 1.0), probability=(0.02, 0.5)),
        ),
        provenance=FittedOn(method="by hand"),
    )  # fmt: skip


def by_qsim(result: Result) -> Result:
    """The result as if its samples were qsim's."""
    return replace(result, sets=tuple(replace(each, sampler="qsim") for each in result.sets))


@pytest.mark.parametrize(("path", "sampler"), [("quantum", "qsim"), ("classical", "exact")])
def test_a_calibration_speaks_of_its_own_path_and_sampler(path: str, sampler: str) -> None:
    """Each kind by its map, kinds without one and other paths not at all; the source names it."""
    one = batch(1, (problem(0),))
    made = made_of(one, by_qsim(sampled(one.problems)), calibrated(path, sampler))
    worth = {"account": (0.01, 0.25), "device": (0.02, 0.5)}
    for (kind, _), update in made.items():
        telling = {p for p, estimate in update.estimates.items() if RING_PROBABILITY in estimate}
        assert telling == ({path} if kind in worth else set())
        assert update.source is not None
        assert update.source.probability_version == ("payments-ring-1" if telling else "")
        if telling:
            estimate = update.estimates[path]
            surplus = surplus_of(estimate)
            assert surplus is not None
            assert surplus == pytest.approx(estimate["membership"] * -estimate["optimum_energy"])
            assert estimate[RING_PROBABILITY] == worth[kind][surplus >= 1.0]
    assert {made["device", "dev-0"].estimates[path][RING_PROBABILITY]} == {0.5}


def test_another_path_is_not_calibrated_though_the_same_sampler_drew_it() -> None:
    """What a calibration was fitted on is one path's, whoever drew for it."""
    one = batch(1, (problem(0),))
    result = sampled(one.problems)
    assert result.sets[0].sampler == result.twins["classical"][0].sampler == "exact"
    for update in made_of(one, result, calibrated("classical", "exact")).values():
        assert RING_PROBABILITY not in update.estimates["quantum"]


@pytest.mark.parametrize(("path", "sampler"), [("quantum", "virtual"), ("classical", "annealing")])
def test_another_samplers_memberships_are_not_calibrated(path: str, sampler: str) -> None:
    """A map of what a noisy device drew says nothing of what a simulator draws."""
    one = batch(1, (problem(0),))
    made = made_of(one, by_qsim(sampled(one.problems)), calibrated(path, sampler))
    assert b"probability" not in msgspec.json.encode(list(made.values()))


def test_without_a_calibration_there_is_no_such_name() -> None:
    """Neither in a shipped pipeline's publication nor in what travels of it."""
    pipeline = load("payments")
    assert pipeline.probability is None
    one = batch(1, (problem(0),))
    made = made_of(one, by_qsim(sampled(one.problems)), pipeline.probability)
    assert b"probability" not in msgspec.json.encode(list(made.values()))
