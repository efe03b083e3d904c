"""`enrichment bench client`: reading features through the client, beside raw MGET and Feast.

One Redis, a few thousand accounts that are all in rings, random batches of them. Every way reads
the same batch before the next is drawn, forwards and backwards in turn, so that all meet the same
load. Raw MGET asks for the very keys that the client asks for, marks and heartbeats included, and
decodes nothing. Feast runs in a process and an environment of its own, and is timed there.
"""

import asyncio
import inspect
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Final

import redis
import redis.asyncio

from enrichment.feature import AsyncFeatureReader, FeatureReader, Features
from enrichment.feature.reading import Reading
from enrichment.lab.bench import ground
from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.peers import feast
from enrichment.lab.bench.peers.arguments import STREAM
from enrichment.lab.bench.report import Report, Row, machine
from enrichment.lab.ports import free_port
from enrichment.lab.redis_server import RedisServer
from enrichment.pipelines import load
from enrichment.records import VerdictName

NAME: Final = "client"
SIZES: Final = (1, 10, 100)  # accounts per read: a payment, a page of a list, a batch
ACCOUNTS: Final = 5_000  # 7 MiB of values: more than a processor's nearer caches hold
ACCOUNTS_QUICK: Final = 300
READS: Final = 2_000  # of each size in a run: twenty of them lie beyond a p99
READS_QUICK: Final = 20
KEEP_MAX: Final = 4 * ACCOUNTS  # all of it: what is measured is a copy that holds what is asked for
START_S: Final = 20.0
BEAT_EVERY: Final = 200  # batches: a heartbeat each second or so, as a window stage gives
RAW, RAW_ASYNC = "raw MGET", "raw MGET, asyncio"
OURS, OURS_ASYNC = "enrichment", "enrichment, asyncio"
DECODED: Final = "enrichment, decoded"  # an estimate of each account looked at
KEPT: Final = "enrichment, kept"
QUANTILES: Final = (("p50", 0.5), ("p99", 0.99))
# Ours, and what it is held against in the same run.
RATIOS: Final = (
    (OURS, RAW), (DECODED, RAW), (KEPT, RAW), (OURS_ASYNC, RAW_ASYNC),
    (OURS, feast.ONE), (DECODED, feast.ALL),
)  # fmt: skip
RATIO_MAX: Final = 1.5  # the goal of issue 10, in batches of a hundred

Batch = list[tuple[str, str, str]]
Times = dict[str, list[float]]
"""System -> microseconds of each read."""


def run(options: BenchOptions) -> Report:
    """Every way, every size, `runs` times."""
    accounts = ACCOUNTS_QUICK if options.quick else ACCOUNTS
    reads = options.events or (READS_QUICK if options.quick else READS)
    runs = 1 if options.quick else options.runs
    options.say("starting Redis")
    with _redis(options) as url:
        cache = ground.Cache.open(url, options)
        version = str(cache.client.info("server")["redis_version"])
        described = machine(redis_server=version)
        options.say(f"filling the feature cache for {accounts:,} accounts")
        ids = [f"a{number:06}" for number in range(accounts)]
        accounts_known = frozenset(("account", id_) for id_ in ids)
        entities = ground.Entities(accounts_known, frozenset(["north"]))
        settings = ground.scenario(1_000, ground.now_ms())
        cache.fill(entities, settings, ground.now_ms(), all_in_rings=True)
        bench = _Bench(url, cache, ids)
        found: dict[int, list[Times]] = {size: [] for size in SIZES}
        with feast.beside(url, ids, options) as peer:
            for number in range(runs):
                options.say(f"run {number + 1} of {runs}")
                for size in SIZES:
                    times = bench.measure(size, reads, number)
                    if isinstance(peer, feast.Feast):
                        times |= peer.measure(size, max(1, reads // 4), number)
                    found[size].append(times)
        absent = "" if isinstance(peer, feast.Feast) else peer
        cache.client.close()
    return Report(
        name=NAME,
        machine=described,
        rows=tuple(_rows(found)),
        notes=tuple(_notes(found, accounts, reads, absent)),
    )


@contextmanager
def _redis(options: BenchOptions) -> Iterator[str]:
    """A Redis of our own on a free port, gone afterwards; its URL."""
    work = options.state_dir / f"bench-{time.time_ns()}"
    server = RedisServer(state_dir=work / "redis", port=free_port(), tied=True)
    try:
        server.start(within_s=START_S)
        yield f"redis://{server.address}/0"
    finally:
        server.process.stop()
        shutil.rmtree(work, ignore_errors=True)


class _Bench:
    """The runs, on a Redis that is filled."""

    def __init__(self, url: str, cache: ground.Cache, ids: list[str]) -> None:
        self._url = url
        self._cache = cache
        self._ids = ids
        self._reading = Reading(load(STREAM), cluster=False, clock_ns=time.time_ns)

    def measure(self, size: int, reads: int, seed: int) -> Times:
        """One run of the ways that are called from here."""
        return asyncio.run(self._turns(size, reads, seed))

    async def _turns(self, size: int, reads: int, seed: int) -> Times:
        draw = random.Random(seed)  # noqa: S311  # which accounts are read, not a secret
        times: Times = {}
        async with AsyncExitStack() as stack:
            ways = await self._ways(stack)
            for number in range(reads + 1):
                if number % BEAT_EVERY == 0:
                    self._cache.beat(["north"], ground.now_ms())
                batch = [("account", id_, "ring") for id_ in draw.sample(self._ids, size)]
                keys = self._keys(batch)
                for name in list(ways) if number % 2 else reversed(ways):
                    asked = keys if name in {RAW, RAW_ASYNC} else batch
                    began_ns = time.perf_counter_ns()
                    found = ways[name](asked)
                    if inspect.isawaitable(found):
                        found = await found
                    took_us = (time.perf_counter_ns() - began_ns) / 1_000
                    _require_answers(name, found, size)
                    if number:  # the first opens connections
                        times.setdefault(name, []).append(took_us)
        return times

    async def _ways(self, stack: AsyncExitStack) -> dict[str, Callable[[Any], Any]]:
        """Each way to read a batch, by its system's name; raw ones are given its keys."""
        plain = stack.enter_context(FeatureReader(self._url, STREAM))
        kept = stack.enter_context(FeatureReader(self._url, STREAM, keep_max=KEEP_MAX))
        awaited = await stack.enter_async_context(AsyncFeatureReader(self._url, STREAM))
        client = redis.asyncio.Redis.from_url(self._url)
        stack.push_async_callback(client.aclose)

        def looked_at(batch: Batch) -> list[Features]:
            found = plain.read_many(batch)
            for each in found:
                each.estimate("quantum", "membership")
            return found

        kept.read_many(("account", id_, "ring") for id_ in self._ids)
        return {
            RAW: self._cache.client.mget,
            OURS: plain.read_many,
            DECODED: looked_at,
            KEPT: kept.read_many,
            RAW_ASYNC: client.mget,
            OURS_ASYNC: awaited.read_many,
        }

    def _keys(self, batch: Batch) -> list[str]:
        """What the client asks for, of a batch of accounts in the shard that it has met."""
        exchange = self._reading.begin(batch, None)
        keys = exchange.keys
        while exchange.found is None:
            keys = exchange.keys
            values: list[Any] = self._cache.client.mget(keys)
            exchange.answered(values)
        return keys


def _require_answers(name: str, found: Any, size: int) -> None:
    """Raises BenchError where the answers are not those of a cache that is complete and fresh."""
    if name in {RAW, RAW_ASYNC}:
        if None in found[-2 * size :]:
            raise BenchError(f"{name}: values are missing")
    elif {each.verdict.name for each in found} != {VerdictName.FRESH}:
        raise BenchError(f"{name}: not every answer is fresh")


def _p(times: Sequence[float], share: float) -> float:
    """The quantile of some times, by rank."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def _rows(found: dict[int, list[Times]]) -> Iterator[Row]:
    """p50 and p99 of every way and size, and ours beside what it is held against."""
    for size, runs in found.items():
        case = f"{size} account" + "s" * (size > 1)
        for system in runs[0]:
            for metric, share in QUANTILES:
                values = [_p(times[system], share) for times in runs]
                yield Row.of(case, system, metric, values, "µs")
        for ours, other in RATIOS:
            if other in runs[0]:
                for metric, share in QUANTILES:
                    values = [_p(times[ours], share) / _p(times[other], share) for times in runs]
                    yield Row.of(case, f"{ours} ÷ {other}", f"{metric}_ratio", values, "ratio")


def _notes(found: dict[int, list[Times]], accounts: int, reads: int, absent: str) -> Iterator[str]:
    yield (
        f"{reads:,} reads of random accounts of {accounts:,}, in each run and size; raw MGET asks "
        "for the same keys (two values an account, the marks, a heartbeat) and decodes nothing"
    )
    yield "kept: a copy that already holds what is asked for; one small read makes sure of that"
    if absent:
        yield f"left out, feast: {absent}"
    else:
        yield (
            f"Feast: {reads // 4:,} reads, timed in its own process; one view with the same "
            "figures, so that it reads one hash where we read two values"
        )
    ratio = statistics.median(
        _p(times[OURS], 0.5) / _p(times[RAW], 0.5) for times in found[SIZES[-1]]
    )
    verdict = "kept" if ratio <= RATIO_MAX else "missed"
    yield (
        f"goal: p50 of {SIZES[-1]} accounts at most {RATIO_MAX} times raw MGET: "
        f"{ratio:.2f}, {verdict}"
    )
