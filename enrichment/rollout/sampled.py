"""What the jobs of an experiment show of their samples, from their last events alone. Pure.

A job counts once: as it ended last, by the time that is asked about. Jobs that had nothing to solve
asked no provider, and do not count; spot checks are kept apart.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Final

import msgspec
import numpy as np

from enrichment.pipelines.definition import CLASSICAL_PROVIDERS, RANDOM_PROVIDER
from enrichment.records import JobState
from enrichment.rollout import gap
from enrichment.rollout.evidence import Figure, Sampling

JOBS_MAX: Final = 300_000
"""Of one experiment: some 600 bytes each. A job every two seconds makes as many in a week."""

RESAMPLES: Final = 1_000
CELLS_MAX: Final = 2_000_000  # drawn at once: 16 MiB
ENDED: Final = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.FALLBACK_COMPLETE})
NOTHING: Final = "NothingToSolve"

OF_JOBS: Final[Mapping[str, Callable[[gap.Figures], float | None]]] = {
    "energy_gap": gap.energy_gap,
    "membership_gap": gap.figure("membership_gap"),
    "histogram_distance": gap.figure("histogram_distance"),
    "random_membership_gap": gap.figure("random_membership_gap"),
}
OF_CHECKS: Final[Mapping[str, Callable[[gap.Figures], float | None]]] = {
    "check_energy_gap": gap.check_energy_gap,
    "check_membership_gap": gap.figure("simulator_membership_gap"),
}


class _Run(msgspec.Struct, frozen=True, gc=False):
    pipeline_version: str = ""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """What of a `JobEvent` is needed here; the rest is not even parsed."""

    job_id: str
    pipeline: str
    at_ms: int
    event: str
    state_before: JobState
    state_after: JobState
    provider: str = ""
    chosen: str = ""
    durations_ms: dict[str, float] = {}
    differences: dict[str, dict[str, float]] = {}
    kept: dict[str, msgspec.Raw] = {}
    run: _Run | None = None
    withheld: str = ""
    experiment_id: str = ""
    check_of: str = ""
    cost_micro: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One job at its end: figures as means over its problems, each None where it has none."""

    job_id: str
    at_ms: int
    # The one that was asked first, whichever fallback has answered: what was paid, was paid to it.
    provider: str
    check: bool
    failed: bool
    cost: float
    # From its ledger entry to its publication; None where nothing was published.
    took_ms: float | None
    figures: Mapping[str, float | None]


def ended(ending: Ending, pipeline_version: str) -> Ended | None:
    """The job as it ended, or None where this is no end that counts.

    Problems that were given the samples of an earlier job are that job's evidence, and left out.
    """
    over = ending.state_after in ENDED and ending.state_before not in ENDED
    other = ending.run is not None and ending.run.pipeline_version != pipeline_version
    if not over or other or ending.event == NOTHING:
        return None
    own = {name: told for name, told in ending.differences.items() if name not in ending.kept}
    wanted = OF_CHECKS if ending.check_of else OF_JOBS
    answered = bool(ending.durations_ms) and not ending.withheld
    return Ended(
        job_id=ending.job_id,
        at_ms=ending.at_ms,
        provider=ending.chosen or ending.provider,
        check=bool(ending.check_of),
        failed=ending.state_after is not JobState.SUCCEEDED,
        cost=ending.cost_micro / 1e6,
        took_ms=sum(ending.durations_ms.values()) if answered else None,
        figures={name: gap.of_job(own, what) for name, what in wanted.items()},
    )


def as_of(jobs: Iterable[Ended], until_ms: int) -> list[Ended]:
    """Each job as it had ended last by then, in order of that."""
    last: dict[str, Ended] = {}
    for job in jobs:
        known = last.get(job.job_id)
        if job.at_ms <= until_ms and (known is None or known.at_ms <= job.at_ms):
            last[job.job_id] = job
    return sorted(last.values(), key=lambda job: (job.at_ms, job.job_id))


def cost_of(jobs: Sequence[Ended], path: str, until_ms: int) -> float:
    """What the providers of that path's samples were paid for jobs that had ended by then.

    The exact solver and annealing give the classical path's, circuits the quantum path's. Spot
    checks are what the evidence costs, and not the path.
    """
    return sum(job.cost for job in jobs if job.at_ms <= until_ms and _path_of(job) == path)


def _path_of(job: Ended) -> str:
    if job.check or job.provider == RANDOM_PROVIDER:
        return ""
    return "classical" if job.provider in CLASSICAL_PROVIDERS else "quantum"


def sampling_of(
    jobs: Sequence[Ended], closed_ms: Mapping[str, int], repeat: Figure, *, level: float, seed: int
) -> Sampling:
    """The figures of jobs that have ended, and of spot checks.

    Means have percentile intervals over jobs, shares Wilson's. Latency is from the window's close
    (`closed_ms`, by job) to the features' publication, from the job's ledger entry where the
    micro-batch is not at hand.
    """
    checks = [job for job in jobs if job.check]
    asked = [job for job in jobs if not job.check]
    rng = np.random.default_rng(seed)
    figures = {
        name: mean([job.figures[name] for job in whose], rng, level)
        for whose, names in ((asked, OF_JOBS), (checks, OF_CHECKS))
        for name in names
    }
    figures["cost_per_job"] = mean([job.cost for job in asked], rng, level)
    figures["failed_share"] = share(sum(job.failed for job in asked), len(asked), level)
    took_ms = [
        float(job.at_ms - closed_ms[job.job_id]) if job.job_id in closed_ms else job.took_ms
        for job in asked
        if job.took_ms is not None
    ]
    for name, q in (("latency_p50_ms", 0.5), ("latency_p99_ms", 0.99)):
        figures[name] = quantile([each for each in took_ms if each is not None], q)
    figures["repeat_deviation"] = repeat
    return Sampling(jobs=len(asked), checks=len(checks), figures=figures)


def mean(values: Sequence[float | None], rng: np.random.Generator, level: float) -> Figure:
    """The mean of what is known, and its percentile interval; of one value alone, without."""
    known = np.array([value for value in values if value is not None])
    if len(known) < 2:
        return Figure(value=rounded(known[0]) if len(known) else None)
    size = max(1, CELLS_MAX // len(known))
    means = [
        known[rng.integers(len(known), size=(min(size, RESAMPLES - start), len(known)))].mean(
            axis=1
        )
        for start in range(0, RESAMPLES, size)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Figure(value=rounded(known.mean()), low=rounded(low), high=rounded(high))


def share(count: int, total: int, level: float) -> Figure:
    """A share with Wilson's interval, which is not empty where there were none of many."""
    if not total:
        return Figure(value=None)
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    p, scale = count / total, 1 + z2 / total
    centre = (p + z2 / (2 * total)) / scale
    half = sqrt(z2 * (p * (1 - p) / total + z2 / (4 * total**2))) / scale
    return Figure(
        value=rounded(p),
        low=rounded(max(0.0, centre - half)),
        high=rounded(min(1.0, centre + half)),
    )


def quantile(values: Sequence[float], q: float) -> Figure:
    """The q-quantile of what was measured; nothing is assumed, so it has no interval."""
    return Figure(value=rounded(np.quantile(values, q)) if len(values) else None)


def rounded(value: float) -> float:
    """Nine decimals: how a machine adds up must not tell equal evidence apart."""
    return round(float(value), 9)
