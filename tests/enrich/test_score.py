"""The score: finite, explained, and the same for the same numbers, whatever else the event says."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.enrich.score import REASONS_MAX, Scorer
from enrichment.records import (
    Decision,
    FeatureUsed,
    Level,
    Path,
    Verdict,
    VerdictName,
)
from tests.enrich.streams import CARDS, PAYMENTS, TRUST

FRESH = Verdict(VerdictName.FRESH, "subgraph_unchanged")
PAYMENT_SCORER = Scorer(PAYMENTS)


def used(role: str, group: str, **fields: dict[str, float]) -> FeatureUsed:
    """Usable features; keywords other than `values` are paths."""
    values = fields.pop("values", {})
    return FeatureUsed(
        role=role, kind=role, id="1", group=group, verdict=FRESH, values=values, estimates=fields
    )


def by_role(*features: FeatureUsed) -> dict[tuple[str, str], FeatureUsed]:
    """Features as the scorer wants them."""
    return {(each.role, each.group): each for each in features}


FINITE = st.floats(allow_nan=False, allow_infinity=False)
ESTIMATES = st.fixed_dictionaries({}, optional={"membership": FINITE, "other": FINITE})
ANY_FEATURES = st.builds(
    lambda graph, rings: by_role(
        used("account", "graph", values=graph),
        *(used(role, "ring", **paths) for role, paths in rings.items()),
    ),
    st.dictionaries(st.sampled_from(["density", "core_number", "known_bad_near"]), FINITE),
    st.dictionaries(
        st.sampled_from(["account", "device", "beneficiary"]),
        st.dictionaries(st.sampled_from(["quantum", "classical", "random"]), ESTIMATES),
    ),
)


@given(amount=st.floats(-1e12, 1e12), features=ANY_FEATURES)
def test_every_score_is_a_number_from_0_to_100(
    amount: float, features: dict[tuple[str, str], FeatureUsed]
) -> None:
    """However large, small or odd the features are, no path gives NaN or leaves the scale."""
    scored = PAYMENT_SCORER.score({"amount": amount}, features)
    scores = scored.scores
    for score in (scores.served, scores.heuristic, scores.classical, scores.quantum):
        assert score is None or 0 <= score <= 100
    assert all(math.isfinite(reason.contribution) for reason in scored.reasons)
    assert len(scored.reasons) <= REASONS_MAX


@given(over=FINITE, amount=st.floats(0, 1e12))
def test_a_quotient_by_next_to_nothing_is_bounded(over: float, amount: float) -> None:
    """Zero stands for unknown, and the smallest number gives the largest quotient, not an error."""
    features = by_role(used("customer", "graph", values={"amount_week_mean": over}))
    assert 0 <= Scorer(CARDS).score({"amount": amount}, features).scores.served <= 100


def test_the_formula_is_the_documented_one() -> None:
    """100 / (1 + exp(-(bias + sum of weighted terms))), as the pipeline file states the terms."""
    features = by_role(
        used("account", "graph", values={"density": 0.5, "core_number": 3, "known_bad_near": 0.5}),
        used("account", "ring", quantum={"membership": 0.8}),
    )
    log_odds = -5.0 + 0.2 * math.log1p(100) + 0.5 + 0.15 * 3 + 2.0 * 0.5
    scored = PAYMENT_SCORER.score({"amount": 100.0}, features)
    assert scored.scores.heuristic == round(100 / (1 + math.exp(-log_odds)), 6)
    assert scored.scores.quantum == round(100 / (1 + math.exp(-log_odds - 1.5 * 0.8)), 6)


@pytest.mark.parametrize(
    ("estimates", "path"),
    [
        ({}, Path.HEURISTIC),
        ({"random": {"membership": 0.9}}, Path.HEURISTIC),
        ({"classical": {"membership": 0.9}}, Path.CLASSICAL),
        ({"quantum": {"membership": 0.9}}, Path.QUANTUM),
        ({"quantum": {"membership": 0.9}, "classical": {"membership": 0.1}}, Path.QUANTUM),
    ],
)
def test_the_path_that_serves_is_the_best_known(
    estimates: dict[str, dict[str, float]], path: Path
) -> None:
    """Quantum where it is known, else classical, else the heuristic; never the random null."""
    scored = PAYMENT_SCORER.score({"amount": 10.0}, by_role(used("device", "ring", **estimates)))
    assert scored.path is path
    by_path = {
        Path.HEURISTIC: scored.scores.heuristic,
        Path.CLASSICAL: scored.scores.classical,
        Path.QUANTUM: scored.scores.quantum,
    }
    assert scored.scores.served == by_path[path]
    known = {each.value for each in Path if by_path[each] is not None}
    assert known == {"heuristic", *(set(estimates) - {"random"})}


def test_a_pipeline_may_serve_less_than_is_known() -> None:
    """`serve = "classical"` leaves the quantum score beside the served one, and does not use it."""
    estimates = {"quantum": {"membership": 0.9}, "classical": {"membership": 0.1}}
    scored = Scorer(CARDS).score({"amount": 10.0}, by_role(used("customer", "ring", **estimates)))
    assert scored.path is Path.CLASSICAL
    assert scored.scores.served == scored.scores.classical != scored.scores.quantum


def test_levels_lead_to_decisions() -> None:
    """Each level above normal begins at its threshold, and the decision table follows."""
    scorer = PAYMENT_SCORER
    seen = {}
    for membership in (0.0, 1.0, 3.0):
        features = by_role(
            *(
                used(role, "ring", quantum={"membership": membership})
                for role in ("account", "device", "beneficiary")
            )
        )
        scored = scorer.score({"amount": 50.0}, features)
        seen[scored.level] = (scored.decision, scored.scores.served)
    assert seen[Level.NORMAL][0] is Decision.APPROVE
    assert seen[Level.ELEVATED][0] is Decision.REVIEW
    assert seen[Level.HIGHEST][0] is Decision.DECLINE
    levels = PAYMENTS.score.levels
    assert seen[Level.NORMAL][1] < levels.elevated <= seen[Level.ELEVATED][1] < levels.highest
    assert seen[Level.HIGHEST][1] >= levels.highest


def test_an_event_of_which_nothing_is_known_is_not_assessed() -> None:
    """A rating has no term of its own: without features there is a number, and no level."""
    scored = Scorer(TRUST).score({}, {})
    assert scored.level is Level.NOT_ASSESSED
    assert scored.decision is Decision(TRUST.score.decisions.not_assessed)


def test_reasons_are_the_largest_parts_of_the_served_score() -> None:
    """Largest first, by size and not by sign; of ring terms, those of the path that serves."""
    features = by_role(
        used("account", "graph", values={"density": -3.0, "known_bad_near": 1.0}),
        used("device", "ring", quantum={"membership": 0.9}, classical={"membership": 0.2}),
    )
    scored = PAYMENT_SCORER.score({"amount": 1.0}, features)
    parts = [(reason.term, reason.contribution) for reason in scored.reasons]
    assert parts == [
        ("shared_devices", -3.0),
        ("near_known_bad", 2.0),
        ("device_in_ring", 1.35),
        ("amount", round(0.2 * math.log1p(1.0), 6)),
    ]


def test_what_is_shared_is_bounded_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for two of each, the oldest makes place, and every score is what it was."""
    features = [
        by_role(used("account", "ring", quantum={"membership": share / 7})) for share in range(8)
    ]
    expected = [PAYMENT_SCORER.score({"amount": 1.0}, each) for each in features]
    monkeypatch.setattr("enrichment.enrich.score.SHARED_MAX", 2)
    scorer = Scorer(PAYMENTS)
    assert [scorer.score({"amount": 1.0}, each) for each in features * 2] == expected * 2
    for memory in (scorer._known, scorer._parts, scorer._joints):
        assert len(memory) == 2
