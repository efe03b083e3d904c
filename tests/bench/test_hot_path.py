"""What the benchmark of the hot path makes of its runs, and its table of systems."""

import re
from pathlib import Path

import pytest

from enrichment.lab.bench.hot_path import EVENTS, Run, Runs, estimate_s, notes, order, ratios, rows
from enrichment.lab.bench.observe import Rate
from enrichment.lab.bench.peers import kafka_streams
from enrichment.lab.bench.peers.arguments import Told
from enrichment.lab.bench.systems import (
    FAUST,
    GOALS,
    LIMIT_EO,
    OURS_EO,
    STREAMS_EO,
    SYSTEMS,
    Kind,
    System,
)
from enrichment.lab.kafka_server import POM
from enrichment.settings import Delivery


def _runs(*rates: float) -> list[Run]:
    return [
        Run(Rate(events_per_s=rate, cpu_s_per_million=1.0, memory_peak_mib=1.0), 1.0)
        for rate in rates
    ]


def _found() -> Runs:
    """Two rounds: ours got slower in the second, the others did not."""
    return {
        system: _runs(50.0, 30.0) if system.kind is Kind.OURS else _runs(100.0, 100.0)
        for system in SYSTEMS
    }


def test_ratios_are_taken_run_by_run() -> None:
    """Ours ÷ the other of the same round, so that what drifts over time cancels."""
    found = [row for row in rows(_found(), 1_000) if row.metric == "throughput_ratio"]
    assert len(found) == len(GOALS)
    for row in found:
        assert (row.case, row.value, row.low, row.high, row.runs) == ("ratios", 0.4, 0.3, 0.5, 2)
    assert ratios(GOALS[0], _found()) == [0.5, 0.3]


def test_a_ratio_needs_both_systems() -> None:
    """Where a peer could not be run, its ratios are left out and the note says why."""
    found = {system: runs for system, runs in _found().items() if system.kind is not Kind.FAUST}
    named = [row.system for row in rows(found, 1_000) if row.metric == "throughput_ratio"]
    assert len(named) == len(GOALS) - 1
    assert not any("faust" in name for name in named)
    said = list(notes(found, 1_000, {Kind.FAUST: "not installed"}))
    assert "left out, faust: not installed" in said


def test_notes_say_what_was_reached_and_what_figures_cover() -> None:
    """Each goal beside its median; prefixes of slow peers; what was timed after a warm-up."""
    said = "\n".join(notes(_found(), 1_000_000, {}))
    assert "enrichment EO ÷ pass-through EO: at least 0.6 wanted, NOT reached (0.4)" in said
    assert "faust, pass-through, at_least_once: the first 25,000 of 1,000,000 events" in said
    assert f"{STREAMS_EO.name}, exactly_once: timed from 0.6 to 0.95 of its events" in said


def test_the_order_is_abba() -> None:
    """Forwards, then backwards."""
    systems = (LIMIT_EO, OURS_EO)
    names = [system.name for _, system in order(systems, 3)]
    assert names == [s.name for s in (*systems, *reversed(systems), *systems)]


def test_five_runs_at_full_size_fit_in_a_quarter_of_an_hour() -> None:
    """By the table's own figures: whoever adds a system sees what it costs."""
    assert estimate_s(SYSTEMS, EVENTS, 5) < 15 * 60


def test_the_table_tells_its_systems_apart_and_holds_all_that_goals_name() -> None:
    """No two share name and delivery; a goal's systems are measured."""
    assert len({(system.name, system.delivery) for system in SYSTEMS}) == len(SYSTEMS)
    assert {system for goal in GOALS for system in (goal.ours, goal.other)} <= set(SYSTEMS)
    for delivery in Delivery:
        small: list[System] = [s for s in SYSTEMS if s.quick and s.delivery is delivery]
        assert {Kind.LIMIT, Kind.OURS} <= {system.kind for system in small}


def test_a_prefix_is_never_more_than_there_is() -> None:
    """A small run gives slow peers no more events than the others."""
    assert FAUST.events(1_000_000) == FAUST.events_max
    assert FAUST.events(100) == 100
    assert STREAMS_EO.events(2_000_000) == 2_000_000


@pytest.mark.parametrize("redis_url", ["", "redis://127.0.0.1:1/0"])
def test_peers_read_what_they_are_told(redis_url: str) -> None:
    """The command line of a peer says all that there is to say."""
    told = Told(
        bootstrap="127.0.0.1:1", group="g", source="a", target="b", batch_events=7, batch_ms=3,
        redis_url=redis_url, exactly_once=bool(redis_url),
    )  # fmt: skip
    assert Told.parse(None, told.words()) == told


def test_kafka_streams_is_of_the_brokers_version() -> None:
    """The peer's pom names the version that the broker's does."""

    def version(pom: Path) -> str:
        found = re.search(r"<kafka.version>(.+)</kafka.version>", pom.read_text())
        assert found is not None
        return found[1]

    assert version(kafka_streams.PROJECT / "pom.xml") == version(POM)
