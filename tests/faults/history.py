"""What clients of Kafka did and saw, and what in it no correct Kafka could have shown them.

In the manner of Jepsen's workload for Kafka: every record is written once under a value of its own,
writers note what they were told, readers note what they were given, and afterwards the notes are
held against each other. Nothing here knows a client or a clock; `recording` makes the histories.

A *span* is what one reader saw of one partition from one assignment to the next: within it offsets
rise, and every record between where it began and where it ended is given. Offsets may be missing
only where a transaction's marker or, for a committed reader, an aborted record lies.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from tests.faults.journal import Acked, Assigned, Ended, Op, Polled, Reached, Sent


class Kind(StrEnum):
    """The anomalies."""

    # Acknowledged and committed, never given to anybody, though who read there went past it.
    LOST = "lost write"
    # Acknowledged and committed, and no reader has come that far: wait longer, or it is lost.
    UNSEEN = "unseen"
    # One value at two places that a committed reader was given.
    DUPLICATE = "duplicate"
    ABORTED_READ = "aborted read"
    # Of a transaction that ended unknown to its writer, a part is there and a part is not.
    TORN = "torn transaction"
    NON_MONOTONIC = "non-monotonic poll"
    # Others were given it; this span went past it.
    SKIPPED = "skipped offset"
    INCONSISTENT = "inconsistent offset"
    # One writer's later record has the earlier offset.
    REORDERED = "reordered write"


class Place(NamedTuple):
    """Where a record lies."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """One thing that must not be, where it is, and who says so."""

    kind: Kind
    topic: str
    partition: int
    offset: int | None
    detail: str


@dataclass(slots=True, kw_only=True)
class _Span:
    """What one reader was given of one partition between two assignments, up to `end`."""

    begun: Assigned
    end: int
    offsets: list[int] = field(default_factory=list)

    def covers(self, place: Place) -> bool:
        """Whether this reader went past the place, and had begun at or before it."""
        here = (self.begun.topic, self.begun.partition) == (place.topic, place.partition)
        return here and self.begun.start <= place.offset < self.end


@dataclass(slots=True)
class _Facts:
    """What the history says, sorted out."""

    sends: dict[str, Sent] = field(default_factory=dict)
    acks: dict[str, int] = field(default_factory=dict)
    ends: dict[str, bool] = field(default_factory=dict)
    spans: list[_Span] = field(default_factory=list)
    # Place -> value -> who says so.
    values: dict[Place, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    # What committed readers were given: place -> value.
    seen: dict[Place, str] = field(default_factory=dict)
    # Topic, partition and key -> the newest offset known of it.
    newest: dict[tuple[str, int, str], int] = field(default_factory=dict)
    keys: dict[Place, str] = field(default_factory=dict)

    def place(self, send: str) -> Place | None:
        """Where a record lies, None where nobody was told."""
        if send not in self.acks:
            return None
        sent = self.sends[send]
        return Place(sent.topic, sent.partition, self.acks[send])

    def committed(self, sent: Sent) -> bool:
        """Whether its writer was told that it is there for good."""
        return self.ends.get(sent.transaction, False) if sent.transaction else True

    def aborted(self, sent: Sent) -> bool:
        """Whether its writer was told that nobody will see it."""
        return not self.ends.get(sent.transaction, True)

    def note(self, place: Place, key: str, value: str, who: str) -> None:
        """Remember that somebody says what lies at a place."""
        self.values[place].setdefault(value, who)
        self.keys[place] = key
        at = (place.topic, place.partition, key)
        self.newest[at] = max(self.newest.get(at, -1), place.offset)


def check(history: Iterable[Op], *, compacted: frozenset[str] = frozenset()) -> list[Anomaly]:
    """Every anomaly of the history. In `compacted` topics what has a newer record may be gone."""
    facts = _sorted_out(history)
    found = [
        *_inconsistent(facts),
        *_non_monotonic(facts),
        *_reordered(facts),
        *_duplicates(facts),
        *_aborted_reads(facts),
        *_torn(facts, compacted),
        *_missing(facts, compacted),
    ]
    return sorted(found, key=lambda each: (each.kind, each.topic, each.partition, each.offset or 0))


def _sorted_out(history: Iterable[Op]) -> _Facts:
    facts = _Facts()
    current: dict[tuple[str, str, int], _Span] = {}
    for op in history:
        match op:
            case Sent():
                facts.sends[op.send] = op
            case Acked():
                facts.acks[op.send] = op.offset
            case Ended():
                facts.ends[op.transaction] = op.committed
            case Assigned():
                span = _Span(begun=op, end=op.start)
                current[op.process, op.topic, op.partition] = span
                facts.spans.append(span)
            case Polled():
                _give(facts, current[op.process, op.topic, op.partition], op)
            case Reached():
                span = current[op.process, op.topic, op.partition]
                span.end = max(span.end, op.position)
    for send, sent in facts.sends.items():
        if (where := facts.place(send)) is not None:
            facts.note(where, sent.key, sent.value, sent.process)
    return facts


def _give(facts: _Facts, span: _Span, op: Polled) -> None:
    span.offsets.append(op.offset)
    span.end = max(span.end, op.offset + 1)
    place = Place(op.topic, op.partition, op.offset)
    facts.note(place, op.key, op.value, op.process)
    if span.begun.read_committed:
        facts.seen[place] = op.value


def _anomaly(kind: Kind, place: Place, detail: str) -> Anomaly:
    return Anomaly(
        kind=kind,
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
        detail=detail,
    )


def _inconsistent(facts: _Facts) -> Iterator[Anomaly]:
    for place, values in facts.values.items():
        if len(values) > 1:
            said = ", ".join(f"{value or 'a tombstone'} ({who})" for value, who in values.items())
            yield _anomaly(Kind.INCONSISTENT, place, said)


def _non_monotonic(facts: _Facts) -> Iterator[Anomaly]:
    for span in facts.spans:
        begun = span.begun
        for before, after in pairwise((begun.start - 1, *span.offsets)):
            if after <= before:
                place = Place(begun.topic, begun.partition, after)
                yield _anomaly(Kind.NON_MONOTONIC, place, f"{begun.process} had been at {before}")


def _reordered(facts: _Facts) -> Iterator[Anomaly]:
    last: dict[tuple[str, str, int], int] = {}
    for send, sent in facts.sends.items():
        place = facts.place(send)
        if place is None:
            continue
        writer = (sent.process, sent.topic, sent.partition)
        if place.offset <= last.get(writer, -1):
            detail = f"{sent.process} had written at {last[writer]} before"
            yield _anomaly(Kind.REORDERED, place, detail)
        last[writer] = place.offset


def _duplicates(facts: _Facts) -> Iterator[Anomaly]:
    first: dict[tuple[str, str], Place] = {}
    for place in sorted(facts.seen):
        value = facts.seen[place]
        if not value:  # tombstones are all alike
            continue
        earlier = first.setdefault((place.topic, value), place)
        if earlier != place:
            where = f"{earlier.partition}:{earlier.offset}"
            yield _anomaly(Kind.DUPLICATE, place, f"{value} is at {where} too")


def _aborted_reads(facts: _Facts) -> Iterator[Anomaly]:
    of_value: dict[tuple[str, str], list[Sent]] = defaultdict(list)
    at_place: dict[Place, Sent] = {}
    for send, sent in facts.sends.items():
        of_value[sent.topic, sent.value].append(sent)
        where = facts.place(send)
        if where is not None:
            at_place[where] = sent
    for place, value in facts.seen.items():
        # Where the offset was never told, the value must do: every sending of it was aborted.
        sent_here = at_place.get(place)
        senders = [sent_here] if sent_here is not None else of_value.get((place.topic, value), [])
        if senders and all(facts.aborted(sent) for sent in senders):
            detail = f"{value or 'a tombstone'} of {senders[0].transaction}"
            yield _anomaly(Kind.ABORTED_READ, place, detail)


def _torn(facts: _Facts, compacted: frozenset[str]) -> Iterator[Anomaly]:
    parts: dict[str, list[Place]] = defaultdict(list)
    for send, sent in facts.sends.items():
        place = facts.place(send)
        if sent.transaction and sent.transaction not in facts.ends and place is not None:
            parts[sent.transaction].append(place)
    for transaction, places in parts.items():
        there = [place for place in places if place in facts.seen]
        gone = [
            place
            for place in places
            if place not in facts.seen
            and _passed(facts, place)
            and not _replaced(facts, place, compacted)
        ]
        if there and gone:
            detail = f"{transaction}: {len(there)} of {len(there) + len(gone)} are there"
            yield _anomaly(Kind.TORN, gone[0], detail)


def _missing(facts: _Facts, compacted: frozenset[str]) -> Iterator[Anomaly]:
    """Lost writes, unseen ones and skipped offsets: what is there for good and was not given."""
    values = {(place.topic, value) for place, value in facts.seen.items()}
    for send, sent in facts.sends.items():
        if not facts.committed(sent):
            continue
        place = facts.place(send)
        if place is None:
            # Outside of a transaction, without an answer, it may or may not be there.
            if sent.transaction and sent.value and (sent.topic, sent.value) not in values:
                detail = f"{sent.value} of {sent.transaction}, which is committed"
                yield Anomaly(
                    kind=Kind.UNSEEN,
                    topic=sent.topic,
                    partition=sent.partition,
                    offset=None,
                    detail=detail,
                )
        elif place not in facts.seen and not _replaced(facts, place, compacted):
            kind = Kind.LOST if _passed(facts, place) else Kind.UNSEEN
            yield _anomaly(kind, place, f"{sent.value or 'a tombstone'} of {sent.process}")
    yield from _skipped(facts, compacted)


def _skipped(facts: _Facts, compacted: frozenset[str]) -> Iterator[Anomaly]:
    # Committed readers are given what one of them was given; others all that there is.
    held = {True: _by_partition(facts.seen), False: _by_partition(facts.values)}
    for span in facts.spans:
        given, begun = set(span.offsets), span.begun
        for place in held[begun.read_committed][begun.topic, begun.partition]:
            if (
                place.offset not in given
                and span.covers(place)
                and not _replaced(facts, place, compacted)
            ):
                detail = f"{begun.process} read {begun.start} to {span.end} without it"
                yield _anomaly(Kind.SKIPPED, place, detail)


def _passed(facts: _Facts, place: Place) -> bool:
    """Whether a committed reader went past the place."""
    return any(span.begun.read_committed and span.covers(place) for span in facts.spans)


def _replaced(facts: _Facts, place: Place, compacted: frozenset[str]) -> bool:
    """Whether compaction may have taken the record away."""
    key = facts.keys[place]
    newest = facts.newest[place.topic, place.partition, key]
    return place.topic in compacted and newest > place.offset


def _by_partition(places: Iterable[Place]) -> defaultdict[tuple[str, int], list[Place]]:
    found: defaultdict[tuple[str, int], list[Place]] = defaultdict(list)
    for place in sorted(places):
        found[place.topic, place.partition].append(place)
    return found
