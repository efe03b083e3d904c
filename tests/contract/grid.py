"""The providers' contract as a grid, provider by test case, from pytest's JUnit XML.

    python -m tests.contract.grid junit.xml

A cell counts the passed of several parameters; what did not pass says how.
"""

import re
import sys
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from enrichment.provider import PROVIDERS

SIGNS: Final = {"failure": "FAIL", "error": "ERROR", "skipped": "skipped"}
NAME: Final = re.compile(r"test_(?P<test>\w+)\[(?P<parameters>.*)\]")


def main(path: str) -> None:
    """Print the grid, tests down and providers across, and how many passed of each."""
    cells: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for case in ET.parse(path).iter("testcase"):  # noqa: S314  # by pytest, just now
        found = NAME.fullmatch(case.get("name", ""))
        if found is None:
            continue
        provider = next((p for p in PROVIDERS if p in found["parameters"].split("-")), None)
        if provider is not None:
            outcome = next((SIGNS[child.tag] for child in case if child.tag in SIGNS), "pass")
            cells[found["test"]][provider][outcome] += 1
    width = max(map(len, cells), default=0)
    _write("test".ljust(width), PROVIDERS)
    _write("-" * width, ["-" * 8 + ":"] * len(PROVIDERS))
    total: Counter[str] = Counter()
    for test, row in cells.items():
        _write(test.ljust(width), [_cell(row[provider]) for provider in PROVIDERS])
        for outcomes in row.values():
            total += outcomes
    sys.stdout.write(", ".join(f"{count} {outcome}" for outcome, count in total.items()) + "\n")


def _write(head: str, cells: Iterable[str]) -> None:
    """Write one line of the table."""
    sys.stdout.write(f"| {head} | " + " | ".join(f"{cell:>9}" for cell in cells) + " |\n")


def _cell(outcomes: Counter[str]) -> str:
    """Return what became of a test's cases with one provider."""
    if set(outcomes) == {"pass"} and outcomes["pass"] == 1:
        return "pass"
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()) or "-"


if __name__ == "__main__":
    main(sys.argv[1])
