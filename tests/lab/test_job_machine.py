"""The drawing and the table of the job's machine say what its rules say."""

import re
from pathlib import Path

from enrichment.lab.job_machine import (
    ARROWS,
    BEGIN,
    DRAWING,
    END,
    PAGE,
    PLACES,
    arrows,
    draw,
    staying,
    table,
)
from enrichment.records import JobState
from enrichment.sample.machine import EVENTS, RULES

DOCS = Path(__file__).resolve().parents[2] / "docs"


def texts(svg: Path) -> list[str]:
    """What is written in a drawing."""
    return sorted(re.findall(r"<text[^>]*>([^<]*)</text>", svg.read_text(encoding="utf-8")))


def test_every_rule_is_drawn_once() -> None:
    """Taken apart again, arrows and what stays are the rules; and each has its place."""
    drawn = {
        (state, name, after)
        for (node, after), names in arrows().items()
        for state in (node if isinstance(node, frozenset) else {node})
        for name in names
    }
    stays = {(state, name, state) for state in JobState for name in staying(state)}
    assert drawn | stays == {
        (state, event.__name__, rule.after) for (state, event), rule in RULES.items()
    }
    assert set(arrows()) == set(ARROWS)
    assert set(PLACES) == set(JobState)


def test_the_drawing_in_the_docs_is_that_of_the_rules(tmp_path: Path) -> None:
    """Every name is in it as often: else `python -m enrichment.lab.job_machine docs`."""
    now = tmp_path / "now.svg"
    draw(now)
    assert texts(now)
    assert texts(now) == texts(DOCS / DRAWING)


def test_the_table_in_the_docs_is_that_of_the_rules() -> None:
    """A line for each event and a column for each state."""
    page = (DOCS / PAGE).read_text(encoding="utf-8")
    assert page[page.index(BEGIN) + len(BEGIN) : page.index(END)] == table()
    assert table().count("\n") == len(EVENTS) + 2
