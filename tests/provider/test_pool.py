"""The pool's children live and die as they should, and full means something is said."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from pickle import PicklingError
from typing import TypeVar

import pytest

from enrichment.provider.contract import Failure, FailureKind
from enrichment.provider.pool import Pool
from tests.provider.requests import (
    answer_unsendable,
    die_in_the_middle_of_the_answer,
    raise_unsendable,
    signal_self,
    sleep,
    threads_of_blas,
)

T = TypeVar("T")


def value_of(future: "Future[T] | Failure") -> T:
    """Return a submitted task's value."""
    assert not isinstance(future, Failure), future
    return future.result(timeout=60)


def test_children_ignore_signals_and_have_one_thread() -> None:
    """A Ctrl-C or a stop meant for the parent does not end a child; the parent's env is its own."""
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    pool = Pool(workers=1)
    try:
        assert value_of(pool.submit(signal_self)) == "alive"
        assert value_of(pool.submit(threads_of_blas)) == "1"
    finally:
        pool.close()
    assert os.environ.get("OPENBLAS_NUM_THREADS") == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_full_pool_says_so() -> None:
    """A task beyond the limit is a QUOTA failure, and the place is free again when one is done."""
    pool = Pool(workers=1, in_flight_max=1)
    try:
        first = pool.submit(sleep, 0.2)
        full = pool.submit(sleep, 0.0)
        assert isinstance(full, Failure)
        assert full.kind is FailureKind.QUOTA
        value_of(first)
        while pool.in_flight:
            time.sleep(0.001)
        value_of(pool.submit(sleep, 0.0))
    finally:
        pool.close()
    closed = pool.submit(sleep, 0.0)
    assert isinstance(closed, Failure)
    assert closed.kind is FailureKind.CANCELLED


def test_killed_child_breaks_its_task_alone_and_is_replaced() -> None:
    """SIGKILL of the child fails the task that it had; what waited runs in a new child."""
    pool = Pool(workers=1)
    try:
        child = value_of(pool.submit(sleep, 0.0))
        pending, waiting = pool.submit(sleep, 30.0), pool.submit(sleep, 0.0)
        assert not isinstance(pending, Failure)
        while not pending.running():
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            pending.result(timeout=30)
        assert value_of(waiting) != child
        assert pool.rebuilt == 1
    finally:
        pool.close()


def test_a_child_killed_in_the_middle_of_its_answer_is_noticed() -> None:
    """Half an answer in the pipe fails its task at once, and the pool goes on.

    An executor of the standard library reads on for ever here: every job that was in flight, and
    every later one, waited until its deadline.
    """
    pool = Pool(workers=2)
    try:
        half = pool.submit(die_in_the_middle_of_the_answer)
        assert not isinstance(half, Failure)
        with pytest.raises(BrokenProcessPool):
            half.result(timeout=10)
        many = [pool.submit(sleep, 0.05) for _ in range(6)]
        assert len({value_of(one) for one in many}) == 2
        assert pool.rebuilt == 1
    finally:
        pool.close()


def test_an_idle_child_that_was_killed_costs_no_task() -> None:
    """A child that dies between two tasks is replaced before the next one, which succeeds."""
    pool = Pool(workers=1)
    try:
        child = value_of(pool.submit(sleep, 0.0))
        os.kill(child, signal.SIGKILL)
        while alive(child):
            time.sleep(0.001)
        time.sleep(0.1)  # its other threads end after its first, and only then is it gone
        assert value_of(pool.submit(sleep, 0.0)) != child
    finally:
        pool.close()


def test_what_cannot_travel_is_its_own_tasks_failure() -> None:
    """An answer or an exception that cannot be sent fails its task and leaves the child alone."""
    pool = Pool(workers=1)
    try:
        child = value_of(pool.submit(sleep, 0.0))
        for function in (answer_unsendable, raise_unsendable):
            with pytest.raises(TypeError):
                value_of(pool.submit(function))
        with pytest.raises((AttributeError, PicklingError)):
            value_of(pool.submit(answer_unsendable()))  # type: ignore[arg-type]  # no function
        with pytest.raises(ZeroDivisionError) as raised:
            value_of(pool.submit(divmod, 1, 0))
        assert any("Traceback" in note for note in raised.value.__notes__)
        assert value_of(pool.submit(sleep, 0.0)) == child
    finally:
        pool.close()


def test_a_child_that_cannot_start_fails_what_it_was_for() -> None:
    """A warm-up that raises fails each task with BrokenProcessPool; nothing waits for ever."""
    pool = Pool(workers=1, warm_up=raise_unsendable)
    try:
        for _ in range(2):
            future = pool.submit(sleep, 0.0)
            assert not isinstance(future, Failure)
            with pytest.raises(BrokenProcessPool):
                future.result(timeout=30)
    finally:
        pool.close()


def test_children_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    """SIGKILL of the parent ends its child within two seconds, in the middle of a task."""
    program = tmp_path / "parent.py"
    program.write_text(
        "import sys, time\n"
        "from enrichment.provider.pool import Pool\n"
        "from tests.provider.requests import sleep\n"
        "if __name__ == '__main__':\n"
        "    pool = Pool(workers=1)\n"
        "    print(pool.submit(sleep, 0.0).result(), flush=True)\n"
        "    pool.submit(sleep, 60.0)\n"
        "    time.sleep(60)\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root)},
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
        parent.wait(timeout=10)
        until = time.monotonic() + 2.0
        while alive(child) and time.monotonic() < until:
            time.sleep(0.02)
        assert not alive(child)


def alive(pid: int) -> bool:
    """Return whether a process runs (a zombie, which only its reaper can take away, does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
