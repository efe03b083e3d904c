"""The stages that are as shipped: sample and project, a turn of their own loops at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import redis
from confluent_kafka import KafkaException

from enrichment.feature.projector import AWAY_S, Projector, ProjectorConfig
from enrichment.pipelines import Pipeline
from enrichment.provider import PROVIDERS
from enrichment.rollout.control import ControlState
from enrichment.sample import stage
from enrichment.sample.budget import Allowance
from enrichment.sample.ledger import Ledger, LedgerState
from enrichment.sample.outbox import Addresses
from enrichment.sample.spending import ledger_of
from enrichment.sample.teller import PAUSE_S, Teller
from enrichment.sample.worker import Worker
from tests.sample.memory_counter import MemoryCounter
from tests.sample.streams import PIPELINE
from tests.simulation.cache import Client, Server
from tests.simulation.checks import Checks
from tests.simulation.lines import Line
from tests.simulation.money import Till
from tests.simulation.stage import Stage
from tests.simulation.vendors import Kind, Vendor
from tests.simulation.world import Instance, KilledError, World


class WatchedLedger(Ledger):
    """The ledger as shipped, which says when it reads a partition."""

    def watched(self, checks: Checks, instance: Instance) -> "WatchedLedger":
        """The same, saying so to these."""
        self._checks, self._watched = checks, instance
        return self

    def _read(self, numbers: Sequence[int]) -> dict[int, LedgerState]:
        for number in numbers:
            self._checks.reading(number, self._watched)
        return super()._read(numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What all workers of the sample stage meet."""

    checks: Checks
    remote: dict[str, Vendor]
    counter: MemoryCounter
    to: Addresses
    control: Callable[[], ControlState]


class SampleStage(Stage):
    """One worker of the sample stage, as shipped."""

    TURNS_MS: ClassVar[tuple[int, ...]] = (5, 20, 20, 50, 200)

    def __init__(self, world: World, name: str, around: Around) -> None:
        super().__init__(world, name)
        self._around = around
        self._checks = around.checks
        self._worker: Worker | None = None
        self._ledger: WatchedLedger | None = None
        self._teller: Teller | None = None
        self._teller_due_ms = 0

    def open(self, instance: Instance) -> None:
        """As `wiring` does it."""
        lines: dict[str, Line] = {}

        def provider(name: str) -> Line:
            if name not in PROVIDERS:
                raise ValueError(f"unknown provider {name!r}")
            if name not in lines:
                vendor = self._around.remote.get(name) or self._local(name)
                lines[name] = Line(vendor=vendor, process=instance)
            return lines[name]

        pipeline = self._checks.pipeline
        teller = self._teller = Teller(
            Till(self._around.counter, instance),
            ledger_of({}),
            Allowance.of({pipeline.name: pipeline.budget.day}),
            clock_s=lambda: self.world.now_ms / 1000,
        )
        worker = self._worker = Worker(
            pipeline,
            provider,
            teller,
            now_ms=instance.now_ms,
            draw=self.world.draw.random,
            control=self._around.control,
        )

        def adopt(partition: int, state: LedgerState) -> None:
            self.world.note(self.name, f"adopts {partition} with {len(state.jobs)} jobs")
            worker.adopt(partition, state)

        self._ledger = WatchedLedger(
            {},
            pipeline.name,
            self.name,
            on_assigned=adopt,
            on_revoked=worker.drop,
            stopping=lambda: False,
        )
        self._ledger.watched(self._checks, instance).join()

    def turn(self) -> None:
        """One turn of the stage's loop."""
        assert self._ledger is not None
        assert self._worker is not None
        assert self._teller is not None
        stage.turn(self._ledger, self._worker, self._around.to)
        self._worker.validate()
        # It has a thread of its own; here its turns come between two of the stage.
        if self.world.now_ms >= self._teller_due_ms and not self._teller.turn():
            self._teller_due_ms = self.world.now_ms + int(PAUSE_S * 1000)

    def close(self) -> None:
        """Leave the group."""
        assert self._ledger is not None
        self._ledger.close()

    def _local(self, name: str) -> Vendor:
        return Vendor(
            name=name,
            kind=Kind.LOCAL,
            world=self.world,
            witness=self._checks,
        )


class ProjectStage(Stage):
    """One projector, as shipped, over Redis in memory."""

    def __init__(self, world: World, name: str, pipeline: Pipeline, server: Server) -> None:
        super().__init__(world, name)
        self._pipeline = pipeline
        self._server = server
        self._projector: Projector | None = None

    def open(self, instance: Instance) -> None:
        """As `wiring` does it."""
        del instance
        state = ControlState(pipeline=PIPELINE)
        config = ProjectorConfig(
            pipeline=PIPELINE,
            client={},
            group_id="project",
            instance=self.name,
            ttl_ms=2 * self._pipeline.features.stale_ms,
            fresh_ms=self._pipeline.features.fresh_ms,
        )
        self._projector = Projector(Client(self._server), config, lambda: state)  # type: ignore[arg-type]
        self._projector.join()

    def turn(self) -> None:
        """One round; where Redis does not answer, another attempt later."""
        assert self._projector is not None
        try:
            self._projector.round(self.world.now_ms / 1000)
        except redis.RedisError:
            self.pause_ms = int(AWAY_S * 1000)
            self._projector.start_over()
        except KafkaException as error:
            # It does not commit for a group that it has been put out of: the process ends.
            assert self.instance is not None
            self.world.note(self.name, f"ends: {error}")
            self.instance.kill()
            raise KilledError from error
