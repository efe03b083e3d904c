"""What digests cost a window worker by the number of active accounts: in process, without Kafka."""

import gc
import time
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from enrichment.lab.bench.digest_stream import PARTITIONS, Tick, ticks
from enrichment.lab.scenario import SimulationSettings
from enrichment.pipelines import Pipeline
from enrichment.records import Digest
from enrichment.window.partition import Partition

RING_SHARE: Final = 0.01  # of the accounts, in rings of 5 to 10
RING_MEMBERS: Final = 7.5
FILL_PER_S: Final = 300.0  # events of the fill: what matters is how many ties they leave
FILL_BATCH_MS: Final = 500
YOUNG_OBJECTS: Final = 100_000  # as the worker has the collector of cycles


def settings(accounts: int, rate_per_s: float, seconds: float, start_ms: int) -> SimulationSettings:
    """A stream of so many accounts, one in a hundred of them in a ring."""
    rings = max(1, round(accounts * RING_SHARE / RING_MEMBERS))
    return SimulationSettings(
        seed=1, seconds=seconds, rate_per_s=rate_per_s, start_ms=start_ms, accounts=accounts,
        rings=rings,
    )  # fmt: skip


def fill(accounts: int, seconds: float, end_ms: int, pipeline: Pipeline) -> Iterable[Tick]:
    """What has filled the horizon before: sparser, and in fewer digests."""
    before = settings(accounts, FILL_PER_S, seconds, end_ms - round(seconds * 1000))
    return ticks(before, pipeline, batch_ms=FILL_BATCH_MS)


def microseconds_per_event(
    before: Iterable[Tick], measured: Sequence[Tick], spec: Pipeline, runs: int
) -> list[float]:
    """CPU time to decode, window and close, by the event, of what comes behind the fill.

    The measured ticks are taken in so many equal parts.
    """
    decode = msgspec.json.Decoder(Digest).decode
    partitions = [Partition(spec, n, start=0, sources=PARTITIONS) for n in range(PARTITIONS)]
    offsets = [0] * PARTITIONS

    def feed(some: Iterable[Tick]) -> tuple[int, float]:
        events, spent_s = 0, 0.0
        for tick in some:
            started_s = time.process_time()
            for record in tick.records:
                number = record.partition
                partitions[number].receive(
                    decode(record.value),
                    offsets[number],
                    written_ms=tick.at_ms,
                    now_ms=tick.at_ms,
                )
                offsets[number] += 1
            for partition in partitions:
                for close in partition.due(tick.at_ms):
                    partition.published(close, 0)
            spent_s += time.process_time() - started_s
            events += tick.events
        return events, spent_s

    threshold = gc.get_threshold()
    gc.set_threshold(YOUNG_OBJECTS, 20, 100)
    try:
        feed(before)
        gc.collect()
        size = len(measured) // runs
        parts = [feed(measured[n * size : (n + 1) * size]) for n in range(runs)]
    finally:
        gc.set_threshold(*threshold)
    return [spent_s / events * 1e6 for events, spent_s in parts]
