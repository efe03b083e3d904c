"""Problems that are sampled again: the same whoever chooses, and by how much they move."""

import random

import numpy as np
import pytest

from enrichment.pipelines import load
from enrichment.records import MicroBatch
from enrichment.records.micro_batch import Cause, Problem
from enrichment.rollout.redraw import sampler_of
from enrichment.rollout.repeats import PROBLEMS, SEEDS, Chosen, repeat_deviation

RING = tuple((i, j, 12) for i in range(4) for j in range(i + 1, 4))


def batch(number: int) -> MicroBatch:
    """A micro-batch of two problems: a ring of four among six accounts."""
    return MicroBatch(
        micro_batch_id=f"payments|all|{number}|0",
        pipeline="payments",
        shard="all",
        window_start_ms=number,
        window_end_ms=number + 1,
        sequence=0,
        cause=Cause.WATERMARK,
        watermark_ms=0,
        closed_at_ms=0,
        content_hash="",
        events=1,
        digest_offsets=(),
        problems=tuple(
            Problem(
                problem_id=str(index),
                subgraph="",
                entity="account",
                nodes=tuple("abcdef"),
                weights=(*RING, (3, 4, 3), (4, 5, 2)),
            )
            for index in range(2)
        ),
    )


def test_the_same_problems_are_chosen_in_whatever_order_they_come() -> None:
    """Twenty of them, repeated micro-batches and all."""
    batches = [batch(number) for number in range(40)]
    one, two = Chosen(), Chosen()
    for each in batches:
        one.take(each)
    random.Random(1).shuffle(batches)
    for each in [*batches, *batches[:5]]:
        two.take(each)
    assert len(one.problems()) == PROBLEMS
    assert one.problems() == two.problems()


def test_deviation_is_the_mean_difference_of_two_draws() -> None:
    """A sampler that says 0 or 1 by a coin differs half of the time; one without noise never."""

    def coin(problem: Problem, seed: int) -> list[float]:
        thrown = np.random.default_rng(seed).integers(2, size=len(problem.nodes))
        return [float(each) for each in thrown]

    chosen = [(100 * number, batch(number).problems[0]) for number in range(60)]
    found = repeat_deviation(chosen, coin, level=0.95)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.5 < found.high
    assert repeat_deviation(chosen, lambda *_: [0.3] * 6, level=0.95).value == 0.0
    assert repeat_deviation(chosen, None, level=0.95).value is None
    assert repeat_deviation([], coin, level=0.95).value is None


def test_the_simulator_is_asked_with_other_seeds() -> None:
    """Shot noise shows and is small: above nothing, below a tenth; the null moves about as little.

    Equal seeds draw equally, so that the figure is the same whoever computes it.
    """
    chosen = [(7, batch(1).problems[0])]
    sampler = sampler_of(load("payments"))
    one, two = (repeat_deviation(chosen, sampler, level=0.95) for _ in range(2))
    assert one == two
    assert one.value is not None
    assert 0.0 < one.value < 0.1
    assert SEEDS == 5
    null = repeat_deviation(chosen, sampler_of(load("payments"), "random"), level=0.95)
    assert null.value == pytest.approx(0.05, abs=0.05)
