"""Gate and guard on simulated streams: noise is kept out, an oracle let in, an equal not harmed."""

import pytest

from enrichment.records.enriched import Path
from tests.rollout.deciding import asked_at, taken_out_at
from tests.rollout.power import SIGNAL, World, looks, true_difference

RESAMPLES = 100  # a test's; the table in docs/gate.md has twice as many


def test_noise_is_never_let_in_and_is_taken_out_where_it_was_forced_in() -> None:
    """In 200 streams, at none of three looks; outcomes alone take it out at the first."""
    for seed in range(200):
        stream = tuple(looks(World(signal=None, resamples=RESAMPLES // 2), seed))
        assert asked_at(stream) is None, f"seed {seed}"
        assert taken_out_at(stream) == 1, f"seed {seed}"


def test_noise_upon_the_heuristic_is_never_let_in() -> None:
    """A path that says what the heuristic says, but for noise, is no better than it."""
    for seed in range(30):
        stream = tuple(looks(World(signal=0.0, resamples=RESAMPLES), seed))
        assert asked_at(stream) is None, f"seed {seed}"


def test_an_oracle_is_let_in() -> None:
    """At the first look, in every stream; and nothing takes it out."""
    for seed in range(30):
        stream = tuple(looks(World(signal=0.0, oracle=True, resamples=RESAMPLES), seed))
        assert asked_at(stream) == 1, f"seed {seed}"
        assert taken_out_at(stream) is None, f"seed {seed}"


def test_an_equal_of_its_twin_passes_by_the_margin() -> None:
    """In at least nine streams of ten by the last look; and outcomes do not take it out."""
    world = World(signal=SIGNAL, resamples=RESAMPLES)
    assert abs(true_difference(world)) < 0.002
    streams = [tuple(looks(world, seed)) for seed in range(40)]
    assert sum(asked_at(stream) is not None for stream in streams) >= 36
    assert sum(taken_out_at(stream) is not None for stream in streams) == 0


@pytest.mark.parametrize("signal", [SIGNAL - 0.15, SIGNAL - 0.6])
def test_what_is_inferior_by_more_than_the_margin_is_refused(signal: float) -> None:
    """Though it is superior to no ring features; in 40 streams once at most."""
    world = World(signal=signal, resamples=RESAMPLES)
    assert true_difference(world) < -0.025
    streams = [tuple(looks(world, seed)) for seed in range(40)]
    assert sum(asked_at(stream) is not None for stream in streams) <= 1
    lows = [stream[-1].differences["quantum-heuristic"].low for stream in streams]
    assert all(low is not None and low > 0 for low in lows)


def test_the_classical_path_is_asked_without_a_twin() -> None:
    """It is let in for being better than none, whatever the quantum path is worth beside it."""
    for seed in range(20):
        stream = tuple(looks(World(signal=None, resamples=RESAMPLES), seed))
        assert asked_at(stream, Path.CLASSICAL) == 1
        assert taken_out_at(stream, Path.CLASSICAL) is None
