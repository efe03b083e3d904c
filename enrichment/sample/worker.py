"""The worker: the jobs of its partitions, from micro-batch to outbox; `attempts` moves each one.

It knows neither Kafka nor a circuit: the ledger hands it micro-batches and takes its outboxes, and
providers are met through their contract. Memory runs ahead of the ledger; when a partition is lost,
all that is remembered of it is dropped, and the next owner reads what is true.

The jobs of one shard publish in the order of their windows, so that no feature and no case goes
back to an older version; a slow job holds back the younger ones of its shard no longer than its
deadline and its fallbacks.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from enrichment.pipelines import Pipeline
from enrichment.provider.contract import Provider
from enrichment.records.job import Job, JobState
from enrichment.records.micro_batch import MicroBatch
from enrichment.records.order import JobOrder
from enrichment.records.outcome import Outcome
from enrichment.rollout.control import ControlState
from enrichment.sample import events, machine
from enrichment.sample.attempts import Attempts
from enrichment.sample.budget import Budget
from enrichment.sample.cases import CaseBook
from enrichment.sample.chain import Chain
from enrichment.sample.choice import CHECKS_OPEN_MAX, Choice
from enrichment.sample.estimate import check_name, seed_of
from enrichment.sample.ledger import Arrival, LedgerState
from enrichment.sample.machine import TERMINAL
from enrichment.sample.orders import Orders
from enrichment.sample.outbox import Outbox
from enrichment.sample.quarantine import suspicious
from enrichment.sample.retry import Draw
from enrichment.sample.sending import CHECKS
from enrichment.sample.shelf import Shelf
from enrichment.sample.suspects import Suspects
from enrichment.sample.told import tell_cases, tell_ended
from enrichment.telemetry import metrics
from enrichment.telemetry.log import logger

OPEN_MAX: Final = 500
"""Open jobs of one worker, payloads included: about 50 MB. Beyond, partitions are paused. How many
of them are at a provider at once is that one's to say (`Description.jobs_max`)."""

HURRY_MS: Final = 400
"""An attempt so young may be answered any moment (see `flight.POLL_SHARE`): older ones can wait."""

RESUMED_MAX: Final = 100
"""Left jobs taken up in one turn. Each is written with its payload: that is 10 MB a transaction."""

FORGET_MS: Final = 10_000
"""How often the ledger is looked through for what it need not keep."""


class Worker:
    """The jobs of every partition that this process owns; one thread calls it."""

    def __init__(
        self,
        pipeline: Pipeline,
        provider: Callable[[str], Provider],
        budget: Budget,
        *,
        now_ms: Callable[[], int],
        draw: Draw,
        control: Callable[[], ControlState] | None = None,
    ) -> None:
        """`provider` opens a provider by name (the same one each time); `draw` is for jitter.

        `control` says what `enrichment.control` has in force now; without it, nothing is.
        """
        self._now_ms = now_ms
        self._shelves: dict[int, Shelf] = {}
        self._chain = Chain(pipeline.sampling.chain, provider)
        nothing = ControlState(pipeline=pipeline.name)
        self._choice = Choice(pipeline, self._chain, control or (lambda: nothing))
        self._attempts = Attempts(
            self._choice, self._chain, budget, self._shelves, now_ms=now_ms, draw=draw
        )
        self._forgot_ms = 0
        self._orders = Orders(self._choice, self._attempts, now_ms=now_ms, full=lambda: self.full)
        self._suspects = Suspects(self._attempts, self._shelves)

    @property
    def open_jobs(self) -> int:
        """How many jobs are not terminal."""
        return sum(len(shelf.jobs) for shelf in self._shelves.values())

    @property
    def full(self) -> bool:
        """Whether no further micro-batch should be taken; spot checks have places of their own."""
        return self.open_jobs - self._open_checks() >= OPEN_MAX

    @property
    def hurried(self) -> bool:
        """Whether an answer may come any moment."""
        since_ms = self._now_ms() - HURRY_MS
        return any(
            opened.flight is not None and opened.flight.submitted_ms > since_ms
            for shelf in self._shelves.values()
            for opened in shelf.jobs.values()
        )

    def adopt(self, partition: int, state: LedgerState) -> None:
        """Take over a partition as the ledger shows it, and resume what is unfinished."""
        shelf = Shelf(partition=partition, cases=CaseBook(state.cases.values(), state.said))
        self._shelves[partition] = shelf
        now_ms = self._now_ms()
        shelf.change(shelf.cases.catch_up(), now_ms)
        # What has published is known before it is asked who may.
        for job in state.jobs.values():
            if job.state in TERMINAL:
                shelf.remember(job)
            elif job.published:
                shelf.note_published(job)
        for job in state.jobs.values():
            if job.state in TERMINAL:
                continue
            if job.micro_batch is None:
                raise ValueError(f"ledger: {job.job_id} is {job.state.value} without its payload")
            opened = shelf.open(job, job.micro_batch, recorded_attempt=job.attempt)
            opened.left = True
            if suspicious(job):
                self._suspects.add(opened)
        for order in state.orders:
            self._orders.carry_out(shelf, order, anew=False)
        logger().info(
            "partition taken over",
            partition=partition,
            unfinished=len(shelf.jobs),
            finished=len(shelf.done),
            cases=len(shelf.cases.cases),
        )

    def drop(self, partition: int) -> None:
        """Forget a partition that is no longer ours; its attempts are left to the next owner.

        Where that one could not attach nobody would ever fetch them: they are cancelled.
        """
        shelf = self._shelves.pop(partition, None)
        left = dict.fromkeys(shelf.requests() if shelf is not None else ())
        lost = [(provider, id_) for provider, id_ in left if not self._chain.attaches(provider)]
        if lost:
            logger().warning(
                "partition given up: cancelling what nobody could fetch",
                partition=partition,
                requests=len(lost),
            )
        for provider, request_id in lost:
            self._attempts.cancel(provider, request_id)

    def claim(self, arrival: Arrival) -> None:
        """Turn a micro-batch into a job. It is one as soon as the outbox is committed."""
        shelf = self._shelves.get(arrival.partition)
        if shelf is None:
            return
        now_ms = self._now_ms()
        shelf.outbox.next_offset = arrival.offset + 1
        shelf.outbox.touch(now_ms, urgent=False)
        batch = arrival.batch
        if batch is None or _known(shelf, batch):
            return
        job = self._new_job(batch, now_ms)
        if batch.problems:
            job = self._attempts.claimed(job)
        shelf.record(job, job, "MicroBatchClaimed")
        if batch.problems:
            shelf.open(job, batch, recorded_attempt=0).submit = True
            self._begin_check(shelf, job, batch)
            return
        nothing = events.NothingToSolve(attempt=job.attempt, at_ms=now_ms)
        done, _ = machine.step(job, nothing)
        shelf.record(job, done, "NothingToSolve")
        shelf.remember(done)

    def hear(self, partition: int, outcome: Outcome) -> None:
        """Let an outcome change the cases that it concerns."""
        shelf = self._shelves.get(partition)
        if shelf is None:
            return
        if outcome.case_id:
            metrics.outcomes.add(1, {"said": outcome.kind.value})
        shelf.change(shelf.cases.hear(outcome), self._now_ms())
        if outcome.case_id and not shelf.cases.knows(outcome.case_id):
            logger().warning(
                "an outcome names a case that is not known here",
                case_id=outcome.case_id,
                outcome_id=outcome.outcome_id,
                partition=partition,
            )

    def order(self, partition: int, order: JobOrder) -> None:
        """Carry out an operator's order about a job."""
        shelf = self._shelves.get(partition)
        if shelf is not None:
            self._orders.carry_out(shelf, order, anew=True)

    def tick(self) -> None:
        """Look after every open job: answer, deadline, wait, submission, and whose turn it is."""
        now_ms = self._now_ms()
        self._suspects.try_next(now_ms)
        used, resumed = self._used(), 0
        for shelf in self._shelves.values():
            for opened in tuple(shelf.jobs.values()):
                if opened.left:
                    if resumed < RESUMED_MAX and not suspicious(opened.job):
                        resumed += 1
                        self._attempts.resume(opened, now_ms)
                elif opened.answer is None:
                    self._attempts.look_after(opened, now_ms, used=used)
            for opened in shelf.turn():
                self._attempts.finish(opened)
        if not 0 <= now_ms - self._forgot_ms < FORGET_MS:
            self._forgot_ms = now_ms
            for shelf in self._shelves.values():
                shelf.forget(now_ms)

    def outboxes(self) -> Iterator[tuple[int, Outbox]]:
        """The partitions that have something to write now."""
        now_ms = self._now_ms()
        for partition, shelf in tuple(self._shelves.items()):
            if shelf.outbox.due(now_ms):
                yield partition, shelf.outbox

    def committed(self, partition: int) -> None:
        """The partition's outbox is in the topics: what had to wait for that may happen."""
        shelf = self._shelves[partition]
        outbox, shelf.outbox = shelf.outbox, Outbox()
        for ended in outbox.ended:
            tell_ended(ended)
        tell_cases(outbox.cases)
        for job in outbox.jobs.values():
            opened = shelf.jobs.get(job.job_id)
            if opened is not None:
                opened.recorded_attempt = job.attempt
            self._attempts.committed(job)
        for provider, request_id in outbox.cancels:
            self._attempts.cancel(provider, request_id)

    def validate(self) -> None:
        """Check what must hold between any two calls; AssertionError names what does not."""
        for shelf in self._shelves.values():
            shelf.validate()

    def _used(self) -> Counter[str]:
        """How many requests are at each provider."""
        used: Counter[str] = Counter()
        for shelf in self._shelves.values():
            for opened in shelf.jobs.values():
                for flight in opened.flights():
                    used[flight.provider] += len(flight.request_ids)
                    used[CHECKS] += bool(opened.job.check_of)
        return used

    def _open_checks(self) -> int:
        """How many of the open jobs are spot checks."""
        return sum(
            bool(opened.job.check_of)
            for shelf in self._shelves.values()
            for opened in shelf.jobs.values()
        )

    def _begin_check(self, shelf: Shelf, job: Job, batch: MicroBatch) -> None:
        """Give a new job its spot check, in the same transaction, where it is to have one."""
        provider, check_id = self._choice.checked_by(batch.micro_batch_id), check_name(job.job_id)
        if not provider or shelf.former(check_id) is not None:
            return
        if self._open_checks() >= CHECKS_OPEN_MAX:
            metrics.checks_left_out.add(1, {"provider": provider})
            return
        check = msgspec.structs.replace(
            job,
            job_id=check_id,
            check_of=job.job_id,
            provider=provider,
            chosen=provider,
            deadline_ms=job.created_ms + self._choice.deadline_ms(check=True),
            seed=seed_of(job.job_id),
            charges=(),
        )
        check = self._attempts.claimed(check)
        shelf.record(check, check, "CheckBegun")
        shelf.open(check, batch, recorded_attempt=0).submit = True

    def _new_job(self, batch: MicroBatch, now_ms: int) -> Job:
        chosen = self._choice.provider()
        return Job(
            job_id=batch.micro_batch_id,
            pipeline=batch.pipeline,
            shard=batch.shard,
            micro_batch_id=batch.micro_batch_id,
            state=JobState.PENDING,
            attempt=1,
            created_ms=now_ms,
            updated_ms=now_ms,
            deadline_ms=now_ms + self._choice.deadline_ms(check=False),
            provider=chosen,
            chosen=chosen,
            problems=len(batch.problems),
            seed=seed_of(batch.micro_batch_id),
            experiment_id=self._choice.experiment_id,
            correlation_id=batch.correlation_id,
            content_hash=batch.content_hash,
            micro_batch=batch,
        )


def _known(shelf: Shelf, batch: MicroBatch) -> bool:
    """Whether the micro-batch is a job already; another content under its id is a conflict."""
    former = shelf.former(batch.micro_batch_id)
    if former is None:
        return False
    same = former == batch.content_hash
    metrics.jobs.add(1, {"state": "duplicate" if same else "conflict"})
    if not same:
        logger().error(
            "two contents under one identity; the second is not solved",
            micro_batch_id=batch.micro_batch_id,
            content_hash=batch.content_hash,
            former=former,
        )
    return True
