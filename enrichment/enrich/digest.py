"""The digests of one batch: per (source partition, shard, pane) who appeared with whom. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain, compress
from operator import itemgetter
from typing import Any, Final, NamedTuple

from enrichment.enrich.events import Events
from enrichment.pipelines import Pipeline
from enrichment.records import Digest
from enrichment.records.digest import TRACES_MAX, in_parts

TUPLES_MAX: Final = 4_000  # some 300 kB of JSON: well below any broker's message limit
MICRO: Final = 1_000_000

# The columns of links, tallies or aggregates, in the order in which their record has them. The
# records' Structs are written alike, and would take 2 µs more for each digest (measured): they look
# whether their columns are of one length, which these are.
Columns = tuple[Sequence[Any], ...]
Named = tuple[str, str, Columns]  # digest field, name within it, its columns
# One group's event times, amounts, ids by role and values by aggregate.
_Group = Sequence[Sequence[Any]]


class _Ids(NamedTuple):
    """One role's ids in the events of a group, None where an event lacks the role."""

    ids: Sequence[str | None]
    # Where each id stands last.
    last: dict[str | None, int]
    # Where the other occurrences are; of most ids there are none.
    earlier: AbstractSet[int]


class DigestBuilder:
    """Counts the events of a batch, and remembers how far each source partition has come."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._pane_ms = pipeline.window.pane_ms
        self._lateness_ms = pipeline.window.lateness_ms
        self._kinds: dict[str, list[str]] = {}
        for role in pipeline.entities:
            self._kinds.setdefault(pipeline.kind(role), []).append(role)
        self._roles = list(pipeline.entities)
        self._links = [(link.name, *link.roles) for link in pipeline.links]
        self._aggregates = [(a.name, a.entity, a.field) for a in pipeline.aggregates]
        # Source partition -> (first offset, last offset) of this batch.
        self._offsets: dict[int, tuple[int, int]] = {}
        # Source partition -> the largest event time that it has ever shown here, ours at most.
        self._progress_ms: dict[int, int] = {}
        # Source partitions that stated their progress in this batch, in a record of its own.
        self._stated: set[int] = set()

    def digests(
        self,
        partitions: Sequence[int],
        offsets: Sequence[int],
        events: Events,
        now_ms: int,
        traces: Mapping[int, str] | None = None,
    ) -> list[Digest]:
        """The digests of a batch's events, given where each was read; large ones in parts.

        `traces` are the `traceparent`s of the sampled ones among them, by their place.

        An event that lies ahead of the wall clock tells nothing of how far its source has come:
        one wrong clock would make everything late that comes after it.
        A source partition that was heard from in this batch but in no shard is not among them:
        see `progress`.
        """
        pane_ms = self._pane_ms
        panes = [at_ms // pane_ms for at_ms in events.occurred_at_ms]
        groups: defaultdict[tuple[int, str, int], list[int]] = defaultdict(list)
        for index, where in enumerate(zip(partitions, events.shards, panes, strict=True)):
            groups[where].append(index)
        grouped = self._grouped(events, groups.values())
        newest = [max(times) for times, *_ in grouped]
        for (partition, _, _), indices, newest_ms in zip(
            groups, groups.values(), newest, strict=True
        ):
            self._seen(partition, offsets[indices[0]], offsets[indices[-1]])
            self._advance(partition, min(now_ms, newest_ms))
        followed: defaultdict[tuple[int, str, int], list[str]] = defaultdict(list)
        for index, traceparent in (traces or {}).items():
            followed[partitions[index], events.shards[index], panes[index]].append(traceparent)
        digests = []
        for (partition, shard, pane), indices, group, newest_ms in zip(
            groups, groups.values(), grouped, newest, strict=True
        ):
            named = followed.get((partition, shard, pane), []) if followed else []
            bodies: list[dict[str, Any]] = in_parts(self._counted(group), TUPLES_MAX)
            for part, body in enumerate(bodies):
                digest = Digest(
                    pipeline=self._pipeline.name,
                    shard=shard,
                    pane_start_ms=pane * pane_ms,
                    pane_end_ms=(pane + 1) * pane_ms,
                    source_partition=partition,
                    offset_first=offsets[indices[0]],
                    offset_last=offsets[indices[-1]],
                    progress_ms=self._progress_ms[partition],
                    newest_ms=newest_ms,
                    # The events are counted in the first part alone.
                    events=0 if part else len(indices),
                    part=part,
                    parts=len(bodies),
                    traces=() if part else tuple(named[:TRACES_MAX]),
                    **body,
                )
                digests.append(digest)
        return digests

    def add_progress(self, partition: int, offset: int, sent_until_ms: int) -> None:
        """Note a source's word that everything before that time has been sent.

        The watermark lags a source's progress by the lateness, so that is added here.
        """
        self._seen(partition, offset, offset)
        self._stated.add(partition)
        self._advance(partition, sent_until_ms + self._lateness_ms)

    def progress(self) -> Iterator[tuple[Digest, bool]]:
        """One digest without events per source partition heard from since the last call.

        It is for the shards that the source showed nothing of: they too must hear how far it is.
        With it comes whether the source stated it, in a record that somebody may be waiting on.
        """
        for partition, (first, last) in self._offsets.items():
            progress_ms = self._progress_ms.get(partition)
            if progress_ms is not None:
                pane = progress_ms // self._pane_ms
                digest = Digest(
                    pipeline=self._pipeline.name,
                    shard="",
                    pane_start_ms=pane * self._pane_ms,
                    pane_end_ms=(pane + 1) * self._pane_ms,
                    source_partition=partition,
                    offset_first=first,
                    offset_last=last,
                    progress_ms=progress_ms,
                )
                yield digest, partition in self._stated
        self._offsets.clear()
        self._stated.clear()

    def forget(self) -> None:
        """Drop what an aborted transaction had told."""
        self._offsets.clear()
        self._stated.clear()
        self._progress_ms.clear()

    def _seen(self, partition: int, low: int, high: int) -> None:
        # Statements are noted before the batch's events are counted: offsets come in any order.
        first, last = self._offsets.get(partition, (low, high))
        self._offsets[partition] = (min(first, low), max(last, high))

    def _advance(self, partition: int, at_ms: int) -> None:
        if at_ms > self._progress_ms.get(partition, -1):
            self._progress_ms[partition] = at_ms

    def _grouped(self, events: Events, groups: Collection[list[int]]) -> list[_Group]:
        """What is counted of the events, group by group."""
        wanted: list[Sequence[Any]] = [
            events.occurred_at_ms,
            events.amounts_minor,
            *[events.entities[role] for role in self._roles],
            *[
                events.labels if field == "label" else events.numbers[field]
                for _, _, field in self._aggregates
            ],
        ]
        if len(groups) > 1:
            # Each column is put in order at once and then cut: a group is often small.
            ordered = itemgetter(*chain.from_iterable(groups))
            wanted = [ordered(column) for column in wanted]
        found: list[_Group] = []
        start = 0
        for indices in groups:
            stop = start + len(indices)
            found.append([column[start:stop] for column in wanted])
            start = stop
        return found

    def _counted(self, group: _Group) -> list[Named]:
        """The columns of one group's events."""
        times, amounts, *rest = group
        roles = {role: _located(ids) for role, ids in zip(self._roles, rest, strict=False)}
        values = rest[len(self._roles) :]
        named = [
            ("link_columns", name, _links(roles[a], roles[b], amounts, times))
            for name, a, b in self._links
        ]
        for kind, of_kind in self._kinds.items():
            if len(of_kind) == 1:
                found = _tallies(roles[of_kind[0]], amounts)
            else:
                found = _tallies(*_together([roles[role].ids for role in of_kind], amounts))
            named.append(("tally_columns", kind, found))
        for (name, role, _), column in zip(self._aggregates, values, strict=True):
            named.append(("aggregate_columns", name, _aggregates(roles[role], column)))
        return named


def _located(ids: Sequence[str | None]) -> _Ids:
    """The ids with their places."""
    places = range(len(ids))
    last = dict(zip(ids, places, strict=True))
    if len(last) == len(ids):
        return _Ids(ids, last, frozenset())
    earlier = set(places)
    earlier.difference_update(last.values())
    return _Ids(ids, last, earlier)


def _tallies(located: _Ids, amounts: Sequence[int]) -> Columns:
    """(ids, events, amounts) of every entity in a role. Most appear once, and stay as they are."""
    ids, last, earlier = located
    events = [1] * len(ids)
    if not earlier and None not in last:
        return ids, events, amounts
    sums = list(amounts)
    for index in earlier:
        row = last[ids[index]]
        events[row] += 1
        events[index] = 0
        sums[row] += sums[index]
    if None in last:
        events[last[None]] = 0
    return list(compress(ids, events)), list(filter(None, events)), list(compress(sums, events))


def _links(a: _Ids, b: _Ids, amounts: Sequence[int], times: Sequence[int]) -> Columns:
    """(a, b, events, amounts, newest times) of every pair of entities that appear together."""
    # What repeats as a pair repeats in both roles: for the rest no pair need be made.
    repeated = a.earlier & b.earlier
    lacking = None in a.last or None in b.last
    events = [1] * len(times)
    if not repeated and not lacking:
        return a.ids, b.ids, events, amounts, times
    sums, newest_ms = list(amounts), list(times)
    rows: dict[tuple[str | None, str | None], int] = {}
    for index in repeated:
        one, other = a.ids[index], b.ids[index]
        # The pair is counted where one of the two stands last, if that is with the other.
        row = a.last[one]
        if b.ids[row] != other:
            row = b.last[other]
            if a.ids[row] != one:
                row = rows.setdefault((one, other), index)
                if row == index:
                    continue
        events[row] += 1
        events[index] = 0
        sums[row] += amounts[index]
        newest_ms[row] = max(newest_ms[row], times[index])
    if lacking:
        for index, pair in enumerate(zip(a.ids, b.ids, strict=True)):
            if None in pair:
                events[index] = 0
    return (
        list(compress(a.ids, events)),
        list(compress(b.ids, events)),
        list(filter(None, events)),
        list(compress(sums, events)),
        list(compress(newest_ms, events)),
    )


def _aggregates(located: _Ids, values: Sequence[float | None]) -> Columns:
    """(ids, counts, sums in millionths) of the values that are known."""
    sums = [0 if value is None else round(value * MICRO) for value in values]
    if None in values:
        valued = zip(located.ids, values, strict=True)
        located = _located([None if value is None else id_ for id_, value in valued])
    return _tallies(located, sums)


def _together(
    columns: Sequence[Sequence[str | None]], amounts: Sequence[int]
) -> tuple[_Ids, list[int]]:
    """Several roles of one kind, as if each event had one."""
    ids: list[str | None] = []
    sums: list[int] = []
    for row, amount in zip(zip(*columns, strict=True), amounts, strict=True):
        # An event whose source and target are one user counts once for that user.
        apart = dict.fromkeys(row)
        ids += apart
        sums += [amount] * len(apart)
    return _located(ids), sums
