"""Jobs that have outlived several workers, taken up one at a time: see `quarantine`."""

from bisect import insort
from collections.abc import Mapping

from enrichment.sample.attempts import Attempts
from enrichment.sample.shelf import OpenJob, Shelf


class Suspects:
    """One worker's suspects, of all its partitions: at most one of them is at work."""

    def __init__(self, attempts: Attempts, shelves: Mapping[int, Shelf]) -> None:
        """Take them up by `attempts`; `shelves` are the worker's."""
        self._attempts = attempts
        self._shelves = shelves
        # The oldest first: a younger one would wait for its turn behind one that is left.
        self._waiting: list[OpenJob] = []
        self._on_trial: OpenJob | None = None

    def add(self, opened: OpenJob) -> None:
        """Let a job that was found unfinished wait until it is tried."""
        insort(self._waiting, opened, key=lambda other: other.order)

    def try_next(self, now_ms: int) -> None:
        """Take up the next one where the one before has come to its end."""
        if self._on_trial is not None and self._is_open(self._on_trial):
            return
        self._on_trial = None
        while self._waiting and self._on_trial is None:
            opened = self._waiting.pop(0)
            if self._is_open(opened):
                self._attempts.resume(opened, now_ms)
                # One that has been found too often is set aside at once, and takes no turn.
                self._on_trial = opened if self._is_open(opened) else None

    def _is_open(self, opened: OpenJob) -> bool:
        """Whether the job is still the worker's, and not terminal."""
        shelf = self._shelves.get(opened.partition)
        return shelf is not None and shelf.jobs.get(opened.job.job_id) is opened
