"""One job on its way through Google's engine, and what is known of it so far."""

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from enrichment.provider import local
from enrichment.provider.contract import Failure, SampleRequest
from enrichment.provider.google_circuits import Circuits
from enrichment.provider.jobs import Done

POLL_S: Final = 0.05
"""When a job's state is first asked for again; `google.POLL_S_MAX` is the longest pause."""


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """One job: written by one step at a time, which `step` stands for.

    `circuits` are what the engine runs, once that is known; `found` is set where it had a program
    under our id already, whose circuits may be on other lines than ours would be.
    """

    request: SampleRequest
    program_id: str
    until_s: float
    twins: "Future[Done | Failure] | None"
    future: "Future[Done | Failure]" = field(default_factory=Future)
    step: "Future[None] | None" = None
    poll_s: float = POLL_S
    next_s: float = 0.0
    circuits: Circuits = ()
    found: bool = False
    engine_job_id: str = ""
    accepted: bool = False
    begun: bool = False
    faults: int = 0
    drawn: Done | None = None

    def end(self, outcome: Done | Failure) -> None:
        """Set the outcome, unless the job has been given up meanwhile."""
        with suppress(InvalidStateError):
            self.future.set_result(outcome)

    def drop_twins(self) -> None:
        """Give the twins up where they have not begun."""
        if self.twins is not None:
            self.twins.cancel()

    def with_twins(self, drawn: Done) -> Done | Failure | None:
        """Return the samples with their twins beside, a twin's failure, or None until they are."""
        if self.twins is None:
            return drawn
        if not self.twins.done():
            return None
        try:
            twins = self.twins.result(timeout=0)
        except Exception as error:  # noqa: BLE001  # every kind is in the local table
            return local.failure_of(error)
        if isinstance(twins, Failure):
            return twins
        return replace(drawn, twins=twins.twins)
