"""The verdict on age, shared by the hot path and the public reader. Pure: the time is an argument.

A value of the group `ring` is fresh when the subgraph it was computed from is the one that the
group `graph` shows now, and the shard's window stage has been heard from within `fresh_ms`. That
is the point: fresh means that what it was computed from has not changed, not that it is young.

A withdrawn value is a fallback, whatever else could be said of it: so is a `ring` whose `graph` is
withdrawn, since nothing is left to hold it against. What is remembered from before the cache went
away is stale at best. Two clocks that differ by no more than `skew_ms` break no promise: nothing
seems to be from the future, and nothing is fresh whose shard has been silent for longer than
`fresh_ms` and `skew_ms` together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from enrichment.pipelines import Pipeline
from enrichment.records import FeatureUpdate, Verdict, VerdictName
from enrichment.rollout.control import Computed, Withdrawals

UNCHANGED: Final = Verdict(VerdictName.FRESH, "subgraph_unchanged")
IN_NO_SUBGRAPH: Final = Verdict(VerdictName.FRESH, "in_no_subgraph")
HEARD: Final = Verdict(VerdictName.FRESH, "shard_heard")
CHANGED: Final = Verdict(VerdictName.STALE, "subgraph_changed")
SUBGRAPH_UNKNOWN: Final = Verdict(VerdictName.STALE, "subgraph_unknown")
SHARD_SILENT: Final = Verdict(VerdictName.STALE, "shard_silent")
LAST_KNOWN: Final = Verdict(VerdictName.STALE, "last_known")
TOO_OLD: Final = Verdict(VerdictName.FALLBACK, "too_old")
FROM_FUTURE: Final = Verdict(VerdictName.FALLBACK, "from_the_future")
REBUILDING: Final = Verdict(VerdictName.FALLBACK, "rebuilding")
WITHDRAWN: Final = Verdict(VerdictName.FALLBACK, "withdrawn")
UNAVAILABLE: Final = Verdict(VerdictName.FALLBACK, "cache_unavailable")
NEVER_SEEN: Final = Verdict(VerdictName.MISSING, "never_seen")
NOT_SAMPLED: Final = Verdict(VerdictName.MISSING, "not_sampled_yet")

USABLE: Final = (VerdictName.FRESH, VerdictName.STALE)
_FALLBACK: Final = VerdictName.FALLBACK
_STALE: Final = VerdictName.STALE
_FRESH: Final = VerdictName.FRESH


class Sampled(Computed, Protocol):
    """What a verdict asks of a `ring` value: a feature update, or as much of one."""

    @property
    def subgraph(self) -> str:
        """The hash of what it was computed from."""

    @property
    def event_time_ms(self) -> int:
        """The largest event time that it knows of."""


class Shown(Sampled, Protocol):
    """What a verdict asks of a `graph` value: a feature update, or as much of one."""

    @property
    def values(self) -> Mapping[str, float]:
        """Facts about the subgraph; since when it is as it is. Asked where it has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How long features hold, from a pipeline's `[features]`, in milliseconds."""

    fresh_ms: int
    stale_ms: int
    half_life_ms: int
    skew_ms: int
    by_event_time: bool

    @classmethod
    def of(cls, pipeline: Pipeline) -> "Rules":
        """The rules that the pipeline's file states."""
        features = pipeline.features
        return cls(
            fresh_ms=features.fresh_ms,
            stale_ms=features.stale_ms,
            half_life_ms=features.half_life_ms,
            skew_ms=features.skew_ms,
            by_event_time=features.clock == "event",
        )

    def time_ms(self, value: Sampled) -> int:
        """When the value was true, by the pipeline's clock."""
        return value.event_time_ms if self.by_event_time else value.computed_at_ms


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict on one group of one entity, with the age that stale values decay by.

    A Struct, since the hot path makes several for every event: a frozen dataclass takes eight times
    as long to make (measured).
    """

    verdict: Verdict
    age_ms: int = 0
    # The entity is known to lie in no subgraph: whatever was once computed of it is over.
    void: bool = False

    @property
    def usable(self) -> bool:
        """Whether the value may enter a score at all."""
        return self.verdict.name in USABLE and not self.void


# Most judgements are one of these: made once, and not for every event.
_UNCHANGED: Final = Judged(verdict=UNCHANGED)
_IN_NO_SUBGRAPH: Final = Judged(verdict=IN_NO_SUBGRAPH, void=True)
_HEARD: Final = Judged(verdict=HEARD)
_FROM_FUTURE: Final = Judged(verdict=FROM_FUTURE)
_WITHDRAWN: Final = Judged(verdict=WITHDRAWN)
_UNAVAILABLE: Final = Judged(verdict=UNAVAILABLE)
_NEVER_SEEN: Final = Judged(verdict=NEVER_SEEN)
_NOT_SAMPLED: Final = Judged(verdict=NOT_SAMPLED)


def judge_graph(
    graph: Shown | None,
    heard: FeatureUpdate | None,
    rules: Rules,
    *,
    now_ms: int,
    withdrawals: Withdrawals | None = None,
) -> Judged:
    """The verdict on a `graph` value, beside its shard's heartbeat.

    It is republished at every close that touches it: it is as fresh as its shard's window stage.
    `withdrawals` are those in force, None where there are none.
    """
    if graph is None:
        return _NEVER_SEEN
    if withdrawals is not None and withdrawals.covers(graph):
        return _WITHDRAWN
    return _graph(graph, heard, rules, now_ms)


def judge_ring(
    ring: Sampled | None,
    graph: Shown | None,
    heard: FeatureUpdate | None,
    rules: Rules,
    *,
    now_ms: int,
    withdrawals: Withdrawals | None = None,
) -> Judged:
    """The verdict on a `ring` value, beside the `graph` value of the same entity."""
    if withdrawals is not None and (
        (ring is not None and withdrawals.covers(ring))
        or (graph is not None and withdrawals.covers(graph))
    ):
        return _WITHDRAWN
    return _ring(ring, graph, heard, rules, now_ms)


def last_known(judged: Judged, known_age_ms: int, rules: Rules) -> Judged:
    """A verdict on what is only remembered, the cache being away: stale at best, and not for ever.

    `judged` is the verdict on the remembered values as of now, `known_age_ms` says how long ago, by
    the pipeline's clock, they were read. The age counts from then, or from where it would anyway,
    whichever is longer ago.
    """
    verdict = judged.verdict
    if verdict is FROM_FUTURE or verdict is WITHDRAWN:
        return judged
    if verdict.name is VerdictName.MISSING:
        return _UNAVAILABLE  # it may have come since
    age_ms = max(judged.age_ms, known_age_ms)
    if age_ms > rules.stale_ms:
        return Judged(verdict=UNAVAILABLE, age_ms=age_ms)
    return Judged(verdict=LAST_KNOWN, age_ms=age_ms, void=judged.void)


def _graph(graph: Shown, heard: FeatureUpdate | None, rules: Rules, now_ms: int) -> Judged:
    by_event_time = rules.by_event_time
    latest_ms = now_ms + rules.skew_ms
    shown_ms = graph.event_time_ms if by_event_time else graph.computed_at_ms
    if shown_ms > latest_ms:
        return _FROM_FUTURE
    if heard is not None:
        heard_ms = heard.event_time_ms if by_event_time else heard.computed_at_ms
        # A shard that never spoke, or by a clock that is wrong, is as silent as this value is old.
        if heard_ms <= latest_ms:
            shown_ms = heard_ms
    silent_ms = now_ms - shown_ms
    return _HEARD if silent_ms <= rules.fresh_ms else _aged(SHARD_SILENT, silent_ms, rules)


def _ring(
    ring: Sampled | None,
    graph: Shown | None,
    heard: FeatureUpdate | None,
    rules: Rules,
    now_ms: int,
) -> Judged:
    if graph is None:
        if ring is None:
            return _NEVER_SEEN
        if rules.time_ms(ring) > now_ms + rules.skew_ms:
            return _FROM_FUTURE
        return _aged(SUBGRAPH_UNKNOWN, max(0, now_ms - rules.time_ms(ring)), rules)
    shown = _graph(graph, heard, rules, now_ms)
    if shown is _FROM_FUTURE:
        return shown
    if graph.subgraph == "":
        if shown is _HEARD:
            return _IN_NO_SUBGRAPH
        return Judged(verdict=shown.verdict, age_ms=shown.age_ms, void=True)
    if ring is None:
        return _NOT_SAMPLED
    ring_ms = ring.event_time_ms if rules.by_event_time else ring.computed_at_ms
    if ring_ms > now_ms + rules.skew_ms:
        return _FROM_FUTURE
    if ring.subgraph == graph.subgraph:
        return _UNCHANGED if shown is _HEARD else shown
    # A change that is said to lie ahead of the value that shows it would keep the ring young.
    changed_ms = min(int(graph.values.get("subgraph_since_ms", ring_ms)), rules.time_ms(graph))
    return _aged(CHANGED, max(0, now_ms - changed_ms), rules)


def _aged(verdict: Verdict, age_ms: int, rules: Rules) -> Judged:
    """The verdict while its age allows it, and too old after that."""
    return Judged(verdict=verdict if age_ms <= rules.stale_ms else TOO_OLD, age_ms=age_ms)


def decayed(value: float, prior: float, age_ms: int, half_life_ms: int) -> float:
    """A stale value on its way to the prior: half of the distance is gone each half-life."""
    if age_ms == 0:
        return value
    remaining: float = 0.5 ** (age_ms / half_life_ms)
    return prior + (value - prior) * remaining


def of_event(verdicts: list[Verdict]) -> Verdict:
    """An event's verdict: the worst of those on its entities, missing only where all are missing.

    A new device on a known account does not make the account unknown.
    """
    stale = fresh = None
    for verdict in verdicts:
        name = verdict.name
        if name is _FALLBACK:
            return verdict
        if name is _FRESH:
            fresh = fresh or verdict
        elif name is _STALE:
            stale = stale or verdict
    return stale or fresh or (verdicts[0] if verdicts else NEVER_SEEN)
