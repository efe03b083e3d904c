"""`bench rings`: streams so small that what is recovered, and what is lost to what, is known."""

from collections.abc import Iterable, Iterator

import pytest
from msgspec.structs import replace

from enrichment.lab.bench.digest_stream import Tick, ticks_of
from enrichment.lab.bench.rings import (
    AS_IT_RUNS,
    HUB_CUT,
    LIMITS,
    REST,
    SHARD_SPLIT,
    SIZE_CAP,
    START_MS,
    composition,
    losses,
    windowed,
)
from enrichment.lab.simulate import Decoy, Payment, Ring, Truth
from enrichment.pipelines import Pipeline, load

PIPELINE = load("payments")
RING = [f"r{number}" for number in range(5)]


def payments(members: Iterable[str], away: int = 0) -> list[Payment]:
    """Each member pays somebody of his own from the one device; the last `away` live elsewhere."""
    members = list(members)
    return [
        Payment(
            event_id=f"e{number}",
            account_id=member,
            occurred_at=START_MS + 100 * number,
            amount=10.0,
            currency="EUR",
            device_id="d",
            beneficiary_id=f"b{number}",
            region="north" if number < len(members) - away else "south",
            channel="app",
        )
        for number, member in enumerate(members)
    ]


def recovered(
    stream: list[Payment], members: Iterable[str] = RING, pipeline: Pipeline = PIPELINE
) -> dict[str, float]:
    """What is together as it runs, and what is lost to what; the same ever and at the end."""

    def digests(variant: Pipeline) -> Iterator[Tick]:
        return ticks_of(stream, variant, batch_ms=500)

    runs = windowed(digests, pipeline, {"ring": frozenset(members)})
    assert runs[AS_IT_RUNS].ever() == runs[AS_IT_RUNS].end()
    shares = {AS_IT_RUNS: runs[AS_IT_RUNS].ever()[0]}
    for limit, lost in losses(runs).items():
        assert lost["ever"] == pytest.approx(lost["end"])
        shares[limit] = lost["ever"]
    return shares


def close_to(**shares: float) -> object:
    """Those shares, and none of the others, but for rounding."""
    named = {name.replace("_", " "): share for name, share in shares.items()}
    return pytest.approx(dict.fromkeys((AS_IT_RUNS, *LIMITS, REST), 0.0) | named, abs=1e-9)


def test_a_ring_on_one_device_is_all_together() -> None:
    """Five accounts on a device are tied by 1 / sqrt(4), above the floor: nothing is lost."""
    assert recovered(payments(RING)) == close_to(as_it_runs=1.0)


def test_what_lies_in_another_shard_is_lost_to_the_split() -> None:
    """Three in the north and two in the south: the larger part is together."""
    found = recovered(payments(RING, away=2))
    assert found == close_to(as_it_runs=0.6, **{SHARD_SPLIT: 0.4})


def test_what_shares_a_hub_is_lost_to_the_hub_cut() -> None:
    """With at most four accounts on a device the ring's own ties nobody."""
    links = tuple(replace(link, degree_max=4) for link in PIPELINE.links)
    found = recovered(payments(RING), pipeline=replace(PIPELINE, links=links))
    assert found == close_to(**{HUB_CUT: 1.0})


def test_what_is_cut_off_to_fit_is_lost_to_the_size_cap() -> None:
    """Problems of at most three accounts hold three of the five."""
    problem = replace(PIPELINE.problem, variables_max=3)
    found = recovered(payments(RING), pipeline=replace(PIPELINE, problem=problem))
    assert found == close_to(as_it_runs=0.6, **{SIZE_CAP: 0.4})


def test_what_is_tied_too_weakly_is_the_rest() -> None:
    """Ten accounts with nothing but a device in common are tied by 1 / 3, below the floor."""
    members = [f"r{number}" for number in range(10)]
    assert recovered(payments(members), members) == close_to(rest=1.0)


def test_a_node_counts_for_the_group_that_it_is_there_with() -> None:
    """A ring's member among his family counts for the family, and one without his own for none."""
    shared = {"devices": (), "beneficiaries": (), "region": "north"}
    ring = Ring(ring_id="r", members=("a", "b", "c"), active_from_ms=0, **shared)  # type: ignore[arg-type]
    family = Decoy(decoy_id="f", kind="family", members=("c", "d"), **shared)  # type: ignore[arg-type]
    truth = Truth(rings=(ring,), decoys=(family,))
    shares = composition([{"a", "b", "x"}, {"c", "d", "y"}], truth)
    assert (shares["ring"], shares["family"], shares["no group"]) == (2 / 6, 2 / 6, 2 / 6)
    assert sum(shares.values()) == 1
