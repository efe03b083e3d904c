"""`enrichment bench hot-path`: ours beside a loop that only passes events through.

Both consume the same events of one topic and produce to topics alike, on one broker, one after the
other. Ours is the very process that `enrichment enrich` runs: typed decode, one cache read for a
batch, verdicts, scores of every path, headers and digests. What is timed is what a consumer group
has committed, from a tenth to nine tenths of the events.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import confluent_kafka
import msgspec
import redis
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from enrichment.lab.bench import ground, observe
from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.observe import Group, Rate
from enrichment.lab.bench.report import Report, Row, machine
from enrichment.lab.servers import LocalServers
from enrichment.records import VerdictName
from enrichment.settings import Delivery, Settings
from enrichment.stream.topics import StreamTopics

NAME: Final = "hot-path"
EVENTS: Final = 200_000
EVENTS_QUICK: Final = 6_000
OURS: Final = "enrichment"
PASSING: Final = "pass-through"
BEAT_S: Final = 2.0
READ_S: Final = 30.0
# Batches as a process has them that nobody configured, on both sides.
BATCH_EVENTS: Final = Settings.model_fields["batch_events_max"].default
BATCH_MS: Final = Settings.model_fields["batch_ms_max"].default


@dataclass(frozen=True, slots=True)
class System:
    """One of the systems that are compared, in one delivery."""

    name: str
    delivery: Delivery


SYSTEMS: Final = tuple(
    System(name, delivery)
    for delivery in (Delivery.AT_LEAST_ONCE, Delivery.EXACTLY_ONCE)
    for name in (PASSING, OURS)
)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of one system gave."""

    rate: Rate
    # Share of answers whose features were fresh; 0 where nothing is looked up.
    fresh: float


class _Verdict(msgspec.Struct):
    name: VerdictName


class _Answer(msgspec.Struct):
    verdict: _Verdict


def run(options: BenchOptions) -> Report:
    """Every system in alternating order, forwards and backwards, `runs` times."""
    events = options.events or (EVENTS_QUICK if options.quick else EVENTS)
    runs = 1 if options.quick else options.runs
    options.say("starting Kafka and Redis")
    with ground.servers(options) as servers:
        with redis.Redis.from_url(servers.redis_url) as client:
            redis_version = str(client.info("server")["redis_version"])
        described = machine(
            kafka=_kafka_version(servers),
            redis_server=redis_version,
            librdkafka=confluent_kafka.libversion()[0],
        )
        bench = HotPath(servers, options, events)
        bench.prepare()
        if not options.quick:
            # The broker's code is compiled while it runs: its first run would be its slowest.
            options.say("warming the broker up")
            for system in SYSTEMS[::2]:
                bench.measure(system)
        found: dict[System, list[Run]] = {system: [] for system in SYSTEMS}
        for number, system in _order(runs):
            options.say(f"run {number + 1} of {runs}: {system.name}, {system.delivery.value}")
            found[system].append(bench.measure(system))
    return Report(name=NAME, machine=described, rows=tuple(rows(found, events)))


def _order(runs: int) -> Iterator[tuple[int, System]]:
    """ABBA: what drifts over time falls on both sides alike."""
    for number in range(runs):
        for system in SYSTEMS if number % 2 == 0 else reversed(SYSTEMS):
            yield number, system


def rows(found: dict[System, list[Run]], events: int) -> Iterator[Row]:
    """The figures of every system, then ours ÷ the limit, run by run, for each delivery."""
    yield Row.of("stream", "simulated payments", "events", [events], "events")
    for delivery in Delivery:
        for name in (PASSING, OURS):
            yield from _figures(delivery.value, name, found[System(name, delivery)])
        ours, limit = found[System(OURS, delivery)], found[System(PASSING, delivery)]
        ratios = [
            a.rate.events_per_s / b.rate.events_per_s for a, b in zip(ours, limit, strict=True)
        ]
        yield Row.of(delivery.value, f"{OURS} ÷ {PASSING}", "throughput_ratio", ratios, "ratio")


def _figures(case: str, name: str, runs: list[Run]) -> Iterator[Row]:
    """One system's figures in one delivery."""
    rates = [each.rate for each in runs]
    yield Row.of(case, name, "throughput", [r.events_per_s for r in rates], "events/s")
    yield Row.of(case, name, "cpu", [r.cpu_s_per_million for r in rates], "s/1M events")
    yield Row.of(case, name, "memory_peak", [r.memory_peak_mib for r in rates], "MiB")
    if name == OURS:
        yield Row.of(case, name, "fresh_answers", [each.fresh for each in runs], "share")


class HotPath:
    """The runs, on servers that are up."""

    def __init__(self, servers: LocalServers, options: BenchOptions, events: int) -> None:
        self._servers = servers
        self._options = options
        self._events = events
        self._admin = AdminClient({"bootstrap.servers": servers.bootstrap, "log_level": 0})
        self._cache = ground.Cache.open(servers.redis_url, options)
        self._topics = StreamTopics(ground.STREAM)
        self._shards: set[str] = set()
        self._beaten_s = 0.0
        self._count = 0

    def prepare(self) -> None:
        """Publish the events and fill the cache."""
        self._options.say(f"publishing {self._events:,} events")
        settings = ground.scenario(self._events, _now_ms())
        payments = ground.published(settings, self._events, self._servers.bootstrap)
        self._shards = {payment.region for payment in payments}
        self._options.say("filling the feature cache")
        self._cache.fill(payments, settings, _now_ms())

    def measure(self, system: System) -> Run:
        """One run of one system, from a group without offsets to its last commit."""
        self._count += 1
        ours = system.name == OURS
        name = f"enrichment.enrich.{ground.STREAM}" if ours else f"pass-through-{self._count}"
        group = Group(self._admin, name)
        group.forget()
        target = self._topics.enriched if ours else ground.PASSED
        before = self._ends(target)
        self._beat()
        command, environment = self._ours(system) if ours else self._passing(system, name)
        log = self._servers.state_dir / f"run-{self._count}.log"
        with observe.process(command, environment, log) as running:
            rate = observe.watch(running, group, self._events, self._tend, log)
        verdicts = self._read(target, before, answers=ours)
        if (total := verdicts.total()) != self._events:
            raise BenchError(f"{system.name}: {total} outputs for {self._events} events")
        return Run(rate, verdicts[VerdictName.FRESH] / total)

    def _ours(self, system: System) -> tuple[Sequence[str], dict[str, str]]:
        command = [sys.executable, "-m", "enrichment", "enrich", "--pipeline", ground.STREAM]
        return command, {
            "ENRICHMENT_KAFKA_BOOTSTRAP": self._servers.bootstrap,
            "ENRICHMENT_REDIS_URL": self._servers.redis_url,
            "ENRICHMENT_DELIVERY": system.delivery.value,
            "ENRICHMENT_BATCH_EVENTS_MAX": str(BATCH_EVENTS),
            "ENRICHMENT_BATCH_MS_MAX": str(BATCH_MS),
            # Every answer is to be full work: one read that is cut off opens the breaker, and for a
            # second nothing would be read at all.
            "ENRICHMENT_READ_TIMEOUT_MS": "1000",
            "ENRICHMENT_INSTANCE": "bench",
        }

    def _passing(self, system: System, group: str) -> tuple[Sequence[str], dict[str, str]]:
        command = [
            sys.executable, "-m", "enrichment.lab.bench.pass_through",
            "--bootstrap", self._servers.bootstrap, "--group", group,
            "--source", self._topics.events, "--target", ground.PASSED,
            "--batch-events", str(BATCH_EVENTS), "--batch-ms", str(BATCH_MS),
        ]  # fmt: skip
        if system.delivery is Delivery.EXACTLY_ONCE:
            command.append("--exactly-once")
        return command, {}

    def _tend(self) -> None:
        """Keep features fresh while a run lasts."""
        if time.monotonic() - self._beaten_s > BEAT_S:
            self._beat()

    def _beat(self) -> None:
        self._cache.beat(self._shards, _now_ms())
        self._beaten_s = time.monotonic()

    def _ends(self, topic: str) -> list[TopicPartition]:
        """Where the topic ends now."""
        reader = self._reader()
        try:
            partitions = reader.list_topics(topic, timeout=10).topics[topic].partitions
            ends = []
            for number in partitions:
                at = TopicPartition(topic, number)
                ends.append(TopicPartition(topic, number, reader.get_watermark_offsets(at, 10)[1]))
            return ends
        finally:
            reader.close()

    def _read(
        self, topic: str, before: list[TopicPartition], *, answers: bool
    ) -> Counter[VerdictName | None]:
        """How many outputs a committed reader finds behind `before`, by verdict if answers."""
        seen: Counter[VerdictName | None] = Counter()
        decode = msgspec.json.Decoder(_Answer).decode
        reader = self._reader()
        try:
            reader.assign(before)
            left = {at.partition for at in before}
            give_up_s = time.monotonic() + READ_S
            while left:
                for message in reader.consume(5_000, 1.0):
                    if message.error() is None:
                        value: Any = message.value()
                        seen[decode(value).verdict.name if answers else None] += 1
                    else:  # the end of a partition is said as an error
                        left.discard(message.partition())
                if time.monotonic() > give_up_s:
                    raise BenchError(f"{topic} cannot be read to its end within {READ_S:.0f} s")
        finally:
            reader.close()
        return seen

    def _reader(self) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self._servers.bootstrap,
                "group.id": "bench-reader",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "log_level": 0,
            }
        )


def _kafka_version(servers: LocalServers) -> str:
    """The broker's version, by the name of its jar; "" where it is named otherwise."""
    jars: list[Path] = sorted(servers.kafka.libs_dir.glob("kafka_2.13-*.jar"))
    return jars[0].stem.partition("-")[2] if jars else ""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
