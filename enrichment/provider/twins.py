"""The twins of one request: what classical samplers make of the same models, in our own processes.

They are begun when they are first asked for, which is when the samples are there: jobs wait for a
device by the hundred, and answers that wait beside them would be memory for nothing.
"""

from collections.abc import Mapping
from concurrent.futures import Future

from enrichment.provider import local
from enrichment.provider.contract import LATER, Failure, SampleRequest, SampleSet
from enrichment.provider.jobs import Done
from enrichment.provider.pool import Pool

Answers = Mapping[str, tuple[SampleSet, ...]]
"""By twin: one sample set per model, in the request's order."""


class Twins:
    """One request's twins; asked by one thread at a time, dropped by any."""

    def __init__(self, pool: Pool, request: SampleRequest, until_s: float) -> None:
        """Nothing is begun yet; the wall clock ends them at `until_s`."""
        self._pool = pool
        self._request = request
        self._until_s = until_s
        self._dropped = False
        self.task: Future[Done | Failure] | None = None

    def answers(self) -> Answers | Failure | None:
        """Return them, a failure that will not pass, or None: ask again in a while.

        Where a child died, or the pool is full, they are begun anew: the samples are here and may
        have been paid for, and the twins cost nothing.
        """
        if not self._request.twins:
            return {}
        if self.task is None:
            return self._begin()
        if not self.task.done():
            return None
        try:
            found = self.task.result(timeout=0)
        except Exception as error:  # noqa: BLE001  # every kind is in the local table
            found = local.failure_of(error)
        if isinstance(found, Done):
            return found.twins
        return self._begin() if found.kind in LATER else found

    def drop(self) -> None:
        """Give them up where they have not begun."""
        self._dropped = True
        if self.task is not None:
            self.task.cancel()

    def _begin(self) -> Failure | None:
        """Hand them to the pool, or leave that to the next time; its failure where none comes."""
        begun = self._pool.submit(local.solve, local.work_of(self._request, "", self._until_s))
        if isinstance(begun, Failure):
            self.task = None
            return None if begun.kind in LATER else begun
        self.task = begun
        if self._dropped:
            begun.cancel()
        return None
