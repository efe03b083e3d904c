"""Evidence from streams whose truth is known. All of it is simulated."""

import random
from typing import Any

import msgspec
import numpy as np
import pytest

from enrichment.records import (
    Case,
    CaseMember,
    CaseStatus,
    CaseVerdict,
    Decision,
    OutcomeKind,
)
from enrichment.rollout import metrics
from enrichment.rollout.evidence import Evidence, Figure
from enrichment.rollout.join import Rows
from enrichment.rollout.looks import labels, reached_ms
from enrichment.rollout.resample import AveragePrecision
from enrichment.rollout.weigh import (
    Known,
    Moment,
    id_of,
    judged_of,
    unrepresented,
    weigh,
    weights_of,
)
from tests.rollout.streams import (
    OF,
    SECOND_MS,
    SINCE_MS,
    Simulated,
    answered,
    joined,
    outcome,
    pipeline_with,
    simulated,
    treated,
)

LATER_MS = SINCE_MS + 10**8
SMALL = Simulated(events=600, rings=10)


def evidence(rows: Rows, until_ms: int = LATER_MS, **known: Any) -> Evidence:
    """The evidence of these rows, on few resamples."""
    moment = Moment(until_ms=until_ms, resamples=50)
    return weigh(pipeline_with(), Known(of=OF, rows=rows, **known), moment)


def test_weights_stand_for_what_was_declined() -> None:
    """Weighted average precision is that of the whole stream, within noise.

    That of what is left where the path that serves declines is far too low: the best are missing.
    """
    pipeline = pipeline_with(untreated_share=0.3, untreated_amount_max=80.0)
    weighted: list[float] = []
    naive: list[float] = []
    for seed in range(20):
        answers, outcomes = simulated(Simulated(), seed)
        rows = joined(pipeline, treated(answers, pipeline, "quantum", seed), outcomes)
        bad, weights = labels(rows, LATER_MS), weights_of(pipeline, rows)
        whole = ~unrepresented(pipeline, rows)
        truth = metrics.average_precision(bad[whole], rows.scores["quantum"][whole])
        for found, each in ((weighted, weights), (naive, (weights > 0).astype(float))):
            judged = judged_of(pipeline, rows, weights > 0, bad=bad, weights=each)
            copies = np.ones(judged.clusters)
            found.append(AveragePrecision(judged, "quantum").of(copies) - truth)
    noise = np.std(weighted) / np.sqrt(len(weighted))
    assert abs(np.mean(weighted)) < 3 * noise
    assert np.mean(naive) < -4 * noise


def test_what_nothing_stands_for_is_counted() -> None:
    """Above the limit, by the heuristic's own word, or where nobody is left untreated."""
    highest = 99.9
    declined = [
        answered("stood-for", quantum=highest, decision=Decision.DECLINE),
        answered("large", quantum=highest, amount=-99.0, decision=Decision.DECLINE),
        answered("anyway", heuristic=highest, quantum=highest, decision=Decision.DECLINE),
        answered("kept", quantum=highest, untreated=True, withheld=Decision.DECLINE),
    ]
    pipeline = pipeline_with(untreated_share=0.25, untreated_amount_max=50.0)
    rows = joined(pipeline, declined)
    found = dict(zip(rows.ids, unrepresented(pipeline, rows).tolist(), strict=True))
    assert found == {"stood-for": False, "large": True, "anyway": True, "kept": False}
    weights = dict(zip(rows.ids, weights_of(pipeline, rows).tolist(), strict=True))
    assert weights == {"stood-for": 0.0, "large": 0.0, "anyway": 0.0, "kept": 4.0}
    assert unrepresented(pipeline_with(), rows).tolist().count(True) == 3


def test_equal_evidence_has_equal_ids_in_whatever_order_it_came() -> None:
    """The seed and the id are of the content; another word on one event makes another id."""
    answers, outcomes = simulated(SMALL, 1)
    first = evidence(joined(pipeline_with(), answers, outcomes))
    random.Random(3).shuffle(answers)
    random.Random(4).shuffle(outcomes)
    second = evidence(joined(pipeline_with(), [*answers, answers[0]], outcomes))
    assert first == second
    assert msgspec.json.decode(msgspec.json.encode(first), type=Evidence) == first
    fewer = evidence(joined(pipeline_with(), answers, outcomes[1:]))
    assert fewer.evidence_id != first.evidence_id


def test_a_look_stays_as_it_was_whatever_becomes_known_later() -> None:
    """Later events, outcomes and corrections are not in it: same figures, same id."""
    pipeline = pipeline_with()
    answers, outcomes = simulated(SMALL, 2)
    whole = joined(pipeline, answers, outcomes)
    [until_ms, _] = reached_ms(whole, (20, 40), 10 * SECOND_MS)
    early = joined(
        pipeline,
        [each for each in answers if each.decided_at_ms <= until_ms],
        [each for each in outcomes if each.decided_at_ms <= until_ms],
    )
    corrections = [outcome(each.event_id, until_ms + 1, fraud=False) for each in outcomes[:9]]
    late = joined(pipeline, answers, [*outcomes, *corrections])
    assert reached_ms(early, (20,), 10 * SECOND_MS) == [until_ms]
    then, now = (evidence(rows, until_ms) for rows in (early, late))
    assert then.counts.bad == 20
    assert then == now


def test_a_path_without_an_estimate_is_judged_by_the_next_lesser_one() -> None:
    """As it would have served: quantum falls back to classical, classical to the heuristic."""
    rows = joined(
        pipeline_with(),
        [
            answered("q", quantum=60.0, classical=50.0, heuristic=10.0),
            answered("c", quantum=float("nan"), classical=80.0, heuristic=10.0),
            answered("h", quantum=float("nan"), classical=float("nan"), heuristic=20.0),
            answered("bad", quantum=70.0, classical=40.0, heuristic=30.0),
        ],
        [outcome("bad", SINCE_MS + 1)],
    )
    found = evidence(rows)
    ap = {path: found.paths[path].figures["average_precision"].value for path in found.paths}
    assert ap == {"heuristic": 1.0, "classical": pytest.approx(1 / 3), "quantum": 0.5}
    known = {path: found.paths[path].known_share for path in found.paths}
    assert known == {"heuristic": 1.0, "classical": 0.75, "quantum": 0.5}
    assert found.differences["quantum-classical"].value == pytest.approx(1 / 2 - 1 / 3)


def test_only_matured_events_are_counted_whatever_is_known_of_younger_ones() -> None:
    """A fraud that is known at once does not count before the genuine payments beside it do."""
    rows = joined(
        pipeline_with(),
        [answered("old"), answered("young", SINCE_MS + SECOND_MS)],
        [outcome("young", SINCE_MS + SECOND_MS), outcome("nowhere", SINCE_MS)],
    )
    counts = evidence(rows, SINCE_MS + 10 * SECOND_MS).counts
    assert (counts.events, counts.matured, counts.bad) == (2, 1, 0)
    assert (counts.outcomes, counts.unmatched) == (1, 1)
    assert evidence(rows, SINCE_MS + 11 * SECOND_MS).counts.bad == 1


def test_nothing_known_is_null_and_not_a_number() -> None:
    """Evidence of no event at all can be written, and says that it knows nothing."""
    found = evidence(joined(pipeline_with(), []))
    assert found.counts.matured == 0
    assert found.paths["quantum"].figures["average_precision"].value is None
    assert found.differences["quantum-heuristic"].value is None
    assert b"NaN" not in msgspec.json.encode(found)


def test_cost_per_caught_is_what_more_costs_for_what_more_is_caught() -> None:
    """Reviews beyond the heuristic's over bad events beyond the heuristic's; null for no more."""
    pipeline = pipeline_with(review_cost=2.0)
    elevated = pipeline.score.levels.elevated
    rows = joined(
        pipeline,
        [
            answered("bad", quantum=elevated, entities=("x", None, None)),
            answered("good-1", quantum=elevated, classical=elevated),
            answered("good-2", quantum=elevated, classical=elevated),
        ],
        [outcome("bad", SINCE_MS + 1)],
    )
    known = Known(of=OF, rows=rows)
    found = weigh(pipeline, known, Moment(until_ms=LATER_MS, resamples=20))
    quantum = found.paths["quantum"].figures
    assert (quantum["caught"].value, quantum["reviews"].value) == (1.0, 3.0)
    assert quantum["cost_per_caught"].value == 6.0
    assert quantum["cost_per_caught"].high is None
    assert found.paths["classical"].figures["cost_per_caught"].value is None


def case(id_: str, status: CaseStatus, memberships: dict[str, float], at_ms: int) -> Case:
    """A case of five members with these memberships, decided at that time."""
    return Case(
        case_id=id_,
        pipeline="payments",
        shard="all",
        version=1,
        status=status,
        members=tuple(
            CaseMember(entity="account", id=f"{id_}-{i}", memberships=memberships) for i in range(5)
        ),
        evidence=(),
        amount_at_risk_minor=0,
        first_seen_ms=0,
        last_seen_ms=0,
        subgraph="",
        job_id="",
        verdict=CaseVerdict(outcome_id="o", kind=OutcomeKind.ANALYST_FRAUD, decided_at_ms=at_ms),
    )


def test_accepted_cases_are_of_those_that_the_path_makes_and_not_in_the_id() -> None:
    """Of its decided cases the confirmed share; what was decided later or before is not in it."""
    both, one = {"quantum": 0.9, "classical": 0.9}, {"quantum": 0.9, "classical": 0.1}
    cases = [
        case("a", CaseStatus.CONFIRMED, both, SINCE_MS + 1),
        case("b", CaseStatus.DISMISSED, one, SINCE_MS + 1),
        case("c", CaseStatus.OPEN, both, SINCE_MS + 1),
        case("d", CaseStatus.DISMISSED, both, SINCE_MS - 1),
        case("e", CaseStatus.DISMISSED, both, LATER_MS + 1),
    ]
    rows = joined(pipeline_with(), [answered("e")])
    found = evidence(rows, cases=cases)
    accepted = {p: found.paths[p].figures["accepted_cases"].value for p in ("quantum", "classical")}
    assert accepted == {"quantum": 0.5, "classical": 1.0}
    assert evidence(rows).evidence_id == found.evidence_id == id_of(found)


def test_what_is_drawn_anew_is_not_in_the_id() -> None:
    """Another machine may draw recorded problems otherwise: the evidence is the same."""
    known = Known(of=OF, rows=joined(pipeline_with(), [answered("e")]))
    moment = Moment(until_ms=LATER_MS, resamples=5)
    one, two = (
        weigh(pipeline_with(), known, moment, Figure(value=value)) for value in (0.02, 0.03)
    )
    assert one != two
    assert one.evidence_id == two.evidence_id


def test_latency_is_from_publication_to_decision() -> None:
    """Each answer bears the timestamp of its input; where that is not known it is not guessed."""
    rows = joined(
        pipeline_with(),
        [answered("a", published_ms=SINCE_MS - 8), answered("b", published_ms=0)],
    )
    assert evidence(rows).hot_path_p50_ms.value == 8.0


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Of 30 streams in which two paths are equally good, 95 % intervals of their difference.

    Few streams and few resamples, so a loose bound: docs/evidence.md has the figures of 200.
    """
    pipeline, covered = pipeline_with(gate={"looks": (20,)}), 0
    for seed in range(30):
        answers, outcomes = simulated(Simulated(events=600, rings=12), 500 + seed)
        known = Known(of=OF, rows=joined(pipeline, answers, outcomes))
        found = weigh(pipeline, known, Moment(until_ms=LATER_MS, resamples=150))
        difference = found.differences["quantum-classical"]
        assert difference.low is not None
        assert difference.high is not None
        covered += difference.low <= 0.0 <= difference.high
    assert covered >= 25
