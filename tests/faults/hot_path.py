"""The hot path beside a sampler in trouble: every event answered once, and how long that took.

An enricher of the trial's own pipeline, so that it reads the very features that the workers write;
a publisher that keeps to its schedule, and a committed reader, each a process of its own.
"""

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from enrichment.lab.bench.committed_reader import Latencies, quantile_ms
from enrichment.lab.simulate import Payment
from enrichment.stream.topics import DIGESTS, StreamTopics
from tests.faults.answers import Account
from tests.faults.fault import Fault, Figures, Terms
from tests.faults.invariants import Answers
from tests.faults.processes import Process, start
from tests.faults.source import APART
from tests.faults.vendor import Manner
from tests.faults.world import World, create_topics
from tests.integration.sampling import SHARDS

RATE: Final = 400.0
WINDOW_S: Final = 10.0  # 4,000 events: forty behind the p99
QUIET_WINDOWS: Final = 4
LOAD_S: Final = 900.0  # ended by us; the bound is for a run that hangs
ACCOUNTS: Final = 6  # of each shard, those that lie in its problem
DRAIN_S: Final = 30.0
PATIENCE_S: Final = 40.0


def now_us() -> int:
    """Unix time in microseconds."""
    return time.time_ns() // 1_000


@dataclass(slots=True, kw_only=True)
class HotPath:
    """What runs, and the windows that were marked: a label, from, to."""

    world: World
    latencies: Path
    enricher: Process
    reader: Process
    publisher: Process
    marks: list[tuple[str, int, int]] = field(default_factory=list)

    def mark(self, label: str, seconds: float = WINDOW_S) -> None:
        """Let a window pass under that label."""
        begun_us = now_us()
        time.sleep(seconds)
        self.marks.append((label, begun_us, now_us()))

    def finish(self) -> Answers:
        """Publish no more, wait until all is answered, and take account."""
        assert self.publisher.terminate() == 0, self.publisher.said()
        bootstrap, name = self.world.ground.servers.bootstrap, self.world.name
        give_up_s = time.monotonic() + DRAIN_S
        account = Account.take(bootstrap, name)
        while account.lost and time.monotonic() < give_up_s:
            account = Account.take(bootstrap, name)
        assert self.reader.terminate() == 0, self.reader.said()
        return Answers(
            inputs=sum(account.inputs.values()),
            enriched=account.enriched,
            dead_letters=account.dead_letters,
            lost=account.lost,
            duplicates=account.duplicates,
            strangers=account.strangers,
        )

    def p99_ms(self) -> dict[str, list[float]]:
        """Label -> the p99 of each of its windows."""
        seen = Latencies.load(self.latencies)
        found: dict[str, list[float]] = {}
        for label, from_us, to_us in self.marks:
            inside = seen.within(from_us, to_us)
            if len(inside):
                found.setdefault(label, []).append(quantile_ms(inside, 0.99))
        return found


@contextmanager
def beside(world: World) -> Iterator[HotPath]:
    """A hot path that answers while the block runs."""
    topics = StreamTopics(world.name)
    made = (topics.events, topics.enriched, topics.reviews, topics.dead_letters, DIGESTS)
    bootstrap = world.ground.servers.bootstrap
    create_topics(bootstrap, dict.fromkeys(made, "delete"))
    payments = world.folder / "payments.jsonl"
    payments.write_bytes(b"\n".join(msgspec.json.encode(one) for one in _payments()))
    enricher = world.start_stage("enrich", ENRICHMENT_INSTANCE="one")
    world.until("the enricher runs", lambda: "enriching" in enricher.said(), PATIENCE_S)
    latencies = world.folder / "latencies"
    reader = _tool(world, "committed_reader", "--topic", topics.enriched, "--out", str(latencies))
    world.until("the reader reads", lambda: "ready" in reader.said(), PATIENCE_S)
    publisher = _tool(
        world, "open_loop", "--topic", topics.events, "--payments", str(payments),
        "--rate", str(RATE), "--seconds", str(LOAD_S), "--out", str(world.folder / "late"),
    )  # fmt: skip
    try:
        yield HotPath(
            world=world,
            latencies=latencies,
            enricher=enricher,
            reader=reader,
            publisher=publisher,
        )
    finally:
        for process in (publisher, reader):
            if process.alive:
                process.popen.send_signal(signal.SIGKILL)


def _tool(world: World, module: str, *arguments: str) -> Process:
    """A process of the benches' own."""
    command = ["-m", f"enrichment.lab.bench.{module}", *arguments]
    bootstrap = ("--bootstrap", world.ground.servers.bootstrap)
    process = start([*command, *bootstrap], world.folder / module, {})
    world.processes.append(process)
    return process


def _payments() -> list[Payment]:
    """Payments of the accounts whose rings are sampled."""
    draw = random.Random(1)
    return [
        Payment(
            event_id="",
            account_id=f"acc-{APART * index + draw.randrange(ACCOUNTS):06d}",
            occurred_at=0,
            amount=round(draw.uniform(1, 500), 2),
            currency="EUR",
            device_id=f"dev-{APART * index}",
            beneficiary_id=f"ben-{draw.randrange(50)}",
            region=SHARDS[index],
            channel="app",
        )
        for index in [number % len(SHARDS) for number in range(600)]
    ]


def _killed_again(world: World) -> None:
    world.workers["one"].kill()
    world.start_worker("one")


TROUBLES: Final[dict[str, Callable[[World], None]]] = {
    "provider down": lambda world: world.behave(Manner(down=True)),
    "provider slow": lambda world: world.behave(Manner(queue_s=30.0)),
    "over quota": lambda world: world.behave(Manner(over_quota=True)),
    "garbage": lambda world: world.behave(Manner(garbage="shape")),
    "worker SIGSTOP": lambda world: world.workers["one"].suspend(),
    "worker kill -9": _killed_again,
}


def during_troubles(world: World) -> Figures:
    """A quiet window before and behind each trouble, and one in it."""
    with beside(world) as path:
        path.mark("warming up")
        for _ in range(QUIET_WINDOWS):
            path.mark("quiet")
        for name, begin in TROUBLES.items():
            begin(world)
            path.mark(name)
            world.heal()
            time.sleep(
                WINDOW_S / 2
            )  # what the trouble has left is worked off: neither this nor that
            path.mark("quiet")
        world.answers = path.finish()
        found = path.p99_ms()
    quiet = found.pop("quiet")
    found.pop("warming up")
    low, high = min(quiet), max(quiet)
    world.notes.append(
        f"p99 of {len(quiet)} quiet windows: median {median(quiet):.1f} ms, {low:.1f} to {high:.1f}"
    )
    for name, (p99_ms,) in found.items():
        where = "within it" if p99_ms <= high else f"{p99_ms / high:.2f} x its highest"
        world.notes.append(f"p99 with {name}: {p99_ms:.1f} ms, {where}")
    return {f"p99 {name} ms": max(values) for name, values in found.items()} | {
        "p99 quiet median ms": median(quiet),
        "p99 quiet max ms": high,
    }


FAULTS: Final = (
    Fault(
        name="hot path beside troubles",
        what=f"{RATE:.0f} events/s answered beside each trouble of sampler and provider",
        do=during_troubles,
        terms=replace(Terms(manner=Manner(run_s=0.1)), deadline_ms=4_000),
        times=1,
        heal_s=45.0,
    ),
)
