"""`enrichment bench hot-path`: ours beside a loop that only passes events through, and its peers.

All consume the same events of one topic and produce to topics alike, on one broker, one after the
other. Ours is the very process that `enrichment enrich` runs. Slow peers are given a prefix of the
topic. What is timed is what a consumer group has committed, from a tenth to nine tenths of the
events, or later where a virtual machine has to warm up.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import confluent_kafka
import redis
from confluent_kafka.admin import AdminClient

from enrichment.lab.bench import ground, observe
from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.observe import Expected, Group, Rate
from enrichment.lab.bench.outputs import Outputs
from enrichment.lab.bench.peers.arguments import STREAM
from enrichment.lab.bench.report import Report, Row, machine
from enrichment.lab.bench.systems import (
    GOALS,
    LIMIT_EO,
    OURS_EO,
    SYSTEMS,
    Goal,
    Kind,
    Launcher,
    System,
)
from enrichment.lab.servers import LocalServers
from enrichment.settings import Delivery

NAME: Final = "hot-path"
EVENTS: Final = 2_000_000  # half of them suffice where nothing has to warm up
EVENTS_QUICK: Final = 6_000
BEAT_S: Final = 2.0
# What a run takes beside its events: a start, a group that is joined, an end, a topic read.
AROUND_S: Final = 4.0
READ_PER_S: Final = 500_000.0
FILL_S: Final = 30.0  # servers, events, cache


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of one system gave."""

    rate: Rate
    # Share of answers whose features were fresh; 0 where nothing is looked up.
    fresh: float


Runs = dict[System, list[Run]]


def run(options: BenchOptions) -> Report:
    """Every system in alternating order, forwards and backwards, `runs` times."""
    events = options.events or (EVENTS_QUICK if options.quick else EVENTS)
    runs = 1 if options.quick else options.runs
    options.say("starting Kafka and Redis")
    with ground.servers(options) as servers:
        described = described_machine(servers)
        launcher = Launcher(servers, options.state_dir)
        options.say("building and looking for peers")
        absent = launcher.unavailable()
        systems = [s for s in SYSTEMS if s.kind not in absent and (s.quick or not options.quick)]
        options.say(f"this takes about {estimate_s(systems, events, runs) / 60:.0f} minutes")
        bench = HotPath(servers, options, launcher, events)
        bench.prepare()
        if not options.quick:
            # The broker's code is compiled while it runs: its first run would be its slowest.
            options.say("warming the broker up")
            for system in (LIMIT_EO, OURS_EO):
                bench.measure(system)
        found: Runs = {system: [] for system in systems}
        for number, system in order(systems, runs):
            options.say(f"run {number + 1} of {runs}: {system.name}, {system.delivery.value}")
            found[system].append(bench.measure(system))
    return Report(
        name=NAME,
        machine=described,
        rows=tuple(rows(found, events)),
        notes=tuple(notes(found, events, absent)),
    )


def estimate_s(systems: Sequence[System], events: int, runs: int) -> float:
    """About how many seconds all the runs take on the machine that this was written on."""
    each = [
        AROUND_S + system.events(events) * (1 / system.per_s + 1 / READ_PER_S) for system in systems
    ]
    return FILL_S + runs * sum(each)


def order(systems: Sequence[System], runs: int) -> Iterator[tuple[int, System]]:
    """ABBA: what drifts over time falls on both sides alike."""
    for number in range(runs):
        for system in systems if number % 2 == 0 else reversed(systems):
            yield number, system


def rows(found: Runs, events: int) -> Iterator[Row]:
    """The figures of every system, delivery by delivery, then the ratios, run by run."""
    yield Row.of("stream", "simulated payments", "events", [events], "events")
    for delivery in Delivery:
        for system, runs in found.items():
            if system.delivery is delivery:
                yield from _figures(system, runs)
    for goal in _measured(found):
        yield Row.of("ratios", _named(goal), "throughput_ratio", ratios(goal, found), "ratio")


def ratios(goal: Goal, found: Runs) -> list[float]:
    """The two systems' rates of the same round divided, so that what drifts over time cancels."""
    pairs = zip(found[goal.ours], found[goal.other], strict=True)
    return [a.rate.events_per_s / b.rate.events_per_s for a, b in pairs]


def notes(found: Runs, events: int, absent: dict[Kind, str]) -> Iterator[str]:
    """What the table does not say: goals, prefixes, warm-up, and who is missing."""
    for goal in _measured(found):
        median = Row.of("", "", "", ratios(goal, found), "").value
        reached = "reached" if median >= goal.at_least else "NOT reached"
        yield f"{_named(goal)}: at least {goal.at_least:g} wanted, {reached} ({median:g})"
    for system in found:
        where = f"{system.name}, {system.delivery.value}"
        if system.events(events) < events:
            yield f"{where}: the first {system.events(events):,} of {events:,} events"
        if system.span.start > observe.BY_DEFAULT.start:
            span = f"{system.span.start:g} to {system.span.end:g}"
            yield f"{where}: timed from {span} of its events, warmed up by then"
    for kind, reason in absent.items():
        yield f"left out, {kind.value}: {reason}"
    yield (
        "same work: decode, keys read (Quix and Kafka Streams per record, Faust per `take`), "
        "verdicts, all scores, reasons, the record and its headers; no digests, no dead letters"
    )


def _measured(found: Runs) -> list[Goal]:
    return [goal for goal in GOALS if found.get(goal.ours) and found.get(goal.other)]


def _named(goal: Goal) -> str:
    short = {Delivery.AT_LEAST_ONCE: "ALO", Delivery.EXACTLY_ONCE: "EO"}
    ours, other = (f"{s.name} {short[s.delivery]}" for s in (goal.ours, goal.other))
    return f"{ours} ÷ {other}"


def _figures(system: System, runs: list[Run]) -> Iterator[Row]:
    """One system's figures in one delivery."""
    case, name, rates = system.delivery.value, system.name, [each.rate for each in runs]
    yield Row.of(case, name, "throughput", [r.events_per_s for r in rates], "events/s")
    yield Row.of(case, name, "cpu", [r.cpu_s_per_million for r in rates], "s/1M events")
    yield Row.of(case, name, "memory_peak", [r.memory_peak_mib for r in rates], "MiB")
    if system.answers:
        yield Row.of(case, name, "fresh_answers", [each.fresh for each in runs], "share")


class HotPath:
    """The runs, on servers that are up."""

    def __init__(
        self, servers: LocalServers, options: BenchOptions, launcher: Launcher, events: int
    ) -> None:
        self._servers = servers
        self._options = options
        self._launcher = launcher
        self._events = events
        self._admin = AdminClient({"bootstrap.servers": servers.bootstrap, "log_level": 0})
        self._outputs = Outputs(servers.bootstrap)
        self._cache = ground.Cache.open(servers.redis_url, options)
        self._shards: frozenset[str] = frozenset()
        self._beaten_s = 0.0
        self._count = 0

    def prepare(self) -> None:
        """Publish the events and fill the cache."""
        self._options.say(f"publishing {self._events:,} events")
        settings = ground.scenario(self._events, ground.now_ms())
        entities = ground.published(settings, self._events, self._servers.bootstrap)
        self._shards = entities.shards
        self._options.say(f"filling the feature cache for {len(entities.known):,} entities")
        self._cache.fill(entities, settings, ground.now_ms())

    def measure(self, system: System) -> Run:
        """One run of one system, from a group without offsets to its last commit."""
        self._count += 1
        ours = system.kind is Kind.OURS
        name = f"enrichment.enrich.{STREAM}" if ours else f"peer-{self._count}"
        group = Group(self._admin, name)
        group.forget()
        before = self._outputs.ends(system.target)
        self._beat()
        command, environment = self._launcher.command(system, name)
        log = self._servers.state_dir / f"run-{self._count}.log"
        expected = Expected(system.events(self._events), system.span)
        with observe.process(command, environment, log) as running:
            rate = observe.watch(running, group, expected, self._tend, log)
        seen = self._outputs.read(before, answers=system.answers)
        done = group.committed()
        # At least once, a peer that was ended may have produced what it had not yet committed.
        fully = system.delivery is Delivery.EXACTLY_ONCE or system.kind in {Kind.LIMIT, Kind.OURS}
        if seen.total < done or (fully and seen.total > done):
            raise BenchError(
                f"{system.name}: {seen.total} outputs for {done} events committed; "
                f"it said: {observe.tail(log)}"
            )
        self._outputs.delete(system.target)
        return Run(rate, seen.fresh)

    def _tend(self) -> None:
        """Keep features fresh while a run lasts."""
        if time.monotonic() - self._beaten_s > BEAT_S:
            self._beat()

    def _beat(self) -> None:
        self._cache.beat(self._shards, ground.now_ms())
        self._beaten_s = time.monotonic()


def described_machine(servers: LocalServers) -> dict[str, str | int | float]:
    """The machine and the versions of what runs on it."""
    with redis.Redis.from_url(servers.redis_url) as client:
        redis_version = str(client.info("server")["redis_version"])
    return machine(
        kafka=_kafka_version(servers),
        redis_server=redis_version,
        librdkafka=confluent_kafka.libversion()[0],
    )


def _kafka_version(servers: LocalServers) -> str:
    """The broker's version, by the name of its jar; "" where it is named otherwise."""
    jars: list[Path] = sorted(servers.kafka.libs_dir.glob("kafka_2.13-*.jar"))
    return jars[0].stem.partition("-")[2] if jars else ""
