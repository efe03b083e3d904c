"""Workers that stand still, come and go, are told to end, or die and nobody starts them again."""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from enrichment.stream.topics import FEATURES
from tests.faults.fault import Fault, Figures, Terms
from tests.faults.kills import HIT_S, NTH
from tests.faults.processes import Process
from tests.faults.vendor import Manner
from tests.faults.world import World

SESSION_S: Final = 6.0  # sample.ledger's
BEYOND_S: Final = SESSION_S + 3.0
STORM_S: Final = 20.0
STORM_PAUSE_S: Final = (0.3, 2.0)
WORKERS_MAX: Final = 3  # on two cores, beside a broker
TERMINATIONS: Final = 3
ORPHAN_S: Final = 30.0  # twice what a broker may take to abort what nobody ends

BUSY: Final = Terms(manner=Manner(run_s=0.6))
TWO: Final = replace(BUSY, workers=("one", "two"))


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def stopped_and_resumed(world: World) -> Figures:
    """One stands still for longer than its session, while the other takes over; then it goes on."""
    begun_s = time.monotonic()
    world.workers["one"].suspend()
    time.sleep(BEYOND_S)
    world.await_jobs(3)
    resumed_s = time.monotonic()
    world.workers["one"].resume()
    world.await_jobs(6)
    silence_s = world.watch.longest_silence_s("sampling.jobs", begun_s, resumed_s)
    return {"stood_s": resumed_s - begun_s, "partitions_silent_s": silence_s}


def alone_stopped_and_resumed(world: World) -> Figures:
    """There is no other: it finds itself thrown out, and joins again."""
    world.workers["one"].suspend()
    time.sleep(BEYOND_S)
    resumed_ms = now_ms()
    world.workers["one"].resume()
    return {"recovery_s": world.progress_s(resumed_ms)}


def stopped_in_a_transaction(point: str) -> Callable[[World], Figures]:
    """A zombie: it stands still with a transaction open, another takes over, and it goes on."""

    def do(world: World) -> Figures:
        zombie = world.start_worker("one", kill_at=f"{point}:{NTH}:stop")
        # Struck before the other one joins, or that might come to the point in its place.
        world.until(f"stands still at {point}", lambda: _struck(zombie), HIT_S)
        world.start_worker("two")
        stopped_s, zombie.suspended = time.monotonic(), True
        world.until("the other has taken over", lambda: _owns(world, "two"), HIT_S)
        world.await_jobs(3)
        stood_s = time.monotonic() - stopped_s
        zombie.resume()
        world.await_jobs(6)
        return {"stood_s": stood_s}

    return do


def _struck(process: Process) -> bool:
    return any(what.startswith("struck") for _, what in process.came_to())


def _owns(world: World, instance: str) -> bool:
    return any(what == "adopted" for _, what in world.workers[instance].came_to())


def storm(world: World) -> Figures:
    """Workers join, leave and die as chance has it, faster than a rebalance takes."""
    draw = random.Random(world.name)
    names = [f"w{number}" for number in range(WORKERS_MAX)]
    changes = 0
    give_up_s = time.monotonic() + STORM_S
    while time.monotonic() < give_up_s:
        name = draw.choice(names)
        process = world.workers.get(name)
        if process is None or not process.alive:
            world.start_worker(name)
        elif draw.random() < 0.5:
            process.kill()
        else:
            process.popen.terminate()
        changes += 1
        time.sleep(draw.uniform(*STORM_PAUSE_S))
    for name in names:
        process = world.workers.get(name)
        if process is not None and process.alive:
            process.terminate()
    return {"changes": float(changes)}


def terminated(world: World) -> Figures:
    """SIGTERM in the middle of the work, which must be heeded with exit code 0; started again."""
    slowest_s = 0.0
    for _ in range(TERMINATIONS):
        began_s = time.monotonic()
        code = world.workers["one"].terminate()
        slowest_s = max(slowest_s, time.monotonic() - began_s)
        assert code == 0, f"SIGTERM ended it with {code}"
        world.start_worker("one")
        world.await_jobs(3)
    return {"sigterm_s": slowest_s}


def taken_over(world: World) -> Figures:
    """Kill -9 of one of two, and no other start of it for longer than its session."""
    world.workers["two"].kill()
    killed_ms = now_ms()
    gone_s = time.monotonic()
    time.sleep(BEYOND_S + 3.0)
    silence_s = world.watch.longest_silence_s("sampling.jobs", gone_s, time.monotonic())
    assert world.progress_s(killed_ms) < BEYOND_S
    return {"partitions_silent_s": silence_s}


def orphaned(world: World) -> Figures:
    """Killed in a transaction that nobody ends: how long committed readers stand before it."""
    doomed = world.start_worker("one", kill_at=f"produced:after:{NTH}")
    world.until("killed in a transaction", lambda: not doomed.alive, HIT_S)
    killed_s = time.monotonic()
    killed_ms = doomed.came_to()[-1][0]
    # The source goes on to write graph features to the same partitions.
    time.sleep(ORPHAN_S)
    stalled_s = world.watch.longest_silence_s(FEATURES, killed_s, time.monotonic())
    world.start_worker("one")
    return {"readers_stalled_s": stalled_s, "recovery_s": world.progress_s(killed_ms + 30_000)}


def orphaned_and_restarted(world: World) -> Figures:
    """The same, started again at once: its first act is to end what the former start left open."""
    doomed = world.start_worker("one", kill_at=f"produced:after:{NTH}")
    world.until("killed in a transaction", lambda: not doomed.alive, HIT_S)
    killed_s, killed_ms = time.monotonic(), doomed.came_to()[-1][0]
    world.start_worker("one")
    recovery_s = world.progress_s(killed_ms)
    world.await_jobs(3)
    stalled_s = world.watch.longest_silence_s(FEATURES, killed_s, time.monotonic())
    return {"readers_stalled_s": stalled_s, "recovery_s": recovery_s}


FAULTS: Final = (
    Fault(
        name="SIGSTOP of one of two",
        what=f"SIGSTOP for {BEYOND_S:.0f} s, past its session of {SESSION_S:.0f} s, then SIGCONT",
        do=stopped_and_resumed,
        terms=TWO,
        times=1,
    ),
    Fault(
        name="SIGSTOP of the only one",
        what="the same, with nobody to take over meanwhile",
        do=alone_stopped_and_resumed,
        terms=BUSY,
        times=1,
    ),
    *(
        Fault(
            name=f"zombie at {point.replace(':', ' ')}",
            what="SIGSTOP in a transaction, another takes over, SIGCONT: it goes on to commit",
            do=stopped_in_a_transaction(point),
            terms=replace(BUSY, cold=True, workers=("one", "two")),
            times=1,
        )
        for point in ("offsets:after", "produced:after")
    ),
    Fault(
        name="rebalance storm",
        what=f"up to {WORKERS_MAX} more join, leave and die for {STORM_S:.0f} s",
        do=storm,
        terms=BUSY,
        times=2,
        heal_s=45.0,
    ),
    Fault(
        name="SIGTERM under load",
        what=f"{TERMINATIONS} times in the middle of the work, started again each time",
        do=terminated,
        terms=BUSY,
        times=1,
    ),
    Fault(
        name="kill, others take over",
        what="kill -9 of one of two, and no other start of it before its session is over",
        do=taken_over,
        terms=TWO,
        times=1,
    ),
    Fault(
        name="kill in a transaction",
        what="kill -9 with a transaction open, started again at once",
        do=orphaned_and_restarted,
        terms=replace(BUSY, cold=True),
        times=1,
    ),
    Fault(
        name="kill in a transaction, left",
        what=f"the same, and nobody starts it again for {ORPHAN_S:.0f} s",
        do=orphaned,
        terms=replace(BUSY, cold=True),
        times=1,
    ),
)
