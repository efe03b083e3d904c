"""Kill -9 of the worker before and after each transition of a job, and another start of it."""

import time
from collections.abc import Callable
from typing import Final

from tests.faults.fault import Fault, Figures, Terms
from tests.faults.kill_points import POINTS
from tests.faults.vendor import Manner
from tests.faults.world import World

HIT_S: Final = 30.0
NTH: Final = 6  # not the first, which may be part of the start: jobs are to be under way
SUPERVISOR_S: Final = 0.3  # what whoever starts it again takes to notice

TERMS: Final = Terms(
    # Long enough for the provider's id to be recorded before the answer is there.
    manner=Manner(run_s=0.6),
    # Its first worker is the one that is to die.
    cold=True,
)


def killed_at(point: str) -> Callable[[World], Figures]:
    """The worker is started so that it dies at that point, and then started again."""

    def do(world: World) -> Figures:
        doomed = world.start_worker("one", kill_at=f"{point}:{NTH}")
        world.until(f"killed at {point}", lambda: not doomed.alive, HIT_S)
        at_ms, last = doomed.came_to()[-1]
        assert last == f"struck at {point}", f"ended otherwise: {last}"
        time.sleep(SUPERVISOR_S)
        again = world.start_worker("one")
        return recovery(world, at_ms, again.started_ms)

    return do


def recovery(world: World, killed_ms: int, started_ms: int) -> Figures:
    """From the kill to the jobs' going on, in its parts; and how long committed readers stood."""
    recovery_s = world.progress_s(killed_ms)
    marks = {what: at for at, what in world.workers["one"].came_to()}
    world.await_jobs(3)
    return {
        "recovery_s": recovery_s,
        "noticed_s": (started_ms - killed_ms) / 1000,
        "imports_s": (marks["imported"] - started_ms) / 1000,
        "warm_s": (marks["warm"] - marks["imported"]) / 1000,
        "assigned_s": (marks["adopted"] - marks["warm"]) / 1000,
    }


FAULTS: Final = tuple(
    Fault(
        name=f"kill {point.replace(':', ' ')}",
        what=f"kill -9 {point.split(':')[1]} a job is {point.split(':')[0]}, started again",
        do=killed_at(point),
        terms=TERMS,
        times=2,
    )
    for point in POINTS
)
