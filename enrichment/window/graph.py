"""The sliding graph of who shared what, in columns of numbered entities and ties.

Accounts are tied to attributes (devices, beneficiaries: any entity that a shared link goes `via`)
and, by direct links, to each other. What came in one slice of event time is taken out with the
slice, at a cost in proportion to what leaves.
"""

import heapq
from collections.abc import Iterable
from typing import Final, TypeVar

import numpy as np

from enrichment.pipelines import Pipeline
from enrichment.records import Links, Tallies
from enrichment.window.content import Content, LinkSums, step_ms
from enrichment.window.entities import SIZE_MIN, Entities, Numbers, grown
from enrichment.window.slices import Held, Kept, Through
from enrichment.window.sliding import Batch, Sliding

# What one of each takes with its share of dictionaries and of columns that have room for more
# (measured with tracemalloc, by least squares over graphs of different shapes).
TIE_BYTES: Final = 270
NODE_BYTES: Final = 420
ROW_BYTES: Final = 24  # of a batch: a number, events and an amount

DIRECT: Final = ">"  # stands where a shared link's attribute kind would
_DIRECT: Final = 0  # its code

# Entity -> entity -> tie.
Adjacency = dict[int, dict[int, int]]
Ends = TypeVar("Ends", int, Numbers)


class Graph:
    """Ties and tallies of one shard, in slices of `step_ms`: a 64th of the horizon, or a window.

    Entities and ties are known by numbers. Those of ties are used again as soon as they leave,
    those of entities when they are released.
    """

    name = "graph"

    def __init__(self, pipeline: Pipeline) -> None:
        self.node_kind = pipeline.node_kind or ""
        self._step_ms = step_ms(pipeline.window.horizon_ms, pipeline.window.size_ms)
        # Link name -> the attribute's kind, or `>`.
        self._kind_of = {
            link.name: DIRECT if link.direct else pipeline.kind(link.roles[1])
            for link in pipeline.links
        }
        self.newest_ms = 0
        self.entities = Entities(self.node_kind)
        # By number of an entity; by number of a tie.
        self.tallies = Sliding()
        self.ties = Sliding()
        # By number of a tie: its ends (account and attribute, or source and target), when it was
        # seen last, and the start of the oldest slice that counts, or of an older one.
        self.tie_a = np.zeros(SIZE_MIN, np.int64)
        self.tie_b = np.zeros(SIZE_MIN, np.int64)
        self.tie_newest_ms = np.zeros(SIZE_MIN, np.int64)
        self._tie_first_ms = np.zeros(SIZE_MIN, np.int64)
        self._tie_kind = np.zeros(SIZE_MIN, np.int16)
        self._kinds = [DIRECT]
        # Ends and whether it is direct, as one number -> tie.
        self._tie_of: dict[int, int] = {}
        self._free_ties: list[int] = []
        # Account -> attribute -> tie, and attribute -> account -> tie.
        self.shared: Adjacency = {}
        # Account -> account -> tie, along direct links and against them.
        self.outgoing: Adjacency = {}
        self.incoming: Adjacency = {}
        self._oldest: list[int] = []
        self.kept = Kept()

    def slice_starts(self) -> Iterable[int]:
        """The starts of the slices that count."""
        return self.ties.starts

    def direct_degree(self, account: int) -> int:
        """How many others the account has direct links with, in either direction."""
        outgoing, incoming = self.outgoing.get(account, {}), self.incoming.get(account, {})
        if not outgoing or not incoming:
            return len(outgoing) + len(incoming)
        return len(outgoing.keys() | incoming.keys())

    def tied(self, number: int) -> bool:
        """Whether the entity has any tie."""
        return number in self.shared or number in self.outgoing or number in self.incoming

    def holds(self, number: int) -> bool:
        """Whether the entity is in any slice, or has any tie."""
        return self.entities.held(number) or self.tied(number)

    def release(self, numbers: Iterable[int]) -> list[int]:
        """Give up the numbers of entities that have left, and only of those; which they were."""
        return self.entities.release(number for number in numbers if not self.tied(number))

    @property
    def estimated_bytes(self) -> int:
        """About what ties and tallies take in memory."""
        return (
            TIE_BYTES * self.ties.size
            + NODE_BYTES * self.tallies.size
            + ROW_BYTES * (self.ties.rows + self.tallies.rows)
        )

    def first_ms(self, ties: list[int]) -> dict[int, int]:
        """The start of the oldest slice that counts, of each of these ties."""
        rows = np.array(ties, np.int64)
        known = list(self.ties.starts)
        oldest_ms = min(known, default=0)
        if (self._tie_first_ms[rows] < oldest_ms).any():
            sought = np.zeros(len(self.tie_a), np.bool_)
            sought[rows] = self._tie_first_ms[rows] < oldest_ms
            for start_ms in sorted(known):
                for batch in self.ties.batches(start_ms):
                    found = batch.numbers[sought[batch.numbers]]
                    self._tie_first_ms[found] = start_ms
                    sought[found] = False
                if not sought[rows].any():
                    break
        return dict(zip(ties, self._tie_first_ms[rows].tolist(), strict=True))

    def entries(self, start_ms: int) -> Held | None:
        """What the graph holds of the slice; None if it has left."""
        ties, tallies = self.ties.merged(start_ms), self.tallies.merged(start_ms)
        if ties is None or tallies is None:
            return None
        held, named = Held(), self.entities.named
        newest_ms = self.tie_newest_ms[ties.numbers].clip(start_ms, start_ms + self._step_ms - 1)
        kinds = self._tie_kind[ties.numbers]
        for code, kind in enumerate(self._kinds):
            chosen = np.flatnonzero(kinds == code)
            if len(chosen):
                rows = ties.numbers[chosen]
                held.ties[kind] = Links(
                    [named[number].id for number in self.tie_a[rows].tolist()],
                    [named[number].id for number in self.tie_b[rows].tolist()],
                    ties.events[chosen].tolist(),
                    ties.amount_minor[chosen].tolist(),
                    newest_ms[chosen].tolist(),
                )
        held.tallies.update(tallies_of(self.entities, tallies))
        return held

    def load(self, start_ms: int, held: Held, through: Through) -> None:
        """Hold this of the slice, or more of it."""
        start_ms = start_ms // self._step_ms * self._step_ms
        self.kept.load(start_ms, through)
        self._open(start_ms)
        for kind, links in held.ties.items():
            a = self.entities.numbers(self.node_kind, links.a)
            b = self.entities.numbers(self.node_kind if kind == DIRECT else kind, links.b)
            columns = (links.events, links.amount_minor, links.newest_ms)
            sums = LinkSums(a, b, *(np.array(column, np.int64) for column in columns))
            self._add_links(kind, sums, start_ms)
            self.newest_ms = max(self.newest_ms, max(links.newest_ms, default=0))
        for batch in batches_of(self.entities, held.tallies):
            self._add_tallies(start_ms, batch)

    def _open(self, start_ms: int) -> None:
        if start_ms not in self.ties.starts:
            self.ties.open(start_ms)
            self.tallies.open(start_ms)
            heapq.heappush(self._oldest, start_ms)

    def numbered(self, content: Content) -> tuple[Batch, dict[str, Numbers]]:
        """The content's tallies by our numbers; and by kind, our numbers by the content's."""
        ids, by_kind = content.ids, {}
        parts = [Batch(*np.empty((3, 0), np.int64))]
        for kind, (numbers, events, amount_minor) in content.tallies.items():
            ours = self.entities.numbers(kind, [ids[number] for number in numbers.tolist()])
            by_kind[kind] = np.full(len(ids), -1)
            by_kind[kind][numbers] = ours
            parts.append(Batch(ours, events, amount_minor))
        return Batch(*map(np.concatenate, zip(*parts, strict=True))), by_kind

    def _add(
        self, content: Content, start_ms: int, tallies: Batch, by_kind: dict[str, Numbers]
    ) -> None:
        for name, links in content.links.items():
            # None: a link that the pipeline file no longer names.
            if (kind := self._kind_of.get(name)) is not None:
                ends = (self.node_kind, self.node_kind if kind == DIRECT else kind)
                a, b = (
                    self._ends(numbers, end, by_kind, content)
                    for numbers, end in zip(links[:2], ends, strict=True)
                )
                self._add_links(kind, LinkSums(a, b, *links[2:]), start_ms)
        self._add_tallies(start_ms, tallies)

    def _ends(
        self, numbers: Numbers, kind: str, by_kind: dict[str, Numbers], content: Content
    ) -> Numbers:
        """Our numbers of the ends of links."""
        if kind not in by_kind:
            by_kind[kind] = np.full(len(content.ids), -1)
        ours: Numbers = by_kind[kind][numbers]
        if (ours < 0).any():  # its tally is in another part of a late digest
            missing, ids = np.unique(numbers[ours < 0]), content.ids
            by_kind[kind][missing] = self.entities.numbers(kind, [ids[n] for n in missing.tolist()])
            ours = by_kind[kind][numbers]
        return ours

    def _add_tallies(self, start_ms: int, batch: Batch) -> None:
        self.tallies.fit(len(self.entities))
        self.entities.hold(self.tallies.add(start_ms, batch))

    def _add_links(self, kind: str, links: LinkSums, start_ms: int) -> None:
        """Add links, each once; an account that is tied to itself ties nobody."""
        a, b, events, amount_minor, newest_ms = links
        if kind == DIRECT and (a == b).any():
            others = a != b
            a, b, events, amount_minor, newest_ms = (column[others] for column in links)
        if kind not in self._kinds:
            self._kinds.append(kind)
        code = self._kinds.index(kind)
        keys = _keys(a, b, direct=kind == DIRECT).tolist()
        get = self._tie_of.get
        ties = np.array([get(key, -1) for key in keys], np.int64)
        for at in np.flatnonzero(ties < 0).tolist():
            ties[at] = self._connected(keys[at], int(a[at]), int(b[at]), code)
            self._tie_first_ms[ties[at]] = start_ms
        self.ties.add(start_ms, Batch(ties, events, amount_minor))
        self.tie_newest_ms[ties] = np.maximum(self.tie_newest_ms[ties], newest_ms)
        self._tie_first_ms[ties] = np.minimum(self._tie_first_ms[ties], start_ms)

    def _connected(self, key: int, a: int, b: int, kind: int) -> int:
        """A new tie, in its place."""
        tie = self._free_ties.pop() if self._free_ties else len(self._tie_of)
        self._tie_of[key] = tie
        self._fit(tie + 1)
        self.tie_a[tie], self.tie_b[tie] = a, b
        self.tie_newest_ms[tie] = 0
        self._tie_kind[tie] = kind
        out, into = self._adjacency(direct=kind == _DIRECT)
        out.setdefault(a, {})[b] = tie
        into.setdefault(b, {})[a] = tie
        return tie

    def _adjacency(self, *, direct: bool) -> tuple[Adjacency, Adjacency]:
        """Where ties of that sort stand by their first end, and by their second."""
        return (self.outgoing, self.incoming) if direct else (self.shared, self.shared)

    def _fit(self, ties: int) -> None:
        if ties > len(self.tie_a):
            self.ties.fit(ties)
            self.tie_a, self.tie_b = grown(self.tie_a, ties), grown(self.tie_b, ties)
            self.tie_newest_ms = grown(self.tie_newest_ms, ties)
            self._tie_first_ms = grown(self._tie_first_ms, ties)
            self._tie_kind = grown(self._tie_kind, ties)

    def _expire(self, start_ms: int) -> set[int]:
        """Take one slice's contributions out; whose last ties or events these were."""
        self.kept.left(start_ms)
        untied: set[int] = set()
        for tie in self.ties.take_out(start_ms).tolist():
            untied.update(self._disconnect(tie))
        left = self.tallies.take_out(start_ms)
        self.entities.drop(left)
        untied.update(left.tolist())
        return untied

    def _disconnect(self, tie: int) -> tuple[int, int]:
        """Take the tie out of the adjacency; its two ends."""
        a, b = int(self.tie_a[tie]), int(self.tie_b[tie])
        direct = bool(self._tie_kind[tie] == _DIRECT)
        del self._tie_of[_keys(a, b, direct=direct)]
        self._free_ties.append(tie)
        out, into = self._adjacency(direct=direct)
        _drop(out, a, b)
        _drop(into, b, a)
        return a, b


def tallies_of(entities: Entities, batch: Batch) -> dict[str, Tallies]:
    """A batch of entities by kind and id, to be kept."""
    columns = (column.tolist() for column in batch)
    by_kind: dict[str, Tallies] = {}
    for number, events, amount_minor in zip(*columns, strict=True):
        kind, id_ = entities.named[number]
        if (tallies := by_kind.get(kind)) is None:
            tallies = by_kind[kind] = Tallies([], [], [])
        tallies.ids.append(id_)
        tallies.events.append(events)
        tallies.amount_minor.append(amount_minor)
    return by_kind


def batches_of(entities: Entities, by_kind: dict[str, Tallies]) -> Iterable[Batch]:
    """What was kept, by number again."""
    for kind, tallies in by_kind.items():
        events = np.array(tallies.events, np.int64)
        amount_minor = np.array(tallies.amount_minor, np.int64)
        yield Batch(entities.numbers(kind, tallies.ids), events, amount_minor)


def _keys(a: Ends, b: Ends, *, direct: bool) -> Ends:
    """Both ends, and whether it is direct, as one number."""
    return a << 33 | b << 1 | int(direct)


def _drop(table: Adjacency, outer: int, inner: int) -> None:
    """Remove an entry, and its row with the last one."""
    row = table[outer]
    del row[inner]
    if not row:
        del table[outer]
