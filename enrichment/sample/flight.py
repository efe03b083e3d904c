"""One attempt at one provider: the requests that it takes, and what has come back of them."""

from dataclasses import dataclass, field
from typing import Final

from enrichment.circuit.template import QAOA, QAOA_VERSION
from enrichment.pipelines import Pipeline
from enrichment.pipelines.definition import CLASSICAL_PROVIDERS
from enrichment.problem import KINDS
from enrichment.provider.contract import (
    PROBLEMS_MAX,
    SHOTS_MAX,
    Failure,
    Provider,
    Result,
    Running,
    SampleRequest,
)
from enrichment.records.job import Job
from enrichment.records.micro_batch import MicroBatch, Problem
from enrichment.sample.estimate import SIMULATOR, request_name, seed_of

POLL_SHARE: Final = 20
"""What has been under way for t is asked for every t / 20: it is heard of five hundredths late."""

POLL_MS_MAX: Final = 250
"""And at least so often: 500 slow jobs cost 2,000 polls a second, some hundredths of a core."""

TWINS: Final = ("classical", "random")
"""What is computed beside the samples of whatever is not a classical sampler itself."""


def requests_of(
    job: Job, batch: MicroBatch, pipeline: Pipeline, deadline_ms: int
) -> list[SampleRequest]:
    """The requests of the job's present attempt: one for every PROBLEMS_MAX problems.

    Their ids are ours, and the same whenever the same attempt is submitted again.
    """
    build = KINDS[pipeline.problem.kind]
    sampling = pipeline.sampling
    requests = []
    for first in range(0, len(batch.problems), PROBLEMS_MAX):
        problems = batch.problems[first : first + PROBLEMS_MAX]
        requests.append(
            SampleRequest(
                job_id=request_name(job.job_id, job.attempt, first),
                models=tuple(
                    build(problem.nodes, problem.weights, flags_of(problem)) for problem in problems
                ),
                template=QAOA,
                template_version=QAOA_VERSION,
                layers=sampling.layers,
                # Of the ledger: an attempt is the same one under settings that have changed since.
                shots=min(job.shots, SHOTS_MAX),
                # A check's simulator draws what its job drew, where that was the simulator.
                seeds=tuple(
                    seed_of(job.check_of or job.job_id, problem.problem_id) for problem in problems
                ),
                deadline_ms=deadline_ms,
                twins=twins_of(job),
            )
        )
    return requests


def twins_of(job: Job) -> tuple[str, ...]:
    """What is computed beside the samples of the job's provider."""
    twins = () if job.provider in CLASSICAL_PROVIDERS else TWINS
    return (*twins, SIMULATOR) if job.check_of else twins


def flags_of(problem: Problem) -> tuple[int, ...]:
    """One known-bad flag per node, or none where nobody is known to be bad."""
    bad = frozenset(problem.known_bad)
    return tuple(int(i in bad) for i in range(len(problem.nodes))) if bad else ()


@dataclass(slots=True, kw_only=True, eq=False)
class Flight:
    """The requests of one attempt that a provider has accepted."""

    provider: str
    request_ids: tuple[str, ...]
    # Asked for of each problem.
    shots: int
    provider_job_ids: list[str] = field(default_factory=list)
    submitted_ms: int = 0
    results: dict[str, Result] = field(default_factory=dict)
    # Whether it has come to an answer or a failure, as told by the last poll.
    ended: bool = False
    polled_ms: int = 0

    @property
    def others(self) -> int:
        """How many requests were accepted beside the one that has failed."""
        accepted, whole = len(self.provider_job_ids), len(self.request_ids)
        return accepted if accepted < whole else whole - 1

    def due(self, now_ms: int) -> bool:
        """Whether it is time to poll; a clock that went back makes it so."""
        return not 0 <= now_ms - self.polled_ms < self.gap_ms(now_ms)

    def gap_ms(self, now_ms: int) -> int:
        """How long to wait between two polls by now."""
        return min(POLL_MS_MAX, max(0, now_ms - self.submitted_ms) // POLL_SHARE)

    def poll(self, provider: Provider, now_ms: int) -> Running | Result | Failure:
        """How the attempt stands: a failure of one request is the attempt's."""
        self.polled_ms = now_ms
        waits: list[float] = []
        for request_id in self.request_ids:
            if request_id in self.results:
                continue
            news = provider.poll(request_id)
            if isinstance(news, Failure):
                self.ended = True
                return news
            if isinstance(news, Running):
                waits.append(news.queue_s)
            else:
                self.results[request_id] = news
        if waits:
            return Running(job_id=self.request_ids[0], queue_s=min(waits))
        self.ended = True
        return _joined([self.results[request_id] for request_id in self.request_ids])

    def cancel(self, provider: Provider) -> None:
        """Give up what of it was accepted, when the rest was not."""
        for request_id in self.request_ids[: len(self.provider_job_ids)]:
            provider.cancel(request_id)


def _joined(results: list[Result]) -> Result:
    """Several requests' results as one, problems in order, times and cost summed."""
    first = results[0]
    if len(results) == 1:
        return first
    return Result(
        job_id=first.job_id,
        provider=first.provider,
        provider_job_id=",".join(result.provider_job_id for result in results),
        sets=tuple(answer for result in results for answer in result.sets),
        twins={
            path: tuple(answer for result in results for answer in result.twins[path])
            for path in first.twins
        },
        calibration_id=first.calibration_id,
        queue_ms=max(result.queue_ms for result in results),
        execution_ms=sum(result.execution_ms for result in results),
        cost=sum(result.cost for result in results),
    )
