"""Fakes of what the worker meets: a provider that follows a script, and topics in memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from enrichment.pipelines import Pipeline, load
from enrichment.pipelines.definition import Cases
from enrichment.provider.contract import (
    Description,
    Failure,
    FailureKind,
    Handle,
    Result,
    Running,
    SampleRequest,
)
from enrichment.provider.jobs import Done
from enrichment.provider.local import solve, work_of
from enrichment.records import (
    Case,
    Compute,
    FeatureUpdate,
    Job,
    JobEvent,
    JobOrder,
    MicroBatch,
    Outcome,
)
from enrichment.rollout.control import ControlState
from enrichment.sample.budget import Budget, NoMoney
from enrichment.sample.ledger import Arrival, LedgerState
from enrichment.sample.outbox import Addresses
from enrichment.sample.outcomes import Said
from enrichment.sample.worker import Worker
from enrichment.stream.topics import CASES, FEATURES, JOB_EVENTS, JOBS
from enrichment.stream.transaction import Message

START_MS = 1_700_000_100_000
ADDRESSES = Addresses(pipeline="payments", partitions={FEATURES: 4, JOB_EVENTS: 4})


def result_of(request: SampleRequest, provider: str) -> Result:
    """A true answer, drawn by the exact sampler in this process, under the provider's name."""
    done = solve(work_of(request, "exact", 1e12))
    assert isinstance(done, Done), done
    sets = done.sets
    if provider not in {"exact", "annealing"}:
        sets = tuple(
            replace(
                one,
                circuit_hash=f"circuit-{one.seed}",
                marginals=None,
                temperature=None,
                optimum_energy=None,
            )
            for one in sets
        )
    return Result(
        job_id=request.job_id,
        provider=provider,
        provider_job_id=request.job_id,
        sets=sets,
        twins=done.twins,
        queue_ms=1.0,
        execution_ms=2.0,
    )


@dataclass(slots=True, kw_only=True)
class Clock:
    """The time, moved by hand."""

    now_ms: int = START_MS

    def __call__(self) -> int:
        """Return it."""
        return self.now_ms


@dataclass(slots=True, kw_only=True)
class ScriptedProvider:
    """A provider whose refusals and answers are given in advance; by default it answers at once.

    It counts what it accepted, so that a test can tell what was paid for.
    """

    name: str
    clock: Clock
    refusals: list[Failure] = field(default_factory=list)
    answers: list[Failure | Callable[[Result], Result]] = field(default_factory=list)
    holds: bool = False
    idempotent: bool = True
    accepted_max: int = 1_000
    jobs_max: int = 32
    queue_s: float = 0.0
    price_per_shot: float = 0.0
    started: bool = False
    accepted: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    polls: int = 0
    jobs: dict[str, SampleRequest] = field(default_factory=dict)
    outcomes: dict[str, Result | Failure] = field(default_factory=dict)

    def submit(self, request: SampleRequest) -> Handle | Failure:
        """Refuse as scripted, attach to a known job, or accept."""
        if self.refusals:
            return self.refusals.pop(0)
        if len(self.accepted) >= self.accepted_max:
            return Failure(kind=FailureKind.QUOTA, detail="no more")
        known = request.job_id in self.jobs and self.idempotent
        if known and not isinstance(self.outcomes.get(request.job_id), Failure):
            return Handle(
                job_id=request.job_id, provider_job_id=f"p-{request.job_id}", attached=True
            )
        self.outcomes.pop(request.job_id, None)
        self.jobs[request.job_id] = request
        self.accepted.append(request.job_id)
        return Handle(job_id=request.job_id, provider_job_id=f"p-{request.job_id}")

    def poll(self, job_id: str) -> Running | Result | Failure:
        """Run while it holds, then answer as scripted, or truly."""
        self.polls += 1
        if job_id not in self.jobs:
            return Failure(kind=FailureKind.UNKNOWN, detail="no such job")
        if job_id not in self.outcomes:
            if self.holds:
                return Running(job_id=job_id, queue_s=0.0 if self.started else 1.0)
            outcome: Result | Failure = result_of(self.jobs[job_id], self.name)
            if self.answers:
                scripted = self.answers.pop(0)
                if isinstance(scripted, Failure):
                    outcome = scripted
                else:
                    assert isinstance(outcome, Result)
                    outcome = scripted(outcome)
            self.outcomes[job_id] = outcome
        return self.outcomes[job_id]

    def cancel(self, job_id: str) -> Failure | None:
        """Note what was cancelled."""
        self.cancelled.append(job_id)
        return None

    def describe(self) -> Description:
        """Say what it is."""
        return Description(
            name=self.name,
            qubits_max=20,
            gate_set=(),
            calibration_id="",
            calibration_time_ms=0,
            queue_s=self.queue_s,
            price_per_shot=self.price_per_shot,
            idempotent_submission=self.idempotent,
            sdk_versions={"fake": "1"},
            jobs_max=self.jobs_max,
        )

    def close(self) -> None:
        """Forget everything."""
        self.jobs.clear()


@dataclass(slots=True, kw_only=True)
class MemoryTopics:
    """What has been committed, topic by topic, and how far micro-batches have been consumed."""

    records: dict[str, list[tuple[str, bytes | None]]] = field(default_factory=dict)
    consumed: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    orders: list[JobOrder] = field(default_factory=list)

    def append(self, messages: list[Message], next_offset: int | None) -> None:
        """One committed transaction."""
        for message in messages:
            at = self.records.setdefault(message.topic, [])
            at.append(((message.key or b"").decode(), message.value))
        if next_offset is not None:
            assert next_offset >= self.consumed, "the offset went back"
            self.consumed = next_offset

    def job_records(self) -> list[Job]:
        """Every state of every job, in order."""
        return [
            msgspec.json.decode(value, type=Job)
            for _, value in self.records.get(JOBS, [])
            if value is not None
        ]

    def jobs(self) -> dict[str, Job]:
        """Each job's newest state."""
        newest: dict[str, Job] = {}
        for job in self.job_records():
            newest.pop(job.job_id, None)  # in the order of the newest records, as the ledger reads
            newest[job.job_id] = job
        return newest

    def features(self) -> list[tuple[str, FeatureUpdate]]:
        """Every feature update, in order."""
        return [
            (key, msgspec.json.decode(value or b"", type=FeatureUpdate))
            for key, value in self.records.get(FEATURES, [])
        ]

    def events(self) -> list[JobEvent]:
        """The whole history."""
        return [
            msgspec.json.decode(value or b"", type=JobEvent)
            for _, value in self.records.get(JOB_EVENTS, [])
        ]

    def cases(self) -> dict[str, Case]:
        """Each case's newest record, those taken in left out."""
        newest = dict(self.records.get(CASES, []))
        return {
            key: msgspec.json.decode(value, type=Case)
            for key, value in newest.items()
            if value is not None
        }

    def state(self) -> LedgerState:
        """What a new owner of the partition reads."""
        said = Said()
        for outcome in self.outcomes:
            said.add(outcome)
        return LedgerState(
            jobs=self.jobs(),
            cases={case.case_id: case for case in self.cases().values()},
            said=said,
            outcomes_next=len(self.outcomes),
            orders=list(self.orders),
            orders_next=len(self.orders),
        )


def payments() -> Pipeline:
    """The shipped payments pipeline, with fewer shots, and cases of three."""
    pipeline = load("payments")
    return msgspec.structs.replace(
        pipeline,
        sampling=msgspec.structs.replace(pipeline.sampling, shots=100, deadline_ms=10_000),
        cases=Cases(members_min=3),
    )


@dataclass(slots=True, kw_only=True)
class Bench:
    """A worker of one partition with everything around it faked, and the topics that outlive it."""

    pipeline: Pipeline = field(default_factory=payments)
    clock: Clock = field(default_factory=Clock)
    topics: MemoryTopics = field(default_factory=MemoryTopics)
    sent: list[MicroBatch] = field(default_factory=list)
    read: int = 0
    heard: int = 0
    ordered: int = 0
    providers: Mapping[str, ScriptedProvider] = field(default_factory=dict)
    draws: Callable[[], float] = lambda: 0.5
    budget: Budget = field(default_factory=NoMoney)
    # What `enrichment.control` has in force.
    control: ControlState = field(default_factory=lambda: ControlState(pipeline="payments"))
    worker: Worker = field(init=False)

    def __post_init__(self) -> None:
        self.providers = {
            name: ScriptedProvider(name=name, clock=self.clock)
            for name in ("qsim", "exact", "annealing")
        }
        self.restart()

    def restart(self) -> None:
        """A new worker takes over, as after a crash: whatever was not committed is gone."""
        self.worker = Worker(
            self.pipeline,
            self.provider,
            self.budget,
            now_ms=self.clock,
            draw=self.draws,
            control=lambda: self.control,
        )
        self.read = self.topics.consumed
        self.heard = len(self.topics.outcomes)
        self.ordered = len(self.topics.orders)
        self.worker.adopt(0, self.topics.state())

    def provider(self, name: str) -> ScriptedProvider:
        """Open one of the providers. Raises ValueError where there is none of that name."""
        if name not in self.providers:
            raise ValueError(f"unknown provider {name!r}")
        return self.providers[name]

    def add(self, name: str, **options: Any) -> ScriptedProvider:
        """A further provider, for what control names."""
        added = ScriptedProvider(name=name, clock=self.clock, **options)
        self.providers = {**self.providers, name: added}
        return added

    def instruct(self, **compute: Any) -> None:
        """Put other providers in force."""
        self.control = ControlState(pipeline="payments", compute=Compute(**compute))

    def full(self) -> bool:
        """Whether the worker wants no more."""
        return self.worker.full

    def send(self, *batches: MicroBatch) -> None:
        """Publish micro-batches."""
        self.sent.extend(batches)

    def tell(self, *outcomes: Outcome) -> None:
        """Publish outcomes."""
        self.topics.outcomes.extend(outcomes)

    def give(self, *orders: JobOrder) -> None:
        """Publish orders."""
        self.topics.orders.extend(orders)

    def poll(self) -> None:
        """Let the worker have what it has not seen."""
        while self.heard < len(self.topics.outcomes):
            self.worker.hear(0, self.topics.outcomes[self.heard])
            self.heard += 1
        while self.ordered < len(self.topics.orders):
            self.worker.order(0, self.topics.orders[self.ordered])
            self.ordered += 1
        while self.read < len(self.sent):
            one = self.sent[self.read]
            self.worker.claim(Arrival(partition=0, offset=self.read, batch=one))
            self.read += 1

    def write(self, *, aborts: bool = False) -> None:
        """One transaction of what is due, or an aborted one."""
        for partition, outbox in self.worker.outboxes():
            messages = outbox.messages(ADDRESSES, partition)
            if not aborts:
                self.topics.append(messages, outbox.next_offset)
                self.worker.committed(partition)

    def turn(self, ms: int = 0) -> None:
        """One turn of the stage's loop, `ms` later."""
        self.clock.now_ms += ms
        self.poll()
        self.worker.tick()
        self.write()
        self.worker.validate()

    def turns(self, count: int, ms: int = 10) -> None:
        """Several of them."""
        for _ in range(count):
            self.turn(ms)
