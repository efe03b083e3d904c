"""The systems that are compared, as a table, and the command that runs each of them."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import enrichment
from enrichment.lab.bench import ground
from enrichment.lab.bench.observe import BY_DEFAULT, Span
from enrichment.lab.bench.peers import kafka_streams
from enrichment.lab.bench.peers.arguments import STREAM, Told
from enrichment.lab.bench.peers.kafka_streams import UnavailableError
from enrichment.lab.servers import LocalServers
from enrichment.pipelines import load
from enrichment.settings import Delivery, Settings
from enrichment.stream.topics import StreamTopics

# Batches as a process has them that nobody configured, on all sides.
BATCH_EVENTS: Final = Settings.model_fields["batch_events_max"].default
BATCH_MS: Final = Settings.model_fields["batch_ms_max"].default
CHECKOUT: Final = Path(enrichment.__file__).resolve().parents[1]
PEERS_PYTHON: Final = CHECKOUT / ".venv-peers" / "bin" / "python"
OURS: Final = "enrichment"
PASSING: Final = "pass-through"
# Enough for what starts at once: the fastest takes four seconds for so many.
ENOUGH: Final = 1_000_000
# A JVM compiles what it runs while it runs. Passing events through, its CPU time for each fell from
# 41 to 5 µs over the first 420,000 and was level then (measured in tenths of 600,000): it is given
# twice as many as the others, and timed from 1.2 million on.
WARMED_UP: Final = Span(0.6, 0.95)


class Kind(Enum):
    """What runs a system."""

    LIMIT = "limit"
    OURS = "ours"
    QUIX = "quix"
    FAUST = "faust"
    KAFKA_STREAMS = "kafka_streams"


@dataclass(frozen=True, kw_only=True)
class System:
    """One system in one delivery: an entry of the table below.

    `events_max` is the prefix of the topic that it is given (None: all of it): slow ones would else
    take an hour. `per_s` is about what it does, by which the time that all takes is estimated.
    """

    name: str
    kind: Kind
    delivery: Delivery
    per_s: float
    same_work: bool = False
    events_max: int | None = None
    span: Span = BY_DEFAULT
    # Also measured in the small run that tries the benchmark itself.
    quick: bool = False
    # Settings of ours, ENRICHMENT_... of a variant.
    environment: Mapping[str, str] = field(default_factory=dict)

    def __hash__(self) -> int:
        """By what tells it from the others."""
        return hash((self.name, self.delivery))

    @property
    def answers(self) -> bool:
        """Whether its outputs are enriched events."""
        return self.same_work or self.kind is Kind.OURS

    @property
    def target(self) -> str:
        """The topic that it produces to."""
        if self.kind is Kind.OURS:
            return StreamTopics(STREAM).enriched
        return ground.ANSWERED if self.same_work else ground.PASSED

    def events(self, of: int) -> int:
        """How many of the topic's events it is given."""
        return of if self.events_max is None else min(of, self.events_max)


ALO, EO = Delivery.AT_LEAST_ONCE, Delivery.EXACTLY_ONCE
LIMIT_ALO, LIMIT_EO = (
    System(
        name=PASSING, kind=Kind.LIMIT, delivery=delivery, per_s=per_s, events_max=ENOUGH, quick=True
    )
    for delivery, per_s in ((ALO, 250e3), (EO, 120e3))
)
OURS_ALO, OURS_EO = (
    System(name=OURS, kind=Kind.OURS, delivery=delivery, per_s=30e3, events_max=300_000, quick=True)
    for delivery in (ALO, EO)
)
# Against what a cache gives that holds most of a stream's entities: nothing is known beforehand.
OURS_READING = System(
    name=f"{OURS}, every value read", kind=Kind.OURS, delivery=EO, per_s=20e3, events_max=100_000,
    environment={"ENRICHMENT_CACHE_TRACKING": "false"},
)  # fmt: skip
QUIX_ALO, QUIX_EO = (
    System(name=f"quix-streams, {PASSING}", kind=Kind.QUIX, delivery=delivery, per_s=80e3,
           events_max=300_000)
    for delivery in (ALO, EO)
)  # fmt: skip
QUIX_SAME = System(
    name="quix-streams, same work", kind=Kind.QUIX, delivery=ALO, per_s=4e3, same_work=True,
    events_max=25_000, quick=True,
)  # fmt: skip
FAUST = System(
    name=f"faust, {PASSING}", kind=Kind.FAUST, delivery=ALO, per_s=5e3, events_max=25_000
)
FAUST_SAME = System(
    name="faust, same work", kind=Kind.FAUST, delivery=ALO, per_s=3e3, same_work=True,
    events_max=15_000, quick=True,
)  # fmt: skip
STREAMS_ALO, STREAMS_EO = (
    System(name=f"kafka-streams, {PASSING}", kind=Kind.KAFKA_STREAMS, delivery=delivery,
           per_s=200e3, span=WARMED_UP)
    for delivery in (ALO, EO)
)  # fmt: skip
STREAMS_SAME = System(
    name="kafka-streams, same work", kind=Kind.KAFKA_STREAMS, delivery=EO, per_s=10e3,
    same_work=True, events_max=120_000, span=WARMED_UP, quick=True,
)  # fmt: skip

# In the order of a run, forwards and backwards in turn.
SYSTEMS: Final = (
    LIMIT_ALO, OURS_ALO, STREAMS_ALO, QUIX_ALO, QUIX_SAME, FAUST, FAUST_SAME,
    STREAMS_SAME, QUIX_EO, STREAMS_EO, OURS_READING, OURS_EO, LIMIT_EO,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio of two systems' rates in one run, and the least that it must be."""

    ours: System
    other: System
    at_least: float


# The table of issue 5. Quix Streams does the same work at least once here, which is faster.
GOALS: Final = (
    Goal(OURS_EO, LIMIT_EO, 0.60),
    Goal(OURS_ALO, LIMIT_ALO, 0.75),
    Goal(OURS_EO, QUIX_ALO, 1.5),
    Goal(OURS_EO, QUIX_SAME, 5.0),
    Goal(OURS_EO, STREAMS_EO, 0.75),
    Goal(OURS_EO, STREAMS_SAME, 4.0),
    Goal(OURS_EO, FAUST, 25.0),
)

Command = tuple[Sequence[str], Mapping[str, str]]


class Launcher:
    """The commands of the systems, for servers that are up. `state_dir` keeps what was built."""

    def __init__(self, servers: LocalServers, state_dir: Path) -> None:
        self._servers = servers
        self._built = (state_dir / "kafka-streams").resolve()
        self._commands: dict[Kind, Callable[[System, str], Command]] = {
            Kind.LIMIT: self._limit,
            Kind.OURS: self._ours,
            Kind.QUIX: partial(self._python, "quix_peer", str(PEERS_PYTHON)),
            Kind.FAUST: partial(self._python, "faust_peer", sys.executable),
            Kind.KAFKA_STREAMS: self._kafka_streams,
        }

    def unavailable(self) -> dict[Kind, str]:
        """The kinds that cannot be run here, and why. Builds what has to be built."""
        found = {}
        if not PEERS_PYTHON.exists():
            found[Kind.QUIX] = "it is not installed: `make peers`"
        # Faust, once it is loaded, has no spec any more.
        if "faust" not in sys.modules and find_spec("faust") is None:
            found[Kind.FAUST] = "it is not installed: it comes with the extra `window`"
        try:
            kafka_streams.built(self._built)
        except UnavailableError as error:
            found[Kind.KAFKA_STREAMS] = str(error)
        else:
            self._table.write_bytes(kafka_streams.table(load(STREAM)))
        return found

    def command(self, system: System, group: str) -> Command:
        """The command that runs it in that consumer group, and its environment."""
        return self._commands[system.kind](system, group)

    @property
    def _table(self) -> Path:
        return self._servers.state_dir / "score-table.json"

    def _told(self, system: System, group: str) -> Told:
        return Told(
            bootstrap=self._servers.bootstrap,
            group=group,
            source=StreamTopics(STREAM).events,
            target=system.target,
            batch_events=BATCH_EVENTS,
            batch_ms=BATCH_MS,
            redis_url=self._servers.redis_url if system.same_work else "",
            exactly_once=system.delivery is Delivery.EXACTLY_ONCE,
        )

    def _ours(self, system: System, _: str) -> Command:
        return enrich_command(), {
            **enrich_environment(self._servers, system.delivery),
            # Every answer is to be full work: one read that is cut off opens the breaker, and for a
            # second nothing would be read at all.
            "ENRICHMENT_READ_TIMEOUT_MS": "1000",
            **system.environment,
        }

    def _limit(self, system: System, group: str) -> Command:
        words = self._told(system, group).words()
        return [sys.executable, "-m", "enrichment.lab.bench.pass_through", *words], {}

    def _python(self, module: str, python: str, system: System, group: str) -> Command:
        return peer_command(python, module, self._told(system, group))

    def _kafka_streams(self, system: System, group: str) -> Command:
        told = self._told(system, group)
        options = {
            "--bootstrap": told.bootstrap,
            "--group": group,
            "--source": told.source,
            "--target": told.target,
            "--guarantee": "exactly_once_v2" if told.exactly_once else "at_least_once",
            "--batch-events": str(told.batch_events),
            "--state": str(self._servers.state_dir / group),
        }
        if system.same_work:
            host, _, port = self._servers.redis.address.rpartition(":")
            options |= {"--redis-host": host, "--redis-port": port, "--table": str(self._table)}
        words = [word for option in options.items() for word in option]
        return [*kafka_streams.java(self._built), *words], {}


def peer_command(python: str, module: str, told: Told) -> Command:
    """The command of a peer that is a module of ours, run by that interpreter."""
    # Deprecations in their own dependencies are theirs to mind.
    command = [python, "-W", "ignore", "-m", f"enrichment.lab.bench.peers.{module}"]
    return [*command, *told.words()], {"PYTHONPATH": str(CHECKOUT)}


def enrich_command() -> list[str]:
    """The very process that an operator starts."""
    return [sys.executable, "-m", "enrichment", "enrich", "--pipeline", STREAM]


def enrich_environment(servers: LocalServers, delivery: Delivery) -> dict[str, str]:
    """Where it finds its servers, its delivery, and batches as by default."""
    return {
        "ENRICHMENT_KAFKA_BOOTSTRAP": servers.bootstrap,
        "ENRICHMENT_REDIS_URL": servers.redis_url,
        "ENRICHMENT_DELIVERY": delivery.value,
        "ENRICHMENT_BATCH_EVENTS_MAX": str(BATCH_EVENTS),
        "ENRICHMENT_BATCH_MS_MAX": str(BATCH_MS),
        "ENRICHMENT_INSTANCE": "bench",
    }
