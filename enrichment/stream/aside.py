"""Calls of the Kafka client in threads that the process does not wait for when it ends.

Two of them may never come back, whatever their timeout says (librdkafka 2.16): sending offsets to a
transaction when the group's coordinator was away for a moment (librdkafka issue 5511; seen), and
closing a consumer in the middle of a rebalance (librdkafka issue 4041; seen). A pool of
`concurrent.futures` would be joined at exit.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from threading import Thread
from typing import Any

_Job = tuple[Future[Any], Callable[[], Any]]


class Aside(Executor):
    """One daemon thread that does what it is given, one after the other."""

    def __init__(self, name: str) -> None:
        # Bounded by who submits: the loop has one commit under way at most.
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future of the call's result."""
        future: Future[Any] = Future()
        self._jobs.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002  # as Executor has it
        """End the thread behind what it is doing, without waiting for that."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            try:
                future.set_result(call())
            except BaseException as failure:  # noqa: BLE001  # told to whoever asks for the result
                future.set_exception(failure)
            del job, future, call  # a batch is not kept until the next comes
