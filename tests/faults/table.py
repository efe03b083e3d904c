"""The table of a run: a line for each fault, then what was checked in all, then what was wrong."""

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Final

from tests.faults.chronicle import NAME
from tests.faults.invariants import CHECKS, SHOWN_MAX
from tests.faults.trial import Report

WIDTH: Final = 32
HEAD: Final = ("fault", "times", "jobs", "fallbacks", "checked", "wrong", "healed s", "recovery s")


def line(report: Report) -> str:
    """One fault's line."""
    if report.skipped:
        return f"{report.fault.name:<{WIDTH}}  skipped: {report.skipped}"
    cells = (
        report.times,
        sum(report.jobs.values()),
        report.jobs["fallback_complete"] + report.jobs["failed"],
        sum(report.checked.values()),
        len(report.violations),
        _range(report.figures.get("healed_s", [])),
        _range(report.figures.get("recovery_s", [])),
    )
    return f"{report.fault.name:<{WIDTH}}  " + "  ".join(
        f"{cell:>{max(9, len(name))}}" for cell, name in zip(cells, HEAD[1:], strict=True)
    )


def head() -> str:
    """The line above."""
    names = "  ".join(f"{name:>{max(9, len(name))}}" for name in HEAD[1:])
    return f"{HEAD[0]:<{WIDTH}}  {names}"


def foot(reports: Sequence[Report]) -> str:
    """What was checked in all, what was measured beside, and every violation."""
    checked: Counter[str] = Counter()
    for report in reports:
        checked.update(report.checked)
    lines = ["", "invariant          looked at  wrong"]
    for name in (*CHECKS, NAME):
        wrong = sum(one.startswith(f"{name}:") for r in reports for one in r.violations)
        lines.append(f"{name:<17}  {checked[name]:>9}  {wrong:>5}")
    lines += ["", *_measured(reports)]
    for report in reports:
        if report.violations:
            lines.append(f"\n{report.fault.name}: {report.fault.what}")
            lines += [f"  {one}" for one in report.violations[:SHOWN_MAX]]
            if len(report.violations) > SHOWN_MAX:
                lines.append(f"  and {len(report.violations) - SHOWN_MAX} more")
        lines += [f"  {report.fault.name}: {note}" for note in dict.fromkeys(report.notes)]
    return "\n".join(lines)


def _measured(reports: Sequence[Report]) -> list[str]:
    """The figures of all kills together, and of each fault what it alone measures."""
    parts = ("recovery_s", "noticed_s", "imports_s", "warm_s", "assigned_s")
    lines = []
    for part in parts:
        values = [v for r in reports if "imports_s" in r.figures for v in r.figures[part]]
        if values:
            name = f"kill -9 to progress: {part.removesuffix('_s')}"
            lines.append(f"{name:<34}  median {median(values):5.2f} s  max {max(values):5.2f} s")
    for report in reports:
        for name, values in report.figures.items():
            if name not in (*parts, "healed_s", "fallbacks"):
                lines.append(f"{report.fault.name}: {name} {_range(values)}")
    return lines


def _range(values: Sequence[float]) -> str:
    """One figure, or from the least to the most."""
    if not values:
        return "-"
    low, high = min(values), max(values)
    return f"{high:.1f}" if high - low < 0.05 else f"{low:.1f}-{high:.1f}"
