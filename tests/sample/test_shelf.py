"""What the ledger keeps of finished jobs, and what it drops."""

import msgspec
import pytest

from enrichment.records import Job, JobState
from enrichment.records.job import Charge
from enrichment.sample import shelf as shelf_module
from enrichment.sample.cases import CaseBook
from enrichment.sample.outcomes import Said
from enrichment.sample.shelf import DONE_MS, FORGET_MAX, PAID_MS, Shelf
from enrichment.stream.topics import JOBS
from tests.sample.fakes import ADDRESSES, START_MS
from tests.sample.test_machine import job_of


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """An empty one, with room for ten."""
    monkeypatch.setattr(shelf_module, "DONE_MAX", 10)
    return Shelf(partition=0, cases=CaseBook((), Said()))


def ended(number: int, *, micro: int = 0) -> Job:
    """A job that ended so many milliseconds after the start."""
    charge = Charge(attempt=1, provider="qpu", day=1, micro=micro)
    return msgspec.structs.replace(
        job_of(JobState.SUCCEEDED),
        job_id=f"j{number}",
        updated_ms=START_MS + number,
        charges=(charge,),
    )


def test_what_is_a_week_old_is_dropped_from_the_ledger(shelf: Shelf) -> None:
    """A tombstone for each, in the next transaction; the rest stays known."""
    for number in range(5):
        shelf.remember(ended(number, micro=7))
    shelf.forget(START_MS + 2 + DONE_MS)
    assert list(shelf.done) == ["j3", "j4"]
    messages = shelf.outbox.messages(ADDRESSES, 0)
    assert [(one.topic, one.key, one.value) for one in messages] == [
        (JOBS, b"j0", None),
        (JOBS, b"j1", None),
        (JOBS, b"j2", None),
    ]
    assert shelf.outbox.due(START_MS + 2 * DONE_MS)


def test_a_shard_whose_jobs_are_all_dropped_is_forgotten(shelf: Shelf) -> None:
    """Where each call is a shard of its own, memory is bounded by what the ledger keeps."""
    for number in range(30):
        job_id = f"calls|c{number}|0|0"
        job = msgspec.structs.replace(
            ended(number), job_id=job_id, micro_batch_id=job_id, shard=f"c{number}", problems=1
        )
        shelf.remember(job)
    shelf.forget(START_MS + 100)
    assert len(shelf.done) == 10
    assert set(shelf.published.values()) == set(shelf.done)


def test_beyond_so_many_the_oldest_go_but_not_what_the_budget_counts(shelf: Shelf) -> None:
    """Whatever was paid for is kept for two days, though there are too many."""
    for number in range(14):
        shelf.remember(ended(number, micro=7 if number < 2 else 0))
    shelf.forget(START_MS + 100)
    assert list(shelf.done) == ["j0", "j1", *(f"j{number}" for number in range(6, 14))]
    shelf.remember(ended(14))
    shelf.forget(START_MS + 1 + PAID_MS)
    assert "j0" not in shelf.done


def windowed(window: int, state: JobState, ended_ms: int) -> Job:
    """A job of that window of one shard, which had something to solve."""
    job_id = f"payments|eu|{window}|0"
    return msgspec.structs.replace(
        job_of(state), job_id=job_id, micro_batch_id=job_id, problems=1, updated_ms=ended_ms
    )


def test_the_newest_that_published_stays_while_an_older_one_may_be_tried_again(
    shelf: Shelf,
) -> None:
    """Without it a new owner could not tell that the older one must not publish."""
    newest = windowed(9, JobState.SUCCEEDED, START_MS)
    shelf.remember(windowed(8, JobState.SUCCEEDED, START_MS))
    shelf.remember(newest)
    shelf.remember(windowed(2, JobState.FAILED, START_MS + DONE_MS))
    shelf.forget(START_MS + DONE_MS)
    assert list(shelf.done) == [newest.job_id, "payments|eu|2|0"]
    shelf.forget(START_MS + 2 * DONE_MS)
    shelf.forget(START_MS + 2 * DONE_MS)
    assert not shelf.done
    assert not shelf.ended


def test_a_turn_drops_a_bounded_number(shelf: Shelf) -> None:
    """A backlog of old entries does not make one huge transaction."""
    for number in range(FORGET_MAX + 50):
        shelf.remember(ended(number))
    shelf.forget(START_MS + 2 * DONE_MS)
    assert len(shelf.outbox.dropped) == FORGET_MAX
