"""The lines that lead from a worker to a provider, and what gets lost on them.

A request may never arrive, arrive late, or have its answer lost: the worker is told what an adapter
would tell it, `unknown` where nobody can know.
"""

from dataclasses import dataclass, field
from typing import Final

from enrichment.provider.contract import (
    Description,
    Failure,
    FailureKind,
    Handle,
    Result,
    Running,
    SampleRequest,
)
from tests.simulation.vendors import PRICE_MICRO, Kind, Vendor, handle
from tests.simulation.world import Instance

UNFETCHED_MAX: Final = 8
"""Answers that nobody fetches: `enrichment.provider.jobs.JOBS_MAX` in the world's proportions."""

OVERDUE_MS: Final = 60_000
"""How long after its deadline such an answer is forgotten."""

PLACES: Final = 4
"""Requests at once: half of that, as shipped."""


@dataclass(slots=True, kw_only=True, eq=False)
class Line:
    """A vendor as one worker reaches it: the contract's provider.

    As with the real ones, what this process has submitted and not fetched takes a place here.
    """

    vendor: Vendor
    process: Instance
    # What was submitted here and neither fetched nor cancelled, with when it is forgotten.
    unfetched: dict[str, int] = field(default_factory=dict)
    # What is still on its way.
    on_its_way: dict[str, SampleRequest] = field(default_factory=dict)
    # What never arrived, and nobody has been told so yet.
    unreached: set[str] = field(default_factory=set)

    def submit(self, request: SampleRequest) -> Handle | Failure:
        """Send it; what comes back may be less than what happened."""
        self.vendor.witness.submitting(request.job_id)
        answered: Handle | Failure = self.process.call("submit", lambda: self._send(request))
        if isinstance(answered, Handle):
            self.unfetched[request.job_id] = request.deadline_ms + OVERDUE_MS
            self.process.world.met["attached to"] += answered.attached
        else:
            self.process.world.met[f"not accepted: {answered.kind.value}"] += 1
        self.process.world.note(
            self.process.name, f"submits {request.job_id} to {self.vendor.name}: {_said(answered)}"
        )
        return answered

    def _send(self, request: SampleRequest) -> Handle | Failure:
        world, vendor = self.process.world, self.vendor
        odds = world.odds
        now_ms = self.process.now_ms()
        self.unfetched = {id_: at_ms for id_, at_ms in self.unfetched.items() if at_ms > now_ms}
        if request.job_id not in self.unfetched and len(self.unfetched) >= UNFETCHED_MAX:
            return Failure(kind=FailureKind.QUOTA, detail="too many not fetched")
        if not world.troubled or vendor.kind is Kind.LOCAL:
            return vendor.submit(request)
        if world.chance(odds.lost):
            return self._lost(request)
        if world.chance(odds.late):
            patient = world.chance(0.5)
            self.on_its_way[request.job_id] = request
            arrives_ms = world.draw.choice((100, 2_000, 20_000))
            world.at(arrives_ms, lambda: self._arrive(request.job_id, patient=patient))
            if patient:
                return handle(request)
            return Failure(kind=FailureKind.UNKNOWN, detail="no answer in time")
        answered = vendor.submit(request)
        if world.chance(odds.unanswered):
            return Failure(kind=FailureKind.UNKNOWN, detail="the answer is lost")
        return answered

    def _lost(self, request: SampleRequest) -> Handle | Failure:
        """A request that never arrives, and what is known of that: at once, or when asked after."""
        world = self.process.world
        if world.chance(0.3):
            return Failure(kind=FailureKind.UNKNOWN, detail="no answer")
        if world.chance(0.5):
            return Failure(kind=FailureKind.TRANSIENT, detail="no connection")
        self.unreached.add(request.job_id)
        return handle(request)

    def _arrive(self, job_id: str, *, patient: bool) -> None:
        """A request arrives late: one that somebody waits for only while its process lives."""
        request = self.on_its_way.pop(job_id, None)
        if request is not None and not (patient and self.process.dead):
            _unheard(self.vendor.submit(request))

    def poll(self, job_id: str) -> Running | Result | Failure:
        """How it stands, as far as one can hear from here."""
        world = self.process.world

        def ask() -> Running | Result | Failure:
            if job_id in self.unreached:
                self.unreached.discard(job_id)
                return Failure(kind=FailureKind.TRANSIENT, detail="never reached")
            if job_id in self.on_its_way:
                return Running(job_id=job_id, queue_s=1.0)
            if world.troubled and self.vendor.kind is not Kind.LOCAL and world.chance(odds.lost):
                return Running(job_id=job_id, queue_s=1.0)
            return self.vendor.poll(job_id)

        odds = world.odds
        answered: Running | Result | Failure = self.process.call("ask", ask)
        if not isinstance(answered, Running):
            self.unfetched.pop(job_id, None)
        return answered

    def cancel(self, job_id: str) -> Failure | None:
        """Ask for it to be given up; whether that is heard is another question."""
        world = self.process.world

        def ask() -> Failure | None:
            self.vendor.witness.cancelling(self.vendor, job_id)
            for program in self.vendor.book.get(job_id, []):
                program.cancel_asked = True
            self.unreached.discard(job_id)
            if self.on_its_way.pop(job_id, None) is not None:
                return None
            if not world.troubled or not world.chance(odds.late):
                return self.vendor.cancel(job_id)
            world.at(2_000, lambda: _unheard(self.vendor.cancel(job_id)))
            return None

        odds = world.odds
        answered: Failure | None = self.process.call("cancel", ask)
        self.unfetched.pop(job_id, None)
        return answered

    def describe(self) -> Description:
        """What it says of itself."""
        return Description(
            name=self.vendor.name,
            qubits_max=20,
            gate_set=(),
            calibration_id="",
            calibration_time_ms=0,
            queue_s=0.0,
            price_per_shot=0.0 if self.vendor.kind is Kind.LOCAL else PRICE_MICRO / 1e6,
            idempotent_submission=self.vendor.kind is not Kind.NAMELESS,
            sdk_versions={},
            jobs_max=PLACES,
        )

    def close(self) -> None:
        """Nothing is held here."""


def _said(answered: Handle | Failure) -> str:
    if isinstance(answered, Failure):
        return f"{answered.kind.value}, {answered.detail}"
    return "attached" if answered.attached else "accepted"


def _unheard(_: Handle | Failure | None) -> None:
    """What is said when nobody is there to hear it."""
