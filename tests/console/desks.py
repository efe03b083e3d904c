"""A console of hand-made state: jobs, a case, controls; commands and a cache that are told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.testclient import TestClient

from enrichment.console.access import Access
from enrichment.console.answers import AnswersSample
from enrichment.console.app import application
from enrichment.console.commands import Said
from enrichment.console.desk import Calling, Clocks, Desk, Ports
from enrichment.console.flow import Reading, flow_of
from enrichment.console.folds import Cases, Controls, JobRow, Jobs
from enrichment.console.gauge import Gauged
from enrichment.feature.reader import Features
from enrichment.pipelines import Pipeline, load
from enrichment.pipelines.loader import parse
from enrichment.records import (
    Case,
    CaseMember,
    CaseStatus,
    Control,
    JobEvent,
    JobState,
    MicroBatch,
    Verdict,
    VerdictName,
)
from enrichment.records.case import Evidence

TOKEN: Final = "sixteen characters, or more"  # noqa: S105  # of a test
PIPELINE: Final = load("payments")
CALLS: Final = parse(b'[stream]\nname = "calls"\n[calls]\nentity = "account"\n', "calls.toml")
JOB: Final = "payments|eu/west|1700000000000|0"
HOST: Final = "127.0.0.1"


def job(job_id: str = JOB, **changes: Any) -> JobRow:
    """A job that has succeeded."""
    known: dict[str, Any] = {
        "job_id": job_id,
        "pipeline": "payments",
        "shard": "eu/west",
        "state": "succeeded",
        "attempt": 1,
        "created_ms": 1_700_000_000_000,
        "updated_ms": 1_700_000_000_400,
        "deadline_ms": 1_700_000_030_000,
        "provider": "qsim",
        "problems": 3,
        "shots": 3_000,
    }
    return JobRow(**known | changes)


def case(case_id: str = "case-1", **changes: Any) -> Case:
    """An open case of three accounts on one device."""
    known: dict[str, Any] = {
        "case_id": case_id,
        "pipeline": "payments",
        "shard": "eu/west",
        "version": 1,
        "status": CaseStatus.OPEN,
        "members": tuple(
            CaseMember(entity="account", id=f"acc-{n}", memberships={"quantum": 0.9 - n / 10})
            for n in range(3)
        ),
        "evidence": (
            Evidence(
                entity="device",
                id="<script>alert(1)</script>",
                members=("acc-0", "acc-1", "acc-2"),
                events=9,
                amount_minor=90_000,
            ),
        ),
        "amount_at_risk_minor": 90_000,
        "first_seen_ms": 1_700_000_000_000,
        "last_seen_ms": 1_700_000_100_000,
        "subgraph": "ab12",
        "job_id": JOB,
        "merged": ("case-0",),
    }
    return Case(**known | changes)


@dataclass(slots=True)
class MemoryKnown:
    """What a console knows, as a test says."""

    jobs: Jobs = field(default_factory=lambda: Jobs(rows={JOB: job()}))
    cases: Cases = field(default_factory=lambda: Cases(rows={"case-1": case()}))
    controls: Controls = field(default_factory=Controls)
    gauged: Gauged = field(default_factory=Gauged)
    troubles: dict[str, str] = field(default_factory=dict)
    is_started: bool = True
    is_alive: bool = True

    def started(self) -> bool:
        """As the test says."""
        return self.is_started

    def trouble(self) -> dict[str, str]:
        """As the test says."""
        return self.troubles

    def alive(self) -> bool:
        """As the test says."""
        return self.is_alive


class MemoryFeatures:
    """A cache that has nothing of anybody, and says so."""

    def read_many(self, wanted: Sequence[tuple[str, str, str]]) -> list[Features]:
        """Missing, each of them."""
        missing = Verdict(VerdictName.MISSING, "never_seen")
        return [
            Features(
                kind=kind,
                id=id_,
                group=group,
                verdict=missing,
                age_ms=0,
                half_life_ms=1,
            )
            for kind, id_, group in wanted
        ]


@dataclass(slots=True)
class MemoryCommands:
    """Commands that say what a test has them say, and note what they were asked."""

    says: Said = field(default_factory=lambda: Said(code=0, out=b'{"done": "so"}', error=""))
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def run(self, *arguments: str) -> Said:
        """Say it."""
        self.asked.append(arguments)
        return self.says


@dataclass(slots=True)
class MemoryTopic:
    """Where calls go: a broker that takes all of them, or fails as a test says."""

    batches: list[MicroBatch] = field(default_factory=list)
    fails: Exception | None = None

    def publish(self, batch: MicroBatch) -> None:
        """Take it, or fail."""
        if self.fails is not None:
            raise self.fails
        self.batches.append(batch)


def event() -> JobEvent:
    """The transition with which the job ended."""
    return JobEvent(
        job_id=JOB,
        pipeline="payments",
        shard="eu/west",
        attempt=1,
        at_ms=1_700_000_000_400,
        event="SamplesArrived",
        state_before=JobState.EXECUTING,
        state_after=JobState.SUCCEEDED,
        provider="qsim",
    )


@dataclass(slots=True)
class Console:
    """A console under test, and the parts of it that a test tells what to say."""

    token: str | None = TOKEN
    hosts: tuple[str, ...] = (HOST,)
    known: MemoryKnown = field(default_factory=MemoryKnown)
    commands: Any = field(default_factory=MemoryCommands)
    features: Any = field(default_factory=MemoryFeatures)
    history: Callable[[JobRow], list[JobEvent]] = lambda _: [event()]
    micro_batch: Callable[[JobRow], MicroBatch | None] = lambda _: None
    pipeline: Pipeline = PIPELINE
    # Where calls go, where the pipeline is one of calls.
    topic: MemoryTopic | None = None
    now_s: float = 1_000.0
    stopping: Callable[[], bool] = lambda: False
    # A clock that goes on by itself, for who cannot move this one.
    now: Callable[[], float] | None = None

    def desk(self) -> Desk:
        """What its endpoints are handed."""
        drawn = iter(range(1_000_000))
        calling = None
        if self.topic is not None:
            shards = iter(range(1_000_000))
            calling = Calling(publish=self.topic.publish, new_shard=lambda: f"r-{next(shards)}")
        return Desk(
            self.pipeline,
            self.pipeline.name,
            self.known,
            Ports(
                features=self.features,
                history=self.history,
                commands=self.commands,
                micro_batch=self.micro_batch,
                calling=calling,
                stopping=self.stopping,
            ),
            Access(self.token, new_secret=lambda: f"secret-{next(drawn)}"),
            Clocks(now_ms=lambda: 1_700_000_200_000, now_s=self.now or (lambda: self.now_s)),
        )

    def client(self) -> TestClient:
        """Whoever asks it."""
        return TestClient(
            application(self.desk(), self.hosts),
            base_url=f"http://{HOST}",
            raise_server_exceptions=False,
        )


def killed() -> Controls:
    """The kill switch, pulled."""
    control = Control(
        pipeline="payments",
        name="serve",
        issued_at_ms=1_700_000_000_000,
        issued_by="kim",
        reason="incident 42",
        serve="heuristic",
    )
    return Controls(rows={"payments|serve": control})


def gauged() -> Gauged:
    """A flow of 1,000 events a second, all of them answered, and two answers of the sample."""
    reads = {"enrich": "payments.events", "window": "enrichment.digests"}
    first = Reading(
        at_s=10.0,
        ends={"payments.events": {0: 1_000}, "enrichment.digests": {0: 10}},
        committed={"enrich": {0: 900}, "window": {0: 2}},
    )
    second = Reading(
        at_s=12.0,
        ends={"payments.events": {0: 3_000}, "enrichment.digests": {0: 14}},
        committed={"enrich": {0: 2_900}, "window": {0: 4}},
    )
    sample = AnswersSample()
    used = b'{"kind":"account","group":"ring","verdict":{"name":"fresh"},"age_ms":%d}'
    answer = (
        b'{"verdict":{"name":"fresh"},"path":"quantum","decision":"review","level":"elevated",'
        b'"features":[%s]}'
    )
    sample.take([answer % (used % 100), answer % (used % 300)])
    flow = flow_of(None, first, reads, None)
    return Gauged(flow=flow_of(first, second, reads, flow), shares=sample.shares())
