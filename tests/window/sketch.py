"""Small pipelines, digests and graphs for the tests of the window stage."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from enrichment.pipelines import Pipeline
from enrichment.records import Aggregates, Digest, Links, MicroBatch, Tallies
from enrichment.window.content import Content
from enrichment.window.entities import Entity
from enrichment.window.graph import DIRECT
from enrichment.window.horizon import Horizon
from enrichment.window.partition import Log, Partition
from enrichment.window.sliding import Sliding

PANE_MS = 10
SIZE_MS = 40
HORIZON_MS = 400


def pipeline(**window: Any) -> Pipeline:
    """Accounts that share devices, and pay each other; one aggregate at once and one delayed."""
    return msgspec.convert(
        {
            "stream": {"name": "p", "id": "id", "key": "account", "time": "t", "amount": "m"},
            "entities": {
                "account": "account",
                "device": "device",
                "payee": {"field": "payee", "kind": "account"},
            },
            "links": [
                {"between": "account", "via": "device", "degree_max": 4},
                {"from": "account", "to": "payee", "degree_max": 6},
            ],
            "aggregates": [
                {"name": "paid", "entity": "account", "field": "m"},
                {"name": "risk", "entity": "device", "field": "m", "span_ms": 100, "delay_ms": 50},
            ],
            "window": {
                "pane_ms": PANE_MS,
                "size_ms": SIZE_MS,
                "lateness_ms": 0,
                "idle_close_ms": 1_000,
                "ahead_max_ms": 10**9,
                "horizon_ms": HORIZON_MS,
                "shard": "region",
            }
            | window,
            "problem": {"variables_max": 6, "problems_max": 4},
            "score": {
                "version": "1",
                "bias": 0.0,
                "terms": [{"name": "x", "value": "event.m", "weight": 1.0}],
            },
        },
        Pipeline,
    )


# One event: (time, account, device, payee or "", amount in minor units).
Event = tuple[int, str, str, str, int]


def digest(
    events: Iterable[Event], *, source: int = 0, shard: str = "s", progress_ms: int | None = None
) -> Digest:
    """What an enricher makes of events of one pane."""
    events = list(events)
    start_ms = events[0][0] // PANE_MS * PANE_MS
    assert all(start_ms <= event[0] < start_ms + PANE_MS for event in events)
    newest_ms = max(event[0] for event in events)
    parties = [(id_, e[4]) for e in events for id_ in sorted({e[1], e[3]} - {""})]
    devices = [(e[2], e[4]) for e in events]
    paid = [e for e in events if e[3]]
    return Digest(
        pipeline="p",
        shard=shard,
        pane_start_ms=start_ms,
        pane_end_ms=start_ms + PANE_MS,
        source_partition=source,
        offset_first=0,
        offset_last=0,
        progress_ms=newest_ms if progress_ms is None else progress_ms,
        events=len(events),
        newest_ms=newest_ms,
        link_columns={
            "account~device": _links([(e[1], e[2], e) for e in events]),
            "account>payee": _links([(e[1], e[3], e) for e in paid]),
        },
        tally_columns={"account": _tallies(parties), "device": _tallies(devices)},
        aggregate_columns={
            "paid": _aggregates([(e[1], e[4]) for e in events]),
            "risk": _aggregates([(e[2], e[4]) for e in events]),
        },
    )


def _links(rows: list[tuple[str, str, Event]]) -> Links:
    """A row for each event, as it comes: pairs may come twice."""
    a, b = [row[0] for row in rows], [row[1] for row in rows]
    events = [row[2] for row in rows]
    return Links(a, b, [1] * len(rows), [e[4] for e in events], [e[0] for e in events])


def _tallies(rows: list[tuple[str, int]]) -> Tallies:
    return Tallies([row[0] for row in rows], [1] * len(rows), [row[1] for row in rows])


def _aggregates(rows: list[tuple[str, int]]) -> Aggregates:
    sums = [row[1] * 10_000 for row in rows]
    return Aggregates([row[0] for row in rows], [1] * len(rows), sums)


def progress(progress_ms: int, *, source: int = 0) -> Digest:
    """A source's word of how far it has come, without events."""
    start_ms = progress_ms // PANE_MS * PANE_MS
    return Digest(
        pipeline="p",
        shard="",
        pane_start_ms=start_ms,
        pane_end_ms=start_ms + PANE_MS,
        source_partition=source,
        offset_first=0,
        offset_last=0,
        progress_ms=progress_ms,
    )


def content(events: Iterable[Event]) -> Content:
    """The content of one window with those events."""
    by_pane: dict[int, list[Event]] = {}
    for event in events:
        by_pane.setdefault(event[0] // PANE_MS, []).append(event)
    start_ms = min(by_pane) * PANE_MS // SIZE_MS * SIZE_MS
    merged = Content(start_ms, start_ms + SIZE_MS)
    for some in by_pane.values():
        merged.add(digest(some))
    return merged


def horizon(events: Iterable[Event], now_ms: int | None = None, **bounds: int) -> Horizon:
    """A horizon that has seen those events, and stands at `now_ms`."""
    built = Horizon(pipeline(), **bounds)
    by_window: dict[int, list[Event]] = {}
    for event in events:
        by_window.setdefault(event[0] // SIZE_MS, []).append(event)
    for number, (_, some) in enumerate(sorted(by_window.items())):
        built.fold(content(some), number)
    if now_ms is not None:
        built.advance(now_ms)
    return built


class TieKey(NamedTuple):
    """Account and attribute of that kind, or with kind `>` source and target of a direct link."""

    kind: str
    a: str
    b: str


class Tie(NamedTuple):
    """What a horizon holds of a tie."""

    events: int
    amount_minor: int
    newest_ms: int
    first_ms: int


def ties(built: Horizon) -> dict[TieKey, Tie]:
    """The ties of a horizon by name, as its adjacency has them; both ways, or the test fails."""
    named, found = built.entities.named, {}
    first_ms = built.first_ms([t for row in both(built) for t in row.values()])
    for table, way_back in ((built.shared, built.shared), (built.outgoing, built.incoming)):
        direct = table is not built.shared
        for a, row in table.items():
            for b, tie in row.items():
                assert way_back[b][a] == tie
                if named[a].kind == built.node_kind:
                    key = TieKey(DIRECT if direct else named[b].kind, named[a].id, named[b].id)
                    found[key] = Tie(
                        events=int(built.ties.events[tie]),
                        amount_minor=int(built.ties.amount_minor[tie]),
                        newest_ms=int(built.tie_newest_ms[tie]),
                        first_ms=first_ms[tie],
                    )
    assert len(found) == built.ties.size
    assert sum(map(len, built.incoming.values())) == sum(map(len, built.outgoing.values()))
    return found


def both(built: Horizon) -> list[dict[int, int]]:
    """All rows of the adjacency."""
    return [*built.shared.values(), *built.outgoing.values()]


def tallies(built: Horizon, totals: Sliding | None = None) -> dict[Entity, tuple[int, int]]:
    """Events and amounts of who is in a horizon, or in one of its spans."""
    sums = built.tallies if totals is None else totals
    found = {
        built.entities.named[number]: (int(sums.events[number]), int(sums.amount_minor[number]))
        for number in sums.parts.nonzero()[0].tolist()
    }
    assert len(found) == sums.size
    return found


def numbers(built: Horizon, names: Iterable[str], kind: str = "account") -> list[int]:
    """The numbers of those that have one."""
    found = [built.entities.find(kind, name) for name in names]
    return [number for number in found if number is not None]


class Run:
    """A partition that is fed digests, and what it published."""

    def __init__(self, spec: Pipeline, *, start: int = 0, log: Log | None = None) -> None:
        self.partition = Partition(spec, 0, start=start)
        self.log: list[tuple[int, MicroBatch]] = list(log.closes) if log else []
        self.closed: list[MicroBatch] = []
        self.now_ms = 0
        if log is not None:
            self.partition.follow(log, now_ms=0)

    def feed(self, digests: Iterable[tuple[int, Digest]]) -> None:
        """Receive (offset, digest), and publish what is due after each."""
        for offset, one in digests:
            self.now_ms += 1
            self.partition.receive(one, offset, written_ms=self.now_ms, now_ms=self.now_ms)
            self.close()

    def settle(self) -> None:
        """Nothing more is there to read for the moment."""
        self.partition.settle()
        self.close()

    def idle(self) -> None:
        """A long time passes."""
        self.now_ms += 10_000
        self.close()

    def close(self) -> None:
        """Publish what is due."""
        for close in self.partition.due(self.now_ms):
            self.partition.published(close, len(self.log))
            self.log.append((len(self.log), close.micro_batch))
            self.closed.append(close.micro_batch)
