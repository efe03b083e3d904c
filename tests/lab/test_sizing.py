"""What a stream takes: the sums, and the page that shows them."""

from pathlib import Path

import pytest
from typer.testing import Result

from enrichment.cli.sizing import register
from enrichment.lab.sizing import BUSY, LOADS, Load, size, table
from enrichment.pipelines import load
from enrichment.settings import Settings
from tests.cli.commands import runner_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sizing.md"
PAYMENTS = load("payments")


def _load(rate_per_s: float, *, entities: int = 100_000, shards: int = 4) -> Load:
    return Load(rate_per_s=rate_per_s, entities=entities, shards=shards)


def test_half_of_each_process_is_left_free() -> None:
    """Of the hot path and of windows, wherever there are enough shards to share."""
    for rate in (1_000.0, 10_000.0, 100_000.0, 400_000.0):
        found = size(_load(rate, shards=1_000), PAYMENTS)
        assert found.enrich_cores <= BUSY * found.enrich_processes
        assert found.window_cores <= BUSY * found.window_processes


def test_partitions_are_enough_for_twice_the_processes() -> None:
    """So that more may join without a stop, and in fours."""
    for rate in (1.0, 100_000.0, 400_000.0):
        found = size(_load(rate), PAYMENTS)
        assert found.event_partitions >= 2 * found.enrich_processes
        assert found.event_partitions % 4 == 0


def test_sampling_follows_windows_and_not_the_rate() -> None:
    """As long as windows close once: what a window may give is bounded by `problems_max`."""
    assert PAYMENTS.problem.problems_max == 64
    slow, fast = size(_load(100.0), PAYMENTS), size(_load(9_999.0), PAYMENTS)
    assert slow.problems_per_s_max == fast.problems_per_s_max == 4 / 2 * 64


def test_a_window_of_too_many_events_closes_more_often() -> None:
    """Each `events_max` of them is another micro-batch, with problems of its own."""
    assert PAYMENTS.window.events_max == 5_000
    found = size(_load(10_001.0), PAYMENTS)
    assert found.problems_per_s_max == 2 * 4 / 2 * 64


def test_more_workers_than_shards_would_stand_idle() -> None:
    """A shard is one worker's."""
    assert size(_load(100_000.0, shards=2), PAYMENTS).window_processes == 2


def test_redis_tells_of_a_million_keys_at_most() -> None:
    """Beyond what its table of read keys holds, an entity costs its values alone."""
    few, many, more = (
        size(_load(1.0, entities=n), PAYMENTS).redis_mib for n in (10**5, 10**7, 10**8)
    )
    assert few * 100 > many
    assert more - many == pytest.approx(9 * 10**7 * (674 + 0.067 * 1_594) / 2**20)


def test_the_page_shows_what_the_sums_give() -> None:
    """Its table is made from the same figures."""
    page = PAGE.read_text(encoding="utf-8")
    assert "\n".join(table(PAYMENTS)) in page, "\n".join(table(PAYMENTS))
    assert [each.rate_per_s for each in LOADS] == [1_000, 10_000, 100_000]


def _run(*arguments: str) -> Result:
    return runner_of(register)("sizing", *arguments, settings=Settings())


def test_the_command_says_the_same() -> None:
    """`enrichment sizing`, for people and for programs."""
    found = _run("--rate", "10000", "--entities", "1000000")
    assert found.exit_code == 0
    assert "enrich  2 processes, 0.31 cores busy" in found.stdout
    assert '"enrich_processes": 2' in _run("--rate", "10000", "--json").stdout


@pytest.mark.parametrize("rate", ["0", "-1"])
def test_a_stream_without_events_is_refused(rate: str) -> None:
    """A rate is above nothing."""
    assert _run("--rate", rate).exit_code == 2
