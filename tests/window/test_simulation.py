"""Whatever happens to the world and to the worker, a digest is in one micro-batch or late."""

import os
from itertools import pairwise

import pytest

from enrichment.records import Cause
from tests.window.simulation import SHARDS, World, graph, graph_of, identity, run

SEEDS = int(os.environ.get("SEEDS", "20"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_digest_is_in_one_micro_batch_or_late(seed: int) -> None:
    """By id: disorder, duplication, silence, wrong clocks, and crashes between any two steps.

    And the graph is that of somebody who has read each digest once.
    """
    world = World(seed)
    outcome = run(world)
    assert outcome.conflicts == []
    batches = {identity(batch): batch for _, batch in outcome.closes}
    assert len(batches) == len(outcome.closes)
    events = dict.fromkeys(batches, 0)
    for entry in world.entries:
        if entry.digest.shard and (where := outcome.where[entry.offset]) is not None:
            events[where] += entry.digest.events
            _, first, last = batches[where].digest_offsets[0]
            assert first <= entry.offset <= last
    assert events == {where: batch.events for where, batch in batches.items()}
    assert outcome.worker is not None
    assert graph(outcome.worker) == graph_of(world, outcome.worker)
    for shard in SHARDS:
        mine = [batch for _, batch in outcome.closes if batch.shard == shard]
        for batch, after in pairwise(mine):
            assert batch.window_start_ms <= after.window_start_ms
            if batch.cause is Cause.WATERMARK:
                assert batch.window_end_ms <= after.window_start_ms


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_backlog_changes_no_window(seed: int) -> None:
    """Hours of backlog, read at once, give each window the digests that it would have had."""
    world = World(seed, orderly=True)
    live, late = (run(world, crash_share=0.0, backlog=backlog) for backlog in (False, True))
    for outcome in (live, late):
        assert None not in outcome.where.values()
    assert {offset: where[:2] for offset, where in live.where.items() if where} == {
        offset: where[:2] for offset, where in late.where.items() if where
    }
