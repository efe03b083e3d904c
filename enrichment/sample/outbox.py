"""What one partition has to say in its next transaction, and under which keys it says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from enrichment.records.feature import FeatureUpdate
from enrichment.records.job import Job, JobEvent
from enrichment.sample.cases import Change
from enrichment.sample.machine import TERMINAL
from enrichment.sample.told import Ended
from enrichment.stream.framing import BARE, Framing
from enrichment.stream.headers import cloud_event
from enrichment.stream.topics import CASES, FEATURES, JOB_EVENTS, JOBS, partition_for
from enrichment.stream.transaction import Message

SOFT_MS: Final = 250
"""How long a state that nothing hangs on (submitted, executing) may wait for company."""

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a pipeline's records go: how many partitions the topics have whose keys decide."""

    pipeline: str
    partitions: Mapping[str, int]
    framing: Framing = BARE

    @property
    def source(self) -> str:
        """The CloudEvents source of what this stage says."""
        return f"/enrichment/sample/{self.pipeline}"


@dataclass(slots=True, kw_only=True, eq=False)
class Outbox:
    """Everything that waits for one partition's next transaction; nothing of it has happened yet.

    Of a job only the newest state is kept: the ledger is compacted anyway, the history is `events`.
    """

    jobs: dict[str, Job] = field(default_factory=dict)
    events: list[JobEvent] = field(default_factory=list)
    features: list[FeatureUpdate] = field(default_factory=list)
    cases: list[Change] = field(default_factory=list)
    # Jobs that are over with this, which is told once it is written.
    ended: list[Ended] = field(default_factory=list)
    # Finished jobs that the ledger need not keep any longer.
    dropped: list[str] = field(default_factory=list)
    # Provider and request id of what is to be cancelled once this is committed.
    cancels: list[tuple[str, str]] = field(default_factory=list)
    # The offset behind the last micro-batch that this covers.
    next_offset: int | None = None
    urgent: bool = False
    since_ms: int | None = None

    def touch(self, now_ms: int, *, urgent: bool) -> None:
        """Note that something came in, and whether somebody waits for it."""
        self.urgent = self.urgent or urgent
        if self.since_ms is None:
            self.since_ms = now_ms

    def due(self, now_ms: int) -> bool:
        """Whether it is time to write it; a clock that went back makes it so."""
        since_ms = self.since_ms
        return self.urgent or (since_ms is not None and not 0 <= now_ms - since_ms < SOFT_MS)

    def messages(self, to: Addresses, partition: int) -> list[Message]:
        """The records to produce: features and cases first, the job that explains them last."""
        bare = [
            *(_feature(update, to) for update in self.features),
            *(_case(change, to, partition) for change in self.cases),
            *(_event(event, to, partition) for event in self.events),
            *(_job(job, to, partition) for job in self.jobs.values()),
            *(_tombstone(job_id, partition) for job_id in self.dropped),
        ]
        if to.framing is BARE:
            return bare
        return [_framed(message, to.framing) for message in bare]


def feature_key(update: FeatureUpdate) -> str:
    """The key of a feature update on the compacted topic."""
    return f"{update.pipeline}|{update.entity}|{update.id}|{update.group}"


def case_key(pipeline: str, case_id: str) -> str:
    """The key of a case on the compacted topic."""
    return f"{pipeline}|{case_id}"


def _framed(message: Message, framing: Framing) -> Message:
    """The message as it goes out: a tombstone has nothing to frame."""
    if message.value is None:
        return message
    value, headers = framing.framed(message.topic, message.value, message.headers)
    return replace(message, value=value, headers=headers)


def _feature(update: FeatureUpdate, to: Addresses) -> Message:
    key = feature_key(update)
    id_ = f"{key}|{update.version}"
    return Message(
        topic=FEATURES,
        partition=partition_for(key, to.partitions[FEATURES]),
        key=key.encode(),
        value=_encode(update),
        headers=cloud_event("feature-update", to.source, id_, update.computed_at_ms),
    )


def _case(change: Change, to: Addresses, partition: int) -> Message:
    case = change.case
    # Outcomes change a case between two micro-batches.
    revision = f"|{case.revision}" if case is not None and case.revision else ""
    return Message(
        topic=CASES,
        partition=partition,
        key=case_key(to.pipeline, change.case_id).encode(),
        value=None if case is None else _encode(case),
        headers=[]
        if case is None
        else cloud_event(
            "case", to.source, f"{case.case_id}|{case.version}{revision}", case.last_seen_ms
        ),
    )


def _event(event: JobEvent, to: Addresses, partition: int) -> Message:
    id_ = f"{event.job_id}|{event.attempt}|{event.event}|{event.at_ms}"
    return Message(
        topic=JOB_EVENTS,
        partition=partition % to.partitions[JOB_EVENTS],
        key=event.job_id.encode(),
        value=_encode(event),
        headers=cloud_event("job-event", to.source, id_, event.at_ms),
    )


def _job(job: Job, to: Addresses, partition: int) -> Message:
    if job.state in TERMINAL and job.micro_batch is not None:
        raise ValueError(f"{job.job_id} is terminal and still carries its payload")
    id_ = f"{job.job_id}|{job.attempt}|{job.state.value}"
    return Message(
        topic=JOBS,
        partition=partition,
        key=job.job_id.encode(),
        value=_encode(job),
        headers=cloud_event("job", to.source, id_, job.updated_ms),
    )


def _tombstone(job_id: str, partition: int) -> Message:
    return Message(topic=JOBS, partition=partition, key=job_id.encode(), value=None)
