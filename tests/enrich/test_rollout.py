"""The rollout on the hot path: who serves, what a record says of it, and that it scores again."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.enrich.batch import Enricher
from enrichment.enrich.rescore import rescored
from enrichment.pipelines import Pipeline
from enrichment.records import Assigned, Control, Decision, Enriched, Path, Review, Rollout, Stage
from enrichment.rollout.control import ControlFold
from tests.enrich.streams import PAYMENTS, enriched, enricher, payment, records
from tests.feature.cached import NOW_MS, MemoryCache, heartbeat, ring, update
from tests.rollout.controls import control, record, tombstone

KILL = control("serve", serve="heuristic")
CAPPED = control("serve", serve="classical")
OVERRIDE = control(
    "rollout.quantum", rollout=Rollout(path=Path.QUANTUM, stage=Stage.LIVE, override=True)
)
CANARY = control(
    "rollout.quantum", rollout=Rollout(path=Path.QUANTUM, stage=Stage.CANARY, share=0.5)
)
# So high that one payment in the ring below is declined by any path, and one outside by none.
STEEP = 40.0


def all_untreated(pipeline: Pipeline = PAYMENTS) -> Pipeline:
    """The pipeline, every event up to 100 untreated."""
    rollout = msgspec.structs.replace(
        pipeline.rollout, untreated_share=1.0, untreated_amount_max=100.0
    )
    return msgspec.structs.replace(pipeline, rollout=rollout)


def declining() -> Pipeline:
    """Payments whose ring terms alone lead to a decline."""
    terms = tuple(
        msgspec.structs.replace(term, weight=STEEP) if ".ring." in term.value else term
        for term in PAYMENTS.score.terms
    )
    score = msgspec.structs.replace(PAYMENTS.score, terms=terms)
    return msgspec.structs.replace(PAYMENTS, score=score)


def cache(*accounts: str) -> MemoryCache:
    """These accounts in a ring that both paths have an estimate of."""
    values = {"density": 0.5, "core_number": 2, "known_bad_near": 0.0, "subgraph_since_ms": NOW_MS}
    held = [heartbeat()]
    for account in accounts or ("a1",):
        held.append(update("account", account, "graph", values=values))
        both = {"quantum": {"membership": 0.8}, "classical": {"membership": 0.7}}
        held.append(msgspec.structs.replace(ring("account", account, 0.8), estimates=both))
    return MemoryCache(*held)


class Told:
    """What an operator has said so far."""

    def __init__(self) -> None:
        self.fold = ControlFold("payments")

    def say(self, *controls: Control) -> None:
        """Put these in force."""
        assert self.fold.take([record(one) for one in controls]) == []

    def lift(self, one: Control) -> None:
        """End it."""
        self.fold.take([tombstone(one)])

    def enricher(self, pipeline: Pipeline = PAYMENTS, held: MemoryCache | None = None) -> Enricher:
        """An enricher that follows it."""
        return enricher(pipeline, held or cache(), control=lambda: self.fold.state)


def answer(by: Enricher, **fields: Any) -> Enriched:
    """One payment's."""
    [output] = by.process(records(payment(**fields))).enriched
    return enriched(output)


def test_with_nothing_in_force_a_record_says_nothing_of_it() -> None:
    """Its bytes are those of before there was a rollout; a withdrawal alone changes nothing."""
    told = Told()
    [output] = told.enricher().process(records(payment())).enriched
    assert b"rollout" not in output.value
    assert enriched(output).path is Path.QUANTUM
    told.say(control("withdraw.job.x", job_id="x"))
    assert answer(told.enricher()).rollout is None


def test_the_kill_switch_leaves_the_heuristic() -> None:
    """From the next batch on, over an override too; the counterfactual scores stay; then back."""
    told = Told()
    by = told.enricher()
    told.say(OVERRIDE)
    before = answer(by)
    assert before.rollout == Assigned(
        paths=(Path.QUANTUM, Path.CLASSICAL),
        stage=Stage.LIVE,
        revision=told.fold.state.revision,
        override=True,
    )
    told.say(KILL)
    killed = answer(by)
    assert (killed.path, killed.scores.served) == (Path.HEURISTIC, before.scores.heuristic)
    assert killed.scores.quantum == before.scores.quantum
    assert killed.rollout == Assigned(revision=told.fold.state.revision)
    told.say(CAPPED)
    assert answer(by).path is Path.CLASSICAL
    told.lift(KILL)
    assert answer(by) == before


def test_a_canary_serves_its_share_of_the_accounts() -> None:
    """An account is in it for all of its events; outside, the classical path serves as before."""
    told = Told()
    told.say(CANARY)
    accounts = [f"a{number}" for number in range(40)]
    by = told.enricher(held=cache(*accounts))
    payments = [payment(account_id=account, event_id=f"{account}-{turn}")
                for turn in range(2) for account in accounts]  # fmt: skip
    found: dict[str, set[Path]] = {}
    for output in by.process(records(*payments)).enriched:
        event = enriched(output)
        assert event.rollout is not None
        canary = Path.QUANTUM in event.rollout.paths
        assert event.path is (Path.QUANTUM if canary else Path.CLASSICAL)
        assert event.rollout.stage is (Stage.CANARY if canary else Stage.LIVE)
        found.setdefault(output.key, set()).add(event.path)
    assert all(len(paths) == 1 for paths in found.values())
    quantum = sum(paths == {Path.QUANTUM} for paths in found.values())
    assert 8 <= quantum <= 32


def test_an_untreated_event_is_not_declined_on_a_ring_paths_word() -> None:
    """Score, level and reasons stay the path's; the decision is the heuristic's, which is said."""
    treated = answer(Told().enricher(declining()))
    assert (treated.path, treated.decision) == (Path.QUANTUM, Decision.DECLINE)
    outputs = Told().enricher(all_untreated(declining())).process(records(payment()))
    [output] = outputs.enriched
    event = enriched(output)
    assert event.rollout is not None
    assert event.rollout.untreated
    assert event.rollout.withheld is Decision.DECLINE
    assert event.decision is not Decision.DECLINE
    assert (event.path, event.scores, event.level, event.reasons) == (
        treated.path, treated.scores, treated.level, treated.reasons,
    )  # fmt: skip
    assert rescored(all_untreated(declining()))(output.value) == output.value


def test_what_is_not_declined_is_only_marked() -> None:
    """And a large event is treated like any other."""
    by = Told().enricher(all_untreated())
    plain = answer(Told().enricher(), amount=20.0)
    marked = answer(by, amount=20.0)
    assert marked.rollout == Assigned(
        paths=(Path.QUANTUM, Path.CLASSICAL), stage=Stage.LIVE, untreated=True
    )
    assert msgspec.structs.replace(marked, rollout=None) == plain
    assert answer(by, amount=101.0).rollout is None


def test_what_the_heuristic_declines_is_declined() -> None:
    """An untreated event too: it is the ring paths' word that is not followed."""
    levels = msgspec.structs.replace(PAYMENTS.score.levels, elevated=0.0, highest=0.0)
    score = msgspec.structs.replace(PAYMENTS.score, levels=levels)
    event = answer(Told().enricher(all_untreated(msgspec.structs.replace(PAYMENTS, score=score))))
    assert event.decision is Decision.DECLINE
    assert event.rollout is not None
    assert event.rollout.withheld is None


def test_a_review_follows_the_decision() -> None:
    """What an untreated event's heuristic sends to review is reviewed, with the served path."""
    decisions = msgspec.structs.replace(PAYMENTS.score.decisions, normal="review")
    pipeline = declining()
    score = msgspec.structs.replace(pipeline.score, decisions=decisions)
    by = Told().enricher(all_untreated(msgspec.structs.replace(pipeline, score=score)))
    outputs = by.process(records(payment()))
    [event], [review] = outputs.enriched, outputs.reviews
    assert enriched(event).decision is Decision.REVIEW
    assert msgspec.json.decode(review.value, type=Review).path is Path.QUANTUM


STATES = st.lists(st.sampled_from([KILL, CAPPED, OVERRIDE, CANARY]), max_size=3)


@given(controls=STATES, account=st.integers(0, 20), amount=st.floats(-200, 200), hold=st.booleans())
def test_whatever_is_in_force_a_record_scores_again_to_its_bytes(
    controls: list[Control], account: int, amount: float, *, hold: bool
) -> None:
    """By the record alone: the state of then is not asked."""
    pipeline = all_untreated(declining()) if hold else PAYMENTS
    told = Told()
    told.say(*controls)
    held = cache(*(f"a{number}" for number in range(0, 21, 2)))
    by = told.enricher(pipeline, held)
    [output] = by.process(records(payment(account_id=f"a{account}", amount=amount))).enriched
    assert rescored(pipeline)(output.value) == output.value


@pytest.mark.parametrize(("pipeline", "amount"), [(declining(), 20.0), (PAYMENTS, 5.0)])
def test_a_record_that_was_changed_scores_again_to_other_bytes(
    pipeline: Pipeline, amount: float
) -> None:
    """That a decline was withheld, or that it was not, does not stand by a record's word alone."""
    event = answer(Told().enricher(all_untreated(pipeline)), amount=amount)
    assert event.rollout is not None
    other = None if event.rollout.withheld else Decision.DECLINE
    changed = msgspec.structs.replace(event.rollout, withheld=other)
    forged = msgspec.json.encode(msgspec.structs.replace(event, rollout=changed))
    again = msgspec.json.decode(rescored(all_untreated(pipeline))(forged), type=Enriched)
    assert again.rollout == event.rollout
