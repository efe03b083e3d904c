"""`enrichment bench telemetry`: what the hot path pays for telling of itself.

In this process, without Kafka: the same batches answered by the hot path's own code, told to
nobody, counted as in production, and counted with spans, where one event in a hundred and where
every event was sampled by its sender. Batch by batch in turns, CPU time of the process: what the
exporter does in a thread of its own takes the hot path's turns as well.
"""

import contextlib
import gc
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from io import StringIO
from itertools import cycle, islice, permutations
from multiprocessing import get_context
from typing import Final

import msgspec
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from enrichment.enrich.batch import Enricher, Record
from enrichment.enrich.lookup import Lookup
from enrichment.enrich.told import Told
from enrichment.feature.store import Layout
from enrichment.lab.bench import ground
from enrichment.lab.bench.catalogue import BenchOptions
from enrichment.lab.bench.ground import Entities, entities_of
from enrichment.lab.bench.hot_path import described_machine
from enrichment.lab.bench.peers.arguments import STREAM
from enrichment.lab.bench.report import Report, Row
from enrichment.lab.simulate import Payment, simulate
from enrichment.pipelines import load
from enrichment.settings import Settings
from enrichment.stream.envelope import read_envelope
from enrichment.stream.topics import StreamTopics
from enrichment.telemetry import exposition, spans
from enrichment.wiring.clients import open_reads

NAME: Final = "telemetry"
EVENTS: Final = 100_000
EVENTS_QUICK: Final = 4_000
CONNECT_S: Final = 10.0
BATCH: Final = Settings.model_fields["batch_events_max"].default
SILENT, COUNTED, TRACED = "told to nobody", "counted", "counted, with spans"
CASES: Final = {"none sampled": 0, "1 in 100 sampled": 100, "all sampled": 1}
"""Case -> one event in how many is sampled."""


def run(options: BenchOptions) -> Report:
    """Each way by turns, batch by batch, `runs` times, in a process that may have exporters."""
    options.say("this takes a minute or two; starting Redis and Kafka")
    with (
        ground.servers(options) as servers,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child,
    ):
        described = described_machine(servers)
        rows = child.submit(measured, servers.redis_url, replace(options, say=_say)).result()
    notes = (f"CPU time of one process, batches of {BATCH:,}; spans as JSON lines, into memory",)
    return Report(name=NAME, machine=described, rows=rows, notes=notes)


def measured(redis_url: str, options: BenchOptions) -> tuple[Row, ...]:
    """The rows: whoever asks has exporters from then on."""
    events = options.events or (EVENTS_QUICK if options.quick else EVENTS)
    runs = 1 if options.quick else options.runs
    scenario = ground.scenario(events, ground.now_ms())
    payments = [simulated.payment for simulated in islice(simulate(scenario), events)]
    cache = ground.Cache.open(redis_url, options)
    shards = frozenset(payment.region for payment in payments)
    known = frozenset().union(*map(entities_of, payments))
    cache.fill(Entities(known, shards), scenario, ground.now_ms())
    metrics.set_meter_provider(MeterProvider(metric_readers=[exposition.reader()]))
    made = spans.provider(stage="bench", pipeline=STREAM, instance="0")
    spans.open_spans(spans.console(StringIO()), made)
    rows: list[Row] = []
    configured = Settings.model_validate({"redis_url": redis_url, "read_timeout_ms": 1_000})
    with contextlib.closing(open_reads(configured)) as reads:
        reads.connect(CONNECT_S)
        lookup = Lookup(reads, Layout(STREAM), cache.partitions, ground.now_ms)
        enricher = Enricher(load(STREAM), lookup, ground.now_ms)
        for case, every in CASES.items():
            batches = list(_batches(payments, every))
            found: dict[str, list[float]] = {name: [] for name in (SILENT, COUNTED, TRACED)}
            for number in range(runs + 1):
                cache.beat(shards, ground.now_ms())
                us_by_way = measure(enricher, batches, made)
                if number:  # the first warms up, and reads every entity once
                    options.say(f"{case}: run {number} of {runs}")
                    for name, us in us_by_way.items():
                        found[name].append(us)
            rows += _rows(case, found)
    made.shutdown()
    return tuple(rows)


def measure(
    enricher: Enricher, batches: list[list[Record]], made: TracerProvider
) -> dict[str, float]:
    """CPU microseconds per event of each way; each is as often the first, and after each other."""
    ways: dict[str, Callable[[list[Record]], None]] = {
        SILENT: lambda batch: _answered(enricher, batch),
        COUNTED: lambda batch: _told(enricher, batch, traced=False),
        TRACED: lambda batch: _told(enricher, batch, traced=True),
    }
    spent_ns = dict.fromkeys(ways, 0)
    # As the hot path runs. The collector's walks would fall on one of the ways.
    gc.collect()
    gc.freeze()
    gc.disable()
    for batch, order in zip(batches, cycle(permutations(ways))):
        for name in order:
            start_ns = time.process_time_ns()
            ways[name](batch)
            made.force_flush()  # within the turn of whoever made the spans
            spent_ns[name] += time.process_time_ns() - start_ns
    gc.enable()
    events = sum(map(len, batches))
    return {name: ns / events / 1_000 for name, ns in spent_ns.items()}


def _say(line: str) -> None:
    """Of the child's: what the parent says it with cannot be handed over."""
    sys.stderr.write(f"{line}\n")


def _answered(enricher: Enricher, batch: list[Record]) -> None:
    outputs = enricher.process(batch)
    if len(outputs.enriched) != len(batch):
        raise ValueError(f"{len(outputs.enriched)} answers for {len(batch)} events")


def _told(enricher: Enricher, batch: list[Record], *, traced: bool) -> None:
    """As the loop does."""
    told = Told.taken(batch, ground.now_ms())
    told.answered(enricher.process(batch))
    if not traced:
        told.outputs.followed = []
    for step in ("hold", "produce", "commit"):
        told.mark(step)
    told.tell(StreamTopics(STREAM).events, f"enrichment.enrich.{STREAM}")


def _rows(case: str, found: dict[str, list[float]]) -> Iterator[Row]:
    for name, us in found.items():
        yield Row.of(case, name, "time", us, "µs/event")
    for name in (COUNTED, TRACED):
        pairs = zip(found[name], found[SILENT], strict=True)
        ratios = [told / silent for told, silent in pairs]
        yield Row.of(case, f"{name} ÷ {SILENT}", "time_ratio", ratios, "ratio")


def _batches(payments: list[Payment], every: int) -> Iterator[list[Record]]:
    """The payments as records of one partition, one in `every` with a sampled span behind it."""
    topic = StreamTopics(STREAM).events
    numbered = iter(enumerate(payments))
    while batch := list(islice(numbered, BATCH)):
        yield [_record(topic, number, payment, every) for number, payment in batch]


def _record(topic: str, number: int, payment: Payment, every: int) -> Record:
    value, key = msgspec.json.encode(payment), payment.account_id.encode()
    published_ms = ground.now_ms()
    if not every or number % every:
        return Record(topic, 0, number, key, value, published_ms)
    sent = f"00-{number + 1:032x}-{number + 1:016x}-01".encode()
    headers = [("traceparent", sent)]
    envelope = read_envelope(headers, value)
    return Record(topic, 0, number, key, value, published_ms, headers, envelope)
