"""The checker of histories: each anomaly is found where it is, and a correct log shows none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.history import Kind, check
from tests.faults.journal import (
    SUFFIX,
    Acked,
    Assigned,
    Ended,
    Journal,
    Op,
    Polled,
    Reached,
    Sent,
    read_journals,
)
from tests.faults.kafka_model import Step, history_of, steps

TOPIC: Final = "t"


def wrote(
    value: str, at: int | None = None, *, transaction: str = "", by: str = "w", key: str = "k"
) -> list[Op]:
    """A record sent to the only partition, and acknowledged unless `at` is None."""
    send = f"{by}:{value}:{at}:{transaction}"
    sent = Sent(
        process=by, send=send, topic=TOPIC, partition=0, key=key, value=value,
        transaction=transaction,
    )  # fmt: skip
    return [sent] if at is None else [sent, Acked(process=by, send=send, offset=at)]


def ended(transaction: str, *, committed: bool) -> Op:
    """The word on a transaction."""
    return Ended(process="w", transaction=transaction, committed=committed)


def read(
    *records: tuple[int, str],
    by: str = "r",
    start: int = 0,
    to: int = 0,
    committed: bool = True,
    key: str = "k",
) -> list[Op]:
    """A span of one reader: what it was given, and where it was told that it had all."""
    where = {"process": by, "topic": TOPIC, "partition": 0}
    return [
        Assigned(process=by, topic=TOPIC, partition=0, start=start, read_committed=committed),
        *(Polled(**where, offset=at, value=value, key=key) for at, value in records),  # type: ignore[arg-type]
        *([Reached(**where, position=to)] if to else []),  # type: ignore[arg-type]
    ]


def kinds(history: Sequence[Op], **options: frozenset[str]) -> list[tuple[Kind, int | None]]:
    """What is found, and at which offset."""
    return [(each.kind, each.offset) for each in check(history, **options)]


def test_a_correct_history_has_nothing() -> None:
    """Gaps of markers and aborted records, a re-read, one that is behind: none is an anomaly."""
    history = [
        *wrote("a", 0),
        *wrote("b", 1, transaction="1"),
        ended("1", committed=True),  # its marker is at 2
        *wrote("c", 3, transaction="2"),
        ended("2", committed=False),  # and at 4
        *wrote("c", 5, transaction="3"),
        ended("3", committed=True),
        *wrote("d", None),  # nobody ever said whether it came
        *read((0, "a"), (1, "b"), (5, "c"), to=7),
        *read((0, "a"), (1, "b"), (3, "c"), (5, "c"), by="u", committed=False, to=7),
        *read((0, "a"), by="slow"),
        *read((1, "b"), (5, "c"), by="slow", start=1),
    ]
    assert check(history) == []


def test_a_lost_write() -> None:
    """Acknowledged, and gone for a reader that went past it."""
    history = [*wrote("a", 0), *wrote("b", 1), *wrote("c", 2), *read((0, "a"), (2, "c"))]
    assert kinds(history) == [(Kind.LOST, 1)]


def test_a_lost_write_at_the_end() -> None:
    """The end that a reader is told is past the record: it is lost, and not merely unseen."""
    history = [*wrote("a", 0), *wrote("b", 1), *read((0, "a"), to=2)]
    assert kinds(history) == [(Kind.LOST, 1)]


def test_an_unseen_write() -> None:
    """Acknowledged, and nobody has come that far."""
    assert kinds([*wrote("a", 0), *wrote("b", 1), *read((0, "a"))]) == [(Kind.UNSEEN, 1)]


def test_an_unseen_write_without_an_offset() -> None:
    """Its transaction is committed; where it lies was never told; its value is nowhere."""
    history = [
        *wrote("a", 0), *wrote("b", None, transaction="1"), ended("1", committed=True),
        *read((0, "a"), to=3),
    ]  # fmt: skip
    assert kinds(history) == [(Kind.UNSEEN, None)]


def test_a_duplicate() -> None:
    """One value at two offsets, as a retry without idempotence leaves it."""
    history = [*wrote("a", 0), *read((0, "a"), (1, "a"))]
    assert kinds(history) == [(Kind.DUPLICATE, 1)]


def test_tombstones_are_no_duplicates() -> None:
    """They have no content that could tell them apart."""
    assert check([*wrote("", 0), *wrote("", 1), *read((0, ""), (1, ""))]) == []


@pytest.mark.parametrize("offset", [0, None])
def test_an_aborted_read(offset: int | None) -> None:
    """A committed reader is given what its writer has aborted, its offset known or not."""
    history = [
        *wrote("a", offset, transaction="1"),
        ended("1", committed=False),
        *read((0, "a"), to=2),
    ]
    assert kinds(history) == [(Kind.ABORTED_READ, 0)]


def test_an_uncommitted_reader_may_read_what_is_aborted() -> None:
    """That is what it is for."""
    history = [
        *wrote("a", 0, transaction="1"),
        ended("1", committed=False),
        *read((0, "a"), committed=False, to=2),
    ]
    assert check(history) == []


def test_a_torn_transaction() -> None:
    """Its writer died before it knew: all of it, or nothing, but not a part."""
    history = [
        *wrote("a", 0, transaction="1"),
        *wrote("b", 1, transaction="1"),
        *read((0, "a"), to=3),
    ]
    assert kinds(history) == [(Kind.TORN, 1)]
    whole = [*history[:-2], *read((0, "a"), (1, "b"), to=3)]
    assert check(whole) == []
    assert check([*history[:4], *read(to=3)]) == []
    assert check([*history[:4], *read((0, "a"))]) == [], "nobody has come to the other part yet"


def test_a_non_monotonic_poll() -> None:
    """Back, or the same again, within one span; another assignment may begin anywhere."""
    writes = [*wrote("a", 0), *wrote("b", 1)]
    assert kinds([*writes, *read((0, "a"), (1, "b"), (0, "a"))]) == [(Kind.NON_MONOTONIC, 0)]
    assert kinds([*writes, *read((0, "a"), (0, "a"), (1, "b"))]) == [(Kind.NON_MONOTONIC, 0)]
    again = [*writes, *read((0, "a"), (1, "b")), *read((0, "a"), (1, "b"))]
    assert check(again) == []


def test_a_poll_before_the_start() -> None:
    """A reader that begins at 1 is not given what lies at 0."""
    history = [*wrote("a", 0), *wrote("b", 1), *read((0, "a"), (1, "b"), start=1)]
    assert kinds(history) == [(Kind.NON_MONOTONIC, 0)]


def test_a_skipped_offset() -> None:
    """One reader goes past what another is given: in the middle, at its start, or at its end."""
    writes = [*wrote("a", 0), *wrote("b", 1), *wrote("c", 2)]
    whole = read((0, "a"), (1, "b"), (2, "c"), by="whole")
    middle = read((0, "a"), (2, "c"))
    assert kinds([*writes, *whole, *middle]) == [(Kind.SKIPPED, 1)]
    assert kinds([*writes, *whole, *read((1, "b"), (2, "c"))]) == [(Kind.SKIPPED, 0)]
    assert kinds([*writes, *whole, *read((0, "a"), (1, "b"), to=3)]) == [(Kind.SKIPPED, 2)]


def test_an_uncommitted_reader_skips_nothing() -> None:
    """It is given aborted records, too: their place is no gap for it."""
    history = [
        *wrote("a", 0, transaction="1"), ended("1", committed=False), *wrote("b", 2),
        *read((2, "b"), to=3), *read((2, "b"), by="u", committed=False),
    ]  # fmt: skip
    assert kinds(history) == [(Kind.SKIPPED, 0)]


def test_an_inconsistent_offset() -> None:
    """Two values at one offset, by two readers, or by a reader and the writer's word."""
    readers = [*read((0, "a"), by="one"), *read((0, "b"), by="two")]
    assert kinds(readers) == [(Kind.INCONSISTENT, 0)]
    assert kinds([*wrote("a", 0), *read((0, "b"))]) == [(Kind.INCONSISTENT, 0)]


def test_a_reordered_write() -> None:
    """What a writer sent later lies before."""
    history = [*wrote("a", 1), *wrote("b", 0), *read((0, "b"), (1, "a"))]
    assert kinds(history) == [(Kind.REORDERED, 0)]
    two = [*wrote("a", 1, by="x"), *wrote("b", 0, by="y"), *read((0, "b"), (1, "a"))]
    assert check(two) == []


def test_compaction_may_take_what_has_a_newer_record() -> None:
    """In a compacted topic the older record of a key may be gone, the newest never."""
    history = [*wrote("a", 0), *wrote("b", 1), *read((1, "b"), to=2)]
    assert kinds(history) == [(Kind.LOST, 0)]
    assert check(history, compacted=frozenset({TOPIC})) == []
    last = [*wrote("a", 0), *wrote("b", 1), *read((0, "a"), to=2)]
    assert kinds(last, compacted=frozenset({TOPIC})) == [(Kind.LOST, 1)]


@settings(max_examples=300)
@given(steps())
def test_a_correct_kafka_shows_no_anomaly(script: list[Step]) -> None:
    """Any interleaving of writers, transactions, deaths and readers over one true log is clean."""
    assert check(history_of(script)) == []


@settings(max_examples=300)
@given(steps(), st.data())
def test_what_a_reader_was_given_cannot_be_taken_from_it(
    script: list[Step], data: st.DataObject
) -> None:
    """A record struck out of the middle of a span is missed; one given twice is noticed."""
    history = history_of(script)
    spans: dict[tuple[str, str, int], list[int]] = {}
    inner: list[int] = []
    for index, op in enumerate(history):
        if isinstance(op, Assigned | Polled | Reached):
            span = spans.setdefault((op.process, op.topic, op.partition), [])
            if isinstance(op, Assigned):
                span.clear()
            elif span and isinstance(history[span[-1]], Polled):
                inner.append(span[-1])
            span.append(index)
    if not inner:
        return
    index = data.draw(st.sampled_from(inner))
    struck = check([*history[:index], *history[index + 1 :]])
    # Struck from the only reader of a record whose writer never heard of it, nobody can tell.
    if any(
        isinstance(op, Polled) and op != history[index] and _where(op) == _where(history[index])
        for op in history
    ):
        assert {each.kind for each in struck} & {Kind.SKIPPED, Kind.LOST, Kind.TORN}
    doubled = check([*history[: index + 1], *history[index:]])
    assert Kind.NON_MONOTONIC in {each.kind for each in doubled}


def _where(op: Op) -> tuple[str, int, int]:
    assert isinstance(op, Polled)
    return op.topic, op.partition, op.offset


def test_journals_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Every kind of op comes back, each file in its order."""
    first = [*wrote("a", 0), ended("1", committed=True)]
    second = read((0, "a"), to=1)
    for number, ops in enumerate((first, second)):
        journal = Journal(tmp_path / f"{number}{SUFFIX}")
        for op in ops:
            journal.note(op)
        journal.close()
    assert read_journals(tmp_path) == [*first, *second]
