"""`enrichment bench sampling`: its cases, one after the other, never two at once."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.report import Report, Row, machine
from enrichment.lab.bench.sampling import coverage, memory, quality, speed, worker
from enrichment.provider.jobs import versions_of

NAME: Final = "sampling"
PACKAGES: Final = ("cirq-core", "qsimcirq", "dimod", "dwave-samplers", "numpy")

Case = tuple[Callable[[BenchOptions], Iterator[Row]], tuple[str, ...]]
"""What measures it, and what a reader must know."""

CASES: Final[Mapping[str, Case]] = {
    "speed": (speed.rows, speed.NOTES),
    "worker": (worker.rows, worker.NOTES),
    "quality": (quality.rows, quality.NOTES),
    "coverage": (coverage.rows, coverage.NOTES),
    "memory": (memory.rows, memory.NOTES),
}


def run(options: BenchOptions) -> Report:
    """Run the cases that are asked for, or all. Raises BenchError for one that is not there."""
    if unknown := set(options.cases) - set(CASES):
        raise BenchError(f"no case {', '.join(sorted(unknown))}: {', '.join(CASES)}")
    found = [CASES[name] for name in CASES if name in (options.cases or CASES)]
    rows = [row for measure, _ in found for row in measure(options)]
    return Report(
        name=NAME,
        machine=machine(**versions_of(*PACKAGES)),
        rows=tuple(rows),
        notes=tuple(note for _, notes in found for note in notes),
    )
