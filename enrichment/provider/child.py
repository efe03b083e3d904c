"""One worker process, as its parent sees it and from within: a pipe, a task at a time.

Each child has a pipe of its own whose other end the parent lets go of, so that a child that dies in
the middle of an answer (an answer is larger than what a pipe holds) ends the read of it at once. An
executor's children share one pipe, whose writing end its parent keeps open: killed there, a child
leaves `concurrent.futures.ProcessPoolExecutor` reading for ever, every task of it with no end.
"""

import gc
import multiprocessing
import os
import select
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final

CONTEXT: Final = multiprocessing.get_context("spawn")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_start_one: Final = threading.Lock()
"""Children start one after another: while one does, the environment is not the process's own."""

_stop: "select.poll | None" = None
"""In a child: readable when the parent's pool closes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """A call to be made in a child, and the future that is told of it."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    future: "Future[Any]" = field(default_factory=Future)


class Child:
    """A process that runs one task at a time; one thread of the parent talks to it."""

    def __init__(self, stop: Connection, warm_up: Callable[[], None] | None) -> None:
        """Start the process and return when it is warm, or dead."""
        self._pipe, theirs = CONTEXT.Pipe()
        self._process: SpawnProcess = CONTEXT.Process(
            target=_serve, args=(theirs, stop, warm_up), name="sampler"
        )
        self._fault = ""
        try:
            with _start_one, _quiet():
                self._process.start()
        except OSError as error:  # no memory, no process: whoever has a task for it is told
            self._fault = f"no child could be started: {error}"
        theirs.close()
        try:
            self._pipe.recv()
        except (EOFError, OSError):
            self._join()

    @property
    def alive(self) -> bool:
        """Whether it can be given a task."""
        return not self._fault and self._process.is_alive()

    def run(self, task: Task) -> None:
        """Run a task to its end: a value, its exception, or BrokenProcessPool where it died."""
        try:
            self._pipe.send((task.function, task.args, task.kwargs))
            answer = self._pipe.recv_bytes()
        except (EOFError, OSError) as error:
            self._died(task, error)
            return
        except Exception as error:  # noqa: BLE001  # a call that cannot be pickled: its caller's
            task.future.set_exception(error)
            return
        try:
            value, raised = ForkingPickler.loads(answer)
        except Exception as error:  # noqa: BLE001  # an exception that cannot be made again
            task.future.set_exception(error)
            return
        if raised is None:
            task.future.set_result(value)
        else:
            task.future.set_exception(raised)

    def end(self) -> None:
        """Let it go, and wait until it is gone."""
        self._pipe.close()
        self._join()

    def _died(self, task: Task, error: Exception) -> None:
        """Say so, once it is certain: a pipe ends a moment before its process does."""
        self._join()
        why = self._fault or f"the child ended with {self._process.exitcode}"
        broken = BrokenProcessPool(why)
        broken.__cause__ = error
        task.future.set_exception(broken)

    def _join(self) -> None:
        """Wait for the process, if there ever was one."""
        if not self._fault:
            self._process.join()


@contextmanager
def _quiet() -> Iterator[None]:
    """Give a child that starts in this block one thread, and no signal before it is ready.

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
    return _stop is not None and bool(_stop.poll(0))


def _serve(pipe: Connection, stop: Connection, warm_up: Callable[[], None] | None) -> None:
    """Be a child: warm up, say so, and run what comes until the pipe ends."""
    _begin(stop)
    if warm_up is not None:
        warm_up()
    gc.freeze()  # what was loaded lives as long as the process: no need to walk it again and again
    pipe.send(None)
    while True:
        try:
            function, args, kwargs = pipe.recv()
        except EOFError:
            return
        outcome = _outcome(function, args, kwargs)
        try:
            pipe.send(outcome)
        except BrokenPipeError:
            return
        except Exception as error:  # noqa: BLE001  # nothing was sent: it could not be pickled
            pipe.send((None, TypeError(f"{function.__name__}: no answer that travels: {error}")))


def _outcome(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Exception | None]:
    """Return a call's value, or its exception with the trace, which does not travel by itself."""
    try:
        return function(*args, **kwargs), None
    except Exception as error:  # noqa: BLE001  # it is raised again at the parent's
        error.add_note(traceback.format_exc())
        return None, error


def _begin(stop: Connection) -> None:
    """Make this process one that dies with its parent and by nothing else."""
    global _stop  # noqa: PLW0603  # a process has one pool, and tasks are plain functions
    _stop = select.poll()
    _stop.register(stop, select.POLLIN | select.POLLHUP)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    threading.Thread(target=_die_with_parent, name="parent-watch", daemon=True).start()


def _die_with_parent() -> None:
    """Wait for the parent's end, however it came, and end this process at once."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
