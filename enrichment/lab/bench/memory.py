"""`enrichment bench memory`: what one enricher holds, from its first events to millions.

Payments of far more entities than any bounded map remembers are published while it answers, never
far ahead of it; its answers are deleted, so that the disk does not fill. Their features are in
the cache before they come.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec
from confluent_kafka import Producer

from enrichment.lab.bench import ground
from enrichment.lab.bench.answering import Answering
from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.ground import Entities, entities_of
from enrichment.lab.bench.hot_path import described_machine
from enrichment.lab.bench.observe import memory_mib
from enrichment.lab.bench.report import Report, Row
from enrichment.lab.publish import Publisher, publishing
from enrichment.lab.scenario import SimulationSettings
from enrichment.lab.simulate import Payment, simulate
from enrichment.settings import Delivery

NAME: Final = "memory"
EVENTS: Final = 5_000_000
EVENTS_QUICK: Final = 20_000
EARLY_SHARE: Final = 0.1  # of 5 million: after 500 thousand
ACCOUNTS: Final = 60_000
RATE_PER_S: Final = 50_000.0  # of event time
CHUNK: Final = 20_000
AHEAD_MAX: Final = 100_000  # events published and not yet answered: what the topic must hold
DELETE_EVERY: Final = 500_000
STALL_S: Final = 60.0
POINTS: Final = 100  # of the series
AT_MOST: Final = 1.05
PER_S: Final = 40_000.0


def run(options: BenchOptions) -> Report:
    """One enricher, looked at from its first event to its last."""
    events = options.events or (EVENTS_QUICK if options.quick else EVENTS)
    options.say(f"this takes about {(30 + events / PER_S) / 60:.0f} minutes; starting servers")
    with ground.servers(options) as servers:
        answering = Answering(servers, options)
        described = described_machine(servers)
        with answering.enricher(Delivery.EXACTLY_ONCE) as enricher:
            looks = list(_looks(answering, enricher.pid, events, options))
    early, late = at_share(looks, events, EARLY_SHARE), at_share(looks, events, 1.0)
    ratio = late / early
    case = Delivery.EXACTLY_ONCE.value
    first, last = f"after {events * EARLY_SHARE:,.0f} events", f"after {events:,} events"
    return Report(
        name=NAME,
        machine=described,
        rows=(
            Row.of(case, first, "memory", [early], "MiB"),
            Row.of(case, last, "memory", [late], "MiB"),
            Row.of(case, "late ÷ early", "memory_ratio", [ratio], "ratio"),
        ),
        notes=(
            f"at most {AT_MOST} wanted, {'held' if ratio <= AT_MOST else 'NOT held'}: {ratio:.3f}",
        ),
        series={"resident memory, MiB": tuple(thinned(looks))},
    )


def at_share(looks: Sequence[tuple[int, float]], events: int, share: float) -> float:
    """The memory at the first look at or behind this share of the events."""
    return next(mib for done, mib in looks if done >= events * share)


def thinned(looks: Sequence[tuple[int, float]]) -> Iterator[tuple[float, float]]:
    """As many points as a plot shows, the last among them."""
    step = max(1, len(looks) // POINTS)
    for done, mib in [*looks[:-1:step], looks[-1]]:
        yield float(done), mib


def _looks(
    answering: Answering, pid: int, events: int, options: BenchOptions
) -> Iterator[tuple[int, float]]:
    """(events committed, resident MiB) after every chunk that is published, and in the end."""
    settings = _scenario(events)
    cache = ground.Cache.open(answering.servers.redis_url, options)
    client = {"bootstrap.servers": answering.servers.bootstrap, "log_level": 0}
    publisher = Publisher(Producer(publishing(client)))
    known: set[tuple[str, str]] = set()
    said = 0
    for chunk in _chunks(settings, events):
        new = frozenset().union(*map(entities_of, chunk)) - known
        known |= new
        shards = frozenset(payment.region for payment in chunk)
        cache.fill(Entities(frozenset(new), shards), settings, ground.now_ms())
        _publish(publisher, answering, chunk)
        done = _await(answering, publisher.published - AHEAD_MAX)
        yield done, memory_mib(pid)
        if publisher.published // DELETE_EVERY > said:
            said += 1
            answering.delete_outputs()
            share = publisher.published / events
            options.say(f"{publisher.published:,} events ({share:.0%}), {len(known):,} entities")
    yield _await(answering, events), memory_mib(pid)


def _scenario(events: int) -> SimulationSettings:
    """Payments of the last seconds by many accounts."""
    seconds = 1.02 * events / RATE_PER_S + 0.1
    return SimulationSettings(
        seed=2,
        seconds=seconds,
        rate_per_s=RATE_PER_S,
        start_ms=ground.now_ms() - int(seconds * 1000),
        accounts=ACCOUNTS,
    )


def _chunks(settings: SimulationSettings, events: int) -> Iterator[list[Payment]]:
    """The scenario's first `events` payments, in chunks."""
    payments = (simulated.payment for simulated in islice(simulate(settings), events))
    while chunk := list(islice(payments, CHUNK)):
        yield chunk


def _publish(publisher: Publisher, answering: Answering, payments: Sequence[Payment]) -> None:
    encode = msgspec.json.encode
    for payment in payments:
        publisher.publish(answering.topics.events, payment.account_id, encode(payment))
        publisher.producer.poll(0)
    publisher.flush()


def _await(answering: Answering, events: int) -> int:
    """How many are committed, once it is so many."""
    give_up_s = time.monotonic() + STALL_S
    while (done := answering.group.committed()) < events:
        answering.check()
        if time.monotonic() > give_up_s:
            raise BenchError(f"the enricher stalls at {done} of {events} events")
        answering.wait(0.02)
    return done
