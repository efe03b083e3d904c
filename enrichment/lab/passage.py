"""One way of a simulated stream through the stages, in process, and what each event saw of it.

Digests, windows, features, verdicts and their decay are the stages' own code, without servers: an
event sees what had been published by the beginning of its tick, and nothing later. A micro-batch's
sampled features come one tick after its close, whoever samples: the same delay for all.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace

from enrichment.enrich.features import Cache, FeaturePlan, Known
from enrichment.lab.as_known import (
    COUNTED,
    GRAPH,
    MARGINAL,
    OF_NODES,
    AsKnown,
    Rows,
)
from enrichment.lab.bench.digest_stream import PARTITIONS, Tick, ticks_of
from enrichment.lab.broadcast import STREAM, outcome_record
from enrichment.lab.groups import groups_of
from enrichment.lab.recorded import Recording
from enrichment.lab.samplers import answers_by_path
from enrichment.lab.scenario import SimulationSettings
from enrichment.lab.simulate import (
    Outcome,
    Simulated,
    Truth,
    ground_truth,
    run_of_seed,
    timeline,
)
from enrichment.pipelines import Pipeline, Term
from enrichment.pipelines.probability import ENERGY, MEMBERSHIP
from enrichment.records import Digest, FeatureUpdate, MicroBatch
from enrichment.rollout.metrics import Ints
from enrichment.sample.estimate import GROUP, Provenance, features
from enrichment.stream.topics import partition_for, shard_key
from enrichment.window.partition import Partition
from enrichment.window.shard import HEARTBEAT

BATCH_MS: Final = 500  # a pane: fewer digests than enrichers write, and the same in them
HEARTBEAT_MS: Final = 1_000


def as_known(
    settings: SimulationSettings, pipeline: Pipeline, *, with_outcomes: bool = True
) -> AsKnown:
    """Go through the whole stream. Without outcomes nobody is ever known to be bad."""
    due = list(timeline(settings))
    simulated = [what for _, what in due if isinstance(what, Simulated)]
    told = [what for _, what in due if isinstance(what, Outcome)] if with_outcomes else []
    passed = gone_through(simulated, told, pipeline)
    recording = _recording(simulated, pipeline, settings)
    groups = _groups(recording, pipeline, ground_truth(settings), simulated)
    return passed.made(settings.seed, recording, groups)


def gone_through(
    simulated: Sequence[Simulated], told: Sequence[Outcome], pipeline: Pipeline
) -> "Passage":
    """The passage of these payments and outcomes, both in order of their time."""
    wide = _reading_everything(pipeline)
    regions = {one.payment.account_id: one.payment.region for one in simulated}
    passed = Passage(wide, told, regions)
    at = 0
    for tick in ticks_of((one.payment for one in simulated), wide, batch_ms=BATCH_MS):
        passed.publish_due()
        for one in simulated[at : at + tick.events]:
            passed.see(one)
        passed.take(tick)
        at += tick.events
    return passed


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


class Passage:
    """One way through the stream: windows on one side, what events see on the other."""

    def __init__(
        self, pipeline: Pipeline, told: Sequence[Outcome], regions: dict[str, str]
    ) -> None:
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
        self.rows = Rows(pipeline)
        # (role, id) -> the number of its row, and until when that stands.
        self._current: dict[tuple[str, str], tuple[int, int]] = {}
        self._roles = {role: pipeline.field(role) for role in pipeline.entities}
        self.seen: list[list[int]] = []
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
                number = self.rows.add(role, found.used)
                self._current[key] = (number, found.until_ms)
            rows.append(number)
        self.seen.append(rows)
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
        nothing: dict[str, dict[str, float]] = {}  # differences are for lineage alone
        return features(origin, answers_by_path(self._pipeline, batch), nothing)

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
        seen = np.array(self.seen)
        amounts = np.log1p(np.array(self._amounts, dtype=np.float32))[:, None]
        names, classical, rings, fresh = self.rows.columns(seen)
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


def _recording(
    simulated: Sequence[Simulated], pipeline: Pipeline, settings: SimulationSettings
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
    truth: Truth,
    simulated: Sequence[Simulated],
) -> Ints:
    """Who is drawn together: tied accounts, and the members of one ring in any case."""
    groups = groups_of(pipeline, recording)
    first = {one.payment.account_id: at for at, one in reversed(list(enumerate(simulated)))}
    joined = {int(group): int(group) for group in np.unique(groups)}

    def root(group: int) -> int:
        while joined[group] != group:
            group = joined[group]
        return group

    for ring in truth.rings:
        mine = [root(int(groups[first[member]])) for member in ring.members if member in first]
        for group in mine:
            joined[root(group)] = mine[0] if root(group) != root(mine[0]) else root(group)
    return np.array([root(int(group)) for group in groups])
