"""The world of one trial: real servers, the stages as processes, a vendor that counts, a source.

`Ground` is what many trials share, `World` is one trial's: a pipeline of its own name, so that the
trials before it do not matter.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.lab.servers import LocalServers
from enrichment.pipelines import Pipeline, load
from enrichment.stream.topics import StreamTopics
from tests.faults.chronicle import Chronicle
from tests.faults.fault import Terms
from tests.faults.invariants import Accepted, Answers, History
from tests.faults.launcher import write_offset
from tests.faults.observed import Topics, Watch, ends_of, groups_of, lags, read_from
from tests.faults.probe import Probe, cached
from tests.faults.processes import Process, VendorProcess, start
from tests.faults.source import Source
from tests.faults.vendor import Manner
from tests.faults.vendor_client import book_of
from tests.integration.sampling import PARTITIONS, PIPELINE_TOML, SINGLE, TOPICS
from tests.servers import running_servers

KEY: Final = "a-key-that-nobody-else-may-see"  # the one that IonQ's fake knows
WARM_S: Final = 40.0  # two starts of five seconds each, on a machine that others use too
FIRST_JOBS: Final = 6  # two windows of three shards
SKEW_MS: Final = 1_000

FEATURES_TOML: Final = """
[window]
shard = "region"

[features]
fresh_ms = {fresh_ms}
skew_ms = {skew_ms}
"""


@dataclass(slots=True, kw_only=True)
class Ground:
    """Servers, the vendor, a folder. Checks always use these; workers the addresses behind them.

    They differ from the servers' own where something stands between (a proxy).
    """

    servers: LocalServers
    vendor: VendorProcess
    folder: Path
    kafka: str = ""
    redis_url: str = ""
    vendor_port: int = 0
    _ionq: VendorProcess | None = None

    def __post_init__(self) -> None:
        """By default nothing stands between."""
        self.kafka = self.kafka or self.servers.bootstrap
        self.redis_url = self.redis_url or self.servers.redis_url
        self.vendor_port = self.vendor_port or self.vendor.port

    def provider(self, name: str) -> VendorProcess:
        """The process of that provider; IonQ's, which takes long to load, once it is asked for."""
        if name != "ionq":
            return self.vendor
        if self._ionq is None:
            self._ionq = VendorProcess("tests.faults.ionq_process").start()
        return self._ionq

    def close(self) -> None:
        """End the providers' processes."""
        self.vendor.close()
        if self._ionq is not None:
            self._ionq.close()


@contextmanager
def open_ground(folder: Path) -> Iterator[Ground]:
    """Servers and a vendor of one's own while the block runs."""
    with running_servers(folder / "servers") as servers, ground_of(servers, folder) as ground:
        yield ground


@contextmanager
def ground_of(servers: LocalServers, folder: Path) -> Iterator[Ground]:
    """Somebody else's servers, with our topics on them, and a vendor."""
    create_topics(servers.bootstrap, TOPICS)
    ground = Ground(servers=servers, vendor=VendorProcess().start(), folder=folder)
    try:
        yield ground
    finally:
        ground.close()


def create_topics(bootstrap: str, topics: Mapping[str, str]) -> None:
    """The topics that are missing, by name and cleanup policy."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    there = admin.list_topics(timeout=20).topics
    wanted = [
        NewTopic(
            topic,
            1 if topic in SINGLE else PARTITIONS,
            1,
            config={"cleanup.policy": policy, "max.message.bytes": "4194304"},
        )
        for topic, policy in topics.items()
        if topic not in there
    ]
    for future in admin.create_topics(wanted).values() if wanted else ():
        future.result(20)


@dataclass(slots=True, kw_only=True)
class World:
    """One trial: what runs, what is watched, and what can be done to it."""

    ground: Ground
    terms: Terms
    name: str
    folder: Path
    toml: Path
    pipeline: Pipeline
    clock: Path
    source: Source
    watch: Watch
    probe: Probe
    chronicle: Chronicle
    starts: Mapping[tuple[str, int], int]
    projector: Process | None = None
    # The newest process of each instance.
    workers: dict[str, Process] = field(default_factory=dict)
    # Every process there was, the oldest first.
    processes: list[Process] = field(default_factory=list)
    # Jobs that an operator started anew.
    retried: set[str] = field(default_factory=set)
    # The hot path's account, where there was one.
    answers: Answers | None = None
    # What was noticed that a table should say.
    notes: list[str] = field(default_factory=list)

    # What is started.

    def start_worker(
        self, instance: str = "one", *, kill_at: str = "", **environment: str
    ) -> Process:
        """A worker process of that instance; `kill_at` is a strike of `kill_points`."""
        extra = {"FAULTS_KILL_AT": kill_at} if kill_at else {}
        if self.terms.provider == "ionq":
            extra["ENRICHMENT_IONQ_API_KEY"] = KEY
            extra["ENRICHMENT_IONQ_URL"] = f"http://127.0.0.1:{self.service.port}"
        process = self._start(
            ["-m", "tests.faults.launcher", str(self.toml)],
            f"sample-{instance}",
            {
                "ENRICHMENT_INSTANCE": instance,
                "FAULTS_VENDOR_PORT": str(self.ground.vendor_port),
                "FAULTS_CLOCK": str(self.clock),
                "FAULTS_JOURNALS": str(self.chronicle.folder),
                **extra,
                **environment,
            },
        )
        self.workers[instance] = process
        return process

    def start_stage(self, stage: str, **environment: str) -> Process:
        """A process of another stage, by the command that an operator uses."""
        command = ["-m", "enrichment", stage, "--pipeline", self.name]
        return self._start(command, stage, environment)

    def _start(self, command: list[str], name: str, environment: Mapping[str, str]) -> Process:
        process = start(
            command,
            self.folder / f"{name}-{len(self.processes)}",
            {
                "ENRICHMENT_KAFKA_BOOTSTRAP": self.ground.kafka,
                "ENRICHMENT_REDIS_URL": self.ground.redis_url,
                "ENRICHMENT_PIPELINES_DIR": str(self.folder),
                **self.terms.environment,
                **environment,
            },
        )
        self.processes.append(process)
        return process

    # What is waited for.

    def until(self, said: str, holds: Callable[[], bool], within_s: float) -> float:
        """Wait until it holds, and return how long that took; AssertionError with what was said."""
        began_s = time.monotonic()
        while not holds():
            assert time.monotonic() < began_s + within_s, f"not within {within_s:.0f} s: {said}"
            time.sleep(0.02)
        return time.monotonic() - began_s

    def await_jobs(self, more: int = FIRST_JOBS, within_s: float = WARM_S) -> None:
        """Wait until so many more jobs have come to their end."""
        begun = self.done
        self.until(f"{more} more jobs end", lambda: self.done >= begun + more, within_s)

    def adopted(self) -> bool:
        """Whether some worker has been assigned partitions."""
        return any(
            what == "adopted" for process in self.workers.values() for _, what in process.came_to()
        )

    @property
    def done(self) -> int:
        """How many jobs have come to their end."""
        return sum(
            state in ("succeeded", "failed", "fallback_complete")
            for state in tuple(self.watch.states.values())
        )

    def progress_s(self, since_ms: int, within_s: float = 60.0) -> float:
        """Seconds from that Unix time until the ledger shows a record written after it."""
        found: list[float] = []

        def progressed() -> bool:
            found[:] = [one.written_ms for one in self.watch.of("sampling.jobs", since_ms)][:1]
            return bool(found)

        self.until("the jobs go on", progressed, within_s)
        return (found[0] - since_ms) / 1000

    # What is done to it.

    @property
    def service(self) -> VendorProcess:
        """The chosen provider's process."""
        return self.ground.provider(self.terms.provider)

    def behave(self, manner: Manner) -> None:
        """The provider is so from now on."""
        self.service.behave(manner)

    def set_clock(self, seconds: float) -> None:
        """The workers' clocks are wrong by so much from now on."""
        write_offset(self.clock, seconds)

    def begin(self) -> None:
        """Start what is there before the fault."""
        self.behave(self.terms.manner)
        self.projector = self.start_stage("project", ENRICHMENT_INSTANCE="one")
        if not self.terms.cold:
            self.tend()

    def heal(self) -> None:
        """Undo what the fault has left: provider well, clocks right, everybody awake and there."""
        self.behave(self.terms.manner)
        self.set_clock(0.0)
        for process in self.processes:
            process.resume()
        self.tend()

    def tend(self) -> None:
        """Start again which worker of the terms, or which projector, does not run."""
        for instance in self.terms.workers:
            process = self.workers.get(instance)
            if process is None or not process.alive:
                self.start_worker(instance)
        if self.projector is None or not self.projector.alive:
            self.projector = self.start_stage("project", ENRICHMENT_INSTANCE="one")

    def settle(self, heal_s: float) -> float | None:
        """Stop the source and wait for the end of all; how long that took, None if it did not come.

        Workers that end by themselves meanwhile are started again, as a supervisor would.
        """
        self.source.stop()
        began_s = time.monotonic()
        groups = groups_of(self.name)
        while time.monotonic() < began_s + heal_s:
            if self.watch.terminal(self.source.sent) and not any(
                lags(self.ground.servers.bootstrap, groups).values()
            ):
                return time.monotonic() - began_s
            self.tend()
            time.sleep(0.1)
        return None

    def history(self, healed_s: float | None, heal_s: float) -> History:
        """All that is known, read afresh."""
        self.probe.stop()
        bootstrap = self.ground.servers.bootstrap
        topics = Topics.read(bootstrap, self.name, self.starts)
        return History(
            sent=tuple(self.source.sent),
            ledger=tuple(topics.ledger),
            features=tuple(topics.features),
            cases=tuple(topics.cases),
            readings=tuple(self.probe.readings),
            truths=dict(self.source.truths),
            fresh_ms=self.terms.fresh_ms,
            skew_ms=SKEW_MS,
            book=self.book(),
            retried=frozenset(self.retried),
            lags=lags(bootstrap, groups_of(self.name)),
            healed_s=healed_s,
            heal_s=heal_s,
            answers=self.answers,
            cached=cached(
                self.ground.servers.redis_url, self.name, {row.key for row in topics.features}
            ),
        )

    def book(self) -> dict[str, list[Accepted]]:
        """What each provider has accepted by its own count."""
        return {self.terms.provider: book_of(self.service.port, self.name)}


@contextmanager
def open_world(ground: Ground, terms: Terms) -> Iterator[World]:
    """A trial's world with jobs that flow; what of it runs at the end is killed."""
    name = f"f{uuid.uuid4().hex[:8]}"
    folder = ground.folder / name
    folder.mkdir(parents=True)
    toml = folder / f"{name}.toml"
    text = PIPELINE_TOML.format(name=name, deadline_ms=terms.deadline_ms)
    text = text.replace('provider = "qsim"', f'provider = "{terms.provider}"')
    text += FEATURES_TOML.format(fresh_ms=terms.fresh_ms, skew_ms=SKEW_MS)
    toml.write_text(text, encoding="utf-8")
    bootstrap = ground.servers.bootstrap
    create_topics(bootstrap, {StreamTopics(name).outcomes: "delete"})
    clock = folder / "clock"
    write_offset(clock, 0.0)
    pipeline = load(str(toml))
    with ExitStack() as stack:
        watch = Watch(bootstrap, name)
        stack.callback(watch.close)
        journals = folder / "journals"
        journals.mkdir()
        chronicle = Chronicle(bootstrap, journals)
        stack.callback(chronicle.close)
        world = World(
            ground=ground,
            terms=terms,
            name=name,
            folder=folder,
            toml=toml,
            pipeline=pipeline,
            clock=clock,
            source=Source(bootstrap, name, terms.every_s, terms.problems, journals),
            watch=watch,
            probe=Probe(ground.servers.redis_url, pipeline),
            chronicle=chronicle,
            starts=ends_of(bootstrap, *read_from()),
        )
        stack.callback(_end_all, world)
        world.begin()
        if not terms.cold:
            # What waits while processes start would come all at once, and hide what is done next.
            world.until("workers have their partitions", world.adopted, WARM_S)
        world.source.start()
        stack.callback(world.source.stop)
        world.probe.start()
        stack.callback(world.probe.stop)
        yield world


def _end_all(world: World) -> None:
    for process in world.processes:
        if process.alive:
            process.kill()
