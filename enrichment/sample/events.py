"""What can happen to a job, in the past tense: what the machine is told. Pure."""

from dataclasses import dataclass

from enrichment.records.micro_batch import MicroBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to one attempt of a job, at a wall-clock time."""

    attempt: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAdopted(Event):
    """A worker that has just been assigned the partition found the job unfinished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingToSolve(Event):
    """The micro-batch has no problems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAccepted(Event):
    """The provider took the attempt, now or, where it attached, before."""

    provider_job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStarted(Event):
    """The provider was seen to work on the attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplesReceived(Event):
    """The chosen provider's samples are here, checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackReceived(Event):
    """A fallback's samples are here, checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed(Event):
    """The attempt failed in a way that allows another at the same provider, at `due_ms`."""

    due_ms: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptDue(Event):
    """The wait before this attempt is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderGivenUp(Event):
    """No further attempt at this provider makes sense; `next_provider` is the chain's next."""

    next_provider: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlinePassed(Event):
    """The job's deadline is here; `next_provider` is the chain's next."""

    next_provider: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainExhausted(Event):
    """The provider is given up (or late), and the chain has no next."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined(Event):
    """It has failed the same way again and again, or an operator said so: nobody takes it up."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrdered(Event):
    """An operator wants no answer any more."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOrdered(Event):
    """An operator wants a job that has failed, or has only a fallback, tried again from the start.

    `micro_batch` is the payload, which had left the ledger; `deadline_ms` and `provider` are as of
    a new job.
    """

    detail: str
    micro_batch: MicroBatch
    deadline_ms: int
    provider: str
