"""A job drawn again is the same where it was recorded so, and whatever differs is told."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from enrichment.records import JobState
from enrichment.sample.again import SEEDED, Check, Recorded, as_it_was, refusal, requests_again
from enrichment.sample.publish import sample_hashes
from tests.sample.recordings import drawn_again, pipeline_of, recorded_of


def check_of(recorded: Recorded, name: str) -> Check:
    """One check of the job drawn again."""
    return next(check for check in drawn_again(recorded).compared.checks if check.name == name)


@pytest.mark.parametrize("provider", sorted(SEEDED))
def test_a_job_drawn_again_is_the_same_in_every_bit(provider: str) -> None:
    """Whoever sampled: equal hashes on every path, equal features, equal differences."""
    again = drawn_again(recorded_of(provider))
    assert again.compared.same_samples is True
    assert again.compared.agrees
    assert again.compared.changed == ()
    assert all(check.same is not False for check in again.compared.checks)


def test_layers_and_shots_are_those_of_the_record_and_not_of_todays_pipeline() -> None:
    """A pipeline that was changed since does not change what is drawn again."""
    recorded = recorded_of(pipeline=pipeline_of(layers=1, shots=120))
    again = drawn_again(recorded, pipeline_of(layers=3, shots=700))
    assert again.compared.same_samples is True
    assert again.result.sets[0].bits.shape[0] == 120


def test_a_record_without_hashes_proves_nothing_and_finds_its_layers() -> None:
    """Older records: no verdict on samples, but the circuit's hash tells the number of layers."""
    recorded = recorded_of(pipeline=pipeline_of(layers=1), run=None, sample_hashes={})
    assert as_it_was(recorded, pipeline_of(layers=3)).sampling.layers == 1
    again = drawn_again(recorded, pipeline_of(layers=3))
    assert again.compared.same_samples is None
    assert again.compared.agrees
    assert check_of(recorded, "features").same is True


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("samples", {"sample_hashes": {"quantum": ("0",) * 3}}),
        ("circuits", {"circuit_hashes": ("a", "b", "c")}),
        ("models", {"model_hashes": ("a", "b", "c")}),
        ("differences", {"differences": {"p0": {"energy_gap": 7.0}}}),
        ("samples", {"seeds": (1, 2, 3)}),
    ],
)
def test_whatever_was_changed_in_the_record_is_found(name: str, change: dict[str, Any]) -> None:
    """Another hash, seed or figure than the job gives is not the same."""
    recorded = recorded_of(**change)
    assert check_of(recorded, name).same is False
    assert not drawn_again(recorded).compared.agrees


def test_a_changed_feature_is_found_with_its_difference() -> None:
    """One membership that is not what the samples say: told by how much."""
    recorded = recorded_of()
    first = recorded.features[0]
    estimates = {path: dict(figures) for path, figures in first.estimates.items()}
    estimates["classical"]["membership"] -= 0.125
    forged = msgspec.structs.replace(first, estimates=estimates)
    check = check_of(replace(recorded, features=(forged, *recorded.features[1:])), "features")
    assert check.same is False
    assert "0.1250" in check.detail


def test_what_later_jobs_have_replaced_is_not_missed() -> None:
    """Features are held against those that are left, and none left is not known."""
    recorded = recorded_of()
    assert check_of(replace(recorded, features=recorded.features[:2]), "features").same is True
    assert check_of(replace(recorded, features=()), "features").same is None


def test_versions_and_conditions_that_changed_are_named() -> None:
    """Another SDK or machine: what it was, and what it is."""
    again = drawn_again(
        recorded_of(),
        sdk_versions={"qsimcirq": "2"},
        conditions={"machine": "aarch64 basic", "fuse": "2"},
    )
    told = {(one.name, one.recorded, one.now) for one in again.compared.changed}
    assert ("qsimcirq", "1", "2") in told
    assert ("machine", "x86_64 avx2", "aarch64 basic") in told
    assert ("fuse", "", "2") in told


def test_what_costs_or_cannot_be_had_again_is_refused_with_the_reason() -> None:
    """A device's job, an unfinished one, one without samples, one whose micro-batch is gone."""
    recorded = recorded_of()
    job = recorded.job
    assert refusal(recorded) == ""
    google = replace(recorded, job=msgspec.structs.replace(job, provider="google"))
    unfinished = replace(recorded, job=msgspec.structs.replace(job, state=JobState.EXECUTING))
    for other, word in (
        (google, "google"),
        (unfinished, "executing"),
        (replace(recorded, events=recorded.events[:1]), "no samples"),
        (replace(recorded, batch=None), "micro-batch"),
    ):
        assert word in refusal(other)
        with pytest.raises(ValueError, match=word):
            requests_again(other, pipeline_of(), 0)


def test_a_hash_names_samples_and_their_order() -> None:
    """The same bits in another order, or one bit turned, have another hash."""
    result = drawn_again(recorded_of()).result
    one = result.sets[0]
    turned = one.bits.copy()
    turned[3, 2] ^= 1
    others = [one, replace(one, bits=one.bits[::-1].copy()), replace(one, bits=turned)]
    hashes = {sample_hashes({"quantum": (other,)})["quantum"][0] for other in others}
    assert len(hashes) == 3
    assert sample_hashes({"quantum": result.sets})["quantum"][0] in hashes


def test_a_spot_check_is_drawn_again_with_its_simulator_beside_it() -> None:
    """Its differences from the simulator come out the same; it has no features to compare."""
    plain = recorded_of()
    checked = msgspec.structs.replace(
        plain.job, job_id=f"{plain.job.job_id}|check", check_of=plain.job.job_id
    )
    recorded = replace(plain, job=checked, features=())
    told = drawn_again(recorded)
    assert set(told.publication.event["differences"]["p0"]) >= {"simulator_membership_gap"}
    event = msgspec.structs.replace(
        recorded.events[-1],
        differences=told.publication.event["differences"],
        sample_hashes=told.publication.event["sample_hashes"],
    )
    again = drawn_again(replace(recorded, events=(*recorded.events[:-1], event)))
    assert again.compared.same_samples is True
    assert again.compared.agrees
    assert again.publication.features == ()
