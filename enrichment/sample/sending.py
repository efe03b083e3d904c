"""What comes before a provider has an attempt: is there room, does it make sense, may it cost that.

An attempt is sent only once the ledger has it. What may be out already, from whoever had the
partition before, is sent again in any case: under its id, to attach to it.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from enrichment.pipelines import Pipeline
from enrichment.provider.contract import PROBLEMS_MAX, Failure
from enrichment.sample.budget import Grant
from enrichment.sample.chain import Chain
from enrichment.sample.flight import Flight, requests_of
from enrichment.sample.shelf import OpenJob
from enrichment.sample.terms import Terms

CHECKS: Final = "|checks"
"""Among counts of requests by provider, that of spot checks at any; no provider is called so."""

CHECKS_SENT_MAX: Final = 1
"""Spot checks of a worker that are at providers at once: where they share a process with jobs or
their fallbacks, one check is the longest that anybody waits for them."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not yet: there is no room, or the budget has not said."""


@dataclass(frozen=True, slots=True)
class NotSent:
    """Not at this provider, and why."""

    detail: str


@dataclass(frozen=True, slots=True, eq=False)
class NotTaken:
    """The provider has refused one of the requests; `flight` has those before it."""

    failure: Failure
    flight: Flight


class Sending:
    """Sends attempts of one pipeline to the providers of its chain."""

    def __init__(self, pipeline: Pipeline, chain: Chain, terms: Terms) -> None:
        self._pipeline = pipeline
        self._chain = chain
        self._terms = terms

    def send(
        self, opened: OpenJob, now_ms: int, used: Counter[str]
    ) -> Flight | Waiting | NotSent | NotTaken:
        """Send the present attempt where that may be; `used` counts the requests at providers."""
        job = opened.job
        requests = -(-job.problems // PROBLEMS_MAX)
        taken, places = used[job.provider], self._chain.places(job.provider)
        if job.check_of:
            if used[CHECKS] >= CHECKS_SENT_MAX:
                return Waiting()
            places //= 2  # the rest is for what somebody waits for
        # An attempt of more requests than there are places goes alone.
        if taken and taken + requests > places:
            return Waiting()
        objection = self._unfit(opened, now_ms) or self._unpaid(opened)
        if objection is not None:
            return objection
        used[job.provider] += requests
        used[CHECKS] += bool(job.check_of)
        return self._handed_over(opened, now_ms)

    def _unfit(self, opened: OpenJob, now_ms: int) -> NotSent | None:
        """Why the provider is not to be asked; it is judged once for each attempt."""
        job = opened.job
        if opened.cleared or opened.adopted:
            return None
        unfit = self._chain.unfit(job, left_ms=opened.deadline_ms - now_ms, now_ms=now_ms)
        opened.cleared = not unfit
        return NotSent(unfit) if unfit else None

    def _unpaid(self, opened: OpenJob) -> NotSent | Waiting | None:
        """Why it may not cost what it may; what a provider has accepted was granted before."""
        if opened.job.provider_job_id:
            return None
        answer = self._terms.ask(opened.job)
        if answer.grant is Grant.GRANTED:
            return None
        return Waiting() if answer.grant is Grant.WAITING else NotSent(answer.detail)

    def _handed_over(self, opened: OpenJob, now_ms: int) -> Flight | NotTaken:
        """Submit all requests of the attempt, up to the first that is refused."""
        job = opened.job
        requests = requests_of(job, opened.batch, self._pipeline, opened.deadline_ms)
        flight = Flight(
            provider=job.provider,
            request_ids=tuple(request.job_id for request in requests),
            shots=requests[0].shots,
            submitted_ms=now_ms,
        )
        provider = self._chain.provider(job.provider)
        for request in requests:
            accepted = provider.submit(request)
            if isinstance(accepted, Failure):
                return NotTaken(accepted, flight)
            flight.provider_job_ids.append(accepted.provider_job_id)
        return flight
