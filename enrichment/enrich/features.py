"""From what the cache holds to the features that a score may use: judged, and decayed if stale."""

from dataclasses import dataclass

from enrichment.enrich.decode import Event
from enrichment.enrich.lookup import EntityGroup, Found
from enrichment.feature.store import SHARD_KIND, update_key
from enrichment.feature.verdict import (
    REBUILDING,
    UNAVAILABLE,
    Judged,
    Rules,
    decayed,
    judge_graph,
    judge_ring,
    of_event,
)
from enrichment.pipelines import Pipeline
from enrichment.records import FeatureUpdate, FeatureUsed, Verdict, VerdictName


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One (role, group) that score terms read, with each feature's prior."""

    role: str
    kind: str
    group: str
    priors: dict[str, float]


class FeaturePlan:
    """Which groups of which roles one pipeline's score reads, and how they are judged."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline.name
        self._rules = Rules.of(pipeline)
        priors: dict[tuple[str, str], dict[str, float]] = {}
        for term in pipeline.score.terms:
            for reference in (term.value, term.over):
                if reference is not None and not reference.startswith("event."):
                    role, group, feature = reference.split(".")
                    # A quotient's prior says nothing of its operands: they decay towards zero.
                    prior = term.prior if term.over is None else 0.0
                    priors.setdefault((role, group), {}).setdefault(feature, prior)
        self._wanted = [
            _Wanted(role, pipeline.kind(role), group, features)
            for (role, group), features in sorted(priors.items())
        ]

    def keys(self, event: Event) -> list[EntityGroup]:
        """What must be read for this event. A `ring` is judged beside the entity's `graph`."""
        keys = [(SHARD_KIND, event.shard, "graph")]
        for wanted in self._wanted:
            if (id_ := event.entities.get(wanted.role)) is not None:
                keys.append((wanted.kind, id_, wanted.group))
                if wanted.group == "ring":
                    keys.append((wanted.kind, id_, "graph"))
        return keys

    def used(self, event: Event, found: Found | None, *, now_ms: int) -> list[FeatureUsed]:
        """Each wanted group of the event's entities with its verdict, values only where usable."""
        at_ms = event.occurred_at_ms if self._rules.by_event_time else now_ms
        heard = found.get(SHARD_KIND, event.shard, "graph") if found else None
        used = []
        for wanted in self._wanted:
            id_ = event.entities.get(wanted.role)
            if id_ is None:
                continue
            value = found.get(wanted.kind, id_, wanted.group) if found else None
            judged = self._judged(wanted, id_, value, found, heard, at_ms)
            used.append(self._feature(wanted, id_, value, judged))
        return used

    def _judged(
        self,
        wanted: _Wanted,
        id_: str,
        value: FeatureUpdate | None,
        found: Found | None,
        heard: FeatureUpdate | None,
        at_ms: int,
    ) -> Judged:
        if found is None:
            return Judged(verdict=UNAVAILABLE)
        if not found.complete:
            # A `ring` beside a `graph` that is still replayed would be held against an old one.
            for group in {wanted.group, "graph"}:
                if found.rebuilding(update_key(self._pipeline, wanted.kind, id_, group)):
                    return Judged(verdict=REBUILDING)
        if wanted.group == "graph":
            return judge_graph(value, heard, self._rules, now_ms=at_ms)
        graph = found.get(wanted.kind, id_, "graph")
        return judge_ring(value, graph, heard, self._rules, now_ms=at_ms)

    def _feature(
        self, wanted: _Wanted, id_: str, value: FeatureUpdate | None, judged: Judged
    ) -> FeatureUsed:
        if value is None or not judged.usable:
            return FeatureUsed(
                role=wanted.role, kind=wanted.kind, id=id_, group=wanted.group,
                verdict=judged.verdict, age_ms=judged.age_ms,
            )  # fmt: skip
        age_ms = judged.age_ms if judged.verdict.name is VerdictName.STALE else 0
        return FeatureUsed(
            role=wanted.role,
            kind=wanted.kind,
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
        half_life_ms = self._rules.half_life_ms
        return {
            name: decayed(values[name], prior, age_ms, half_life_ms)
            for name, prior in wanted.priors.items()
            if name in values
        }


def verdict_of(used: list[FeatureUsed]) -> Verdict:
    """The event's verdict, from its `ring` groups, or from all where the score reads no ring."""
    rings = [feature.verdict for feature in used if feature.group == "ring"]
    return of_event(rings or [feature.verdict for feature in used])
