"""What a benchmark leaves behind: rows with their spread, and the machine they were taken on."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

from enrichment import __version__

RUNS: Final = "the median, and the lowest and the highest run"
MACHINE_PACKAGES: Final = ("confluent-kafka", "msgspec", "redis")
KIB: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure: the median of `runs` runs, and the lowest and the highest of them."""

    case: str
    system: str
    metric: str
    value: float
    unit: str
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, case: str, system: str, metric: str, values: Sequence[float], unit: str) -> "Row":
        """The row of these runs. Raises ValueError where there was none."""
        if not values:
            raise ValueError(f"{case}, {system}, {metric}: no runs")
        return cls(
            case=case,
            system=system,
            metric=metric,
            value=_rounded(statistics.median(values)),
            unit=unit,
            low=_rounded(min(values)),
            high=_rounded(max(values)),
            runs=len(values),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one benchmark found."""

    name: str
    machine: Mapping[str, str | int | float]
    rows: tuple[Row, ...]
    # What a reader of the table must know, a line each: what was left out, what figures cover.
    notes: tuple[str, ...] = ()
    # Figures over time, for the plot: pairs of x and y by name.
    series: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    # What value, low and high of its rows are.
    spread: str = RUNS

    def as_json(self) -> str:
        """The report for programs: name, machine, rows, notes and series."""
        content: dict[str, Any] = {
            "name": self.name,
            "machine": dict(self.machine),
            "rows": [asdict(row) for row in self.rows],
            "notes": list(self.notes),
            "series": {name: list(points) for name, points in self.series.items()},
            "spread": self.spread,
        }
        return json.dumps(content, indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> "Report":
        """The report that `write` left there. Raises msgspec.MsgspecError where there is none."""
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def write(self, path: Path) -> None:
        """The report as a file, its folder made where there is none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.as_json())


def machine(**servers: str) -> dict[str, str | int | float]:
    """What figures depend on: hardware, versions, and how busy the machine was just now.

    Neither host names nor paths: reports are published. `servers` are versions, `kafka="4.3.1"`.
    """
    return {
        "cpu": _cpu_model() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(_memory_kib() / KIB / KIB, 1),
        "load_1m": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {sys.version.split()[0]}",
        "enrichment": __version__,
        **{name: version(name) for name in MACHINE_PACKAGES},
        **servers,
    }


def _rounded(value: float) -> float:
    """Five significant digits: more would claim a precision that no run has."""
    return float(f"{value:.5g}")


def _cpu_model() -> str:
    """The processor's name, "" where Linux does not tell."""
    return next(_fields(Path("/proc/cpuinfo"), "model name"), "")


def _memory_kib() -> int:
    """The machine's memory in KiB."""
    return int(next(_fields(Path("/proc/meminfo"), "MemTotal")).split()[0])


def _fields(path: Path, name: str) -> Iterator[str]:
    """The values of `name: value` lines."""
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            yield value.strip()
