"""Small pipelines, digests and graphs for the tests of the window stage."""

from collections.abc import Iterable
from typing import Any

import msgspec

from enrichment.pipelines import Pipeline
from enrichment.records import Aggregate, Digest, Link, MicroBatch, Tally
from enrichment.window.content import Content
from enrichment.window.horizon import Horizon
from enrichment.window.partition import Log, Partition

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
    tallies: dict[str, list[Tally]] = {"account": [], "device": []}
    for at_ms, account, device, payee, amount in events:
        tallies["device"].append(Tally(device, 1, amount, at_ms))
        tallies["account"] += [Tally(id_, 1, amount, at_ms) for id_ in {account, payee} - {""}]
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
        links={
            "account~device": tuple(Link(e[1], e[2], 1, e[4], e[0]) for e in events),
            "account>payee": tuple(Link(e[1], e[3], 1, e[4], e[0]) for e in events if e[3]),
        },
        tallies={kind: tuple(entries) for kind, entries in tallies.items()},
        aggregates={
            "paid": tuple(Aggregate(e[1], 1, e[4] * 10_000, e[0]) for e in events),
            "risk": tuple(Aggregate(e[2], 1, e[4] * 10_000, e[0]) for e in events),
        },
    )


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
