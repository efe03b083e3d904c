"""Micro-batches without end, so that the sampler is never out of work.

They go straight to the sampler's topic, a few ahead of what it has taken: as many as it can solve,
on whatever machine. Run as a process: `python -m enrichment.lab.bench.micro_batches`.
"""

import argparse
import random
import signal
import threading
import time
from collections.abc import Sequence
from typing import Final

import msgspec
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from enrichment.lab.bench.observe import Group
from enrichment.lab.bench.peers.arguments import STREAM
from enrichment.lab.scenario import REGIONS
from enrichment.pipelines import Pipeline, load
from enrichment.records import Cause, MicroBatch, Problem
from enrichment.records.micro_batch import micro_batch_id
from enrichment.stream.topics import MICRO_BATCHES, partition_for, shard_key

AHEAD: Final = 24  # micro-batches: what the sampler does in a second or so
PROBLEMS: Final = 16  # in each: a busy window of the demo has about as many
NAP_S: Final = 0.1
PAST_MS: Final = 30 * 24 * 3_600_000  # windows begin a month ago, and stay in the past
CALL_S: Final = 10.0


def problem(pipeline: Pipeline, number: int, rng: random.Random) -> Problem:
    """As many accounts as a problem may have, half of them in a ring."""
    size = pipeline.problem.variables_max
    weights = []
    for j in range(size):
        for i in range(j):
            if j < size // 2:
                weights.append((i, j, rng.randint(12, 16)))
            elif rng.random() < 0.3 or i == j - 1:
                weights.append((i, j, rng.randint(1, 4)))
    return Problem(
        problem_id=f"p-{number}",
        subgraph=f"{rng.getrandbits(128):032x}",  # new each time: nothing is left out as unchanged
        entity="account",
        nodes=tuple(f"load-{number}-{i}" for i in range(size)),
        weights=tuple(sorted(weights)),
        amount_minor=120_000,
        first_seen_ms=1_000,
        last_seen_ms=2_000,
    )


def micro_batch(pipeline: Pipeline, number: int, start_ms: int, rng: random.Random) -> MicroBatch:
    """The number-th close, of the shards in turn."""
    shard = REGIONS[number % len(REGIONS)]
    size_ms = pipeline.window.size_ms
    window_ms = start_ms + number // len(REGIONS) * size_ms
    return MicroBatch(
        micro_batch_id=micro_batch_id(pipeline.name, shard, window_ms, 0),
        pipeline=pipeline.name,
        shard=shard,
        window_start_ms=window_ms,
        window_end_ms=window_ms + size_ms,
        sequence=0,
        cause=Cause.WATERMARK,
        watermark_ms=window_ms + size_ms,
        closed_at_ms=time.time_ns() // 1_000_000,
        content_hash=f"{rng.getrandbits(128):032x}",
        events=1_000,
        digest_offsets=((0, number, number),),
        problems=tuple(problem(pipeline, i, rng) for i in range(PROBLEMS)),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Stay ahead of the sampler until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    given = parser.parse_args(arguments)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    client = {"bootstrap.servers": given.bootstrap, "log_level": 0}
    admin, producer = AdminClient(client), Producer(client | {"compression.type": "lz4"})
    sampler = Group(admin, f"enrichment.sample.{STREAM}")
    pipeline = load(STREAM)
    partitions = len(
        admin.list_topics(MICRO_BATCHES, timeout=CALL_S).topics[MICRO_BATCHES].partitions
    )
    rng = random.Random(1)  # noqa: S311  # a load, not a secret
    start_ms = time.time_ns() // 1_000_000 - PAST_MS
    encode = msgspec.json.Encoder().encode
    number = 0
    while not stop.wait(NAP_S):
        # The window stage writes there too: what counts is where the topic ends.
        room = AHEAD - (_end(admin, partitions) - sampler.committed())
        for _ in range(max(0, room)):
            batch = micro_batch(pipeline, number, start_ms, rng)
            key = shard_key(batch.pipeline, batch.shard)
            producer.produce(MICRO_BATCHES, encode(batch), key, partition_for(key, partitions))
            number += 1
        producer.flush(CALL_S)


def _end(admin: AdminClient, partitions: int) -> int:
    """How many records the topic has had."""
    wanted = {TopicPartition(MICRO_BATCHES, n): OffsetSpec.latest() for n in range(partitions)}
    return sum(future.result(CALL_S).offset for future in admin.list_offsets(wanted).values())


if __name__ == "__main__":
    main()
