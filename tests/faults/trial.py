"""One fault, tried some times: the world, the trouble, the healing, the checks."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import SubprocessError
from typing import Any, Final

from confluent_kafka import KafkaException

from tests.faults.chronicle import NAME
from tests.faults.fault import Fault
from tests.faults.invariants import Finding, check
from tests.faults.world import Ground, World, open_world

FAILURES: Final = (AssertionError, OSError, SubprocessError, KafkaException)
"""What a trial may come to grief by, and the next be tried all the same: one that was not had, a
server or a process that does not answer, a signal that is not heeded."""


@dataclass(slots=True, kw_only=True)
class Report:
    """What came of one fault: how often, what was checked, what was wrong, what was measured."""

    fault: Fault
    times: int = 0
    jobs: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    figures: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)
    skipped: str = ""
    took_s: float = 0.0

    @property
    def good(self) -> bool:
        """Whether nothing was wrong."""
        return not self.violations

    def as_json(self) -> dict[str, Any]:
        """It, for machines."""
        return {
            "fault": self.fault.name,
            "what": self.fault.what,
            "times": self.times,
            "jobs": dict(self.jobs),
            "checked": dict(self.checked),
            "violations": self.violations,
            "figures": dict(self.figures),
            "notes": self.notes,
            "skipped": self.skipped,
            "took_s": round(self.took_s, 1),
        }


def run(fault: Fault, ground: Ground, *, times: int) -> Report:
    """Try it so often. A trial that cannot be brought to its end is a violation too."""
    report = Report(fault=fault, skipped=fault.without())
    if report.skipped:
        return report
    began_s = time.monotonic()
    for number in range(times):
        with _ground(fault, ground, number) as place:
            _try(fault, place, report)
        report.times += 1
    report.took_s = time.monotonic() - began_s
    return report


@contextmanager
def _ground(fault: Fault, shared: Ground, number: int) -> Iterator[Ground]:
    """Where the trial takes place."""
    if fault.ground is None:
        yield shared
        return
    folder: Path = shared.folder / f"{fault.name}-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    with fault.ground(folder) as own:
        yield own


def _try(fault: Fault, ground: Ground, report: Report) -> None:
    try:
        with open_world(ground, fault.terms) as world:
            if not fault.terms.cold:
                world.await_jobs()
            try:
                _note(report, fault.do(world))
            except FAILURES as error:
                # What holds is asked all the same: it may say why.
                report.violations.append(f"the trial: {error}")
            world.heal()
            healed_s = world.settle(fault.heal_s)
            if healed_s is not None:
                report.figures["healed_s"].append(healed_s)
            findings = check(world.history(healed_s, fault.heal_s))
            findings[NAME] = world.chronicle.finding()
            _count(report, world, findings)
    except FAILURES as error:
        report.violations.append(f"the trial: {error}")


def _note(report: Report, figures: Any) -> None:
    for name, value in figures.items():
        report.figures[name].append(value)


def _count(report: Report, world: World, findings: dict[str, Finding]) -> None:
    report.notes += world.notes
    report.jobs.update(world.watch.states.values())
    for name, finding in findings.items():
        report.checked[name] += finding.checked
        report.violations += [f"{name}: {text}" for text in finding.violations]
    if not report.good:
        report.notes += [f"logs: {world.folder}"]
