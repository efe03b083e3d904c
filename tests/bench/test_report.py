"""The one form that every benchmark has."""

import json
import os
import socket
from pathlib import Path

import pytest

from enrichment.lab.bench.report import Report, Row, machine

ROW = Row.of("exactly_once", "enrichment", "throughput", [41_000.0, 43_000.0, 40_000.0], "events/s")


def test_a_row_is_the_median_beside_the_lowest_and_the_highest_run() -> None:
    """Three runs give the middle one as the value, the others as low and high."""
    assert (ROW.value, ROW.low, ROW.high, ROW.runs) == (41_000.0, 40_000.0, 43_000.0, 3)


def test_a_row_without_runs_is_refused() -> None:
    """A figure that nothing was measured for cannot be reported."""
    with pytest.raises(ValueError, match="no runs"):
        Row.of("a", "b", "c", [], "s")


def test_figures_claim_no_more_digits_than_they_have() -> None:
    """Five significant digits, for large figures and for small ones."""
    assert Row.of("a", "b", "c", [123_456.789], "s").value == 123_460.0
    assert Row.of("a", "b", "c", [0.123456789], "s").value == 0.12346


def test_the_json_has_the_one_form(tmp_path: Path) -> None:
    """Name, machine, rows of eight fields, notes, series, spread: no more, in a new folder."""
    path = tmp_path / "new" / "hot-path.json"
    Report(
        name="hot-path",
        machine=machine(kafka="4.3.1"),
        rows=(ROW,),
        notes=("one",),
        series={"memory": ((1.0, 2.0),)},
    ).write(path)
    content = json.loads(path.read_text())
    assert list(content) == ["name", "machine", "rows", "notes", "series", "spread"]
    assert content["notes"] == ["one"]
    assert content["series"] == {"memory": [[1.0, 2.0]]}
    assert content["name"] == "hot-path"
    assert content["rows"] == [
        {
            "case": "exactly_once",
            "system": "enrichment",
            "metric": "throughput",
            "value": 41_000.0,
            "unit": "events/s",
            "low": 40_000.0,
            "high": 43_000.0,
            "runs": 3,
        }
    ]


def test_the_machine_says_what_figures_depend_on_and_not_whose_it_is() -> None:
    """Hardware and versions; neither the host's name nor any path, since reports are published."""
    described = machine(kafka="4.3.1", redis_server="7.0.15")
    assert described["cores"] == len(os.sched_getaffinity(0))
    assert float(described["memory_gib"]) > 0
    assert {"cpu", "python", "kafka", "redis_server", "confluent-kafka"} <= set(described)
    text = json.dumps(described)
    assert socket.gethostname() not in text.split('"')
    assert str(Path.cwd()) not in text
    assert str(Path.home()) not in text
