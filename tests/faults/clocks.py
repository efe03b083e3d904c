"""Clocks an hour wrong, forwards and backwards, and right again.

The clock is bent inside the workers' processes and their children's (`launcher`): what Python calls
the wall clock. The broker's, Redis's and the readers' clocks stay right.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tests.faults.fault import Fault, Figures, Terms
from tests.faults.vendor import Manner
from tests.faults.workers import TWO
from tests.faults.world import World

HOUR_S: Final = 3_600.0
SPELL_S: Final = 4.0
TERMS: Final = Terms(manner=Manner(run_s=0.6))


def bent(seconds: float) -> Callable[[World], Figures]:
    """The clock jumps, stays wrong for a while, and jumps back."""

    def do(world: World) -> Figures:
        world.set_clock(seconds)
        time.sleep(SPELL_S)
        world.set_clock(0.0)
        world.await_jobs(3)
        return {}

    return do


def started_wrong(world: World) -> Figures:
    """One of two is started with a clock an hour fast: jobs go from one time to the other."""
    world.workers["two"].kill()
    world.start_worker("two", FAULTS_CLOCK=str(_fast(world)))
    world.await_jobs(6)
    time.sleep(SPELL_S)
    world.workers["two"].kill()
    return {}


def _fast(world: World) -> str:
    from tests.faults.launcher import write_offset

    path = world.folder / "fast"
    write_offset(path, HOUR_S)
    return str(path)


FAULTS: Final = (
    Fault(
        name="clock an hour forward",
        what=f"the worker's clock jumps, and back after {SPELL_S:.0f} s",
        do=bent(HOUR_S),
        terms=TERMS,
        times=1,
    ),
    Fault(
        name="clock an hour back",
        what=f"the worker's clock jumps, and back after {SPELL_S:.0f} s",
        do=bent(-HOUR_S),
        terms=TERMS,
        times=1,
    ),
    Fault(
        name="one of two an hour fast",
        what="one worker's clock is an hour fast all along, then it dies",
        do=started_wrong,
        terms=replace(TWO, workers=("one", "two")),
        times=1,
    ),
)
