"""The broker hurt: killed and started again, and its disk full."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from enrichment.lab.servers import LocalServers
from enrichment.stream.topics import JOBS
from tests.faults.disks import empty, fill, forbid_appends, may_mount, small_disk
from tests.faults.fault import Fault, Figures, Terms
from tests.faults.vendor import Manner
from tests.faults.world import Ground, World, ground_of
from tests.servers import LIBS_DIR

GONE_S: Final = 20.0  # a broker whose disk is full ends itself in less than one (measured)
PROGRESS_S: Final = 60.0
FULL_S: Final = 3.0  # what an operator, or an alert, takes at the very least

# Jobs are at the provider, and answers are on their way, when the broker goes.
TERMS: Final = Terms(manner=Manner(run_s=0.6))


@contextmanager
def own_servers(folder: Path) -> Iterator[Ground]:
    """Servers that only this trial hurts, Kafka's topics on a small disk where that can be had."""
    servers = LocalServers.on_free_ports(folder / "servers", libs_dir=LIBS_DIR)
    with ExitStack() as stack:
        if may_mount():
            stack.enter_context(small_disk(servers.kafka.data_dir))
        stack.callback(servers.down)
        servers.up()
        yield stack.enter_context(ground_of(servers, folder))


def killed(away_s: float) -> Callable[[World], Figures]:
    """Kill -9 of the broker, which is started again after that time."""

    def do(world: World) -> Figures:
        world.ground.servers.kafka.process.kill()
        time.sleep(away_s)
        return _up_again(world)

    return do


def full(world: World) -> Figures:
    """Not a byte is free on the broker's disk; it ends; there is room again; it is started."""
    kafka = world.ground.servers.kafka
    running = kafka.process.running()
    assert running is not None
    mounted = kafka.data_dir.is_mount()
    world.notes.append(f"disk: {'ENOSPC, tmpfs' if mounted else 'EFBIG, RLIMIT_FSIZE'}")
    if mounted:
        fill(kafka.data_dir)
    else:
        forbid_appends(running.pid)
    gone_s = world.until("the broker ends", lambda: kafka.process.running() is None, GONE_S)
    time.sleep(FULL_S)
    if mounted:
        empty(kafka.data_dir)
    return {"broker_ended_s": gone_s, **_up_again(world)}


def _up_again(world: World) -> Figures:
    began_s = time.monotonic()
    world.ground.servers.up()
    up_ms = time.time_ns() // 1_000_000
    return {
        "broker_start_s": time.monotonic() - began_s,
        "recovery_s": supervised_s(world, up_ms),
    }


def supervised_s(world: World, since_ms: int) -> float:
    """Seconds from then until the ledger goes on; who has ended by himself is started again.

    A static member of a group may be fenced by its own second try to join, when the answer to the
    first was lost: it ends, as it must where another process bears its name.
    """
    ended: list[str] = []

    def progressed() -> bool:
        ended.extend(f"worker {name}" for name, one in world.workers.items() if not one.alive)
        if world.projector is not None and not world.projector.alive:
            ended.append("projector")
        world.tend()
        return bool(world.watch.of(JOBS, since_ms))

    world.until("the jobs go on", progressed, PROGRESS_S)
    if ended:
        world.notes.append(f"ended by themselves, started again: {', '.join(ended)}")
    return (world.watch.of(JOBS, since_ms)[0].written_ms - since_ms) / 1000


FAULTS: Final = (
    Fault(
        name="broker killed",
        what="kill -9 of the broker, started again at once",
        do=killed(0.0),
        terms=TERMS,
        ground=own_servers,
    ),
    Fault(
        name="broker away",
        what="kill -9 of the broker, started again after 8 s: a transaction's time is over",
        do=killed(8.0),
        terms=TERMS,
        heal_s=60.0,
        ground=own_servers,
    ),
    Fault(
        name="ledger's disk full",
        what="no free byte on the broker's disk, which ends it; room again, started again",
        do=full,
        terms=TERMS,
        ground=own_servers,
    ),
)
