"""What a worker can be told to do for a job, in the imperative: what the machine answers. Pure."""

from dataclasses import dataclass

from enrichment.records.job import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """Something that the worker is to do for a job."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit(Instruction):
    """Hand the attempt to the provider, once the ledger has it."""

    provider: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitUntil(Instruction):
    """Say `AttemptDue` at `due_ms`."""

    attempt: int
    due_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishFeatures(Instruction):
    """Publish what the samples say: both estimates, quantum and classical, and the cases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishFallback(Instruction):
    """Publish the classical estimate alone, and the cases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbandonAttempt(Instruction):
    """Keep the late attempt in mind for `CancelAbandoned`, and take no more news of it."""

    provider: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAbandoned(Instruction):
    """Tell the provider that the late attempts are not wanted any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountLate(Instruction):
    """News of an older attempt, or of a job that is done: count it."""

    event: str
    state: JobState
