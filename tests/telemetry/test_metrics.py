"""What is counted: the table, the code, the page and what Prometheus sees say the same."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from enrichment.stream.lag import lags, tell
from enrichment.telemetry import metrics
from tests.enrich.streams import payment
from tests.memory_kafka import MemoryConsumer, Process
from tests.sample.fakes import Bench
from tests.sample.streams import batch, problem
from tests.sample.told import of_case
from tests.telemetry.heard import Heard
from tests.telemetry.way import TOPICS, WAITED_MS, Way, ring

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "telemetry.md"


def instruments() -> dict[str, tuple[Any, metrics.Instrument]]:
    """Name in the module -> the instrument, and its line of the table."""
    found = {}
    for name, value in vars(metrics).items():
        if (told := getattr(value, "_name", None) or getattr(value, "name", None)) in metrics.TABLE:
            found[name] = (value, metrics.TABLE[told])
    return found


def uses() -> Iterator[tuple[str, str, ast.expr | None]]:
    """(place, name in the module, labels as written) of each use in the code."""
    for path in sorted((ROOT / "enrichment").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            of = node.func.value
            if isinstance(of, ast.Attribute) and ast.unparse(of.value) == "metrics":
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                yield place, of.attr, node.args[1] if len(node.args) > 1 else None


def keys(labels: ast.expr) -> set[str] | None:
    """The keys of labels that are written in place; None where they are not."""
    if not isinstance(labels, ast.Dict):
        return None
    return {key.value for key in labels.keys if isinstance(key, ast.Constant)}  # type: ignore[misc]


def test_the_code_uses_what_the_table_has() -> None:
    """Every instrument is used, every use is of one, and its labels are those of the table."""
    known = instruments()
    assert len(known) == len(metrics.TABLE)
    used = list(uses())
    assert {name for _, name, _ in used} == known.keys()
    for place, name, labels in used:
        if labels is not None and (written := keys(labels)) is not None:
            assert written == set(known[name][1].labels), place


def test_the_page_tells_the_table() -> None:
    """`docs/telemetry.md` has a row for each instrument: name, exposed name, kind, labels, tier."""
    rows = re.findall(r"^\| `(enrichment\.[^`]+)` \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    written = {
        name: [cell.strip().replace("`", "") for cell in rest.split(" | ")][:4]
        for name, rest in rows
    }
    assert len(rows) == len(written)
    assert written == {
        name: [told.exposed, told.kind, told.tier.value, ", ".join(told.labels)]
        for name, told in metrics.TABLE.items()
    }


@pytest.mark.usefixtures("heard")
def test_prometheus_has_the_names_that_the_table_says() -> None:
    """Dashboards and alerts are written with these."""
    for instrument, told in instruments().values():
        labels = dict.fromkeys(told.labels, "x")
        act = {"counter": "add", "histogram": "record", "gauge": "set"}[told.kind]
        getattr(instrument, act)(1, labels)
    exposed = set(re.findall(r"^([a-z_]+)\{", generate_latest().decode(), re.MULTILINE))
    wanted = {
        told.exposed + ("_bucket" if told.kind == "histogram" else "")
        for told in metrics.TABLE.values()
    }
    assert wanted <= exposed
    for instrument, told in instruments().values():
        if told.kind == "gauge":
            instrument.tell([])


def test_a_batch_is_told_once_it_is_committed(heard: Heard) -> None:
    """Verdicts, decisions, reasons of dead letters, and how long the oldest event waited."""
    way = Way()
    way.enrich(*((value, None) for value in [*ring(5), b"no event", payment(amount=None)]))
    points = {(name, labels): point for name, labels, point in heard.points()}
    told: dict[str, float] = {}
    for (name, _), point in points.items():
        told[name] = told.get(name, 0) + getattr(point, "count", getattr(point, "value", 0))
    assert (told["enrichment.events"], told["enrichment.decisions"]) == (5, 5)
    assert told["enrichment.dead_letters"] == 2
    assert ("enrichment.dead_letters", (("reason", "not_json"),)) in points
    assert points["enrichment.transactions", (("outcome", "committed"),)].value == 1
    assert points["enrichment.batch.records", ()].sum == 7
    assert points["enrichment.latency", ()].sum >= WAITED_MS
    steps = {dict(labels)["step"] for name, labels in points if name == "enrichment.batch.step"}
    assert steps == {"wait", "read", "score", "hold", "produce", "commit"}


def test_a_batch_that_is_given_up_is_told_as_that(heard: Heard) -> None:
    """Its events are counted when they are answered for good, and not before."""
    way = Way(trouble="abortable")
    way.enrich(*((value, None) for value in ring(3)))
    counts = heard.counts()
    assert counts["enrichment.transactions"] == {
        (("outcome", "aborted"),): 1, (("outcome", "committed"),): 1,
    }  # fmt: skip
    assert sum(counts["enrichment.events"].values()) == 3
    assert len(way.kafka.committed(TOPICS.enriched)) == 3


def test_windows_jobs_and_cases_are_told(heard: Heard) -> None:
    """From a window's close to its job's end: steps, shots, differences from the twin, cases."""
    way = Way()
    way.enrich(*((value, None) for value in ring(5)))
    way.solve(way.close())
    counts = heard.counts()
    assert counts["enrichment.windows"] == {(("cause", "idle"),): 1}
    assert counts["enrichment.window.problems"] == {(): 1}
    qsim = ("provider", "qsim")
    assert counts["enrichment.job.duration"] == {(qsim, ("state", "succeeded")): 1}
    assert counts["enrichment.shots"] == {(qsim,): 100}
    steps = {dict(labels)["step"] for labels in counts["enrichment.job.step"]}
    assert steps == {"validation", "queue", "execution", "retrieval", "post_processing"}
    figures = {dict(labels)["figure"] for labels in counts["enrichment.job.difference"]}
    assert {"energy_gap", "membership_gap", "histogram_distance"} <= figures


def test_what_is_said_of_cases_is_told(heard: Heard) -> None:
    """Accepted and dismissed suggestions are outcomes that name a case."""
    bench = Bench()
    bench.send(batch(0, (problem(0),)))
    bench.turns(20)
    [case] = bench.topics.cases().values()
    bench.tell(of_case(case.case_id, fraud=True, at_ms=bench.clock.now_ms))
    bench.turns(60)
    counts = heard.counts()
    assert counts["enrichment.outcomes"] == {(("said", "analyst_fraud"),): 1}
    assert counts["enrichment.cases"] == {
        (("status", "open"),): 1, (("status", "confirmed"),): 1,
    }  # fmt: skip


def test_no_label_names_an_entity(heard: Heard) -> None:
    """Labels are those of the table, and hold nothing of an event's own."""
    way = Way()
    way.enrich(*((value, None) for value in [*ring(5, device="dev-77"), b"no event"]))
    way.solve(way.close())
    for name, labels, _ in heard.points():
        assert {key for key, _ in labels} <= set(metrics.TABLE[name].labels), name
        for _, value in labels:
            assert not re.search(r"acc-|dev-|e\d|\|", value), (name, labels)


def test_a_gauge_forgets_what_is_not_ours_any_more(heard: Heard) -> None:
    """The lag of a partition that was given up is told by its next owner alone."""
    tell({("events", 0): 5, ("events", 1): 7})
    assert len(heard.counts()["enrichment.lag"]) == 2
    tell({("events", 1): 3})
    assert heard.counts()["enrichment.lag"] == {(("topic", "events"), ("partition", "1")): 3}
    tell({})


def test_the_lag_is_what_has_not_been_read() -> None:
    """Of what a committed reader could read, by partition."""
    way = Way()
    way.enrich(*((value, None) for value in ring(3)))
    consumer = MemoryConsumer(way.kafka, Process(), "one")
    consumer.subscribe([TOPICS.events])
    consumer.consume(0)
    consumer.seek(consumer.assignment()[0].__class__(TOPICS.events, 0, 1))
    assert lags(consumer) == {(TOPICS.events, 0): 2}
