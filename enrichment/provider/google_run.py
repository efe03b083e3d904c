"""One job on its way through Google's engine, and what is known of it so far."""

from dataclasses import dataclass

from enrichment.provider.google_circuits import Circuits, Layout, program_id
from enrichment.provider.remote import Run


@dataclass(slots=True, kw_only=True, eq=False)
class EngineRun(Run):
    """One job at the engine.

    `circuits` are what is to be sent, until it is accepted, and `layout` is of what the engine
    runs, once that is known; `found` is set where it had a program under our id already, whose
    circuits may be on other lines than ours would be. `engine_job_id` is the try that may be on its
    way there; accepted, it is the `remote_id` too.
    """

    circuits: Circuits = ()
    layout: Layout = ()
    found: bool = False
    engine_job_id: str = ""

    @property
    def program_id(self) -> str:
        """The id of the job's program, which its tries share."""
        return program_id(self.request.job_id)
