"""The digests of one batch: per (source partition, shard, pane) who appeared with whom. Pure."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from enrichment.enrich.decode import Event
from enrichment.pipelines import Pipeline
from enrichment.records import Aggregate, Digest, Link, Tally

TUPLES_MAX: Final = 4_000  # some 300 kB of JSON: well below any broker's message limit
MICRO: Final = 1_000_000


class _Pane:
    """What one source partition showed of one shard in one pane, while it is being counted."""

    __slots__ = ("aggregates", "events", "links", "offset_first", "offset_last", "tallies")

    def __init__(self, offset: int) -> None:
        self.offset_first = self.offset_last = offset
        self.events = 0
        self.links: dict[str, dict[tuple[str, str], list[int]]] = defaultdict(dict)
        self.tallies: dict[str, dict[str, list[int]]] = defaultdict(dict)
        self.aggregates: dict[str, dict[str, list[int]]] = defaultdict(dict)


class DigestBuilder:
    """Counts the events of one batch, and remembers how far each source partition has come."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._pane_ms = pipeline.window.pane_ms
        self._lateness_ms = pipeline.window.lateness_ms
        self._kinds = [(role, pipeline.kind(role)) for role in pipeline.entities]
        self._links = [(link.name, *link.roles) for link in pipeline.links]
        self._aggregates = [(a.name, a.entity, a.field) for a in pipeline.aggregates]
        self._panes: dict[tuple[int, str, int], _Pane] = {}
        # Source partition -> (first offset, last offset) of this batch.
        self._offsets: dict[int, tuple[int, int]] = {}
        # Source partition -> the largest event time that it has ever shown here.
        self._progress_ms: dict[int, int] = {}
        # Source partitions that stated their progress in this batch, in a record of its own.
        self._stated: set[int] = set()

    def add(self, partition: int, offset: int, event: Event) -> None:
        """Count one valid event."""
        self._seen(partition, offset)
        at_ms = event.occurred_at_ms
        if at_ms > self._progress_ms.get(partition, -1):
            self._progress_ms[partition] = at_ms
        where = (partition, event.shard, at_ms // self._pane_ms)
        pane = self._panes.get(where)
        if pane is None:
            pane = self._panes[where] = _Pane(offset)
        pane.offset_last = offset
        pane.events += 1
        entities, amount = event.entities, event.amount_minor
        counted = set()
        for role, kind in self._kinds:
            # An event whose source and target are one user counts once for that user.
            if (id_ := entities.get(role)) is not None and (kind, id_) not in counted:
                counted.add((kind, id_))
                _count(pane.tallies[kind], id_, amount, at_ms)
        for name, a, b in self._links:
            if a in entities and b in entities:
                _count(pane.links[name], (entities[a], entities[b]), amount, at_ms)
        for name, role, field in self._aggregates:
            value = event.label if field == "label" else event.numbers[field]
            if role in entities and value is not None:
                _count(pane.aggregates[name], entities[role], round(value * MICRO), at_ms)

    def add_progress(self, partition: int, offset: int, sent_until_ms: int) -> None:
        """Note a source's word that everything before that time has been sent.

        The watermark lags a source's progress by the lateness, so that is added here.
        """
        self._seen(partition, offset)
        self._stated.add(partition)
        progress_ms = sent_until_ms + self._lateness_ms
        if progress_ms > self._progress_ms.get(partition, -1):
            self._progress_ms[partition] = progress_ms

    def _seen(self, partition: int, offset: int) -> None:
        # Statements are noted before the batch's events are counted: offsets come in any order.
        first, last = self._offsets.get(partition, (offset, offset))
        self._offsets[partition] = (min(first, offset), max(last, offset))

    def drain(self) -> Iterator[Digest]:
        """The digests of everything counted since the last call, largest shards split in parts.

        A source partition that was heard from in this batch but in no shard is not among them:
        see `progress`.
        """
        for (partition, shard, pane), counted in self._panes.items():
            head: dict[str, Any] = {
                "pipeline": self._pipeline.name,
                "shard": shard,
                "pane_start_ms": pane * self._pane_ms,
                "pane_end_ms": (pane + 1) * self._pane_ms,
                "source_partition": partition,
                "offset_first": counted.offset_first,
                "offset_last": counted.offset_last,
                "progress_ms": self._progress_ms[partition],
            }
            bodies = list(_bodies(counted))
            for part, body in enumerate(bodies):
                # The events are counted in the first part alone.
                events = counted.events if part == 0 else 0
                yield Digest(**head, events=events, part=part, parts=len(bodies), **body)
        self._panes.clear()

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
        """Drop what was counted but not drained: its transaction was aborted."""
        self._panes.clear()
        self._offsets.clear()
        self._stated.clear()
        self._progress_ms.clear()


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


def _bodies(pane: _Pane) -> Iterator[dict[str, Any]]:
    """The tuples of a pane, sorted, in bodies of at most TUPLES_MAX."""
    body: dict[str, dict[str, list[Any]]] = {}
    room = TUPLES_MAX
    for kind, name, item in _tuples(pane):
        if room == 0:
            yield _frozen(body)
            body, room = {}, TUPLES_MAX
        body.setdefault(kind, {}).setdefault(name, []).append(item)
        room -= 1
    yield _frozen(body)


def _tuples(pane: _Pane) -> Iterator[tuple[str, str, Link | Tally | Aggregate]]:
    """(digest field, name within it, tuple) in one fixed order."""
    for name, links in sorted(pane.links.items()):
        for (a, b), counts in sorted(links.items()):
            yield "links", name, Link(a, b, *counts)
    for kind, tallies in sorted(pane.tallies.items()):
        for id_, counts in sorted(tallies.items()):
            yield "tallies", kind, Tally(id_, *counts)
    for name, aggregates in sorted(pane.aggregates.items()):
        for id_, counts in sorted(aggregates.items()):
            yield "aggregates", name, Aggregate(id_, *counts)


def _frozen(body: dict[str, dict[str, list[Any]]]) -> dict[str, dict[str, tuple[Any, ...]]]:
    return {
        kind: {name: tuple(items) for name, items in names.items()} for kind, names in body.items()
    }
