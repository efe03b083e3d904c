"""Worker processes that outlive neither their parent nor a signal that is not theirs.

Samplers hold the GIL, so their work runs in spawned processes, one thread each. A killed child
fails the task that it had with BrokenProcessPool; what waited goes to the child that replaces it.
"""

import atexit
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, ParamSpec, TypeVar

from enrichment.provider.child import CONTEXT, Child, Task, stopping
from enrichment.provider.contract import Failure, FailureKind

__all__ = ["IN_FLIGHT_MAX", "Pool", "stopping"]

IN_FLIGHT_MAX: Final = 64
"""Tasks submitted and not done: half a minute of one core at half a second a task."""

P = ParamSpec("P")
T = TypeVar("T")


class Pool:
    """A bounded pool of spawned processes, each replaced when it dies; any thread may use it."""

    def __init__(
        self,
        *,
        workers: int,
        warm_up: Callable[[], None] | None = None,
        in_flight_max: int = IN_FLIGHT_MAX,
    ) -> None:
        """Hold `workers` processes, none of them started yet; `warm_up` runs first in each."""
        if workers < 1 or in_flight_max < 1:
            msg = f"at least one worker and one task: {workers}, {in_flight_max}"
            raise ValueError(msg)
        self.workers = workers
        self.in_flight_max = in_flight_max
        self.rebuilt = 0
        self._warm_up = warm_up
        self._lock = threading.Lock()
        self._in_flight = 0
        self._closed = False
        # Bounded by in_flight_max, and at the end by one None for each keeper.
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._keepers: list[threading.Thread] = []
        # Its end is the word to stop. Nothing with a lock: a child killed in it would keep it.
        self._stop, self._running = CONTEXT.Pipe(duplex=False)

    @property
    def in_flight(self) -> int:
        """How many tasks are submitted and not done."""
        return self._in_flight

    def start(self) -> None:
        """Start the processes, so that the first task does not wait for them; returns at once."""
        started = self.submit(os.getpid)
        if isinstance(started, Failure):
            raise RuntimeError(started.detail)  # noqa: TRY004  # a failure's kind, not its type

    def submit(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> "Future[T] | Failure":
        """Run a module-level function in a child; a QUOTA failure where the pool is full.

        The future raises BrokenProcessPool where the child that had the task died meanwhile.
        """
        with self._lock:
            if self._closed:
                return Failure(kind=FailureKind.CANCELLED, detail="the pool is closed")
            if self._in_flight >= self.in_flight_max:
                detail = f"{self._in_flight} tasks in flight, at most {self.in_flight_max}"
                return Failure(kind=FailureKind.QUOTA, detail=detail)
            self._in_flight += 1
            if not self._keepers:
                self._keepers = [
                    threading.Thread(target=self._keep, name=f"child-{number}", daemon=True)
                    for number in range(self.workers)
                ]
                for keeper in self._keepers:
                    keeper.start()
                # Where nobody closes it, the interpreter would wait for the children for ever.
                atexit.register(self.close)
            task = Task(function=function, args=args, kwargs=kwargs)
            task.future.add_done_callback(self._done)
            self._tasks.put(task)
        return task.future

    def close(self) -> None:
        """Give up what is pending, let children stop at their next problem, and wait for them."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._running.close()
        while (task := self._next_waiting()) is not None:
            task.future.cancel()
        for _ in self._keepers:
            self._tasks.put(None)
        for keeper in self._keepers:
            keeper.join()
        self._stop.close()
        atexit.unregister(self.close)

    def _next_waiting(self) -> Task | None:
        """A task that no child has begun, or None."""
        try:
            return self._tasks.get_nowait()
        except queue.Empty:
            return None

    def _keep(self) -> None:
        """Run tasks in one child after another, until the pool closes."""
        child = Child(self._stop, self._warm_up)
        while (task := self._tasks.get()) is not None:
            if not task.future.set_running_or_notify_cancel():
                continue
            if not child.alive:
                child.end()
                child = Child(self._stop, self._warm_up)
                with self._lock:
                    self.rebuilt += 1
            child.run(task)
        child.end()

    def _done(self, _: "Future[T]") -> None:
        """Free the task's place."""
        with self._lock:
            self._in_flight -= 1
