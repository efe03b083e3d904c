"""How much of everything a stream takes, from what an event was measured to cost.

Figures are of the benchmarks' machine; each names the page that it stands on. What comes out is
where to begin, and no promise: measure your own stream.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from enrichment.pipelines import Pipeline

BUSY: Final = 0.5
"""The share of a core that is planned for: the rest is for peaks, and to catch up after a stop."""

ENRICH_CPU_US: Final = 30.6  # docs/hot-path.md: exactly once, 30.6 s of CPU for a million events
WINDOW_CPU_US: Final = 28.0  # docs/windows.md: a whole worker, 20,000 events/s, 10,000 accounts
WINDOW_SLOW_CPU_US: Final = 84.0  # the same page: at 500 events/s more closes come on each event
WINDOW_FAST_PER_S: Final = 20_000.0  # from here on the first of the two; between them the dearer
PROBLEMS_PER_CORE_S: Final = 552.0  # docs/sampling.md: the whole worker, 12 accounts, 1,000 shots
DIGEST_BYTES: Final = 193.0  # docs/windows.md: for each event, at 20,000/s
ANSWER_BYTES: Final = 2_000.0  # docs/hot-path.md: an enriched event
# Redis, all in docs/sizing.md: a key with its value, entities with a ring, a key that was read.
GRAPH_BYTES: Final = 674.0
RING_BYTES: Final = 1_594.0
RING_SHARE: Final = 0.067
TRACKED_BYTES: Final = 223.0
TRACKED_MAX: Final = 1_000_000  # `tracking-table-max-keys`, Redis's default
POD_MIN: Final = 2
"""Of the hot path, however little there is to do: one may be replaced or lost."""

PARTITIONS_MIN: Final = 4
PARTITIONS_EACH: Final = 2
"""Partitions for each enricher: adding some later moves keys, and takes a stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A stream: its events a second, the entities that have features, and its shards."""

    rate_per_s: float
    entities: int
    shards: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a load takes. Cores are those that are busy; processes leave half of each free."""

    enrich_cores: float
    enrich_processes: int
    event_partitions: int
    window_cores: float
    window_processes: int
    problems_per_s_max: float
    sampler_cores_max: float
    sampler_processes: int
    redis_mib: float
    answers_mb_per_s: float
    digests_mb_per_s: float


def size(load: Load, pipeline: Pipeline) -> Size:
    """What a stream of that load takes, as the pipeline windows and samples it.

    Sampling follows the windows: each that closes gives at most `problems_max`, and one of more
    than `events_max` events closes several times.
    """
    enrich_cores = load.rate_per_s * ENRICH_CPU_US / 1e6
    enrichers = max(POD_MIN, math.ceil(enrich_cores / BUSY))
    fast = load.rate_per_s >= WINDOW_FAST_PER_S
    window_cores = load.rate_per_s * (WINDOW_CPU_US if fast else WINDOW_SLOW_CPU_US) / 1e6
    window = pipeline.window
    windows_per_s = load.shards * 1000 / window.size_ms
    closes = math.ceil(load.rate_per_s / windows_per_s / window.events_max)
    problems = windows_per_s * closes * pipeline.problem.problems_max
    sampler_cores = problems / PROBLEMS_PER_CORE_S
    values = load.entities * (GRAPH_BYTES + RING_SHARE * RING_BYTES)
    tracked = min(load.entities * (1 + RING_SHARE), TRACKED_MAX) * TRACKED_BYTES
    return Size(
        enrich_cores=enrich_cores,
        enrich_processes=enrichers,
        event_partitions=max(PARTITIONS_MIN, _rounded(PARTITIONS_EACH * enrichers)),
        window_cores=window_cores,
        # A shard is one worker's: more workers than shards would stand idle.
        window_processes=min(load.shards, max(1, math.ceil(window_cores / BUSY))),
        problems_per_s_max=problems,
        sampler_cores_max=sampler_cores,
        sampler_processes=max(1, math.ceil(sampler_cores / BUSY)),
        redis_mib=(values + tracked) / 2**20,
        answers_mb_per_s=load.rate_per_s * ANSWER_BYTES / 1e6,
        digests_mb_per_s=load.rate_per_s * DIGEST_BYTES / 1e6,
    )


def _rounded(count: int) -> int:
    """Up to a multiple of four, so that it divides among two and four processes."""
    return 4 * math.ceil(count / 4)


LOADS: Final = (
    Load(rate_per_s=1_000, entities=100_000, shards=4),
    Load(rate_per_s=10_000, entities=1_000_000, shards=4),
    Load(rate_per_s=100_000, entities=10_000_000, shards=16),
)
"""Those of the table in docs/sizing.md. Entities and shards are assumptions: yours differ."""


def table(pipeline: Pipeline) -> Iterator[str]:
    """The sizes of the three loads, as lines of a Markdown table."""
    found = [size(each, pipeline) for each in LOADS]
    yield "| events/s | " + " | ".join(f"{each.rate_per_s:,.0f}" for each in LOADS) + " |"
    yield "|---" * (len(LOADS) + 1) + "|"
    for name, shown in (
        ("entities (assumed)", [f"{each.entities:,}" for each in LOADS]),
        ("shards (assumed)", [f"{each.shards}" for each in LOADS]),
        ("partitions of events", [f"{each.event_partitions}" for each in found]),
        ("`enrich` processes", [f"{each.enrich_processes}" for each in found]),
        ("`enrich` cores busy", [f"{each.enrich_cores:.2f}" for each in found]),
        ("`window` processes", [f"{each.window_processes}" for each in found]),
        ("`window` cores busy", [f"{each.window_cores:.2f}" for each in found]),
        ("problems/s at most", [f"{each.problems_per_s_max:,.0f}" for each in found]),
        ("`sample` cores busy at most", [f"{each.sampler_cores_max:.2f}" for each in found]),
        ("`sample` children", [f"{each.sampler_processes}" for each in found]),
        ("Redis, GiB", [f"{each.redis_mib / 1024:.1f}" for each in found]),
        ("answers, MB/s", [f"{each.answers_mb_per_s:,.0f}" for each in found]),
        ("digests, MB/s", [f"{each.digests_mb_per_s:.1f}" for each in found]),
    ):
        yield f"| {name} | " + " | ".join(shown) + " |"
