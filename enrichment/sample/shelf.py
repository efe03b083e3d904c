"""What is remembered of one partition: open jobs in order, what is done, what is to be said."""

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from enrichment.provider.contract import FailureKind
from enrichment.records.job import Job, JobEvent, JobState
from enrichment.records.micro_batch import MicroBatch, version_of
from enrichment.sample.cases import CaseBook, Change
from enrichment.sample.flight import Flight
from enrichment.sample.machine import TERMINAL
from enrichment.sample.outbox import Outbox
from enrichment.sample.publish import Answer
from enrichment.sample.retry import waited
from enrichment.telemetry import metrics

DONE_MAX: Final = 50_000
"""Finished jobs of a partition that the ledger keeps, so that a repeated micro-batch is known: some
25 MB, read in .2 s at a takeover."""

DONE_MS: Final = 7 * 86_400_000
"""How long at most: whoever looks into last week's jobs finds them. Their history stays longer."""

PAID_MS: Final = 2 * 86_400_000
"""How long what was paid for is kept though there are more than DONE_MAX: the budget adds up the
charges of a day from the ledger, and days end at other times elsewhere."""

FORGET_MAX: Final = 500
"""Entries dropped in one go: a transaction of that many tombstones takes a few milliseconds."""

ENDED_MAX: Final = 5_000
"""Of those, the jobs of a partition that may be tried again, in full: about 5 MB."""

CALM: Final = frozenset({JobState.SUBMITTED, JobState.EXECUTING})
"""Nothing hangs on these two, and most jobs are over before anybody could read of them."""


@dataclass(frozen=True, slots=True)
class Done:
    """What is remembered of a finished job."""

    content_hash: str
    ended_ms: int
    paid: bool


@dataclass(slots=True, kw_only=True, eq=False)
class OpenJob:
    """One job that is not terminal, and what the ledger does not need to know of it."""

    job: Job
    batch: MicroBatch
    partition: int
    # The newest attempt that is in the ledger: only that may be submitted.
    recorded_attempt: int
    # When the present provider's time is over; `provider` is whose, and `tries` how often asked.
    deadline_ms: int
    provider: str
    # Whose turn it waits for: its shard's, or nobody's where it is too old to publish.
    queue: str
    tries: int = 1
    # The last failure of each provider that has failed at it.
    failures: dict[str, FailureKind] = field(default_factory=dict)
    submit: bool = False
    # When it was ordered to be tried again after it had been over; 0 where it never was.
    again_ms: int = 0
    # It was found unfinished, and waits to be taken up.
    left: bool = False
    # It may have been submitted, in whole or in part, by us or by who had the partition before.
    adopted: bool = False
    # The provider was found fit for the attempt, and is not asked about again.
    cleared: bool = False
    # The very same attempt is tried again then, and not before.
    not_before_ms: int = 0
    due_ms: int | None = None
    flight: Flight | None = None
    # What waits to be submitted again under its ids, and may be at the provider in part.
    resting: Flight | None = None
    abandoned: list[tuple[int, Flight]] = field(default_factory=list)
    answer: Answer | None = None

    def may_be_submitted(self, now_ms: int) -> bool:
        """Whether the present attempt is to be submitted, and the ledger has it."""
        recorded = self.recorded_attempt == self.job.attempt
        return self.submit and recorded and waited(self.not_before_ms, now_ms)

    def flights(self) -> Iterator[Flight]:
        """What of it may still be at a provider."""
        yield from (flight for _, flight in self.abandoned if not flight.ended)
        if self.flight is not None:
            yield self.flight

    @property
    def order(self) -> tuple[int, str]:
        """Its place among the jobs of its shard."""
        return (self.batch.version, self.job.job_id)


@dataclass(slots=True, kw_only=True, eq=False)
class Shelf:
    """One partition."""

    partition: int
    cases: CaseBook
    jobs: dict[str, OpenJob] = field(default_factory=dict)
    # Shard -> its open jobs, by window.
    queues: dict[str, list[OpenJob]] = field(default_factory=dict)
    # By job id, the oldest first.
    done: dict[str, Done] = field(default_factory=dict)
    # Those of them that an order may still concern: all that have not succeeded.
    ended: dict[str, Job] = field(default_factory=dict)
    # Shard -> the job of the newest window that has published, from the terminal ones in the
    # ledger, where it stays as long as an older one of the shard may be tried again.
    published: dict[str, str] = field(default_factory=dict)
    outbox: Outbox = field(default_factory=Outbox)

    def open(self, job: Job, batch: MicroBatch, *, recorded_attempt: int) -> OpenJob:
        """File a job that is not terminal."""
        opened = OpenJob(
            job=job,
            batch=batch,
            partition=self.partition,
            recorded_attempt=recorded_attempt,
            deadline_ms=job.deadline_ms,
            provider=job.provider,
            # An order that ended it would have left nothing to open.
            again_ms=job.ordered_ms,
            # What will not publish holds nobody back, and waits for nobody.
            queue=f"|{job.job_id}" if job.check_of or self.outdated(job) else job.shard,
        )
        self.jobs[job.job_id] = opened
        insort(self.queues.setdefault(opened.queue, []), opened, key=lambda other: other.order)
        return opened

    def reopen(self, job: Job, batch: MicroBatch) -> OpenJob:
        """File a terminal job that is about to be tried again."""
        del self.done[job.job_id], self.ended[job.job_id]
        return self.open(job, batch, recorded_attempt=job.attempt)

    def outdated(self, job: Job) -> bool:
        """Whether a newer job of the shard has published: then this one must not, any more."""
        newest = self.published.get(job.shard)
        return newest is not None and version_of(newest) > version_of(job.micro_batch_id)

    def close(self, opened: OpenJob) -> None:
        """Take a job that has become terminal off the shelf, and remember that it was."""
        job = opened.job
        del self.jobs[job.job_id]
        queue = self.queues[opened.queue]
        queue.remove(opened)
        if not queue:
            del self.queues[opened.queue]
        self.remember(job)

    def remember(self, job: Job) -> None:
        """Note a terminal job, as the newest."""
        self.done.pop(job.job_id, None)
        self.done[job.job_id] = Done(
            content_hash=job.content_hash,
            ended_ms=job.updated_ms,
            paid=any(charge.micro for charge in job.charges),
        )
        if job.state is not JobState.SUCCEEDED:
            self.ended[job.job_id] = job
            if len(self.ended) > ENDED_MAX:
                del self.ended[next(iter(self.ended))]
        if job.state is not JobState.FAILED or job.published:
            self.note_published(job)

    def note_published(self, job: Job) -> None:
        """Note that a job has published, of a shard's the newest."""
        if job.problems and not job.check_of and not self.outdated(job):
            self.published[job.shard] = job.job_id

    def forget(self, now_ms: int) -> None:
        """Have the ledger drop what is too old, or too much: its bound."""
        excess = len(self.done) - DONE_MAX
        dropped: list[str] = []
        needed = {self.published.get(job.shard) for job in self.ended.values()}
        for job_id, done in self.done.items():
            age_ms = now_ms - done.ended_ms
            if len(dropped) >= FORGET_MAX or (age_ms < DONE_MS and len(dropped) >= excess):
                break
            if job_id in needed:
                continue
            if age_ms >= DONE_MS or not done.paid or age_ms >= PAID_MS:
                dropped.append(job_id)
        for job_id in dropped:
            del self.done[job_id]
            self.ended.pop(job_id, None)
        if dropped:
            # As whoever takes the partition over would know them: each call is a shard of its own,
            # and shards that are over would be remembered for good.
            gone = frozenset(dropped)
            self.published = {
                shard: job_id for shard, job_id in self.published.items() if job_id not in gone
            }
            self.outbox.dropped.extend(dropped)
            self.outbox.touch(now_ms, urgent=False)

    def former(self, job_id: str) -> str | None:
        """The content hash under which the job is known already, or None."""
        opened = self.jobs.get(job_id)
        if opened is not None:
            return opened.batch.content_hash
        done = self.done.get(job_id)
        return None if done is None else done.content_hash

    def change(self, changes: Sequence[Change], now_ms: int) -> None:
        """Put what outcomes have changed into the outbox; an analyst waits for that, no machine."""
        if changes:
            self.outbox.cases.extend(changes)
            self.outbox.touch(now_ms, urgent=False)

    def turn(self) -> Iterator[OpenJob]:
        """The jobs whose answer may be published: in each shard, up to the first without one."""
        for queue in tuple(self.queues.values()):
            while queue and queue[0].answer is not None:
                yield queue[0]

    def requests(self) -> Iterator[tuple[str, str]]:
        """Provider and request id of all that may still be at one."""
        for opened in self.jobs.values():
            for flight in opened.flights():
                yield from ((flight.provider, id_) for id_ in flight.request_ids)
        yield from self.outbox.cancels

    def record(
        self, before: Job, after: Job, event: str, extra: Mapping[str, Any] | None = None
    ) -> None:
        """Put a new state and its story into the outbox; a new job is its own before."""
        self.outbox.jobs[after.job_id] = after
        self.outbox.events.append(
            JobEvent(
                job_id=after.job_id,
                pipeline=after.pipeline,
                shard=after.shard,
                attempt=after.attempt,
                at_ms=after.updated_ms,
                event=event,
                state_before=before.state,
                state_after=after.state,
                provider=after.provider,
                provider_job_id=after.provider_job_id,
                experiment_id=after.experiment_id,
                check_of=after.check_of,
                chosen=after.chosen,
                cost_micro=after.cost_micro,
                **({"detail": after.detail} | dict(extra or {})),
            )
        )
        news = after is before or (after.state, after.attempt) != (before.state, before.attempt)
        # An adopted job is submitted again only once that is in the ledger, and whoever gave an
        # order waits to see what becomes of it.
        waited_for = after.adoptions > before.adoptions or bool(extra and extra.get("order_id"))
        urgent = waited_for or (news and after.state not in CALM)
        self.outbox.touch(after.updated_ms, urgent=urgent)
        metrics.jobs.add(1, {"state": after.state.value})

    def validate(self) -> None:
        """Check what must hold between any two calls; AssertionError names what does not."""
        for job_id, opened in self.jobs.items():
            job = opened.job
            assert job.job_id == job_id, f"{job_id}: filed under a wrong id"  # noqa: S101
            assert job.state not in TERMINAL, f"{job_id}: open and {job.state}"  # noqa: S101
            assert job_id not in self.done, f"{job_id}: open and done"  # noqa: S101
            assert opened in self.queues[opened.queue], f"{job_id}: in no queue"  # noqa: S101
            ahead = opened.flight is not None and opened.recorded_attempt < job.attempt
            assert not ahead, f"{job_id}: flies before the ledger has it"  # noqa: S101
        for shard, queue in self.queues.items():
            assert queue == sorted(queue, key=lambda o: o.order), f"{shard}: order"  # noqa: S101
        assert sum(map(len, self.queues.values())) == len(self.jobs), "queued twice"  # noqa: S101
