"""`enrichment bench window`: what a window worker does with digests, beside windows without them.

One worker, as `enrichment window` runs it, takes backlogs of digests of simulated payments, and
answers a stream in its own time. Faust and Quix Streams take tumbling windows straight from the
events, which is less work: counts by account, no graph.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from confluent_kafka.admin import AdminClient

from enrichment.lab.bench import ground, observe, window_cost
from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.committed_reader import quantile_ms
from enrichment.lab.bench.digest_stream import BATCH_MS, enrichers_for, ticks
from enrichment.lab.bench.hot_path import described_machine
from enrichment.lab.bench.observe import Expected, Group, Rate
from enrichment.lab.bench.outputs import Outputs
from enrichment.lab.bench.peers.arguments import STREAM, Told
from enrichment.lab.bench.report import Report, Row
from enrichment.lab.bench.systems import PEERS_PYTHON, peer_command
from enrichment.lab.bench.window_worker import WindowBench
from enrichment.lab.scenario import SimulationSettings
from enrichment.lab.servers import LocalServers
from enrichment.pipelines import Pipeline, load
from enrichment.stream.topics import StreamTopics

NAME: Final = "window"
ACCOUNTS: Final = 10_000
HORIZON_MS: Final = 600_000
EVENTS_MAX: Final = 1_000_000  # in a window: what is measured closes by time
RATES: Final = (500, 20_000, 100_000)
PACED_PER_S: Final = 20_000
# At the lower rate an account has a payment or none in a window; at the higher one, a thousand
# accounts have forty each, and a hundred thousand hardly more than one.
COST_RATES: Final = (500, 20_000)
COST_ACCOUNTS: Final = (1_000, 3_000, 10_000, 30_000, 100_000)
KEEP_UP_PER_S: Final = 100_000
P99_AT_MOST_MS: Final = 250.0
COST_AT_MOST: Final = 1.5
CASES: Final = ("digests", "cost", "backlog", "peers", "paced")
FAUST_EVENTS: Final = 60_000
QUIX_EVENTS: Final = 200_000


@dataclass(frozen=True, slots=True)
class Size:
    """How long each part lasts, in seconds of the stream."""

    fill_s: float = 600.0
    counted_s: float = 10.0  # of each rate, for messages and bytes
    backlog_s: float = 20.0
    paced_s: float = 30.0
    cost_events: int = 100_000
    cost_accounts: tuple[int, ...] = COST_ACCOUNTS
    cost_rates: tuple[int, ...] = COST_RATES
    rates: tuple[int, ...] = RATES
    peers_events: int = QUIX_EVENTS


QUICK: Final = Size(
    fill_s=20.0, counted_s=1.0, backlog_s=6.0, paced_s=8.0, cost_events=2_000,
    cost_accounts=(1_000, 2_000), cost_rates=(500, 2_000), rates=(500, 2_000), peers_events=4_000,
)  # fmt: skip


def run(options: BenchOptions) -> Report:
    """Every case that was asked for, one after the other."""
    if unknown := set(options.cases) - set(CASES):
        raise BenchError(f"there is no case {', '.join(sorted(unknown))}: {', '.join(CASES)}")
    cases = options.cases or CASES
    size, runs = (QUICK, 1) if options.quick else (Size(), options.runs)
    options.say(f"this takes about {2 if options.quick else 6 + 5 * runs} minutes")
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_pipeline(folder)
        bench = _Bench(options, size, runs, load(STREAM, folder))
        rows = [*bench.digests()] if "digests" in cases else []
        if "cost" in cases:
            for rate in size.cost_rates:
                rows += bench.costs(rate)
        with ground.servers(options) as servers:
            described = described_machine(servers)
            worker = WindowBench(servers, folder)
            if "backlog" in cases:
                for rate in size.rates[1:]:
                    rows += bench.backlogs(worker, rate)
            if "peers" in cases:
                rows += bench.peers(servers, size.rates[1])
            if "paced" in cases:
                rows += bench.paced(worker)
    return Report(name=NAME, machine=described, rows=tuple(rows), notes=tuple(notes(rows)))


def write_pipeline(folder: Path) -> None:
    """The shipped pipeline with a horizon of ten minutes, and windows that close by time alone."""
    shipped_in = files("enrichment.pipelines")
    table = f"{STREAM}.score.toml"
    (folder / table).write_text((shipped_in / table).read_text())
    shipped = (shipped_in / f"{STREAM}.toml").read_text()
    wanted = {"horizon_ms": HORIZON_MS, "events_max": EVENTS_MAX, "spans_ms": "[60_000]"}
    lines = []
    for line in shipped.splitlines():
        name = line.partition("=")[0].strip()
        lines.append(f"{name} = {wanted.pop(name)}" if name in wanted else line)
    if wanted:
        raise ValueError(f"{STREAM}.toml does not set {', '.join(wanted)}")
    (folder / f"{STREAM}.toml").write_text("\n".join(lines) + "\n")


class _Bench:
    """The parts, and what they have in common."""

    def __init__(self, options: BenchOptions, size: Size, runs: int, spec: Pipeline) -> None:
        self._options = options
        self._size = size
        self._runs = runs
        self._spec = spec

    def digests(self) -> Iterator[Row]:
        """Messages and bytes of digests at each rate."""
        for rate in self._size.rates:
            self._options.say(f"digests of {rate:,} events/s")
            seconds = self._size.counted_s
            records = events = size_bytes = 0
            for tick in ticks(self._stream(rate, seconds), self._spec):
                events += tick.events
                records += len(tick.records)
                size_bytes += sum(record.size_bytes for record in tick.records)
            case, system = "digests", f"{rate:,} events/s"
            yield Row.of(case, system, "messages", [records / seconds], "1/s")
            yield Row.of(case, system, "size", [size_bytes / seconds / 1e6], "MB/s")
            yield Row.of(case, system, "size_per_event", [size_bytes / events], "bytes")
            yield Row.of(case, system, "events_per_message", [events / records], "events")

    def costs(self, rate: int) -> Iterator[Row]:
        """CPU time per event by the number of accounts, in process."""
        case = f"cost, {rate:,} events/s"
        found: dict[int, list[float]] = {}
        for accounts in self._size.cost_accounts:
            self._options.say(f"cost of {accounts:,} accounts at {rate:,} events/s")
            end_ms = ground.now_ms()
            before = list(window_cost.fill(accounts, self._size.fill_s, end_ms, self._spec))
            seconds = self._size.cost_events * self._runs / rate
            stream = window_cost.settings(accounts, rate, seconds, end_ms)
            measured = list(ticks(stream, self._spec))
            found[accounts] = window_cost.microseconds_per_event(
                before, measured, self._spec, self._runs
            )
        for accounts, values in found.items():
            yield Row.of(case, f"{accounts:,} accounts", "cpu", values, "µs/event")
        first, last = (found[self._size.cost_accounts[end]] for end in (0, -1))
        ratios = [b / a for a, b in zip(first, last, strict=True)]
        yield Row.of(case, "most ÷ fewest", "cpu_ratio", ratios, "ratio")

    def backlogs(self, worker: WindowBench, rate: int) -> Iterator[Row]:
        """How fast one worker takes what that rate has left for it."""
        self._options.say(f"publishing digests of {rate:,} events/s")
        worker.forget(digests=True)
        end_ms = ground.now_ms() - round(self._size.backlog_s * 1000)
        before = window_cost.fill(ACCOUNTS, self._size.fill_s, end_ms, self._spec)
        filled = worker.publish(iter(before))
        stream = window_cost.settings(ACCOUNTS, rate, self._size.backlog_s, end_ms)
        events = worker.publish(ticks(stream, self._spec))
        found = []
        for number in range(self._runs):
            self._options.say(f"run {number + 1} of {self._runs}: one worker takes them")
            worker.forget(digests=False)
            found.append(worker.drain(filled, events))
        yield from _rate_rows("from digests", f"enrichment, of {rate:,} events/s", found)

    def peers(self, servers: LocalServers, rate: int) -> Iterator[Row]:
        """Tumbling windows over the events themselves."""
        events = self._size.peers_events
        self._options.say(f"publishing {events:,} events")
        stream = self._stream(rate, 1.02 * events / rate + 0.5)
        ground.published(stream, events, servers.bootstrap, own_times=True)
        admin = AdminClient({"bootstrap.servers": servers.bootstrap, "log_level": 0})
        outputs = Outputs(servers.bootstrap)
        peers = (
            ("quix-streams, tumbling window", "quix_windows", str(PEERS_PYTHON), events),
            ("faust, tumbling window", "faust_windows", sys.executable, min(events, FAUST_EVENTS)),
        )
        for name, module, python, given in peers:
            if not (module == "faust_windows" or PEERS_PYTHON.exists()):
                self._options.say(f"left out, {name}: it is not installed: `make peers`")
                continue
            found = []
            for number in range(self._runs):
                self._options.say(f"run {number + 1} of {self._runs}: {name}")
                group = Group(admin, f"{module}-{number}")
                group.forget()
                told = Told(
                    bootstrap=servers.bootstrap, group=group.name,
                    source=StreamTopics(STREAM).events, target=ground.PASSED, batch_events=1,
                    batch_ms=1, redis_url="", exactly_once=False,
                )  # fmt: skip
                command, environment = peer_command(python, module, told)
                log = servers.state_dir / f"{group.name}.log"
                with observe.process(command, environment, log) as running:
                    expected = Expected(given)
                    found.append(observe.watch(running, group, expected, lambda: None, log))
                outputs.delete(ground.PASSED)
            yield from _rate_rows("from events", name, found)

    def paced(self, worker: WindowBench) -> Iterator[Row]:
        """How soon micro-batches come at a steady rate."""
        rate = self._size.rates[1] if self._options.quick else PACED_PER_S
        self._options.say(f"{rate:,} events/s in their own time")
        lateness_ms = self._spec.window.lateness_ms
        closed, ended = [], []
        for _ in range(self._runs):
            worker.forget(digests=True)
            end_ms = ground.now_ms() - round(self._size.paced_s * 1000)
            before = window_cost.fill(ACCOUNTS, self._size.fill_s, end_ms, self._spec)
            stream = window_cost.settings(ACCOUNTS, rate, self._size.paced_s, end_ms)
            found = worker.paced(iter(before), list(ticks(stream, self._spec)))
            # The stream's first and last windows are cut off, and the last waits for quiet.
            last_ms = max(seen.batch.window_end_ms for seen, _ in found)
            whole = [pair for pair in found if pair[0].batch.window_end_ms < last_ms]
            closed.append([(seen.at_ms - seen.batch.closed_at_ms) * 1000 for seen, _ in whole])
            ended.append([(seen.at_ms - at_ms - lateness_ms) * 1000 for seen, at_ms in whole])
        for name, waits in (("close to topic", closed), ("watermark to topic", ended)):
            for metric, share in (("p50", 0.5), ("p99", 0.99)):
                values = [quantile_ms(np.array(one, dtype=np.int64), share) for one in waits]
                yield Row.of(f"{rate:,} events/s", name, metric, values, "ms")

    def _stream(self, rate: int, seconds: float) -> SimulationSettings:
        return window_cost.settings(
            ACCOUNTS, rate, seconds, ground.now_ms() - round(seconds * 1000)
        )


def notes(rows: Sequence[Row]) -> Iterator[str]:
    """What was wanted, and what figures cover."""
    for row in rows:
        wanted: float | None = None
        if row.system == f"enrichment, of {KEEP_UP_PER_S:,} events/s" and row.unit == "events/s":
            wanted, held = KEEP_UP_PER_S, row.value >= KEEP_UP_PER_S
        elif (row.system, row.metric) == ("close to topic", "p99"):
            wanted, held = P99_AT_MOST_MS, row.value <= P99_AT_MOST_MS
        elif row.metric == "cpu_ratio":
            wanted, held = COST_AT_MOST, row.value <= COST_AT_MOST
        if wanted is not None:
            word = "reached" if held else "NOT reached"
            what = f"{row.case}: {row.system}, {row.metric}"
            yield f"{what}: {wanted:,g} wanted, {word} ({row.value:,g})"
    yield (
        f"digests: of {ACCOUNTS:,} accounts, 1 % of them in rings, in transactions of {BATCH_MS} "
        f"ms, by {enrichers_for(KEEP_UP_PER_S)} enrichers at {KEEP_UP_PER_S:,} events/s; bytes "
        "with key and headers, before compression"
    )
    yield (
        "from events: counts and amounts by account alone, no links, no graph, no candidates; the "
        "enricher's time for digests (some 2 µs an event) is not in ours; faust is given the "
        f"first {FAUST_EVENTS:,} events"
    )
    yield (
        f"the graph is filled by ten minutes of {window_cost.FILL_PER_S:,.0f} events/s before "
        "anything is timed; runs of `cost` follow one another on one graph"
    )


def _rate_rows(case: str, system: str, found: Sequence[Rate]) -> Iterator[Row]:
    yield Row.of(case, system, "throughput", [each.events_per_s for each in found], "events/s")
    cpu = [each.cpu_s_per_million for each in found]
    yield Row.of(case, system, "cpu", cpu, "s/1M events")
    yield Row.of(case, system, "memory_peak", [each.memory_peak_mib for each in found], "MiB")
