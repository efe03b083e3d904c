"""Micro-batches for tests: rings with a few accounts beside them, all of a seed."""

import random

from enrichment.records import Cause, MicroBatch, Problem, Shared

PIPELINE = "payments"


def problem(
    number: int,
    *,
    size: int = 6,
    ring: int = 4,
    seed: int = 0,
    name: str = "p",
    first: int = 0,
) -> Problem:
    """A full clique of `ring` accounts, and a path of weak links to the others."""
    rng = random.Random(seed)
    nodes = tuple(f"acc-{first + number * 100 + i:06d}" for i in range(size))
    weights = []
    for j in range(size):
        for i in range(j):
            if j < ring:
                weights.append((i, j, rng.randint(13, 16)))
            elif i == j - 1:
                weights.append((i, j, rng.randint(1, 3)))
    shared = (
        Shared(
            entity="device",
            id=f"dev-{first + number}",
            members=tuple(range(ring)),
            events=9,
            amount_minor=90_000,
        ),
        Shared(
            entity="beneficiary",
            id=f"ben-{first + number}",
            members=(ring - 1, ring) if size > ring else (0, 1),
            events=2,
            amount_minor=1_000,
        ),
    )
    return Problem(
        problem_id=f"{name}{number}",
        subgraph=f"sub-{name}-{number}-{seed}",
        entity="account",
        nodes=nodes,
        weights=tuple(sorted(weights)),
        shared=shared,
        amount_minor=120_000,
        first_seen_ms=1_000,
        last_seen_ms=2_000,
    )


def batch(
    window: int,
    problems: tuple[Problem, ...] = (),
    *,
    shard: str = "eu",
    pipeline: str = PIPELINE,
    content: str = "",
) -> MicroBatch:
    """The close number `window` of a shard, windows of 2 s."""
    start_ms = 1_700_000_000_000 + window * 2_000
    identity = f"{pipeline}|{shard}|{start_ms}|0"
    return MicroBatch(
        micro_batch_id=identity,
        pipeline=pipeline,
        shard=shard,
        window_start_ms=start_ms,
        window_end_ms=start_ms + 2_000,
        sequence=0,
        cause=Cause.WATERMARK,
        watermark_ms=start_ms + 2_500,
        closed_at_ms=start_ms + 2_600,
        content_hash=content or f"hash-{identity}",
        events=10,
        digest_offsets=((0, window, window),),
        problems=problems,
    )
