"""From what is known of an entity to the features that a score may use: judged, decayed if stale.

And for how long that holds: a verdict that will not change before a certain time need not be made
again for every event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from enrichment.enrich.terms import RING
from enrichment.feature.store import update_key
from enrichment.feature.verdict import (
    HEARD,
    IN_NO_SUBGRAPH,
    NEVER_SEEN,
    NOT_SAMPLED,
    REBUILDING,
    UNCHANGED,
    Judged,
    Rules,
    decayed,
    judge_graph,
    judge_ring,
    last_known,
)
from enrichment.pipelines import Pipeline
from enrichment.pipelines.probability import RING_PROBABILITY
from enrichment.records import FeatureUpdate, FeatureUsed, VerdictName
from enrichment.rollout.control import Withdrawals
from enrichment.stream.topics import partition_for

GRAPH: Final = "graph"
SINCE: Final = "subgraph_since_ms"  # a value that verdicts read
FOR_EVER_MS: Final = 2**62
# An age is told as of the end of such a step, so that what is stale is judged once for all events
# of the step: never as younger than it is, and as older by less than this.
AGE_STEP_MS: Final = 100
# Verdicts that no passing of time changes, as long as the shard is heard: by identity, since
# comparing them takes longer than judging (measured).
_LASTING: Final = frozenset(map(id, (HEARD, UNCHANGED, IN_NO_SUBGRAPH, NEVER_SEEN, NOT_SAMPLED)))

Updates = Mapping[str, FeatureUpdate]  # by group


class Known:
    """The values of one entity as they were read, by group."""

    __slots__ = ("read_at_ms", "updates")

    def __init__(
        self, updates: dict[str, FeatureUpdate] | None = None, read_at_ms: int = 0
    ) -> None:
        self.updates = updates or {}
        # When they were last known to hold, by the wall clock.
        self.read_at_ms = read_at_ms


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """How the cache stands while one batch is answered."""

    # Shard -> the newest heartbeat of its window stage; absent where none is known.
    heard: dict[str, FeatureUpdate]
    # Partitions of the updates' topic that are being projected, of how many.
    rebuilding: frozenset[int] = frozenset()
    partitions: int = 1
    # Whether it answers. Where it does not, what was last known may be used, and is never fresh.
    answers: bool = True
    withdrawals: Withdrawals | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One group that score terms read of a role, with each feature's prior."""

    group: str
    priors: dict[str, float]


class Features(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The features of one entity as a score may use them, the same from `from_ms` to `until_ms`."""

    used: tuple[FeatureUsed, ...]
    from_ms: int
    until_ms: int


class FeaturePlan:
    """Which groups of which roles one pipeline's score reads, and how they are judged."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline.name
        self.rules = Rules.of(pipeline)
        priors: dict[tuple[str, str], dict[str, float]] = {}
        for term in pipeline.score.terms:
            for reference in (term.value, term.over):
                if reference is not None and not reference.startswith("event."):
                    role, group, feature = reference.split(".")
                    # A quotient's prior says nothing of its operands: they decay towards zero.
                    prior = term.prior if term.over is None else 0.0
                    priors.setdefault((role, group), {}).setdefault(feature, prior)
        self.kinds = {role: pipeline.kind(role) for role in pipeline.entities}
        self._tell_probability(pipeline, priors)
        self._wanted = {
            role: [_Wanted(group, priors[r, group]) for r, group in sorted(priors) if r == role]
            for role in pipeline.entities
        }
        # Kind -> groups to be read of it. A `ring` is judged beside the entity's `graph`.
        self.groups: dict[str, tuple[str, ...]] = {}
        names: dict[str, set[str]] = {}
        for role, wanted in self._wanted.items():
            for each in wanted:
                kind = self.kinds[role]
                groups = {GRAPH, each.group}
                self.groups[kind] = tuple(sorted(groups | set(self.groups.get(kind, ()))))
                names.setdefault(kind, {SINCE}).update(each.priors)
        self._names = {kind: tuple(sorted(mine)) for kind, mine in names.items()}

    def _tell_probability(
        self, pipeline: Pipeline, priors: dict[tuple[str, str], dict[str, float]]
    ) -> None:
        """Where there is a calibration, events tell of it beside the ring features they show.

        It decays to the share of bad events among all: what is known of who is nothing known of.
        """
        shares = (
            {}
            if pipeline.probability is None
            else {steps.kind: steps.share for steps in pipeline.probability.steps}
        )
        for (role, group), mine in priors.items():
            if group == RING and (share := shares.get(self.kinds[role])) is not None:
                mine.setdefault(RING_PROBABILITY, share)

    def trim(self, kind: str, update: FeatureUpdate) -> None:
        """Take out what no score and no verdict of this pipeline reads; nobody else may have it.

        In place, which takes a quarter of the time that a copy does (measured).
        """
        names, values = self._names[kind], update.values
        msgspec.structs.force_setattr(
            update, "values", {name: values[name] for name in names if name in values}
        )
        for path, estimate in update.estimates.items():
            update.estimates[path] = {name: estimate[name] for name in names if name in estimate}

    def features(
        self, role: str, id_: str, known: Known, shard: str, cache: Cache, at_ms: int
    ) -> Features:
        """Each wanted group of one entity with its verdict, values only where usable."""
        updates, heard = known.updates, cache.heard.get(shard)
        verdicts = self._verdicts(role, id_, known, heard, cache, at_ms)
        if cache.answers and _LASTING.issuperset([id(each.verdict) for each in verdicts]):
            from_ms, until_ms = self._span(updates, heard, at_ms)
        else:
            from_ms, until_ms = at_ms, at_ms + 1
            end_ms = -(-at_ms // AGE_STEP_MS) * AGE_STEP_MS
            older = self._verdicts(role, id_, known, heard, cache, end_ms)
            # Where the step changes more than ages, one event says nothing of the next.
            if [each.verdict for each in older] == [each.verdict for each in verdicts]:
                verdicts, until_ms = older, end_ms + 1
        used = [
            self._feature(role, id_, wanted, updates.get(wanted.group), judged)
            for wanted, judged in zip(self._wanted[role], verdicts, strict=True)
        ]
        return Features(used=tuple(used), from_ms=from_ms, until_ms=until_ms)

    def _verdicts(
        self,
        role: str,
        id_: str,
        known: Known,
        heard: FeatureUpdate | None,
        cache: Cache,
        at_ms: int,
    ) -> list[Judged]:
        """The verdict on each wanted group at this time."""
        verdicts = []
        for wanted in self._wanted[role]:
            if cache.rebuilding and self._rebuilding(role, id_, wanted.group, cache):
                judged = Judged(verdict=REBUILDING)
            else:
                judged = self._judged(wanted.group, known.updates, heard, cache, at_ms)
            if not cache.answers:
                # By event time the verdict on the values tells their age.
                known_ms = 0 if self.rules.by_event_time else at_ms - known.read_at_ms
                judged = last_known(judged, max(0, known_ms), self.rules)
            verdicts.append(judged)
        return verdicts

    def _span(self, known: Updates, heard: FeatureUpdate | None, at_ms: int) -> tuple[int, int]:
        """From when to when verdicts of `_LASTING` stand."""
        graph = known.get(GRAPH)
        if graph is None:
            return -FOR_EVER_MS, FOR_EVER_MS
        time_ms, skew_ms = self.rules.time_ms, self.rules.skew_ms
        heard_ms = newest_ms = time_ms(heard or graph)
        if heard_ms > at_ms + skew_ms:
            return at_ms, at_ms + 1
        for update in known.values():
            if (told_ms := time_ms(update)) > newest_ms:
                newest_ms = told_ms
        return newest_ms - skew_ms, heard_ms + self.rules.fresh_ms + 1

    def _rebuilding(self, role: str, id_: str, group: str, cache: Cache) -> bool:
        """Whether this group, or the one it is held against, may be old: it is being projected."""
        return any(
            partition_for(update_key(self._pipeline, self.kinds[role], id_, each), cache.partitions)
            in cache.rebuilding
            for each in {group, GRAPH}
        )

    def _judged(
        self,
        group: str,
        known: Updates,
        heard: FeatureUpdate | None,
        cache: Cache,
        at_ms: int,
    ) -> Judged:
        graph, gone = known.get(GRAPH), cache.withdrawals
        if group == GRAPH:
            return judge_graph(graph, heard, self.rules, now_ms=at_ms, withdrawals=gone)
        ring = known.get(group)
        return judge_ring(ring, graph, heard, self.rules, now_ms=at_ms, withdrawals=gone)

    def _feature(
        self, role: str, id_: str, wanted: _Wanted, value: FeatureUpdate | None, judged: Judged
    ) -> FeatureUsed:
        if value is None or not judged.usable:
            return FeatureUsed(
                role=role, kind=self.kinds[role], id=id_, group=wanted.group,
                verdict=judged.verdict, age_ms=judged.age_ms,
            )  # fmt: skip
        age_ms = judged.age_ms if judged.verdict.name is VerdictName.STALE else 0
        return FeatureUsed(
            role=role,
            kind=self.kinds[role],
            id=id_,
            group=wanted.group,
            verdict=judged.verdict,
            version=value.version,
            age_ms=judged.age_ms,
            subgraph=value.subgraph,
            job_id=value.source.job_id if value.source else "",
            values=self._kept(value.values, wanted, age_ms),
            estimates={
                path: self._kept(estimate, wanted, age_ms)
                for path, estimate in value.estimates.items()
            },
        )

    def _kept(self, values: dict[str, float], wanted: _Wanted, age_ms: int) -> dict[str, float]:
        """The features that terms read, on their way to their priors where they are stale."""
        if age_ms == 0:
            return {name: values[name] for name in wanted.priors if name in values}
        half_life_ms = self.rules.half_life_ms
        return {
            name: decayed(values[name], prior, age_ms, half_life_ms)
            for name, prior in wanted.priors.items()
            if name in values
        }
