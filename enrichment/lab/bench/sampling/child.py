"""The child process in which samplers are timed: one thread, held to one core."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, ParamSpec, TypeVar

from enrichment.lab.bench.catalogue import BenchError
from enrichment.provider.contract import Failure
from enrichment.provider.pool import Pool

ANSWER_S: Final = 600.0
"""One call's patience: the longest takes a tenth of that."""

P = ParamSpec("P")
T = TypeVar("T")


class Child:
    """One process; its calls run one after the other."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a module-level function returns there. Raises what it raises."""
        future = self._pool.submit(function, *args, **kwargs)
        if isinstance(future, Failure):
            raise BenchError(future.detail)
        return future.result(ANSWER_S)


@contextmanager
def one_core() -> Iterator[Child]:
    """A child for the block, ended behind it."""
    pool = Pool(workers=1, warm_up=_hold)
    try:
        yield Child(pool)
    finally:
        pool.close()


def _hold() -> None:
    """Stay on the last core that this process may use: the first is the one interrupts prefer."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
