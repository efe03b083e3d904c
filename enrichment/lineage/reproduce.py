"""A job run again: from its digests to its features, and with further seeds where asked.

`reproduced` is the whole of it for one job; `Redraw` keeps the provider's process for many.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

from enrichment.lineage.batches import rederived
from enrichment.lineage.derive import Derived, Finding
from enrichment.lineage.gone import gone
from enrichment.lineage.jobs import recorded as read_recorded
from enrichment.lineage.spread import DRAWS_MIN, Spread, spreads
from enrichment.pipelines import Pipeline
from enrichment.provider import open_pool, open_provider
from enrichment.provider.contract import Failure, Result, Running, SampleRequest, SampleSet
from enrichment.records import MicroBatch
from enrichment.sample.again import (
    Again,
    Check,
    Compared,
    Recorded,
    as_it_was,
    compared,
    options_of,
    refusal,
    requests_again,
)
from enrichment.sample.estimate import answers_of, seed_of
from enrichment.sample.flight import Flight
from enrichment.stream.slices import Reader
from enrichment.stream.topics import DIGESTS

DRAW_S: Final = 120.0
"""A job of 64 problems takes a second: a machine that takes this long is busy with other things."""

POLL_S: Final = 0.01


class NoSuchJobError(LookupError):
    """A job that the ledger has no entry of, said in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """A job run again and held against its record; `not_drawn` says why it was not."""

    job_id: str
    provider: str
    not_drawn: str
    compared: Compared | None
    spreads: tuple[Spread, ...] = ()
    # Why not all repeats were drawn, where they were not.
    not_repeated: str = ""


class Redraw:
    """One provider that draws jobs again, in a child process, opened once for all of them.

    In a child, as the stage does: there the libraries have one thread, so that sums are added up
    in the same order.
    """

    def __init__(
        self, provider: str, now_ms: Callable[[], int], options: Mapping[str, float]
    ) -> None:
        """`options` are those of `options_of`: under others it is not the provider that it was."""
        self._now_ms = now_ms
        self._pool = open_pool(workers=1, provider=provider)
        self._provider = open_provider(provider, self._pool, now_ms=now_ms, options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.close()

    def again(self, recorded: Recorded, then: Pipeline) -> Again | str:
        """The job with its own seeds, compared, or why not. `then` is that of `as_it_was`."""
        result = self._drawn(self._requests(recorded, then))
        if isinstance(result, str):
            return result
        try:
            return compared(recorded, then, result, self._provider.describe())
        except ValueError as error:  # the samples are none
            return str(error)

    def repeated(
        self, recorded: Recorded, then: Pipeline, number: int
    ) -> dict[str, tuple[SampleSet, ...]] | str:
        """The job with other seeds, the same for the same number; or why not."""
        job_id, batch = recorded.job.job_id, recorded.batch
        assert batch is not None  # noqa: S101  # else there is a refusal
        seeds = iter(
            [seed_of(f"{job_id}|repeat|{number}", each.problem_id) for each in batch.problems]
        )
        requests = [
            replace(
                request,
                job_id=f"{number}|{request.job_id}",
                seeds=tuple(seed for seed, _ in zip(seeds, request.seeds, strict=False)),
            )
            for request in self._requests(recorded, then)
        ]
        result = self._drawn(requests)
        return result if isinstance(result, str) else answers_of(result)

    def _requests(self, recorded: Recorded, then: Pipeline) -> list[SampleRequest]:
        return requests_again(recorded, then, self._now_ms() + int(DRAW_S * 1_000))

    def _drawn(self, requests: list[SampleRequest]) -> Result | str:
        """The requests' results as one, or what went wrong."""
        flight = Flight(
            provider=requests[0].job_id,
            request_ids=tuple(request.job_id for request in requests),
            shots=requests[0].shots,
        )
        for request in requests:
            accepted = self._provider.submit(request)
            if isinstance(accepted, Failure):
                return f"{accepted.kind.value}: {accepted.detail}"
        while isinstance(news := flight.poll(self._provider, 0), Running):
            time.sleep(POLL_S)
        return f"{news.kind.value}: {news.detail}" if isinstance(news, Failure) else news


def reproduced(
    reader: Reader,
    pipeline_of: Callable[[str], Pipeline],
    job_id: str,
    now_ms: Callable[[], int],
    *,
    repeats: int = 0,
    on_drawn: Callable[[int], None] = lambda _: None,
) -> Reproduction:
    """The job run again, from its digests on, and `repeats` times more with other seeds.

    `pipeline_of` gives a pipeline by its name; `on_drawn` is told how many draws are done. Raises
    NoSuchJobError, and what the reader and `pipeline_of` raise.
    """
    recorded = read_recorded(reader, job_id)
    if recorded is None:
        raise NoSuchJobError(f"there is no job '{job_id}' in the ledger")
    provider, batch = recorded.job.provider, recorded.batch
    pipeline = pipeline_of(recorded.job.pipeline)
    why_not = refusal(recorded)
    if not why_not and batch is not None and not batch.problems:
        why_not = "the job had no problems: nothing was drawn"
    if why_not or batch is None:
        return Reproduction(job_id=job_id, provider=provider, not_drawn=why_not, compared=None)
    then = as_it_was(recorded, pipeline)
    with Redraw(provider, now_ms, options_of(recorded)) as redraw:
        again = redraw.again(recorded, then)
        if isinstance(again, str):
            return Reproduction(job_id=job_id, provider=provider, not_drawn=again, compared=None)
        on_drawn(1)
        draws, failed = [answers_of(again.result)], ""
        for number in range(1, repeats + 1):
            drawn = redraw.repeated(recorded, then, number)
            if isinstance(drawn, str):
                failed = drawn
                break
            draws.append(drawn)
            on_drawn(1 + number)
    checks = (content_check(reader, pipeline, batch), *again.compared.checks)
    return Reproduction(
        job_id=job_id,
        provider=provider,
        not_drawn="",
        compared=replace(again.compared, checks=checks),
        spreads=spreads(batch.problems, draws) if len(draws) >= DRAWS_MIN else (),
        not_repeated=failed,
    )


def content_check(reader: Reader, pipeline: Pipeline, batch: MicroBatch) -> Check:
    """Whether the micro-batch's digests give it again, as far as they are there."""
    again = rederived(reader, pipeline, batch)
    return Check(name="content", same=again.same, detail=in_words(reader, again, batch))


def in_words(reader: Reader, again: Derived, batch: MicroBatch) -> str:
    """What came of deriving a micro-batch again."""
    if again.conflicting:
        return "another content stands under the same identity"
    if again.altered:
        return f"{len(again.altered)} of {len(batch.problems)} problems do not give their own hash"
    if again.finding is Finding.CALLED:
        return "a caller gave it: there are no digests to derive it from"
    if again.finding is Finding.GONE:
        return f"not all of its digests are there: {gone(reader, DIGESTS)}"
    if again.finding is Finding.UNKNOWN:
        return "hashed in another way than ours, by 0.1.0 or by somebody else"
    said = f"{again.digests} digests of {again.events} events"
    if again.finding is Finding.SAME:
        return f"{said} give the same hash"
    return f"{said} give {again.content_hash}, recorded is {batch.content_hash}"
