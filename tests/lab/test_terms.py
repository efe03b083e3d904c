"""Terms spelt out for fits and explanations: the same numbers as the hot path's scorer gives."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.enrich.score import Scorer
from enrichment.lab.explain import ROUNDING, ExplanationError, explain
from enrichment.lab.terms import known_paths, part
from enrichment.pipelines import Pipeline, load
from enrichment.pipelines.loader import parse
from enrichment.records import Assigned, Enriched, FeatureUsed, Path
from tests.lab.recordings import PAYMENTS, enriched, used

CARDS, TRUST = load("cards"), load("trust")
# A quotient within `ring`, a threshold, and terms that two roles take part in.
ODD = parse(
    b"""
[stream]
name = "odd"
id = "id"
key = "a"
time = "t"
[entities]
a = "a"
b = "b"
[score]
version = "odd-1"
bias = -1.0
serve = "quantum"
[[score.terms]]
name = "mixed"
value = "a.graph.x"
over = "b.graph.y"
prior = 0.5
weight = 1.5
[[score.terms]]
name = "ringed"
value = "a.ring.membership"
over = "a.ring.size"
prior = 0.25
weight = 2.0
[[score.terms]]
name = "above"
value = "event.amount"
over = "event.usual"
transform = "above"
threshold = 2.0
weight = 0.75
[[score.terms]]
name = "log"
value = "b.graph.y"
transform = "log1p"
maximum = 10.0
weight = -0.5
""",
    "odd.toml",
)
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)
NAMES = {
    "payments": ["density", "core_number", "known_bad_near", "membership"],
    "cards": ["amount_week_mean", "risk_week_mean", "membership"],
    "trust": ["distrust_received_mean", "distrust_given_mean", "membership"],
    "odd": ["x", "y", "membership", "size"],
}


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Pipeline, dict[str, float], list[FeatureUsed]]:
    """A pipeline, an event's numbers and any usable features."""
    pipeline = draw(st.sampled_from([PAYMENTS, CARDS, TRUST, ODD]))
    features = []
    values = st.dictionaries(st.sampled_from(NAMES[pipeline.name]), NUMBERS)
    # A record holds the groups that terms read, and no others.
    references = [each for term in pipeline.score.terms for each in (term.value, term.over) if each]
    read = {tuple(reference.split(".")[:2]) for reference in references}
    for role in pipeline.entities:
        if (role, "graph") in read and draw(st.booleans()):
            features.append(used(role, "graph", values=draw(values)))
        if (role, "ring") in read and draw(st.booleans()):
            paths = st.dictionaries(st.sampled_from(["quantum", "classical", "random"]), values)
            features.append(used(role, "ring", values=draw(values), **draw(paths)))
    return pipeline, {"amount": draw(NUMBERS), "usual": draw(NUMBERS)}, features


@given(scene=scenes())
def test_parts_add_up_to_the_scorers_scores(
    scene: tuple[Pipeline, dict[str, float], list[FeatureUsed]],
) -> None:
    """For every path that is known, and the same paths are; every reason is a part."""
    pipeline, numbers, features = scene
    by_role = {(each.role, each.group): each for each in features}
    scored = Scorer(pipeline).score(numbers, by_role)
    known = known_paths(by_role)
    for path in ("heuristic", "classical", "quantum"):
        score = getattr(scored.scores, path)
        assert (score is not None) == (path in known)
        if score is not None:
            parts = [part(term, path, numbers, by_role) for term in pipeline.score.terms]
            log_odds = pipeline.score.bias + math.fsum(each.contribution for each in parts)
            bounded = max(-35.0, min(log_odds, 35.0))
            assert abs(100.0 / (1.0 + math.exp(-bounded)) - score) <= ROUNDING
            if path == scored.path.value:
                shown = {each.term.name: each.contribution for each in parts}
                for reason in scored.reasons:
                    assert reason.contribution == pytest.approx(shown[reason.term], abs=1e-6)


EVENT: dict[str, Any] = {"event_id": "e1", "occurred_at": 1_700_000_000_000, "amount": 100.0}


def test_an_explanation_shows_the_largest_part_first() -> None:
    """By path, the one that serves first; with operands, and the priors where those stand."""
    features = [
        used("device", "graph", values={"known_bad_near": 0.5}),
        used("device", "ring", quantum={"membership": 0.9}, classical={"membership": 0.1}),
    ]
    shown = explain(PAYMENTS, enriched(EVENT, features))
    assert list(shown.paths) == ["quantum", "classical", "heuristic"]
    assert shown.same_table
    assert shown.recorded_score == shown.paths["quantum"].score
    first, second, third, *others = shown.paths["quantum"].parts
    assert [first.term.name, second.term.name, third.term.name] == [
        "device_near_known_bad",
        "device_in_ring",
        "amount",
    ]
    assert (first.value, first.contribution) == (0.5, 2.5)
    assert second.contribution == pytest.approx(1.4 * 0.9)
    assert all(each.at_prior for each in others if each.term.name.startswith("account"))


def test_an_explanation_follows_the_records_rollout() -> None:
    """The path that was let in serves, whatever the pipeline's file says today."""
    features = [used("device", "ring", quantum={"membership": 0.9}, classical={"membership": 0.1})]
    record = msgspec.json.decode(enriched(EVENT, features), type=Enriched)
    for paths in ((), (Path.CLASSICAL,), (Path.QUANTUM, Path.CLASSICAL)):
        told = msgspec.structs.replace(record, rollout=Assigned(paths=paths, revision="r"))
        shown = explain(PAYMENTS, msgspec.json.encode(told))
        assert shown.path == (paths[0].value if paths else "heuristic")


def test_a_record_of_another_table_is_told_apart() -> None:
    """It is explained by the table of now, and says that another one decided."""
    value = enriched(EVENT, []).replace(b'"payments-1"', b'"payments-0"')
    assert not explain(PAYMENTS, value).same_table


@pytest.mark.parametrize("value", [b"{}", b"[1]", b"", b"\xff"])
def test_what_is_no_record_cannot_be_explained(value: bytes) -> None:
    """The error says what was wanted."""
    with pytest.raises(ExplanationError, match=r"wanted a record as it is on payments\.enriched"):
        explain(PAYMENTS, value)


def test_a_record_of_another_pipeline_is_not_explained() -> None:
    """Its terms mean something else."""
    with pytest.raises(ExplanationError, match="event of pipeline 'payments', wanted 'cards'"):
        explain(CARDS, enriched(EVENT, []))
