"""Providers that keep their own book of what they have accepted.

A remote one outlives every worker; what is local is gone with its process.
"""

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, Protocol

from enrichment.provider.contract import (
    Failure,
    FailureKind,
    Handle,
    Result,
    Running,
    SampleRequest,
)
from enrichment.sample.budget import MICRO
from tests.simulation.answers import GARBAGE, answer
from tests.simulation.world import World

FAILED_KINDS: Final = (
    (FailureKind.TRANSIENT, FailureKind.TRANSIENT, FailureKind.ALGORITHM),
    (FailureKind.PERMISSION, FailureKind.ALGORITHM, FailureKind.UNKNOWN),
)
"""What becomes of programs that fail, here and far away: what a vendor has accepted has no failure
that may pass."""

REFUSALS: Final = (
    FailureKind.TRANSIENT,
    FailureKind.QUOTA,
    FailureKind.VALIDATION,
    FailureKind.PERMISSION,
)
ENDLESS_MS: Final = 10**12
PRICE_MICRO: Final = 1_000


QUIET_MS: Final = (1, 50)
"""How long a program waits, and runs, where there is no trouble."""

PACES_MS: Final = (
    ((0, 0, 50, 500, 3_000), (1, 10, 100, 1_000)),
    ((0, 50, 500, 3_000), (10, 500, 2_000, 5_000)),
)
"""And where there is: here, and far away."""


class Kind(Enum):
    """What kind of provider it is."""

    ATTACHING = "attaching"
    """Takes our id, and attaches to what it has under it."""
    NAMELESS = "nameless"
    """Takes no id: whatever is sent twice is run twice."""
    LOCAL = "local"
    """Processes of the worker's own, gone with it."""


@dataclass(slots=True, kw_only=True, eq=False)
class Program:
    """One program that a provider has accepted, and what will become of it."""

    request: SampleRequest
    accepted_ms: int
    begins_ms: int
    ends_ms: int
    outcome: Result | Failure
    told: bool = False
    cancel_asked: bool = False
    cancelled: bool = False

    def over(self, now_ms: int) -> bool:
        """Whether it has come to an end, whatever that was."""
        return self.cancelled or now_ms >= self.ends_ms


class Witness(Protocol):
    """Who sees what is asked of a provider, and may object."""

    def submitting(self, request_id: str) -> None:
        """A worker is about to send something."""

    def accepting(self, vendor: "Vendor", request: SampleRequest) -> None:
        """A program is about to be accepted."""

    def billed(self, request_id: str, micro: int) -> None:
        """One is going to be billed, at so many millionths."""

    def cancelling(self, vendor: "Vendor", request_id: str) -> None:
        """A worker wants one to be given up."""


@dataclass(slots=True, kw_only=True, eq=False)
class Vendor:
    """One provider, and its own book."""

    name: str
    kind: Kind
    world: World
    witness: "Witness"
    # Request id -> its programs, the newest last.
    book: dict[str, list[Program]] = field(default_factory=dict)

    def submit(self, request: SampleRequest) -> Handle | Failure:
        """Attach to what is known, refuse, or accept."""
        known = self.book.get(request.job_id, [])
        if known and self.kind is not Kind.NAMELESS and not self._failed(known[-1]):
            return handle(request, attached=True)
        world = self.world
        if world.troubled and world.chance(world.odds.refused):
            kind = world.draw.choice(REFUSALS)
            return Failure(kind=kind, detail="refused")
        self.witness.accepting(self, request)
        program = self._program(request)
        self.book.setdefault(request.job_id, []).append(program)
        world.met[f"accepted by {self.name}"] += 1
        if isinstance(program.outcome, Result):
            self.witness.billed(request.job_id, self.price_micro(request))
        world.note(self.name, f"accepts {request.job_id}")
        return handle(request)

    def poll(self, request_id: str) -> Running | Result | Failure:
        """How the newest program of that id stands."""
        if not self.book.get(request_id):
            return Failure(kind=FailureKind.UNKNOWN, detail="no such job")
        program, now_ms = self.book[request_id][-1], self.world.now_ms
        if program.cancelled:
            program.told = True
            return Failure(kind=FailureKind.CANCELLED, detail="cancelled by us")
        if now_ms >= program.ends_ms:
            program.told = True
            return program.outcome
        return Running(job_id=request_id, queue_s=0.0 if now_ms >= program.begins_ms else 1.0)

    def cancel(self, request_id: str) -> Failure | None:
        """Give up what runs; what is over stays as it is."""
        for program in self.book.get(request_id, []):
            if not program.over(self.world.now_ms):
                program.cancelled = True
                self.world.note(self.name, f"cancels {request_id}")
                return None
        return Failure(kind=FailureKind.VALIDATION, detail="over, or not known")

    def price_micro(self, request: SampleRequest) -> int:
        """What a program costs: nothing where it fails, all of it where it is cancelled."""
        price = 0 if self.kind is Kind.LOCAL else PRICE_MICRO
        return price * request.shots * len(request.models)

    def _failed(self, program: Program) -> bool:
        over = program.over(self.world.now_ms)
        return program.cancelled or (over and isinstance(program.outcome, Failure))

    def _program(self, request: SampleRequest) -> Program:
        """A program, and what will become of it."""
        world, draw = self.world, self.world.draw
        odds, now_ms = world.odds, world.now_ms
        far = self.kind is not Kind.LOCAL
        queue_ms, run_ms = (QUIET_MS, QUIET_MS) if not world.troubled else PACES_MS[far]
        begins_ms = now_ms + draw.choice(queue_ms)
        ends_ms = begins_ms + draw.choice(run_ms)
        cost = self.price_micro(request) / MICRO
        result = replace(answer(request, self.name), cost=cost)
        outcome: Result | Failure = result
        if world.troubled:
            if world.chance(odds.failed):
                outcome = Failure(kind=draw.choice(FAILED_KINDS[far]), detail="failed there")
            elif world.chance(odds.garbage):
                name = draw.choice(sorted(GARBAGE))
                outcome = GARBAGE[name](result)
            if world.chance(odds.endless):
                ends_ms = ENDLESS_MS + now_ms
        return Program(
            request=request,
            accepted_ms=now_ms,
            begins_ms=begins_ms,
            ends_ms=ends_ms,
            outcome=outcome,
        )


def handle(request: SampleRequest, *, attached: bool = False) -> Handle:
    """What is given for a request that was taken."""
    return Handle(job_id=request.job_id, provider_job_id=f"p-{request.job_id}", attached=attached)
