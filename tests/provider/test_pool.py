"""The pool's children live and die as they should, and full means something is said."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

import pytest

from enrichment.provider.contract import Failure, FailureKind
from enrichment.provider.pool import Pool
from tests.provider.requests import signal_self, sleep, threads_of_blas

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


def test_killed_child_breaks_its_tasks_and_the_pool_is_rebuilt() -> None:
    """SIGKILL of the child fails what was pending; the next submission gets a new child."""
    pool = Pool(workers=1)
    try:
        child = value_of(pool.submit(sleep, 0.0))
        pending = pool.submit(sleep, 30.0)
        assert not isinstance(pending, Failure)
        os.kill(child, signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            pending.result(timeout=30)
        assert value_of(pool.submit(sleep, 0.0)) != child
        assert pool.rebuilt == 1
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
