"""Case `memory`: the resident memory of parent and child over ten thousand jobs of one pool."""

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from enrichment.circuit.template import QAOA, QAOA_VERSION
from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.observe import memory_mib
from enrichment.lab.bench.planted import planted_ring
from enrichment.lab.bench.report import Row
from enrichment.provider import open_pool, open_provider
from enrichment.provider.contract import Failure, Provider, Result, SampleRequest
from enrichment.provider.pool import Pool
from enrichment.sample.flight import TWINS

JOBS: Final = 10_000
FIRST: Final = 2_000
"""By then allocators and caches have what they keep; growth counts from here."""

AT_ONCE: Final = 16
SIZES: Final = (6, 8, 12)
SHOTS: Final = 200
DEADLINE_MS: Final = 60_000
IDLE_S: Final = 0.0005

NOTES: Final = (
    (
        f"memory: {JOBS:,} jobs of one problem (n = 6, 8, 12, {SHOTS} shots, twins) through the "
        f"qsim provider's spawned child; growth is from {FIRST:,} jobs on"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """What parent and child hold after so many jobs, in MiB."""

    jobs: int
    parent_mib: float
    child_mib: float


def rows(options: BenchOptions) -> Iterator[Row]:
    """Run the jobs once, and yield both memories at the two moments and their growth."""
    jobs, first = (500, 250) if options.quick else (JOBS, FIRST)
    early, late = run_jobs((first, jobs))
    options.say(f"memory: {jobs:,} jobs: done")
    for who in ("parent", "child"):
        figures = [float(getattr(one, f"{who}_mib")) for one in (early, late)]
        for one, figure in zip((early, late), figures, strict=True):
            yield Row.of("memory", who, f"resident_after_{one.jobs}", [figure], "MiB")
        yield Row.of("memory", who, "growth", [figures[1] - figures[0]], "MiB")


def run_jobs(marks: tuple[int, ...]) -> list[Resident]:
    """Run as many jobs as the last mark says through a pool of one child; memory at each mark.

    Raises BenchError where one fails.
    """
    seen: list[Resident] = []
    with closing(open_pool(workers=1)) as pool:
        provider = open_provider("qsim", pool, now_ms=now_ms)
        child = _child_of(pool)
        under_way: deque[str] = deque()
        submitted = done = 0
        while done < marks[-1]:
            while submitted < marks[-1] and len(under_way) < AT_ONCE:
                under_way.append(_submitted(provider, submitted))
                submitted += 1
            if not _over(provider, under_way[0]):
                time.sleep(IDLE_S)
                continue
            under_way.popleft()
            done += 1
            if done in marks:
                seen.append(
                    Resident(
                        jobs=done,
                        parent_mib=memory_mib(os.getpid()),
                        child_mib=memory_mib(child),
                    )
                )
    return seen


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def _child_of(pool: Pool) -> int:
    """The pool's one process."""
    future = pool.submit(os.getpid)
    if isinstance(future, Failure):
        raise BenchError(future.detail)
    return future.result(60)


def _submitted(provider: Provider, number: int) -> str:
    """One job's id, once it is accepted."""
    request = SampleRequest(
        job_id=f"job-{number}",
        models=(planted_ring(SIZES[number % len(SIZES)], number),),
        template=QAOA,
        template_version=QAOA_VERSION,
        layers=2,
        shots=SHOTS,
        seeds=(number,),
        deadline_ms=now_ms() + DEADLINE_MS,
        twins=TWINS,
    )
    accepted = provider.submit(request)
    if isinstance(accepted, Failure):
        raise BenchError(f"{request.job_id}: {accepted.detail}")
    return request.job_id


def _over(provider: Provider, job_id: str) -> bool:
    """Whether the job has its answer."""
    news = provider.poll(job_id)
    if isinstance(news, Failure):
        raise BenchError(f"{job_id}: {news.detail}")
    return isinstance(news, Result)
