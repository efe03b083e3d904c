"""The worker brings outcomes to cases: in its transactions, and whatever dies in between."""

import random

import msgspec
import pytest

from enrichment.records import Case, CaseStatus, Outcome
from enrichment.sample.cases import Change
from enrichment.sample.outbox import Outbox
from enrichment.stream.topics import CASES
from tests.sample.fakes import ADDRESSES, Bench
from tests.sample.streams import batch, problem
from tests.sample.told import CLEARED, FRAUD, of_case, of_event


def seen() -> tuple[Bench, Case]:
    """A bench with one case."""
    bench = Bench()
    bench.send(batch(1, (problem(0),)))
    bench.turns(5)
    (case,) = bench.topics.cases().values()
    return bench, case


def only(bench: Bench) -> Case:
    """The one case as its topic tells it."""
    (case,) = bench.topics.cases().values()
    return case


def test_a_verdict_is_published_with_the_case_and_nothing_else() -> None:
    """One record of the case, confirmed, under an id of its own; no job and no feature."""
    bench, case = seen()
    before = {topic: len(records) for topic, records in bench.topics.records.items()}
    bench.tell(of_case(case.case_id, fraud=True, at_ms=10))
    bench.turns(2, ms=300)
    after = {topic: len(records) for topic, records in bench.topics.records.items()}
    assert after == before | {CASES: before[CASES] + 1}
    told = only(bench)
    assert (told.status, told.version, told.revision) == (CaseStatus.CONFIRMED, case.version, 1)


def test_two_states_of_a_case_have_two_event_ids() -> None:
    """Consumers that know a case by its `ce_id` do not take the verdict for a repetition."""
    _, case = seen()
    told = msgspec.structs.replace(case, revision=1)
    changes = [Change(case_id=case.case_id, case=one) for one in (case, told)]
    ids = [dict(one.headers)["ce_id"] for one in Outbox(cases=changes).messages(ADDRESSES, 0)]
    first = f"{case.case_id}|{case.version}"
    assert ids == [first.encode(), f"{first}|1".encode()]


def test_an_outcome_whose_transaction_aborts_is_written_with_the_next() -> None:
    """Nothing is lost, and nothing is said twice."""
    bench, case = seen()
    bench.tell(of_case(case.case_id, fraud=False, at_ms=10))
    bench.poll()
    bench.clock.now_ms += 300
    bench.write(aborts=True)
    assert only(bench).status is CaseStatus.OPEN
    bench.write()
    assert only(bench).status is CaseStatus.DISMISSED
    records = len(bench.topics.records[CASES])
    bench.turns(3, ms=300)
    assert len(bench.topics.records[CASES]) == records


def test_what_died_unwritten_is_heard_again_by_the_next_owner() -> None:
    """The process ends between the outcome and its transaction: the status is right after all."""
    bench, case = seen()
    bench.tell(of_case(case.case_id, fraud=True, at_ms=10))
    bench.poll()
    bench.restart()
    assert only(bench).status is CaseStatus.OPEN
    bench.turns(2, ms=300)
    assert only(bench).status is CaseStatus.CONFIRMED
    bench.restart()
    records = len(bench.topics.records[CASES])
    bench.turns(2, ms=300)
    assert len(bench.topics.records[CASES]) == records, "a new owner has nothing to say"


def test_an_outcome_about_an_unknown_case_or_partition_is_passed_over() -> None:
    """It may be about a case that was forgotten, or come when the partition has gone."""
    bench, _ = seen()
    bench.tell(of_case("case-of-old", fraud=True, at_ms=10))
    bench.worker.hear(7, of_event("acc-000000", FRAUD, 10))
    bench.turns(2, ms=300)
    assert only(bench).status is CaseStatus.OPEN


@pytest.mark.parametrize("seed", range(25))
def test_whatever_dies_the_status_is_that_of_all_outcomes(seed: int) -> None:
    """Random windows, outcomes, aborts and restarts: in the end as if nothing had gone wrong."""
    rng, calm = random.Random(seed), Bench()
    bench = Bench()
    accounts = [f"acc-{number:06d}" for number in range(4)]
    for number in range(1, 9):
        one = batch(number, (problem(0, seed=number),))
        outcomes: list[Outcome] = []
        for _ in range(rng.randrange(3)):
            kind = rng.choice([FRAUD, FRAUD, CLEARED])
            outcomes.append(of_event(rng.choice(accounts), kind, rng.randrange(9)))
        for each in (bench, calm):
            each.send(one)
            each.tell(*outcomes)
        calm.turns(3, ms=300)
        bench.clock.now_ms += 300
        bench.poll()
        bench.worker.tick()
        bench.write(aborts=rng.random() < 0.4)
        if rng.random() < 0.4:
            bench.restart()
    bench.turns(10, ms=300)
    calm.turns(10, ms=300)
    ours, theirs = only(bench), only(calm)
    assert (ours.case_id, ours.status) == (theirs.case_id, theirs.status)
    assert ours.members == theirs.members
