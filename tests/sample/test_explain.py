"""An explanation holds what the job was asked, and figures that agree with its samples."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from enrichment.pipelines import load
from enrichment.problem import KINDS
from enrichment.problem.ring import theta_of
from enrichment.sample.again import as_it_was
from enrichment.sample.explain import BINS, energies_of, explain
from enrichment.sample.flight import flags_of
from tests.sample.recordings import drawn_again, pipeline_of, recorded_of


def test_every_path_has_each_of_its_shots_in_one_bin() -> None:
    """Counts sum to the shots, and equal those of energies computed from the model itself."""
    recorded = recorded_of()
    again = drawn_again(recorded)
    told = explain(recorded, as_it_was(recorded, pipeline_of()), again, 1)
    energies = told.problem.energies
    assert energies is not None
    assert recorded.batch is not None
    chosen = recorded.batch.problems[1]
    model = KINDS["ring"](chosen.nodes, chosen.weights, flags_of(chosen))
    for path, sets in (("quantum", again.result.sets), ("random", again.result.twins["random"])):
        drawn = sets[1]
        own = model.energies((drawn.bits, list(chosen.nodes)))
        assert sum(energies.counts[path]) == len(own) == 200
        assert energies.best[path] == pytest.approx(own.min(), abs=1e-9)
        assert energies.mean[path] == pytest.approx(own.mean(), abs=1e-9)
        assert energies.at_optimum[path] == pytest.approx(
            np.mean(own <= (energies.optimum or 0.0) + 1e-6)
        )
    assert len(energies.edges) == BINS + 1
    assert min(energies.best.values()) >= (energies.optimum or 0.0) - 1e-6


def test_samples_of_one_energy_have_a_bin_too() -> None:
    """A sampler that finds one string alone is shown like any other."""
    one = drawn_again(recorded_of()).result.sets[0]
    same = replace(one, energies=np.full(len(one.energies), -1.0))
    shown = energies_of({"quantum": same})
    assert sum(shown.counts["quantum"]) == len(one.energies)


def test_it_shows_the_problem_of_the_lowest_energy_unless_asked() -> None:
    """By default the deepest optimum, and any other by its number; a wrong one is told."""
    recorded = recorded_of()
    again, pipeline = drawn_again(recorded), as_it_was(recorded, pipeline_of())
    told = explain(recorded, pipeline, again)
    energies = [row.energy for row in told.problems if row.energy is not None]
    assert energies[told.problem.number] == min(energies)
    asked = explain(recorded, pipeline, again, 2).problem
    assert asked.number == 2
    assert [node.index for node in asked.nodes if node.known_bad] == [1]
    assert "b_i" in asked.model.formula
    with pytest.raises(ValueError, match="0 to 2"):
        explain(recorded, pipeline, again, 3)


def test_model_and_circuit_are_those_that_were_run() -> None:
    """Theta and ties as the problem has them, and the circuit's hash the recorded one."""
    recorded = recorded_of()
    told = explain(recorded, as_it_was(recorded, pipeline_of()), drawn_again(recorded), 0)
    assert recorded.batch is not None
    chosen = recorded.batch.problems[0]
    assert told.problem.model.parameters["theta"] == theta_of(len(chosen.nodes), chosen.weights)
    ties = {(tie.i, tie.j): tie.weight for tie in told.problem.ties}
    assert ties == {(i, j): w / 16 for i, j, w in chosen.weights}
    circuit = told.problem.circuit
    assert circuit is not None
    assert circuit.hash == circuit.recorded_hash
    assert told.problem.seed == recorded.events[-1].seeds[0]


def test_without_drawing_again_it_shows_what_was_published() -> None:
    """No samples, so no histogram; memberships are those of the features that are left."""
    recorded = recorded_of()
    told = explain(recorded, as_it_was(recorded, pipeline_of()), "not asked for", 0)
    assert told.problem.energies is None
    assert not told.verdict.drawn
    update = recorded.features[0]
    assert (
        told.problem.nodes[0].memberships["quantum"].membership
        == (update.estimates["quantum"]["membership"])
    )
    bare = replace(recorded, features=())
    assert not explain(bare, pipeline_of(), "no", 0).problem.nodes[0].memberships
    with pytest.raises(ValueError, match="gone"):
        explain(replace(recorded, batch=None), pipeline_of(), "no")


def test_the_recipe_names_what_is_not_recorded_and_what_is_a_keyed_hash() -> None:
    """An older record lacks its layers; a sensitive field makes its entity's ids hashes."""
    recorded = recorded_of(run=None, sample_hashes={})
    told = explain(recorded, as_it_was(recorded, pipeline_of()), "no")
    assert told.recipe["not_recorded"] == ["layers", "conditions", "pipeline_version"]
    assert told.pseudonyms == ()
    pipeline = load("payments")
    stream = msgspec.structs.replace(pipeline.stream, sensitive=("device_id",))
    hashed = msgspec.structs.replace(pipeline, stream=stream)
    assert explain(recorded, hashed, "no").pseudonyms == ("device",)
