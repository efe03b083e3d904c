"""The benchmarks by name. A new one is one module, one line, and one plot in `plots.py`."""

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
    # Of `isolation`: pairs of windows with and without each case; of `kill`: pulls at each rate.
    pairs: int
    # Of `isolation`, `window` and `sampling`: which cases; none: all.
    cases: tuple[str, ...]
    state_dir: Path
    topics_dir: Path
    # Told what is being done, a line at a time.
    say: Callable[[str], None]
    # Of `uplift`: simulated streams, each judged by models of the others.
    seeds: int = 5


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
        "Events per second of the hot path, beside a loop that only passes events through, Quix "
        "Streams, Faust and Kafka Streams, which do that as well and the same work.",
        "enrichment.lab.bench.hot_path",
    ),
    "latency": Benchmark(
        "From the moment an event was due to be published to the moment a committed reader has "
        "its answer, at four rates.",
        "enrichment.lab.bench.latency",
    ),
    "scale": Benchmark(
        "Events per second of one hot-path process, and of two that share its partitions.",
        "enrichment.lab.bench.scale",
    ),
    "isolation": Benchmark(
        "The hot path's p99 with the sampler saturated, hung or crashing, and Redis hung or dead, "
        "beside its p99 without.",
        "enrichment.lab.bench.isolation",
    ),
    "kill": Benchmark(
        "How long other paths than the heuristic go on serving once the kill switch is pulled, "
        "under two loads.",
        "enrichment.lab.bench.kill",
    ),
    "memory": Benchmark(
        "Resident memory of one enricher from its first events to millions.",
        "enrichment.lab.bench.memory",
    ),
    "window": Benchmark(
        "How many events' digests one window worker keeps up with, and how soon it closes; Faust's "
        "and Quix Streams' own windows beside it.",
        "enrichment.lab.bench.window",
    ),
    "reencode": Benchmark(
        "Microseconds per event, its own bytes carried through or written anew.",
        "enrichment.lab.bench.reencode",
    ),
    "telemetry": Benchmark(
        "Microseconds per event that the hot path pays for telling of itself: counts, and spans "
        "of sampled events.",
        "enrichment.lab.bench.telemetry",
    ),
    "client": Benchmark(
        "p50 and p99 of reading 1, 10 and 100 accounts through the client, blocking, awaited and "
        "kept, beside raw MGET of the same keys and Feast's Redis online store; on a Redis alone.",
        "enrichment.lab.bench.client",
    ),
    "rings": Benchmark(
        "Members of a simulated ring that land in one candidate subgraph, at three strengths, and "
        "what the hub cut, the size cap and the shards cost; without servers.",
        "enrichment.lab.bench.rings",
    ),
    "devices": Benchmark(
        "Gates, depth and noise of rings on virtual devices: a SWAP network and routing, a line by "
        "calibration and a random one, readout corrected or not; without servers.",
        "enrichment.lab.bench.devices",
    ),
    "sampling": Benchmark(
        "Problems per second of the sampler and its peers, what samples of each are worth, how "
        "often the shot interval holds, and memory over ten thousand jobs; without servers.",
        "enrichment.lab.bench.sampling.run",
    ),
    "noise": Benchmark(
        "The same circuits without noise and on a virtual device: what is left of samples and "
        "memberships at 6, 8 and 10 variables; without servers.",
        "enrichment.lab.bench.sampling.noise",
    ),
    "uplift": Benchmark(
        "Average precision on simulated streams without ring features, and with those of each "
        "sampler: circuits, their classical twins, random strings; without servers.",
        "enrichment.lab.bench.uplift",
    ),
}
