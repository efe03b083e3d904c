"""`enrichment bench reencode`: an event's own bytes carried through, or written anew.

In this process, without Kafka: the same batches, answered by the hot path's own code for a pipeline
that marks nothing as sensitive and for one that marks a field. What it costs to read a whole event,
to replace a value by its keyed hash and to write the event again is the difference. CPU time, not
time on the wall: what waits for Redis waits alike.
"""

import contextlib
import gc
import hashlib
import hmac
import time
from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from enrichment.enrich.batch import Enricher, Record
from enrichment.enrich.lookup import Lookup
from enrichment.feature.reads import TrackedReads
from enrichment.feature.store import Layout
from enrichment.lab.bench import ground
from enrichment.lab.bench.catalogue import BenchOptions
from enrichment.lab.bench.ground import Entities, entities_of
from enrichment.lab.bench.hot_path import described_machine
from enrichment.lab.bench.peers.arguments import STREAM
from enrichment.lab.bench.report import Report, Row
from enrichment.lab.simulate import Payment, simulate
from enrichment.pipelines import Pipeline, load
from enrichment.settings import Settings
from enrichment.stream.topics import StreamTopics
from enrichment.wiring.clients import open_reads

NAME: Final = "reencode"
EVENTS: Final = 100_000
EVENTS_QUICK: Final = 4_000
CONNECT_S: Final = 10.0
BATCH: Final = Settings.model_fields["batch_events_max"].default
# A field that no score reads: with it concealed, everything else is done alike.
SENSITIVE: Final = ("channel",)
CARRIED, REWRITTEN = "own bytes", "written anew"


def run(options: BenchOptions) -> Report:
    """Both ways by turns, batch by batch, `runs` times."""
    events = options.events or (EVENTS_QUICK if options.quick else EVENTS)
    runs = 1 if options.quick else options.runs
    options.say("this takes about a minute; starting Redis and Kafka")
    with ground.servers(options) as servers:
        described = described_machine(servers)
        settings = ground.scenario(events, ground.now_ms())
        payments = [simulated.payment for simulated in islice(simulate(settings), events)]
        cache = ground.Cache.open(servers.redis_url, options)
        known = frozenset().union(*map(entities_of, payments))
        shards = frozenset(payment.region for payment in payments)
        cache.fill(Entities(known, shards), settings, ground.now_ms())
        batches = list(_batches(payments))
        configured = Settings.model_validate(
            {"redis_url": servers.redis_url, "read_timeout_ms": 1_000}
        )
        with contextlib.ExitStack() as stack:
            enrichers = {}
            for name, pipeline in pipelines().items():
                reads = stack.enter_context(contextlib.closing(open_reads(configured)))
                reads.connect(CONNECT_S)
                enrichers[name] = _enricher(pipeline, reads, cache.partitions)
            found: dict[str, list[float]] = {name: [] for name in enrichers}
            for number in range(runs + 1):
                cache.beat(shards, ground.now_ms())
                measured = measure(enrichers, batches)
                if number:  # the first warms up, and reads every entity once
                    options.say(f"run {number} of {runs}")
                    for name, us in measured.items():
                        found[name].append(us)
    pairs = zip(found[REWRITTEN], found[CARRIED], strict=True)
    ratios = [rewritten / carried for rewritten, carried in pairs]
    return Report(
        name=NAME,
        machine=described,
        rows=(
            *(Row.of("answer", name, "time", us, "µs/event") for name, us in found.items()),
            Row.of("answer", f"{REWRITTEN} ÷ {CARRIED}", "time_ratio", ratios, "ratio"),
        ),
        notes=(
            (
                f"CPU time to decode, read, score and encode batches of {BATCH:,} in one process, "
                f"without Kafka; written anew with {', '.join(SENSITIVE)} as a keyed hash"
            ),
        ),
    )


def pipelines() -> dict[str, Pipeline]:
    """The shipped stream, and the same with something to conceal."""
    shipped = load(STREAM)
    stream = msgspec.structs.replace(shipped.stream, sensitive=SENSITIVE)
    return {CARRIED: shipped, REWRITTEN: msgspec.structs.replace(shipped, stream=stream)}


def measure(enrichers: dict[str, Enricher], batches: list[list[Record]]) -> dict[str, float]:
    """CPU microseconds per event of each, the order turned round from batch to batch."""
    spent_ns = dict.fromkeys(enrichers, 0)
    gc.collect()
    for number, batch in enumerate(batches):
        names = list(enrichers)
        for name in names if number % 2 == 0 else reversed(names):
            start_ns = time.thread_time_ns()
            outputs = enrichers[name].process(batch)
            spent_ns[name] += time.thread_time_ns() - start_ns
            if len(outputs.enriched) != len(batch):
                raise ValueError(f"{name}: {len(outputs.enriched)} answers for {len(batch)} events")
    events = sum(map(len, batches))
    return {name: ns / events / 1_000 for name, ns in spent_ns.items()}


def _enricher(pipeline: Pipeline, reads: TrackedReads, partitions: int) -> Enricher:
    lookup = Lookup(reads, Layout(pipeline.name), partitions, ground.now_ms)
    return Enricher(pipeline, lookup, ground.now_ms, _pseudonym)


def _pseudonym(text: str) -> str:
    return hmac.new(b"of a benchmark", text.encode(), hashlib.sha256).hexdigest()[:32]


def _batches(payments: list[Payment]) -> Iterator[list[Record]]:
    """The payments as records of one partition."""
    topic = StreamTopics(STREAM).events
    numbered = iter(enumerate(payments))
    while batch := list(islice(numbered, BATCH)):
        yield [
            Record(topic, 0, number, payment.account_id.encode(), msgspec.json.encode(payment))
            for number, payment in batch
        ]
