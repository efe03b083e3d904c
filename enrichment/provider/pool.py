"""Worker processes that outlive neither their parent nor a signal that is not theirs.

Samplers hold the GIL, so their work runs in spawned processes, one thread each. A killed child
fails every pending future with BrokenProcessPool; the next submission gets a new pool.
"""

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, resource_tracker
from multiprocessing.synchronize import Event
from typing import Final, ParamSpec, TypeVar

from enrichment.provider.contract import Failure, FailureKind

IN_FLIGHT_MAX: Final = 64
"""Tasks submitted and not done: half a minute of one core at half a second a task."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

P = ParamSpec("P")
T = TypeVar("T")

_stop: Event | None = None
"""In a child: set when the parent's pool closes."""


class Pool:
    """A bounded pool of spawned processes, rebuilt after a crash; any thread may use it."""

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
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._executor: ProcessPoolExecutor | None = None

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

        The future raises BrokenProcessPool where a child died meanwhile.
        """
        with self._lock:
            if self._closed:
                return Failure(kind=FailureKind.CANCELLED, detail="the pool is closed")
            if self._in_flight >= self.in_flight_max:
                detail = f"{self._in_flight} tasks in flight, at most {self.in_flight_max}"
                return Failure(kind=FailureKind.QUOTA, detail=detail)
            future = self._submit(function, *args, **kwargs)
            self._in_flight += 1
        future.add_done_callback(self._done)
        return future

    def close(self) -> None:
        """Give up what is pending, let children stop at their next problem, and wait for them."""
        with self._lock:
            self._closed = True
            executor, self._executor = self._executor, None
        self._stop.set()
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)

    def _submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Submit to the executor there is, or to a new one where that is broken."""
        if self._executor is not None:
            try:
                return self._executor.submit(function, *args, **kwargs)
            except BrokenProcessPool:
                self.rebuilt += 1
                self._executor.shutdown(wait=False)
        self._executor = self._new_executor()
        with _spawning():  # an executor starts its children at the first submission
            return self._executor.submit(function, *args, **kwargs)

    def _new_executor(self) -> ProcessPoolExecutor:
        """Return an executor whose children have not been started."""
        return ProcessPoolExecutor(
            max_workers=self.workers,
            mp_context=self._context,
            initializer=_begin_child,
            initargs=(self._stop, self._warm_up),
        )

    def _done(self, _: "Future[T]") -> None:
        """Free the task's place."""
        with self._lock:
            self._in_flight -= 1


@contextmanager
def _spawning() -> Iterator[None]:
    """Give children that start in this block one thread each, and no signal before they are ready.

    Children inherit blocked signals, ignore them, and only then unblock them: a Ctrl-C that arrives
    while one starts must not kill it. BLAS reads its number of threads when numpy is imported,
    which is before any code of ours runs in the child, so the environment has to be there already.
    """
    # The resource tracker resets the mask when it starts: it goes first.
    resource_tracker.ensure_running()
    kept = {name: os.environ.get(name) for name in _THREADS}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stopping() -> bool:
    """Return whether the parent's pool is closing; False outside of a child."""
    return _stop is not None and _stop.is_set()


def _begin_child(stop: Event, warm_up: Callable[[], None] | None) -> None:
    """Make this process a child that dies with its parent and by nothing else, then warm it up."""
    global _stop  # noqa: PLW0603  # a process has one pool, and tasks are plain functions
    _stop = stop
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    threading.Thread(target=_die_with_parent, name="parent-watch", daemon=True).start()
    if warm_up is not None:
        warm_up()
    gc.freeze()  # what was loaded lives as long as the process: no need to walk it again and again


def _die_with_parent() -> None:
    """Wait for the parent's end, however it came, and end this process at once."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
