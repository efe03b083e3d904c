"""The benchmarks by name. A new one is one module and one line."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from enrichment.lab.bench.report import Report


class BenchError(RuntimeError):
    """A benchmark that could not be carried out, said in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """How large a benchmark is to be, and what it may use."""

    # None: as many as the benchmark was made for.
    events: int | None
    runs: int
    # Small enough for a test of the benchmark itself; its figures say little.
    quick: bool
    state_dir: Path
    topics_dir: Path
    # Told what is being done, a line at a time.
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One entry: what it measures, and the module whose `run(options)` does."""

    summary: str
    module: str

    def run(self, options: BenchOptions) -> Report:
        """Measure. Raises BenchError, and ServerError where its servers do not come up."""
        report = import_module(self.module).run(options)
        assert isinstance(report, Report)  # noqa: S101  # every module of the table gives one
        return report


BENCHMARKS: Final = {
    "hot-path": Benchmark(
        "Events per second of the hot path, with the cache read and scored, beside a loop that "
        "only passes events through.",
        "enrichment.lab.bench.hot_path",
    ),
}
