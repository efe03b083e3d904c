"""`enrichment bench scale`: one hot-path process, and two that share its partitions.

The same events of one topic, the same broker, exactly once; each process is the one that an
operator starts, with a name of its own. What is timed is what their group has committed together,
from a third of the events on: by then partitions have been handed out for good. Outputs are
counted: none may be lost or doubled by the sharing.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka.admin import AdminClient

from enrichment.lab.bench import ground, observe
from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.hot_path import described_machine
from enrichment.lab.bench.observe import Group, Look, Rate, Span
from enrichment.lab.bench.outputs import Outputs
from enrichment.lab.bench.peers.arguments import STREAM
from enrichment.lab.bench.report import Report, Row
from enrichment.lab.bench.systems import enrich_command, enrich_environment
from enrichment.lab.servers import LocalServers
from enrichment.settings import Delivery
from enrichment.stream.topics import StreamTopics

NAME: Final = "scale"
COUNTS: Final = (1, 2)
EVENTS: Final = 400_000  # some 12 s of one process
EVENTS_QUICK: Final = 8_000
BEAT_S: Final = 2.0
# Whoever joins second takes partitions from the first, which is felt until about here.
SPAN: Final = Span(0.33, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What one run gave: the rate of all together, the least share of its work, the broker's."""

    rate: Rate
    # Of the processes' CPU time, what the least busy one had: 1 / count where all did alike.
    least_share: float
    broker_cores: float


def run(options: BenchOptions) -> Report:
    """Every count in alternating order, forwards and backwards, `runs` times."""
    events = options.events or (EVENTS_QUICK if options.quick else EVENTS)
    runs = 1 if options.quick else options.runs
    options.say("starting Kafka and Redis")
    with ground.servers(options) as servers:
        machine = described_machine(servers)
        bench = Scale(servers, options, events)
        bench.prepare()
        if not options.quick:
            options.say("warming the broker up")
            bench.measure(1)
        found: dict[int, list[Shared]] = {count: [] for count in COUNTS}
        for number in range(runs):
            for count in COUNTS if number % 2 == 0 else reversed(COUNTS):
                options.say(f"run {number + 1} of {runs}: {count} processes")
                found[count].append(bench.measure(count))
    return Report(name=NAME, machine=machine, rows=tuple(rows(found, events)), notes=NOTES)


NOTES: Final = (
    "all run on one machine: where its cores are taken, more processes answer no more events",
)


def rows(found: dict[int, list[Shared]], events: int) -> Iterator[Row]:
    """The figures of each count, then how many times as fast the others are as one process."""
    yield Row.of("stream", "simulated payments", "events", [events], "events")
    for count, runs in found.items():
        system = f"{count} process{'es' if count > 1 else ''}"
        yield Row.of(NAME, system, "throughput", [r.rate.events_per_s for r in runs], "events/s")
        cpu = [r.rate.cpu_s_per_million for r in runs]
        yield Row.of(NAME, system, "cpu", cpu, "s/1M events")
        yield Row.of(NAME, system, "memory_peak", [r.rate.memory_peak_mib for r in runs], "MiB")
        yield Row.of(NAME, system, "least_share", [r.least_share for r in runs], "share")
        yield Row.of(NAME, system, "broker", [r.broker_cores for r in runs], "cores")
    one = found[COUNTS[0]]
    for count in COUNTS[1:]:
        pairs = zip(found[count], one, strict=True)
        ratios = [a.rate.events_per_s / b.rate.events_per_s for a, b in pairs]
        yield Row.of("ratios", f"{count} ÷ 1", "throughput_ratio", ratios, "ratio")


class Scale:
    """The runs, on servers that are up."""

    def __init__(self, servers: LocalServers, options: BenchOptions, events: int) -> None:
        self._servers = servers
        self._options = options
        self._events = events
        self._group = Group(
            AdminClient({"bootstrap.servers": servers.bootstrap, "log_level": 0}),
            f"enrichment.enrich.{STREAM}",
        )
        self._outputs = Outputs(servers.bootstrap)
        self._cache = ground.Cache.open(servers.redis_url, options)
        self._shards: frozenset[str] = frozenset()
        self._beaten_s = 0.0
        self._count = 0

    def prepare(self) -> None:
        """Publish the events and fill the cache."""
        self._options.say(f"publishing {self._events:,} events")
        scenario = ground.scenario(self._events, ground.now_ms())
        entities = ground.published(scenario, self._events, self._servers.bootstrap)
        self._shards = entities.shards
        self._cache.fill(entities, scenario, ground.now_ms())

    def measure(self, count: int) -> Shared:
        """One run of so many processes, from a group without offsets to its last commit."""
        self._count += 1
        self._group.forget()
        enriched = StreamTopics(STREAM).enriched
        before = self._outputs.ends(enriched)
        environment = enrich_environment(self._servers, Delivery.EXACTLY_ONCE)
        environment |= {"ENRICHMENT_READ_TIMEOUT_MS": "1000"}  # each answer is to be full work
        with contextlib.ExitStack() as stack:
            running = [
                stack.enter_context(
                    observe.process(
                        enrich_command(),
                        environment | {"ENRICHMENT_INSTANCE": f"bench-{number}"},
                        self._servers.state_dir / f"run-{self._count}-{number}.log",
                    )
                )
                for number in range(count)
            ]
            shared = self._watch(running)
        done = self._group.committed()
        seen = self._outputs.read(before, answers=True)
        if not seen.total == done == self._events:
            raise BenchError(f"{seen.total} answers for {done} of {self._events} events committed")
        self._outputs.delete(enriched)
        return shared

    def _watch(self, running: Sequence[subprocess.Popen[bytes]]) -> Shared:
        """Look at the processes until their group has committed all events.

        Raises BenchError where one ends, or all stall, before that.
        """
        found = self._servers.kafka.process.running()
        broker = found.pid if found else None
        used_s: list[float] = [observe.cpu_s(each.pid) for each in running]
        looks = [Look(time.monotonic(), 0, sum(used_s))]
        broker_s = [(looks[0].at_s, observe.cpu_s(broker) if broker else 0.0)]
        moved_s = looks[0].at_s
        while looks[-1].done < self._events:
            self._beat()
            time.sleep(observe.LOOK_S)
            done, now_s = self._group.committed(), time.monotonic()
            if any(each.poll() is not None for each in running):
                raise BenchError(f"a process ended at {done} of {self._events} events")
            used_s = [observe.cpu_s(each.pid) for each in running]
            looks.append(Look(now_s, done, sum(used_s)))
            broker_s.append((now_s, observe.cpu_s(broker) if broker else 0.0))
            if done > looks[-2].done:
                moved_s = now_s
            if now_s - moved_s > (observe.STALL_S if done else observe.START_S):
                raise BenchError(f"all stall at {done} of {self._events} events")
        memory = sum(observe.memory_peak_mib(each.pid) for each in running)
        begun = next(i for i, look in enumerate(looks) if look.done >= self._events * SPAN.start)
        (from_s, from_cpu_s), (to_s, to_cpu_s) = broker_s[begun], broker_s[-1]
        return Shared(
            rate=observe.rate(looks, self._events, memory, SPAN),
            least_share=min(used_s) / sum(used_s),
            broker_cores=(to_cpu_s - from_cpu_s) / max(to_s - from_s, observe.LOOK_S),
        )

    def _beat(self) -> None:
        """Keep features fresh while a run lasts."""
        if time.monotonic() - self._beaten_s > BEAT_S:
            self._cache.beat(self._shards, ground.now_ms())
            self._beaten_s = time.monotonic()
