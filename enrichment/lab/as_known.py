"""What was known of each event of a simulated stream when it came, by every sampler; in process.

Digests, windows, features, verdicts and their decay are the stages' own code, without servers: an
event sees what had been published by the beginning of its tick, and nothing later. A micro-batch's
sampled features come one tick after its close, whoever samples: the same delay for all.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from enrichment.enrich.features import Cache, FeaturePlan, Known
from enrichment.lab.bench.digest_stream import PARTITIONS, Tick, ticks_of
from enrichment.lab.broadcast import STREAM, outcome_record
from enrichment.lab.groups import groups_of
from enrichment.lab.metrics import Bools, Floats, Ints
from enrichment.lab.recorded import Recording
from enrichment.lab.samplers import SAMPLERS, answers_by_path
from enrichment.lab.scenario import SimulationSettings
from enrichment.lab.simulate import (
    Outcome,
    Simulated,
    ground_truth,
    run_of_seed,
    timeline,
)
from enrichment.pipelines import Pipeline, Term
from enrichment.records import Digest, FeatureUpdate, FeatureUsed, MicroBatch
from enrichment.sample.estimate import CLASSICAL, GROUP, Provenance, features
from enrichment.stream.topics import partition_for, shard_key
from enrichment.window.partition import Partition
from enrichment.window.shard import HEARTBEAT

BATCH_MS: Final = 500  # a pane: fewer digests than enrichers write, and the same in them
HEARTBEAT_MS: Final = 1_000
GRAPH: Final = "graph"
COUNTED: Final = (
    "events", "amount", "velocity_short", "degree", "size", "density", "core_number",
    "known_bad_near", "events_1m", "amount_1m", "events_10m", "amount_10m",
)  # fmt: skip
OF_NODES: Final = ("triangles", "bad_rank")
MEMBERSHIP, ENERGY, MARGINAL = "membership", "optimum_energy", "gibbs_marginal"
GIBBS: Final = "gibbs"
"""The exact Gibbs marginals: not a path of their own, the classical path publishes them."""

# Paths of estimates, and what speaks for an entity's membership there.
PATHS: Final = {sampler.path: (sampler.path, MEMBERSHIP) for sampler in SAMPLERS} | {
    GIBBS: (CLASSICAL, MARGINAL)
}
OF_PATH: Final = ("membership", "energy", "membership_energy")

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class AsKnown:
    """The events of one simulated run with what was known of them; NaN where it was not.

    `classical` holds no ring feature; `rings` has the columns of one path, of shape (events, roles
    x OF_PATH). `groups` names who belongs together: a ring's members, else tied accounts.
    """

    seed: int
    roles: tuple[str, ...]
    names: tuple[str, ...]
    classical: Matrix
    rings: dict[str, Matrix]
    # Role -> whether a ring feature of it was fresh: computed from the subgraph as it was.
    fresh: dict[str, Bools]
    bad: Bools
    groups: Ints
    problems: int

    def membership(self, path: str, role: str) -> Floats:
        """One path's membership of the entities in that role."""
        column = self.roles.index(role) * len(OF_PATH)
        return self.rings[path][:, column].astype(np.float64)


def as_known(
    settings: SimulationSettings, pipeline: Pipeline, *, with_outcomes: bool = True
) -> AsKnown:
    """Go through the whole stream. Without outcomes nobody is ever known to be bad."""
    due = list(timeline(settings))
    simulated = [what for _, what in due if isinstance(what, Simulated)]
    told = [what for _, what in due if isinstance(what, Outcome)] if with_outcomes else []
    wide = _reading_everything(pipeline)
    pass_ = _Pass(wide, told, {one.payment.account_id: one.payment.region for one in simulated})
    payments = (one.payment for one in simulated)
    at = 0
    for tick in ticks_of(payments, wide, batch_ms=BATCH_MS):
        here = simulated[at : at + tick.events]
        at += tick.events
        pass_.publish_due()
        for one in here:
            pass_.see(one)
        pass_.take(tick)
    recording = _recording(simulated, wide, settings)
    return pass_.made(settings.seed, recording, _groups(recording, wide, settings, simulated))


def _reading_everything(pipeline: Pipeline) -> Pipeline:
    """The pipeline with a score that reads all that is wanted here: features follow the terms."""
    wanted = [
        f"{role}.{group}.{name}"
        for role in pipeline.entities
        for group, names in (
            (GRAPH, (*COUNTED, *(OF_NODES if pipeline.kind(role) == pipeline.node_kind else ()))),
            (GROUP, (MEMBERSHIP, ENERGY, MARGINAL)),
        )
        for name in names
    ]
    terms = tuple(Term(name=f"t{n}", value=value, weight=0.0) for n, value in enumerate(wanted))
    return replace(pipeline, score=replace(pipeline.score, terms=terms))


class _Pass:
    """One way through the stream: windows on one side, what events see on the other."""

    def __init__(self, pipeline: Pipeline, told: list[Outcome], regions: dict[str, str]) -> None:
        self._pipeline = pipeline
        self._plan = FeaturePlan(pipeline)
        self._partitions = [
            Partition(pipeline, number, start=0, sources=PARTITIONS) for number in range(PARTITIONS)
        ]
        self._decode = msgspec.json.Decoder(Digest).decode
        self._told, self._regions, self._next_told = told, regions, 0
        self._known: dict[tuple[str, str], Known] = {}
        self._heard: dict[str, FeatureUpdate] = {}
        self._sampled: list[FeatureUpdate] = []
        self._rows = _Rows(pipeline)
        # (role, id) -> the number of its row, and until when that stands.
        self._current: dict[tuple[str, str], tuple[int, int]] = {}
        self._roles = {role: pipeline.field(role) for role in pipeline.entities}
        self._seen: list[list[int]] = []
        self._amounts: list[float] = []
        self._problems = 0

    def publish_due(self) -> None:
        """What was sampled a tick ago is there now."""
        for update in self._sampled:
            self._publish(update)
        self._sampled.clear()

    def see(self, one: Simulated) -> None:
        """Note what is known of an event as it comes."""
        payment = one.payment
        cache = Cache(heard=self._heard)
        rows = []
        for role, name in self._roles.items():
            key = (role, getattr(payment, name))
            number, until_ms = self._current.get(key, (0, 0))
            if until_ms <= payment.occurred_at:
                known = self._known.get((self._plan.kinds[role], key[1])) or Known()
                found = self._plan.features(
                    role, key[1], known, payment.region, cache, payment.occurred_at
                )
                number = self._rows.add(role, found.used)
                self._current[key] = (number, found.until_ms)
            rows.append(number)
        self._seen.append(rows)
        self._amounts.append(payment.amount)

    def take(self, tick: Tick) -> None:
        """Window one tick's digests, and sample what closes."""
        at_ms = tick.at_ms
        for record in tick.records:
            partition = self._partitions[record.partition]
            digest = self._decode(record.value)
            partition.receive(digest, partition.next_offset, written_ms=at_ms, now_ms=at_ms)
            self._close(partition, at_ms)
        self._judge(at_ms)
        for partition in self._partitions:
            for update in partition.heartbeats(HEARTBEAT_MS, at_ms):
                self._publish(update)

    def _judge(self, at_ms: int) -> None:
        """Tell the windows what became known by now."""
        while self._next_told < len(self._told) and self._told[self._next_told].decided_at <= at_ms:
            said = self._told[self._next_told]
            self._next_told += 1
            shard = self._regions[said.account_id]
            partition = self._partitions[partition_for(shard_key(STREAM, shard), PARTITIONS)]
            partition.judge(outcome_record(said, shard), now_ms=at_ms)

    def _close(self, partition: Partition, at_ms: int) -> None:
        for close in partition.due(at_ms):
            for update in close.features:
                self._publish(update)
            if close.micro_batch.problems:
                self._sampled += self._samples(close.micro_batch, at_ms)

    def _samples(self, batch: MicroBatch, at_ms: int) -> Iterable[FeatureUpdate]:
        """The ring features of a micro-batch: one value for each entity, every sampler in it."""
        self._problems += len(batch.problems)
        origin = Provenance(
            batch=batch,
            job_id=batch.micro_batch_id,
            backend="compared",
            calibration_id="",
            computed_at_ms=at_ms,
            amount_scale=self._pipeline.stream.amount_scale,
        )
        return features(origin, answers_by_path(self._pipeline, batch))

    def _publish(self, update: FeatureUpdate) -> None:
        """Make one value known from now on."""
        if update.entity == HEARTBEAT:
            self._heard[update.id] = update
            return
        known = self._known.setdefault((update.entity, update.id), Known())
        known.updates[update.group] = update
        for role in self._roles:
            self._current.pop((role, update.id), None)

    def made(self, seed: int, recording: Recording, groups: Ints) -> AsKnown:
        """All of it as arrays."""
        seen = np.array(self._seen)
        amounts = np.log1p(np.array(self._amounts, dtype=np.float32))[:, None]
        names, classical, rings, fresh = self._rows.columns(seen)
        return AsKnown(
            seed=seed,
            roles=tuple(self._roles),
            names=("event.amount", *names),
            classical=np.hstack([amounts, classical]),
            rings=rings,
            fresh=fresh,
            bad=recording.bad,
            groups=groups,
            problems=self._problems,
        )


@dataclass(slots=True)
class _Rows:
    """Rows of features by role, each written down once however many events see it."""

    pipeline: Pipeline
    graph: dict[str, list[list[float]]] = field(default_factory=dict)
    rings: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    fresh: dict[str, list[bool]] = field(default_factory=dict)

    def names(self, role: str) -> tuple[str, ...]:
        """The names of the role's graph features."""
        of_node = self.pipeline.kind(role) == self.pipeline.node_kind
        return (*COUNTED, *OF_NODES) if of_node else COUNTED

    def add(self, role: str, used: Iterable[FeatureUsed]) -> int:
        """The number of the row that these features are written down in."""
        by_group = {each.group: each for each in used}
        values, ring = by_group[GRAPH].values, by_group[GROUP]
        rows = self.graph.setdefault(role, [])
        rows.append([_logarithmic(name, values.get(name)) for name in self.names(role)])
        mine = self.rings.setdefault(role, {})
        for path, (estimator, name) in PATHS.items():
            mine.setdefault(path, []).append(_of_path(ring.estimates.get(estimator), name))
        fresh = ring.verdict.name.value == "fresh" and bool(ring.estimates)
        self.fresh.setdefault(role, []).append(fresh)
        return len(rows) - 1

    def columns(self, seen: Ints) -> tuple[list[str], Matrix, dict[str, Matrix], dict[str, Bools]]:
        """Names and columns of graph features, columns of every path, and what was fresh."""
        roles = list(self.graph)
        names = [f"{role}.{name}" for role in roles for name in self.names(role)]

        def gathered(tables: Iterator[list[list[float]]]) -> Matrix:
            parts = [
                np.array(table, dtype=np.float32)[seen[:, number]]
                for number, table in enumerate(tables)
            ]
            return np.hstack(parts)

        return (
            names,
            gathered(self.graph[role] for role in roles),
            {path: gathered(self.rings[role][path] for role in roles) for path in PATHS},
            {role: np.array(self.fresh[role])[seen[:, n]] for n, role in enumerate(roles)},
        )


def _logarithmic(name: str, value: float | None) -> float:
    """A graph feature on the scale that a sum of terms can read; NaN where it is not known."""
    if value is None:
        return float("nan")
    bounded = name in {"density", "known_bad_near", "bad_rank"}
    return value if bounded else float(np.log1p(max(value, 0.0)))


def _of_path(estimate: dict[str, float] | None, name: str) -> list[float]:
    """OF_PATH of one entity, the energy turned round so that more says more."""
    if estimate is None or name not in estimate:
        return [float("nan")] * len(OF_PATH)
    membership, surplus = estimate[name], -estimate[ENERGY]
    return [membership, surplus, membership * surplus]


def _recording(
    simulated: list[Simulated], pipeline: Pipeline, settings: SimulationSettings
) -> Recording:
    """The events as a fit knows them, without terms."""
    codes: dict[str, dict[str, int]] = {role: {} for role in pipeline.entities}
    entities = {
        role: np.array(
            [
                codes[role].setdefault(getattr(one.payment, pipeline.field(role)), len(codes[role]))
                for one in simulated
            ]
        )
        for role in pipeline.entities
    }
    nothing = np.empty((len(simulated), 0))
    return Recording(
        ids=tuple(one.payment.event_id for one in simulated),
        at_ms=np.array([one.payment.occurred_at for one in simulated]),
        served=nothing,
        heuristic=nothing,
        bad=np.array([one.is_fraud for one in simulated]),
        told=np.ones(len(simulated), dtype=np.bool_),
        entities=entities,
        runs=frozenset({run_of_seed(settings.seed)}),
    )


def _groups(
    recording: Recording,
    pipeline: Pipeline,
    settings: SimulationSettings,
    simulated: list[Simulated],
) -> Ints:
    """Who is drawn together: tied accounts, and the members of one ring in any case."""
    groups = groups_of(pipeline, recording)
    first = {one.payment.account_id: at for at, one in reversed(list(enumerate(simulated)))}
    joined = {int(group): int(group) for group in np.unique(groups)}

    def root(group: int) -> int:
        while joined[group] != group:
            group = joined[group]
        return group

    for ring in ground_truth(settings).rings:
        mine = [root(int(groups[first[member]])) for member in ring.members if member in first]
        for group in mine:
            joined[root(group)] = mine[0] if root(group) != root(mine[0]) else root(group)
    return np.array([root(int(group)) for group in groups])
