"""Events and amounts by number, of which each slice of time can be taken out again."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from enrichment.window.content import Column
from enrichment.window.entities import SIZE_MIN, Numbers, grown

# Of a slice; then they are made one: each late digest would be a batch, and take as much memory as
# a hundred rows.
BATCHES_MAX: Final = 16


class Batch(NamedTuple):
    """What came at once for a slice: columns of numbers, each once, their events and amounts."""

    numbers: Numbers
    events: Column
    amount_minor: Column


class Sliding:
    """Totals over the slices that count. Entering and leaving cost what enters and leaves."""

    __slots__ = ("_slices", "amount_minor", "events", "parts", "rows", "size")

    def __init__(self) -> None:
        # By number: the totals, and how many batches it is in.
        self.events = np.zeros(SIZE_MIN, np.int64)
        self.amount_minor = np.zeros(SIZE_MIN, np.int64)
        self.parts = np.zeros(SIZE_MIN, np.int32)
        # How many numbers are in any batch, and how many rows all batches have.
        self.size = self.rows = 0
        self._slices: dict[int, list[Batch]] = {}

    @property
    def starts(self) -> Iterable[int]:
        """The starts of the slices that count."""
        return self._slices.keys()

    def fit(self, numbers: int) -> None:
        """Have room for so many numbers."""
        if numbers > len(self.events):
            self.events = grown(self.events, numbers)
            self.amount_minor = grown(self.amount_minor, numbers)
            self.parts = grown(self.parts, numbers)

    def open(self, start_ms: int) -> None:
        """Let the slice count, whatever comes for it."""
        self._slices.setdefault(start_ms, [])

    def add(self, start_ms: int, batch: Batch) -> Numbers:
        """Count a batch in; which of its numbers are new."""
        numbers, events, amount_minor = batch
        self.events[numbers] += events
        self.amount_minor[numbers] += amount_minor
        new: Numbers = numbers[self.parts[numbers] == 0]
        self.parts[numbers] += 1
        self.size += len(new)
        self.rows += len(numbers)
        batches = self._slices.setdefault(start_ms, [])
        batches.append(Batch(numbers.astype(np.int32), events, amount_minor))
        if len(batches) > BATCHES_MAX:
            self.merged(start_ms)
        return new

    def merged(self, start_ms: int) -> Batch | None:
        """The slice as one batch; None where nothing of it counts."""
        batches = self._slices.get(start_ms)
        if batches is None:
            return None
        if len(batches) != 1:
            rows = [np.concatenate(columns) for columns in zip(*batches, strict=True)] or [
                np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int64),
            ]  # fmt: skip
            numbers, index = np.unique(rows[0], return_inverse=True)
            events, amount_minor = np.zeros((2, len(numbers)), np.int64)
            np.add.at(events, index, rows[1])
            np.add.at(amount_minor, index, rows[2])
            np.subtract.at(self.parts, rows[0], 1)
            self.parts[numbers] += 1
            self.rows += len(numbers) - len(rows[0])
            batches[:] = [Batch(numbers, events, amount_minor)]
        return batches[0]

    def take_out(self, start_ms: int) -> Numbers:
        """Let the slice count no more; the numbers that no other slice has."""
        gone = []
        for numbers, events, amount_minor in self._slices.pop(start_ms):
            self.events[numbers] -= events
            self.amount_minor[numbers] -= amount_minor
            self.parts[numbers] -= 1
            self.rows -= len(numbers)
            gone.append(numbers[self.parts[numbers] == 0])
        left = np.concatenate(gone).astype(np.int64) if gone else np.empty(0, np.int64)
        self.size -= len(left)
        return left

    def batches(self, start_ms: int) -> Iterable[Batch]:
        """The batches of a slice."""
        return self._slices.get(start_ms, ())
