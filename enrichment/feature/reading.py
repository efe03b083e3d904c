"""A read of features as questions and answers, whoever carries them: no IO here.

A reading yields lists of keys, is sent their values, and returns features. A reader that blocks and
one that awaits thus say the same, because they are the same but for how they ask. Mostly one
question is enough: the marks that say whether the cache is complete, what is withdrawn, and the
heartbeats of the shards met before are asked for beside the values.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec
import redis

from enrichment.feature.features import Features
from enrichment.feature.heads import Head, Shards, head_of, heads_of
from enrichment.feature.mirror import MirroredWithdrawals
from enrichment.feature.store import READY, SHARD_KIND, Layout, update_key
from enrichment.feature.verdict import (
    REBUILDING,
    UNAVAILABLE,
    Judged,
    Rules,
    judge_graph,
    judge_ring,
)
from enrichment.pipelines import Pipeline
from enrichment.records import FeatureUpdate
from enrichment.rollout.control import Withdrawals
from enrichment.stream.topics import partition_for

GRAPH: Final = "graph"
SINGLE_SHARD: Final = "all"  # the shard of a stream that is not divided
READS_MS: Final = 2_000  # both questions that it takes, answered at the last moment
READS_MAX: Final = 3  # attempts at that: a cache that is slower is as good as away
KEYS_MAX: Final = 500  # per question, of which a read of a `ring` takes two
# Heartbeats that every read asks for unbidden, a microsecond each: a stream has a few shards. Those
# of further shards take a second question.
SHARDS_MAX: Final = 16

Wanted = Iterable[tuple[str, str, str]]
Values = Sequence[bytes | None]
Steps = Generator[list[str], Values, list[Features]]

_REBUILDING: Final = Judged(verdict=REBUILDING)
_UNAVAILABLE: Final = Judged(verdict=UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The keys of one question's values, each once, and where each wanted group finds its own."""

    graphs: list[str]
    others: list[str]
    # Kind, id, group, and the places in `graphs` and `others`; -1 for who wants the graph itself.
    places: list[tuple[str, str, str, int, int]]

    @classmethod
    def of(cls, groups: Sequence[tuple[str, str, str]], layout: Layout) -> "_Asked":
        graphs: dict[str, int] = {}
        others: dict[str, int] = {}
        places = []
        entity = layout.entity
        for kind, id_, group in groups:
            name = entity(kind, id_)
            # A `ring` is judged beside the `graph` of the same entity.
            graph = graphs.setdefault(name + GRAPH, len(graphs))
            other = -1 if group == GRAPH else others.setdefault(name + group, len(others))
            places.append((kind, id_, group, graph, other))
        return cls(list(graphs), list(others), places)


@dataclass(frozen=True, slots=True)
class _Heads:
    """What every question begins with, made once for so many partitions and these shards."""

    partitions: int
    shards: tuple[str, ...]
    keys: list[str]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the answers say. Lists stand in the order of the keys; `beats` beside `graphs`."""

    graphs: Sequence[FeatureUpdate | Head | None]
    beats: list[FeatureUpdate | None]
    others: Sequence[FeatureUpdate | Head | None]
    raw_graphs: Values
    raw_others: Values
    partitions: int
    # Partitions that are not fully projected; None: not even their number is known.
    behind: frozenset[int] | None
    withdrawals: Withdrawals | None

    def rebuilding(self, key: str) -> bool:
        """Whether the partition that this update key travels in is not fully projected."""
        return self.behind is None or partition_for(key, self.partitions) in self.behind


class Exchange:
    """One read under way: the keys whose values it asks for, and in the end what it found.

    Whoever carries it asks and says what came, until `found` is no longer None.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.keys: list[str] = []
        self.found: list[Features] | None = None
        self._go_on(steps.__next__)

    def answered(self, values: Values) -> None:
        """The values of the keys, in their order.

        Raises msgspec.DecodeError where one is none of a projector's.
        """
        self._go_on(lambda: self._steps.send(values))

    def failed(self, error: redis.RedisError) -> None:
        """There is no answer: the verdict on those that were asked about is `cache_unavailable`."""
        self._go_on(lambda: self._steps.throw(error))

    def _go_on(self, step: Callable[[], list[str]]) -> None:
        try:
            self.keys = step()
        except StopIteration as end:
            self.found = end.value


class Reading:
    """Reads of one pipeline's features. Any thread may begin one. `clock_ns` is the wall clock.

    Of `keep_max` values it is remembered what they decoded to: of those that a carrier keeps.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        cluster: bool,
        clock_ns: Callable[[], int],
        keep_max: int = 0,
    ) -> None:
        self._pipeline = pipeline.name
        self._layout = Layout(pipeline.name, cluster=cluster)
        self._sharded = pipeline.window.shard is not None
        self._rules = Rules.of(pipeline)
        self._clock_ns = clock_ns
        self._update: Callable[[bytes], FeatureUpdate] = msgspec.json.Decoder(FeatureUpdate).decode
        self._heads_of: Callable[[Values], list[Head | None]] = heads_of
        self._shards = Shards()
        if keep_max:
            # By the bytes: once they are kept they know their hash, and are not read again.
            self._update = lru_cache(keep_max)(self._update)
            kept = lru_cache(keep_max)(head_of)
            self._heads_of = lambda values: [None if v is None else kept(v) for v in values]
        self._mirror = MirroredWithdrawals()
        # Replaced as a whole and never changed: another thread sees the one or the other.
        self._heads = self._headed(0, ())

    def begin(self, wanted: Wanted, at_ms: int | None) -> "Exchange":
        """A read of these, by (kind, id, group), that nothing was asked for yet."""
        return Exchange(self._steps(list(wanted), at_ms))

    def _steps(self, groups: list[tuple[str, str, str]], at_ms: int | None) -> Steps:
        found: list[Features] = []
        for start in range(0, len(groups), KEYS_MAX // 2):
            found += yield from self._part(groups[start : start + KEYS_MAX // 2], at_ms)
        return found

    def _part(self, groups: Sequence[tuple[str, str, str]], at_ms: int | None) -> Steps:
        asked = _Asked.of(groups, self._layout)
        for _ in range(READS_MAX):
            began_ms = self._clock_ns() // 1_000_000
            try:
                seen = yield from self._seen(asked)
            except redis.RedisError:
                break
            # Read after the values: none of them can seem to be from the future because of us.
            now_ms = self._clock_ns() // 1_000_000
            # A heartbeat says nothing of values that were read long before it: we stood still.
            if now_ms - began_ms <= READS_MS:
                return self._all(asked, seen, now_ms if at_ms is None else at_ms)
        return [self._nothing(kind, id_, group, _UNAVAILABLE) for kind, id_, group in groups]

    def _seen(self, asked: _Asked) -> Generator[list[str], Values, _Seen]:
        """Ask for the values, and for what says whether they are all there."""
        while True:
            heads = self._heads
            answer = yield [*heads.keys, *asked.graphs, *asked.others]
            count = int(answer[0] or 0)
            # The first read of all, or partitions were added: the marks were not all read.
            if count == heads.partitions:
                break
            self._heads = self._headed(count, heads.shards)
        beats = len(heads.keys) - len(heads.shards)
        graphs, others = len(heads.keys), len(heads.keys) + len(asked.graphs)
        raw_graphs, raw_others = answer[graphs:others], answer[others:]
        shards = self._shards_of(raw_graphs)
        heard = dict(zip(heads.shards, answer[beats:graphs], strict=True))
        if further := [each for each in dict.fromkeys(shards) if each and each not in heard]:
            heard |= zip(further, (yield self._beats(further)), strict=True)
            self._heads = self._headed(count, (*further, *heads.shards)[:SHARDS_MAX])
        marks, withdrawals = answer[2:beats], self._mirror.of(answer[1])
        update = self._update
        # Only who asks whether a value is withdrawn asks how it came to be.
        decode = self._heads_of if withdrawals is None else self._whole
        decoded = {shard: update(beat) for shard, beat in heard.items() if beat is not None}
        return _Seen(
            graphs=decode(raw_graphs),
            beats=[None if shard is None else decoded.get(shard) for shard in shards],
            others=decode(raw_others),
            raw_graphs=raw_graphs,
            raw_others=raw_others,
            partitions=count,
            behind=frozenset(n for n, mark in enumerate(marks) if mark != READY) if marks else None,
            withdrawals=withdrawals,
        )

    def _headed(self, partitions: int, shards: tuple[str, ...]) -> _Heads:
        layout = self._layout
        marks = (layout.projection(number) for number in range(partitions))
        keys = [layout.partitions(), layout.control(), *marks, *self._beats(shards)]
        return _Heads(partitions, shards, keys)

    def _beats(self, shards: Iterable[str]) -> list[str]:
        return [self._layout.feature(SHARD_KIND, shard, GRAPH) for shard in shards]

    def _whole(self, values: Values) -> list[FeatureUpdate | None]:
        update = self._update
        return [None if value is None else update(value) for value in values]

    def _shards_of(self, values: Values) -> list[str | None]:
        """The shard of each value's window stage."""
        if not self._sharded:
            return [None if value is None else SINGLE_SHARD for value in values]
        return self._shards.of(values)

    def _all(self, asked: _Asked, seen: _Seen, now_ms: int) -> list[Features]:
        rules, withdrawals, half_life_ms = self._rules, seen.withdrawals, self._rules.half_life_ms
        incomplete = seen.behind is None or bool(seen.behind)
        graphs, others, beats = seen.graphs, seen.others, seen.beats
        found = []
        for kind, id_, group, graph_at, other_at in asked.places:
            if incomplete and self._rebuilding(kind, id_, group, seen):
                found.append(self._nothing(kind, id_, group, _REBUILDING))
                continue
            graph, beat = graphs[graph_at], beats[graph_at]
            value: FeatureUpdate | Head | None
            if other_at < 0:
                value, raw = graph, seen.raw_graphs[graph_at]
                judged = judge_graph(graph, beat, rules, now_ms=now_ms, withdrawals=withdrawals)
            else:
                value, raw = others[other_at], seen.raw_others[other_at]
                if value is not None and graph is not None and value.subgraph != graph.subgraph:
                    # Since when it is another is a figure.
                    graph = self._update(seen.raw_graphs[graph_at] or b"")
                judged = judge_ring(
                    value, graph, beat, rules, now_ms=now_ms, withdrawals=withdrawals
                )
            if value is None or raw is None or not judged.usable:
                found.append(self._nothing(kind, id_, group, judged))
                continue
            found.append(
                Features(
                    kind=kind,
                    id=id_,
                    group=group,
                    verdict=judged.verdict,
                    age_ms=judged.age_ms,
                    half_life_ms=half_life_ms,
                    version=value.version,
                    subgraph=value.subgraph,
                    event_time_ms=value.event_time_ms,
                    computed_at_ms=value.computed_at_ms,
                    raw=raw,
                )
            )
        return found

    def _rebuilding(self, kind: str, id_: str, group: str, seen: _Seen) -> bool:
        return any(
            seen.rebuilding(update_key(self._pipeline, kind, id_, name)) for name in {group, GRAPH}
        )

    def _nothing(self, kind: str, id_: str, group: str, judged: Judged) -> Features:
        return Features(
            kind=kind,
            id=id_,
            group=group,
            verdict=judged.verdict,
            age_ms=judged.age_ms,
            half_life_ms=self._rules.half_life_ms,
        )
