"""The digests of one batch: per (source partition, shard, pane) who appeared with whom. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, Final

from enrichment.enrich.events import Events
from enrichment.pipelines import Pipeline
from enrichment.records import Digest

TUPLES_MAX: Final = 4_000  # some 300 kB of JSON: well below any broker's message limit
MICRO: Final = 1_000_000

# A link, tally or aggregate as it is written: (id or ids, count, sum, newest time). The records'
# Structs are written alike, and take three times as long to make (measured).
Item = tuple[Any, ...]
Named = tuple[str, str, list[Item]]  # digest field, name within it, its items


class DigestBuilder:
    """Counts the events of a batch, and remembers how far each source partition has come."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._pane_ms = pipeline.window.pane_ms
        self._lateness_ms = pipeline.window.lateness_ms
        self._kinds: dict[str, list[str]] = {}
        for role in pipeline.entities:
            self._kinds.setdefault(pipeline.kind(role), []).append(role)
        self._links = [(link.name, *link.roles) for link in pipeline.links]
        self._aggregates = [(a.name, a.entity, a.field) for a in pipeline.aggregates]
        # Source partition -> (first offset, last offset) of this batch.
        self._offsets: dict[int, tuple[int, int]] = {}
        # Source partition -> the largest event time that it has ever shown here, ours at most.
        self._progress_ms: dict[int, int] = {}
        # Source partitions that stated their progress in this batch, in a record of its own.
        self._stated: set[int] = set()

    def digests(
        self, partitions: Sequence[int], offsets: Sequence[int], events: Events, now_ms: int
    ) -> list[Digest]:
        """The digests of a batch's events, given where each was read; large ones in parts.

        An event that lies ahead of the wall clock tells nothing of how far its source has come:
        one wrong clock would make everything late that comes after it.
        A source partition that was heard from in this batch but in no shard is not among them:
        see `progress`.
        """
        pane_ms, times = self._pane_ms, events.occurred_at_ms
        panes = [at_ms // pane_ms for at_ms in times]
        found: dict[tuple[int, str, int], list[int]] = {}
        for index, where in enumerate(zip(partitions, events.shards, panes, strict=True)):
            if (indices := found.get(where)) is None:
                found[where] = [index]
            else:
                indices.append(index)
        for (partition, _, _), indices in found.items():
            self._seen(partition, offsets[indices[0]], offsets[indices[-1]])
            self._advance(partition, min(now_ms, max([times[index] for index in indices])))
        digests = []
        for (partition, shard, pane), indices in found.items():
            head: dict[str, Any] = {
                "pipeline": self._pipeline.name,
                "shard": shard,
                "pane_start_ms": pane * pane_ms,
                "pane_end_ms": (pane + 1) * pane_ms,
                "source_partition": partition,
                "offset_first": offsets[indices[0]],
                "offset_last": offsets[indices[-1]],
                "progress_ms": self._progress_ms[partition],
            }
            bodies = list(_bodies(self._counted(events, indices)))
            for part, body in enumerate(bodies):
                # The events are counted in the first part alone.
                count = len(indices) if part == 0 else 0
                digests.append(Digest(**head, events=count, part=part, parts=len(bodies), **body))
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

    def _counted(self, events: Events, indices: list[int]) -> Iterator[Named]:
        """The items of the events at these positions."""
        amounts = [events.amounts_minor[index] for index in indices]
        times = [events.occurred_at_ms[index] for index in indices]
        ids = {
            role: [column[index] for index in indices] for role, column in events.entities.items()
        }
        for name, a, b in self._links:
            yield "links", name, _pairs(ids[a], ids[b], amounts, times)
        for kind, roles in self._kinds.items():
            yield "tallies", kind, _tallies([ids[role] for role in roles], amounts, times)
        for name, role, field in self._aggregates:
            column = events.labels if field == "label" else events.numbers[field]
            values = [column[index] for index in indices]
            known = [
                None if value is None else id_ for id_, value in zip(ids[role], values, strict=True)
            ]
            sums = [0 if value is None else round(value * MICRO) for value in values]
            yield "aggregates", name, _tallies([known], sums, times)


def _pairs(
    a: list[str | None], b: list[str | None], amounts: list[int], times: list[int]
) -> list[Item]:
    """(a, b, count, sum, newest) of every pair of entities that appear together."""
    pairs = list(zip(a, b, strict=True))
    if None in a or None in b:
        together = [index for index, pair in enumerate(pairs) if None not in pair]
        pairs = [pairs[index] for index in together]
        amounts, times = [amounts[i] for i in together], [times[i] for i in together]
    return [
        (*pair, count, sum_, newest) for pair, count, sum_, newest in _summed(pairs, amounts, times)
    ]


def _tallies(columns: list[list[str | None]], amounts: list[int], times: list[int]) -> list[Item]:
    """(id, count, sum, newest) of every entity in these roles of one kind."""
    if len(columns) == 1 and None not in columns[0]:
        return _summed(columns[0], amounts, times)
    rows = [
        (id_, amount, at_ms)
        for ids, amount, at_ms in zip(zip(*columns, strict=True), amounts, times, strict=True)
        # An event whose source and target are one user counts once for that user.
        for id_ in dict.fromkeys(ids)
        if id_ is not None
    ]
    return _summed(*([row[part] for row in rows] for part in range(3)))


def _summed(keys: Sequence[Any], amounts: Sequence[int], times: Sequence[int]) -> list[Item]:
    """(key, count, sum, newest) of each key. Most appear once, and are taken as they are."""
    rows = zip(keys, repeat(1), amounts, times)
    counted = Counter(keys)
    if len(counted) == len(keys):
        return list(rows)
    items: list[Item] = []
    counts: dict[Any, list[int]] = {}
    for row in rows:
        if counted[row[0]] == 1:
            items.append(row)
        else:
            _count(counts, row[0], row[2], row[3])
    items += [(key, *entry) for key, entry in counts.items()]
    return items


def _count(counts: dict[Any, list[int]], key: Any, amount: int, at_ms: int) -> None:
    """Add one event to a (count, sum, newest) entry."""
    entry = counts.get(key)
    if entry is None:
        counts[key] = [1, amount, at_ms]
    else:
        entry[0] += 1
        entry[1] += amount
        if at_ms > entry[2]:
            entry[2] = at_ms


def _bodies(named: Iterator[Named]) -> Iterator[dict[str, Any]]:
    """The items of a pane, in bodies of at most TUPLES_MAX."""
    body: dict[str, dict[str, list[Item]]] = {}
    room = TUPLES_MAX
    for kind, name, items in named:
        at = 0
        while at < len(items):
            if room == 0:
                yield body
                body, room = {}, TUPLES_MAX
            taken = items[at : at + room]
            body.setdefault(kind, {})[name] = taken
            at += len(taken)
            room -= len(taken)
    yield body
