"""Whatever befalls Kafka, Redis, providers, clocks and processes, the promises hold."""

import os

import pytest

from tests.simulation.__main__ import replayed_by
from tests.simulation.run import run

SEEDS = int(os.environ.get("SEEDS", "300"))

CHUNK = 50
"""Seeds of one test: a test for each would cost more than the seeds."""


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_the_promises_hold_whatever_happens(first: int) -> None:
    """At every step nothing is doubled, lost or older than before; in peace all comes to its end.

    A seed that fails is named with the command that replays it.
    """
    reports = [run(seed) for seed in range(first, min(first + CHUNK, SEEDS))]
    failed = [replayed_by(report) for report in reports if report.failure]
    assert not failed, "\n".join(failed)


def test_a_seed_replays_exactly() -> None:
    """The same seed gives the same trace, to the last line."""
    first, again = run(7, telling=True), run(7, telling=True)
    assert first.lines == again.lines
    assert first.trace_hash == again.trace_hash
    assert first.trace_hash != run(8).trace_hash
