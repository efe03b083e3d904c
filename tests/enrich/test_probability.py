"""Where a pipeline has a calibration, events tell of `ring_probability`; elsewhere nothing does."""

import msgspec
import pytest

from enrichment.enrich.features import Cache, FeaturePlan, Known
from enrichment.pipelines import Pipeline, load
from enrichment.pipelines.probability import RingProbability, Sampled, Steps
from enrichment.pipelines.table import Provenance
from enrichment.records import FeatureUpdate, FeatureUsed

PAYMENTS = load("payments")
NOW_MS = 1_700_000_000_000
SHARE = 0.04


def calibrated() -> Pipeline:
    """Payments with a calibration of accounts."""
    sampled = PAYMENTS.sampled("quantum")
    assert isinstance(sampled, Sampled)
    steps = Steps(kind="account", share=SHARE, surplus=(0.0,), probability=(0.5,))
    known = RingProbability(
        version="payments-ring-1",
        sampled=sampled,
        steps=(steps,),
        provenance=Provenance(method="by hand"),
    )
    return msgspec.structs.replace(PAYMENTS, probability=known)


def ring_of(pipeline: Pipeline, *, subgraph: str = "s", role: str = "account") -> FeatureUsed:
    """The ring of an entity as an event sees it, sampled an hour ago as the subgraph `s`."""
    half_life_ms = pipeline.features.half_life_ms
    plan = FeaturePlan(pipeline)
    ring = FeatureUpdate(
        version=1, pipeline="payments", entity=role, id="x", group="ring", subgraph="s",
        event_time_ms=0, computed_at_ms=NOW_MS - half_life_ms,
        estimates={"quantum": {"membership": 1.0, "ring_probability": 0.5}},
    )  # fmt: skip
    graph = FeatureUpdate(
        version=2, pipeline="payments", entity=role, id="x", group="graph", subgraph=subgraph,
        event_time_ms=0, computed_at_ms=NOW_MS,
        values={"subgraph_since_ms": NOW_MS - half_life_ms},
    )  # fmt: skip
    plan.trim(role, ring)
    known = Known({"ring": ring, "graph": graph}, NOW_MS)
    used = plan.features(role, "x", known, "s", Cache(heard={}), NOW_MS).used
    return next(each for each in used if each.group == "ring")


def test_an_event_tells_of_it_where_there_is_a_calibration() -> None:
    """Beside the membership, as published; for kinds that have a map."""
    assert ring_of(calibrated()).estimates["quantum"]["ring_probability"] == 0.5
    assert "ring_probability" not in ring_of(calibrated(), role="device").estimates["quantum"]


def test_a_stale_one_is_on_its_way_to_what_nothing_known_is_worth() -> None:
    """Half-way to the share of bad events after a half-life, and not towards zero."""
    used = ring_of(calibrated(), subgraph="changed")
    found = used.estimates["quantum"]["ring_probability"]
    assert found == pytest.approx(SHARE + (0.5 - SHARE) / 2, abs=1e-3)


def test_without_a_calibration_no_event_has_it() -> None:
    """Not even where the cache still holds one: that was of a calibration that is gone."""
    assert b"probability" not in msgspec.json.encode(ring_of(PAYMENTS))
