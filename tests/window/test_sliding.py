"""Totals are those of the slices that count, whatever came, was merged and was taken out."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from enrichment.window.sliding import BATCHES_MAX, Batch, Sliding

ROWS = st.dictionaries(st.integers(0, 8), st.tuples(st.integers(1, 5), st.integers(-9, 9)))
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "add", "merge", "take_out"]), st.integers(0, 3), ROWS),
    max_size=60,
)


def batch(rows: dict[int, tuple[int, int]]) -> Batch:
    """The rows as columns."""
    events, amounts = ([row[at] for row in rows.values()] for at in (0, 1))
    return Batch(*(np.array(column, np.int64) for column in (list(rows), events, amounts)))


@given(steps=STEPS)
def test_totals_are_of_the_slices_that_count(
    steps: list[tuple[str, int, dict[int, tuple[int, int]]]],
) -> None:
    """By recomputation; and who is new, and who is gone, is told."""
    sums, slices = Sliding(), dict[int, list[dict[int, tuple[int, int]]]]()
    for what, start_ms, rows in steps:
        present = {number for some in slices.values() for one in some for number in one}
        if what == "add":
            new = sums.add(start_ms, batch(rows))
            assert set(new.tolist()) == rows.keys() - present
            slices.setdefault(start_ms, []).append(rows)
        elif what == "merge":
            check(sums.merged(start_ms), slices.get(start_ms))
        elif start_ms in slices:
            mine = {number for one in slices.pop(start_ms) for number in one}
            left = {number for some in slices.values() for one in some for number in one}
            assert sorted(sums.take_out(start_ms).tolist()) == sorted(mine - left)
        present = {number for some in slices.values() for one in some for number in one}
        assert sums.size == len(present) == np.count_nonzero(sums.parts)
        assert set(sums.starts) == slices.keys()
        events, amounts = totals(one for some in slices.values() for one in some)
        for number in range(9):
            assert sums.events[number] == events[number]
            assert sums.amount_minor[number] == amounts[number]
    for start_ms in list(slices):
        sums.take_out(start_ms)
    assert sums.size == sums.rows == 0


def totals(rows: object) -> tuple[Counter[int], Counter[int]]:
    """Events and amounts by number."""
    events, amounts = Counter[int](), Counter[int]()
    for one in rows:  # type: ignore[attr-defined]  # an iterable of rows
        for number, (count, amount) in one.items():
            events[number] += count
            amounts[number] += amount
    return events, amounts


def check(found: Batch | None, rows: list[dict[int, tuple[int, int]]] | None) -> None:
    """A slice as one batch has each number once, with its sums."""
    assert (found is None) == (rows is None)
    if found is not None and rows is not None:
        events, amounts = totals(rows)
        columns = (column.tolist() for column in found)
        assert sorted(zip(*columns, strict=True)) == [
            (n, events[n], amounts[n]) for n in sorted(events)
        ]


def test_many_small_batches_take_the_memory_of_one() -> None:
    """A thousand late digests of one entity are a few rows, not a thousand."""
    sums = Sliding()
    for _ in range(1_000):
        sums.add(0, batch({3: (1, 2)}))
    assert sums.rows <= BATCHES_MAX
    assert (sums.events[3], sums.amount_minor[3]) == (1_000, 2_000)
