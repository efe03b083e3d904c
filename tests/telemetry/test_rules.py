"""Rules, dashboards and runbook: they read what the code tells, and every alert has its entry."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from enrichment.telemetry import metrics

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
RULES: Final = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
BOARDS: Final = sorted((DEPLOY / "grafana").glob("*.json"))
REPLAY: Final = DEPLOY / "prometheus" / "tests" / "alerts.yml"

WORDS: Final = {
    "and", "bool", "by", "group_left", "group_right", "histogram_quantile", "ignoring", "increase",
    "label_replace", "max", "offset", "on", "or", "rate", "sum", "unless", "vector", "without",
}  # fmt: skip
"""All of PromQL that is used here: anything else that stands outside of braces is a series."""

FROM_TARGETS: Final = frozenset({"pipeline", "stage", "instance", "job", "le", "quantile"})
"""Labels that the scrape gives, and histograms'."""


def rules() -> Iterator[dict[str, Any]]:
    """Every rule of every file."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def alerts() -> list[dict[str, Any]]:
    """The rules that alert."""
    return [rule for rule in rules() if "alert" in rule]


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels that show something."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """(place, query) of all rules and panels."""
    for rule in rules():
        yield rule.get("record") or rule["alert"], rule["expr"]
    for path in BOARDS:
        for panel in panels(json.loads(path.read_text())):
            for target in panel["targets"]:
                yield f"{path.name}: {panel['title']}", target["expr"]


def series() -> dict[str, set[str]]:
    """Series that there are -> their labels; of recorded ones, those that their rule keeps."""
    known: dict[str, set[str]] = {"up": set()}
    for told in metrics.TABLE.values():
        ends = ("_bucket", "_count", "_sum") if told.kind == "histogram" else ("",)
        known |= {told.exposed + end: set(told.labels) for end in ends}
    for rule in rules():
        if "record" in rule:
            kept = re.findall(r"by \(([^)]*)\)", rule["expr"])
            known[rule["record"]] = {label.strip() for by in kept for label in by.split(",")}
    return known


def bare(query: str) -> str:
    """The query without strings, label lists and durations: functions, operators and series."""
    query = re.sub(r'"[^"]*"', '""', query)
    query = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", query)
    query = re.sub(r"\b(by|on|group_left|without|ignoring) ?\([^)]*\)", " ", query)
    return re.sub(r"\boffset \w+", " ", query)


@pytest.mark.parametrize(("place", "query"), list(queries()))
def test_a_query_reads_what_is_told(place: str, query: str) -> None:
    """Every series is of the code's table or recorded, and is asked for labels that it has."""
    known = series()
    named = set(re.findall(r"[a-zA-Z_:][\w:]*", bare(query))) - WORDS
    named -= {"e6"}  # of 1e6
    assert named, place
    assert named <= known.keys(), place
    allowed = FROM_TARGETS | {"step"} | set().union(*(known[name] for name in named))
    asked = re.findall(r"[{,]\s*([a-z_]+)\s*(?:=~|!~|!=|=)", query)
    grouped = re.findall(r"(?:by|on) \(([^)]*)\)", query)
    wanted = {label.strip() for each in grouped for label in each.split(",")} | set(asked)
    assert wanted <= allowed, place
    for opened, closed in ("()", "{}", "[]"):
        assert query.count(opened) == query.count(closed), place


def test_every_alert_has_its_entry_in_the_runbook() -> None:
    """And no entry is of an alert that is gone; each says where to look, or names one that does."""
    page = (ROOT / "docs" / "runbook.md").read_text()
    entries = set(re.findall(r"^## (Enrichment\w+)$", page, re.MULTILINE))
    assert {rule["alert"] for rule in alerts()} == entries
    for rule in alerts():
        name = rule["alert"]
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
    anchors = set(re.findall(r"\]\(#(\w+)\)", page))
    assert anchors <= {entry.lower() for entry in entries}


def test_what_the_runbook_links_to_is_there() -> None:
    """Pages and their headings."""
    for name in ("runbook.md", "telemetry.md"):
        page = (ROOT / "docs" / name).read_text()
        for target, anchor in re.findall(r"\]\(([\w./-]+\.md)(?:#([\w-]+))?\)", page):
            other = ROOT / "docs" / target
            assert other.exists(), target
            headings = re.findall(r"^#+ (.+)$", other.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
            assert not anchor or anchor in slugs, f"{target}#{anchor}"


def test_dashboards_show_what_there_is_to_show() -> None:
    """Three levels with a title and a text each; between them they use every instrument."""
    boards = {path.stem: json.loads(path.read_text()) for path in BOARDS}
    assert set(boards) == {"system", "algorithm", "business"}
    assert len({board["uid"] for board in boards.values()}) == 3
    for board in boards.values():
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))
        for panel in panels(board):
            assert panel["datasource"]["uid"] == "prometheus"
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
    told = " ".join(query for _, query in queries())
    for instrument in metrics.TABLE.values():
        assert instrument.exposed in told, f"{instrument.name} is on no dashboard"


def test_the_waterfall_takes_the_steps_in_their_order() -> None:
    """Each bar begins where those before it end."""
    board = json.loads((DEPLOY / "grafana" / "system.json").read_text())
    [panel] = [each for each in panels(board) if "waterfall" in each["title"]]
    begins, took = (target["expr"] for target in panel["targets"])
    steps = ["wait", "read", "score", "hold", "produce", "commit"]
    assert re.findall(r'"\d (\w+)"', took) == steps == re.findall(r'"\d (\w+)"', begins)
    before = re.findall(r'step=~"([^"]*)"', begins)
    assert before == ["|".join(steps[:number]) for number in range(1, len(steps))]


def test_panels_of_latency_ask_for_exemplars() -> None:
    """One query of each: Grafana asks for the exemplars of all buckets that a query names."""
    asked = {
        (path.stem, panel["title"]): [target.get("exemplar", False) for target in panel["targets"]]
        for path in BOARDS
        for panel in panels(json.loads(path.read_text()))
    }
    assert {place: sum(each) for place, each in asked.items() if any(each)} == {
        ("system", "Latency of a batch's oldest event"): 1,
        ("system", "From a close to its micro-batch"): 1,
        ("algorithm", "Jobs that are over"): 1,
        ("algorithm", "Execution"): 1,
        ("algorithm", "Queue"): 1,
    }


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on this machine")
def test_promtool_takes_the_rules_and_their_replay() -> None:
    """Prometheus' own parser reads them, and the alerts fire and end as the replay says."""
    for arguments in (["check", "rules", *map(str, RULES)], ["test", "rules", str(REPLAY)]):
        done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
