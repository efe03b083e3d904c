"""A world with everything in it, what befalls it, and what must have come to its end."""

from random import Random
from typing import Final

import msgspec

from enrichment.feature.store import READY, Layout, rank_of, version_of, without_differences
from enrichment.pipelines import Pipeline
from enrichment.records.job import JobState
from enrichment.sample.choice import CHECK_MS
from enrichment.sample.machine import TERMINAL
from enrichment.sample.outbox import Addresses
from enrichment.sample.outcomes import Said
from enrichment.sample.status import judged
from enrichment.stream.topics import (
    CASES,
    DIGESTS,
    FEATURES,
    HORIZONS,
    JOB_EVENTS,
    JOBS,
    MICRO_BATCHES,
    ORDERS,
    StreamTopics,
)
from tests.sample.fakes import payments
from tests.sample.streams import PIPELINE
from tests.simulation.around import HELD_BACK, ReadStage, WindowStage
from tests.simulation.broker import Broker
from tests.simulation.cache import Server
from tests.simulation.checks import Checks
from tests.simulation.control import Said as Control
from tests.simulation.odds import Odds
from tests.simulation.people import PeopleStage, decode_case, decode_outcome
from tests.simulation.readings import Readings
from tests.simulation.script import Close, script
from tests.simulation.shipped import Around, ProjectStage, SampleStage
from tests.simulation.stage import Stage
from tests.simulation.vendors import Kind, Vendor
from tests.simulation.windows import EnrichStage, WindowsStage
from tests.simulation.world import Violation, World

SHARDS: Final = ("eu", "us", "asia")

CHAINS: Final = (
    ("qsim", "exact", "annealing"),
    ("google", "exact"),
    ("google", "qsim", "exact"),
    ("google", "exact", "annealing"),
    ("ionq", "exact"),
    ("ionq", "qsim", "annealing"),
)
"""Chosen providers with their fallbacks: local, one that attaches, one that takes no id of ours."""

REQUEST_PROBLEMS: Final = 2
"""Problems of one request, so that attempts of several requests are common."""

REAL: Final = 0.25
"""How often the window stage's own logic makes the closes, and not a script: that takes longer."""

DAYS: Final = (0.0, 0.15, 0.4, 100.0, 100.0, 100.0, 100.0)
"""What may be spent in a day: nothing, three problems, eight, or more than there are."""

FRESH_MS: Final = (2_000, 5_000, 30_000)
"""For how long a silent shard is believed to be as it was."""

COMPACTED: Final = frozenset({JOBS, CASES, FEATURES})

OUTCOMES: Final = StreamTopics(PIPELINE).outcomes

MIDNIGHT_MS: Final = 6_400_000
"""From the world's beginning to the next UTC day, for the budget's sake."""

PEACE_MS: Final = 120_000 + CHECK_MS
"""Longer than a session, a transaction, a deadline and every fallback of a chain, one after the
other, and then once more, and a spot check: what has not come to its end by then never will."""

LOOK_STEPS: Final = 20
"""How often it is looked whether all has come to its end: a look costs more than a step."""


class Whole:
    """A world with everything in it."""

    def __init__(self, seed: int, *, telling: bool = False, trouble_ms: int | None = None) -> None:
        """`telling` keeps the lines of the trace; trouble ends after `trouble_ms`, if not before.

        Until then the same happens as without that.
        """
        self._trouble_ms = trouble_ms
        draw = Random(seed)
        self.world = world = World(seed, Odds.of(draw), draw, telling)
        world.now_ms += draw.choice((0, 0, MIDNIGHT_MS - 5_000))
        self.pipeline = _pipeline(draw)
        self.checks = checks = Checks(world, self.pipeline, Readings(world), REQUEST_PROBLEMS)
        numbered = (MICRO_BATCHES, JOBS, CASES, OUTCOMES, ORDERS, DIGESTS, HORIZONS)
        topics = dict.fromkeys(numbered, draw.choice((1, 2, 3)))
        topics |= {FEATURES: draw.choice((1, 2, 4)), JOB_EVENTS: 2}
        self.broker = Broker(world, topics, checks)
        self.server = Server(world, checks.readings.cached)
        remote = {
            name: Vendor(
                name=name,
                kind=kind,
                world=world,
                witness=checks,
            )
            for name, kind in (("google", Kind.ATTACHING), ("ionq", Kind.NAMELESS))
        }
        shards = SHARDS[: draw.choice((1, 2, 3))]
        before: list[Stage] = []
        self.window: WindowStage | WindowsStage
        if draw.random() < REAL:
            enrich = EnrichStage(world, self.broker, self.pipeline, shards)
            self.window = WindowsStage(world, self.broker, self.pipeline, enrich)
            accounts = {shard: tuple(f"{shard}-{one}" for one in "abcdef") for shard in shards}
            before.append(enrich)
        else:
            closes = script(draw, shards, HELD_BACK + draw.randint(1, 6))
            accounts = {shard: _accounts(of_shard) for shard, of_shard in closes.items()}
            every_ms = draw.choice((200, 1_000, 3_000))
            self.window = WindowStage(world, self.broker, closes, every_ms)
        everybody = tuple(account for some in accounts.values() for account in some)
        around = Around(
            checks=checks,
            remote=remote,
            counter=self.server.counter,
            to=Addresses(pipeline=PIPELINE, partitions=topics),
            control=Control.of(world, seed),
        )
        self.samplers = [
            SampleStage(world, f"sample-{n}", around) for n in range(draw.choice((1, 2, 3)))
        ]
        self.stages: list[Stage] = [
            *before,
            self.window,
            PeopleStage(world, self.broker, checks, accounts),
            ReadStage(world, checks, self.server, everybody),
            *self.samplers,
            *(
                ProjectStage(world, f"project-{n}", self.pipeline, self.server)
                for n in range(draw.choice((1, 1, 2)))
            ),
        ]

    def live(self) -> None:
        """Live through trouble, and then in peace to the end. Raises Violation."""
        world = self.world
        for stage in self.stages:
            world.at(world.draw.randint(0, 500), stage.start)
        world.at(1_000, self._second)
        trouble_ms = world.draw.choice((5_000, 15_000, 30_000))
        world.run(trouble_ms if self._trouble_ms is None else min(trouble_ms, self._trouble_ms))
        self._peace()
        if not world.run(PEACE_MS, until=lambda: self._at_rest(world.steps)):
            raise Violation(f"not at rest after {PEACE_MS} ms of peace: {self.unfinished()}")
        self._go_on()

    def _go_on(self) -> None:
        """What comes when all trouble is over is not only finished: it is answered."""
        world, before = self.world, set(self.checks.jobs)
        world.note("world", "goes on")
        self.window.held_back = 0
        if not world.run(PEACE_MS, until=lambda: self._at_rest(world.steps)):
            raise Violation(f"not at rest after {PEACE_MS} ms of work: {self.unfinished()}")
        for job_id in sorted(self.checks.jobs.keys() - before):
            job = self.checks.jobs[job_id]
            if job.state is JobState.FAILED and not job.check_of:
                raise Violation(f"{job_id} has failed in peace: {job.detail}")

    def _second(self) -> None:
        """What befalls a world in a second."""
        world = self.world
        if not world.troubled:
            return
        odds, draw = world.odds, world.draw
        world.at(1_000, self._second)
        if world.chance(odds.dealt):
            group = draw.choice([self.broker.groups[name] for name in sorted(self.broker.groups)])
            group.deal += 1
            group.generation += 1
            world.note("broker", "deals partitions anew")
        if world.chance(odds.compacted):
            place = draw.choice([p for p in sorted(self.broker.logs) if p[0] in COMPACTED])
            gone = self.broker.compact(place, draw.randint(0, len(self.broker.logs[place])))
            world.met["records compacted away"] += gone
        if world.chance(odds.jumps):
            self._jump()
        if world.chance(odds.redis):
            if world.chance(0.5):
                self.server.flush()
            else:
                self._redis_goes(draw.choice((200, 2_000, 8_000)), empty=world.chance(0.3))
        if world.chance(odds.stop * 10):
            stage = draw.choice(self.stages)
            if world.chance(odds.deadly) and stage.instance is not None:
                stage.instance.kill()
            else:
                stage.stop()

    def _jump(self) -> None:
        """A worker's clock is set, or set right."""
        stage = self.world.draw.choice(self.samplers)
        stage.skew_ms = self.world.draw.choice((-3_600_000, -500, 0, 500, 3_600_000))
        if stage.instance is not None:
            stage.instance.skew_ms = stage.skew_ms
        self.world.met["clocks set"] += 1
        self.world.note(stage.name, f"has its clock {stage.skew_ms} ms off")

    def _redis_goes(self, for_ms: int, *, empty: bool) -> None:
        self.server.go(away=True)
        if empty:
            self.server.flush()
        self.world.at(for_ms, lambda: self.server.go(away=False))

    def _peace(self) -> None:
        """No more trouble: some of the workers live on, the others never come back."""
        world = self.world
        world.note("world", "peace")
        world.troubled = False
        self.server.go(away=False)
        left = world.draw.sample(self.samplers, world.draw.randint(1, len(self.samplers)))
        for stage in self.stages:
            stage.skew_ms = 0
            stage.wanted = stage in left or stage not in self.samplers
            if stage.instance is not None:
                stage.instance.heal()
                stage.instance.skew_ms = 0
                if not stage.wanted:
                    stage.instance.kill()
            world.at(0, stage.start)

    def _at_rest(self, steps: int) -> bool:
        return steps % LOOK_STEPS == 0 and not self.unfinished()

    def unfinished(self) -> str:
        """What has not come to its end, or ""."""
        if not self.window.done:
            return "not every close is published"
        for job in self.checks.jobs.values():
            if job.state not in TERMINAL:
                return f"{job.job_id} is {job.state.value}"
        for place, log in self.broker.logs.items():
            if place[0] == MICRO_BATCHES and self.broker.offsets.get(place, 0) < len(log):
                return f"{place} has lag"
        return self._redis_lacks() or self._case_lacks()

    def _redis_lacks(self) -> str:
        layout, values = Layout(PIPELINE), self.server.values
        for number in range(self.broker.topics[FEATURES]):
            if values.get(layout.projection(number)) != READY:
                return f"partition {number} is not projected"
        for key, value in self.broker.newest(FEATURES).items():
            held = values.get(layout.feature_of(key) or "", b"")
            if held == without_differences(value) or self._computed_later(held, value):
                continue
            return f"redis has another {key.decode()}"
        return ""

    def _computed_later(self, held: bytes, value: bytes) -> bool:
        """Whether Redis keeps what a worker whose clock was ahead has said in the same version.

        A job that is tried again publishes twice; of the two Redis keeps the one computed later, by
        the workers' clocks: a limit of the promise where these jump.
        """
        same = version_of(held) == version_of(value)
        return self.world.odds.jumps > 0 and same and rank_of(held) > rank_of(value)

    def _case_lacks(self) -> str:
        said = Said()
        for entry in self.broker.committed(OUTCOMES):
            said.add(decode_outcome(entry.value or b""))
        for value in self.broker.newest(CASES).values():
            case = decode_case(value)
            if judged(case, said) != case:
                return f"{case.case_id} does not know what is said of it"
        return ""


def _accounts(closes: list[Close]) -> tuple[str, ...]:
    """Who is ever in a problem of the shard, or somebody who never is."""
    problems = [one for close in closes for one in close.batch.problems]
    return tuple(sorted({node for one in problems for node in one.nodes} | {"nobody"}))


def _pipeline(draw: Random) -> Pipeline:
    pipeline = payments()
    chosen, *fallback = draw.choice(CHAINS)
    sampling = msgspec.structs.replace(
        pipeline.sampling,
        provider=chosen,
        fallback=tuple(fallback),
        shots=50,
        deadline_ms=draw.choice((500, 3_000, 10_000)),
    )
    features = msgspec.structs.replace(pipeline.features, fresh_ms=draw.choice(FRESH_MS))
    budget = msgspec.structs.replace(pipeline.budget, day=draw.choice(DAYS))
    return msgspec.structs.replace(pipeline, sampling=sampling, features=features, budget=budget)
