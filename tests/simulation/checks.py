"""What must hold at every step: told of each commit, each accepted program and each verdict."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from enrichment.pipelines import Pipeline
from enrichment.provider.contract import SampleRequest
from enrichment.records import Case, FeatureUpdate, Job, JobEvent, MicroBatch
from enrichment.records.job import JobState
from enrichment.sample.budget import MICRO
from enrichment.sample.events import RetryOrdered
from enrichment.sample.machine import RULES, TERMINAL
from enrichment.sample.orders import PUT_OFF, REFUSED
from enrichment.stream.topics import CASES, FEATURES, JOB_EVENTS, JOBS, MICRO_BATCHES
from tests.memory_kafka import Entry, Place
from tests.simulation.readings import Readings, shard_of
from tests.simulation.vendors import Kind, Vendor
from tests.simulation.world import Instance, Violation, World

_job: Final = msgspec.json.Decoder(Job).decode
_event: Final = msgspec.json.Decoder(JobEvent).decode
_feature: Final = msgspec.json.Decoder(FeatureUpdate).decode
_case: Final = msgspec.json.Decoder(Case).decode
_batch: Final = msgspec.json.Decoder(MicroBatch).decode

BY_NAME: Final = {(state, kind.__name__): rule for (state, kind), rule in RULES.items()}


UNMOVED: Final = frozenset({REFUSED, PUT_OFF})
"""Events of orders that change nothing."""


@dataclass(slots=True, eq=False)
class Checks:
    """What has been seen so far, and what it forbids."""

    world: World
    pipeline: Pipeline
    readings: Readings
    # Problems of one request at most.
    request_problems: int
    # Partition -> whose each of its transactions was; and, of each process that has read the
    # partition's ledger, how many there were by then.
    written: defaultdict[int, list[Instance | None]] = field(
        default_factory=lambda: defaultdict(list)
    )
    read: dict[tuple[int, Instance], int] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    # (job id, attempt) of every attempt that was ever in the ledger.
    recorded: set[tuple[str, int]] = field(default_factory=set)
    # (job id, process) of who has ever written of it into the ledger.
    wrote: set[tuple[str, Instance | None]] = field(default_factory=set)
    batches: list[tuple[Place, int, MicroBatch]] = field(default_factory=list)
    # (shard, version) of every close that stands in the log.
    logged: set[tuple[str, int]] = field(default_factory=set)
    consumed: dict[Place, int] = field(default_factory=dict)
    last: dict[str, JobEvent] = field(default_factory=dict)
    # Job -> its first attempt since somebody ordered it to be tried again.
    life: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    # Orders about jobs that have been carried out.
    carried_out: set[str] = field(default_factory=set)
    versions: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    # UTC day -> what providers have billed for its attempts, in millionths.
    spent: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    # What the witness of a commit does with a record of that topic.
    _of_topic: dict[str, Callable[[Place, int, Entry], None]] = field(init=False)

    def __post_init__(self) -> None:
        self._of_topic = {
            JOBS: self._see_job,
            JOB_EVENTS: self._see_event,
            FEATURES: self._see_feature,
            CASES: self._see_case,
            MICRO_BATCHES: self._see_batch,
        }

    def reading(self, partition: int, instance: Instance) -> None:
        """A worker begins to read the ledger of a partition, and will go on from there."""
        self.read[partition, instance] = len(self.written[partition])

    def committed(
        self, id_: str, entries: list[tuple[Place, int, Entry]], offsets: dict[Place, int]
    ) -> None:
        """A transaction is visible: it is one of the owner's, and each record is in its place."""
        if id_:
            self.world.met["transactions committed"] += 1
            partition = int(id_.rpartition(".")[2])
            self._see_writer(partition, self.world.running)
            topics = ",".join(f"{place[0].rpartition('.')[2]}@{at}" for place, at, _ in entries)
            self.world.note(id_, f"commits {topics} {sorted(offsets.items())}")
        for place, at, entry in entries:
            see = self._of_topic.get(place[0])
            if see is not None:
                see(place, at, entry)
        for place, offset in offsets.items():
            self._see_offset(place, offset)

    def _see_writer(self, partition: int, writer: Instance | None) -> None:
        assert writer is not None
        written = self.written[partition]
        for other in written[self.read[partition, writer] :]:
            if other is not writer:
                raise Violation(
                    f"zombie: {writer.name} goes on with partition {partition} from what it was "
                    f"before a transaction of {other and other.name}"
                )
        written.append(writer)

    def _see_batch(self, place: Place, at: int, entry: Entry) -> None:
        batch = _batch(entry.value or b"")
        self.batches.append((place, at, batch))
        self.logged.add((batch.shard, batch.version))

    def _see_offset(self, place: Place, offset: int) -> None:
        before = self.consumed.get(place, 0)
        if offset < before:
            raise Violation(f"offset of {place} goes back from {before} to {offset}")
        for where, at, batch in self.batches:
            if where == place and before <= at < offset and batch.micro_batch_id not in self.jobs:
                raise Violation(f"{batch.micro_batch_id} is consumed, and no job")
        self.consumed[place] = offset

    def _see_job(self, _place: Place, _at: int, entry: Entry) -> None:
        if entry.value is None:
            forgotten = self.jobs[(entry.key or b"").decode()]
            if forgotten.state not in TERMINAL:
                raise Violation(f"{forgotten.job_id} is dropped while {forgotten.state.value}")
            return
        job = _job(entry.value)
        before = self.jobs.get(job.job_id)
        if before is not None:
            self._see_next(before, job)
        if (job.state in TERMINAL) != (job.micro_batch is None):
            raise Violation(
                f"{job.job_id} is {job.state.value}, its payload is not as it should be"
            )
        if job.check_of and job.check_of not in self.jobs:
            raise Violation(f"{job.job_id} is a check of no job")
        self.jobs[job.job_id] = job
        self.world.met["spot checks begun"] += bool(job.check_of and before is None)
        self.recorded.add((job.job_id, job.attempt))
        self.wrote.add((job.job_id, self.world.running))

    def _see_next(self, before: Job, job: Job) -> None:
        """What is terminal stays what it is, unless somebody orders something else."""
        if job.attempt < before.attempt:
            raise Violation(f"{job.job_id} goes back to attempt {job.attempt}")
        if job.ordered_ms < before.ordered_ms:
            raise Violation(f"{job.job_id} has forgotten an order")
        if before.state in TERMINAL and job.ordered_ms == before.ordered_ms:
            raise Violation(f"{job.job_id} is {before.state.value}, then {job.state.value}")

    def _see_event(self, _place: Place, _at: int, entry: Entry) -> None:
        event = _event(entry.value or b"")
        if event.event in UNMOVED:
            return
        before = self.last.get(event.job_id)
        self.last[event.job_id] = event
        if event.order_id:
            if event.order_id in self.carried_out:
                raise Violation(f"{event.order_id} about {event.job_id} is carried out twice")
            self.carried_out.add(event.order_id)
        if event.withheld and not self.life[event.job_id]:
            raise Violation(f"{event.job_id} is withheld, and nobody has had it tried again")
        if event.event == RetryOrdered.__name__:
            self.life[event.job_id] = event.attempt
        story = f"{event.job_id}: {event.event}, {event.state_before} to {event.state_after}"
        if before is None:
            begun = "CheckBegun" if event.check_of else "MicroBatchClaimed"
            if event.event != begun or event.state_after is not JobState.PENDING:
                raise Violation(f"{story}: not how a job begins")
            return
        if before.state_after is not event.state_before:
            raise Violation(f"{story}: but it was {before.state_after} before")
        rule = BY_NAME.get((event.state_before, event.event))
        if rule is None or rule.after is not event.state_after:
            raise Violation(f"{story}: the table has no such rule")

    def _see_feature(self, _place: Place, _at: int, entry: Entry) -> None:
        update = _feature(entry.value or b"")
        ours = update.group == "ring"
        # A close that is published again after a crash, or a job that is tried again.
        tried = ours and self.jobs[update.source.job_id].ordered_ms if update.source else 0
        if ours and update.source and self.jobs[update.source.job_id].check_of:
            raise Violation(f"{update.source.job_id} publishes, and is a spot check")
        key = entry.key or b""
        if not ours and update.source is not None:
            self._see_close_again(key, shard_of(update))
        self._forward(key, (update.version, 0), again=not ours or tried > 0)
        if not ours and update.entity == "account":
            self.readings.show(update)

    def _see_close_again(self, key: bytes, shard: str) -> None:
        """Forget the version of a close that never came into the log.

        Its features are out and it is not: whoever goes on closes anew, and perhaps an older window
        first. Redis keeps the newer, which comes again.
        """
        before = self.versions.get(key)
        if before is not None and (shard, before[0]) not in self.logged:
            del self.versions[key]

    def _see_case(self, _place: Place, _at: int, entry: Entry) -> None:
        if entry.value is not None:
            case = _case(entry.value)
            self._forward(entry.key or b"", (case.version, case.revision))

    def _forward(self, key: bytes, version: tuple[int, int], *, again: bool = False) -> None:
        """A version only rises; where a crash makes its publisher say it `again`, it may stay."""
        before = self.versions.get(key)
        if before is not None and (version < before or (version == before and not again)):
            raise Violation(f"{key.decode()} goes from version {before} to {version}")
        self.versions[key] = version

    def submitting(self, request_id: str) -> None:
        """A worker sends something: not before the ledger has its word that the job is its."""
        if (request_id.rsplit("|", 2)[0], self.world.running) not in self.wrote:
            raise Violation(f"{request_id} is sent by who has not said that it has taken it over")

    def accepting(self, vendor: Vendor, request: SampleRequest) -> None:
        """A provider is about to accept a program."""
        job_id, attempt, _ = request.job_id.rsplit("|", 2)
        if (job_id, int(attempt)) not in self.recorded:
            raise Violation(f"{request.job_id} is submitted, and not in the ledger")
        if int(attempt) < self.life[job_id]:
            return  # it was on its way when an operator had the job tried again
        now_ms = self.world.now_ms
        for other_id, programs in vendor.book.items():
            other_job, other_attempt, _ = other_id.rsplit("|", 2)
            # What was given up at its deadline may run on, and an operator may know that.
            if other_job != job_id or int(other_attempt) < self.life[job_id]:
                continue
            for program in programs:
                if other_id == request.job_id:
                    if vendor.kind is Kind.NAMELESS or not program.over(now_ms):
                        raise Violation(f"{vendor.name} accepts {other_id} twice")
                elif (
                    vendor.kind is not Kind.LOCAL  # what a worker lost runs on there, for nothing
                    and other_attempt != attempt
                    and not program.over(now_ms)
                    and not (program.cancel_asked and vendor.kind is not Kind.NAMELESS)
                ):
                    raise Violation(
                        f"{vendor.name} accepts {request.job_id} while {other_id} is not over"
                    )

    def billed(self, request_id: str, micro: int) -> None:
        """A provider bills us: a day's attempts never come to more than is allowed."""
        if not micro:
            return
        job_id, attempt, _ = request_id.rsplit("|", 2)
        job = self.jobs[job_id]
        (charge,) = (one for one in job.charges if one.attempt == int(attempt))
        self.spent[charge.day] += micro
        allowed = int(self.pipeline.budget.day * MICRO)
        if self.spent[charge.day] > allowed:
            raise Violation(f"{self.spent[charge.day]} millionths are spent, {allowed} allowed")

    def cancelling(self, vendor: Vendor, request_id: str) -> None:
        """A worker gives an attempt up: where that is late, the fallback is out before."""
        job = self.jobs.get(request_id.rsplit("|", 2)[0])
        # Where nobody could attach, whoever loses the partition cancels it earlier; and an attempt
        # of several requests of which one has failed is given up as a whole.
        if job is None or vendor.kind is not Kind.ATTACHING or job.problems > self.request_problems:
            return
        # Ordered to be given up, and then to be tried again, all in one transaction.
        if int(request_id.rsplit("|", 2)[1]) < self.life[job.job_id]:
            return
        if job.state not in TERMINAL:
            raise Violation(f"{vendor.name} is to cancel {request_id}, and no fallback is out")
