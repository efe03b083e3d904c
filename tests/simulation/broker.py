"""Kafka in memory with what only time and other clients bring: sessions, compaction, markers.

The transactions are those of `tests.memory_kafka`, which pass the same contract as a real broker.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from tests.memory_kafka import Entry, MemoryKafka, Place, Transaction
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.consumer import SimConsumer

SESSION_MS: Final = 6_000
TRANSACTION_MS: Final = 10_000

MARKER: Final = Transaction("", state="marker")
GONE: Final = Transaction("", state="compacted")


class Witness(Protocol):
    """Who sees what becomes visible to committed readers."""

    def committed(
        self, id_: str, entries: list[tuple[Place, int, Entry]], offsets: dict[Place, int]
    ) -> None:
        """Called for each transaction as it commits, and for each record without one."""


@dataclass(slots=True, eq=False)
class Group:
    """One consumer group: who belongs to it, and who owns what."""

    members: dict[str, "SimConsumer"] = field(default_factory=dict)
    generation: int = 0
    owners: dict[Place, "SimConsumer"] = field(default_factory=dict)
    # How partitions are dealt out now.
    deal: int = 0

    def release(self, member: "SimConsumer") -> None:
        """Nobody owns any more what that member did."""
        self.owners = {place: owner for place, owner in self.owners.items() if owner is not member}

    def remove(self, name: str) -> None:
        """A member leaves, or is heard of no more."""
        if (member := self.members.pop(name, None)) is not None:
            self.release(member)
            self.generation += 1

    def share(self, number: int) -> "SimConsumer":
        """Who should own the partition of that number."""
        names = sorted(self.members)
        return self.members[names[(number + self.deal) % len(names)]]


class Broker(MemoryKafka):
    """The one broker of a world."""

    def __init__(self, world: World, topics: dict[str, int], witness: Witness) -> None:
        super().__init__(topics)
        self._world = world
        self._witness = witness
        self.groups: defaultdict[str, Group] = defaultdict(Group)
        # Where each open transaction has its first record, by partition, and since when it is open.
        self._first: dict[Transaction, dict[Place, int]] = {}
        self._written: dict[Transaction, list[tuple[Place, int, Entry]]] = {}
        self._since_ms: dict[Transaction, int] = {}
        world.on_time.append(self._time_passes)

    def append(self, topic: str, partition: int, entry: Entry) -> None:
        """Write one record."""
        place = (topic, partition)
        at = len(self.logs[place])
        self.logs[place].append(entry)
        if entry.transaction is None:
            self._witness.committed("", [(place, at, entry)], {})
            return
        if entry.transaction.state == "open":
            self._first.setdefault(entry.transaction, {}).setdefault(place, at)
            self._written.setdefault(entry.transaction, []).append((place, at, entry))
            self._since_ms.setdefault(entry.transaction, self._world.now_ms)

    def end(self, id_: str, state: str) -> None:
        """End the open transaction of that id: its markers take an offset of each partition."""
        transaction = self.transactions.get(id_)
        super().end(id_, state)
        if transaction is None:
            return
        self._since_ms.pop(transaction, None)
        for place in self._first.pop(transaction, {}):
            self.logs[place].append(Entry(None, None, None, 0, MARKER))
        written = self._written.pop(transaction, [])
        if state == "committed":
            self._witness.committed(id_, written, transaction.offsets)

    def readable(self, place: Place) -> int:
        """Where a committed reader has to stop for now."""
        firsts = [first[place] for first in self._first.values() if place in first]
        return min(firsts, default=len(self.logs[place]))

    def newest(self, topic: str) -> dict[bytes, bytes]:
        """Key -> newest committed value of a compacted topic, tombstones left out."""
        found: dict[bytes, bytes | None] = {}
        for entry in self.committed(topic):
            found[entry.key or b""] = entry.value
        return {key: value for key, value in found.items() if value is not None}

    def compact(self, place: Place, through: int) -> int:
        """Drop before that offset what a later record there replaces; how many records went."""
        log, gone = self.logs[place], 0
        seen: set[bytes] = set()
        for at in reversed(range(min(through, self.readable(place)))):
            entry = log[at]
            if not entry.committed or entry.key is None:
                continue
            if entry.key in seen:
                log[at] = Entry(entry.key, None, None, 0, GONE)
                gone += 1
            seen.add(entry.key)
        return gone

    def _time_passes(self, now_ms: int) -> None:
        for group in self.groups.values():
            for name, member in tuple(group.members.items()):
                silent_ms = member.process.silent_ms
                if silent_ms is not None and now_ms - silent_ms >= SESSION_MS:
                    self._world.note("broker", f"session of {name} is over")
                    self._world.met["sessions run out"] += 1
                    self.members.pop(name, None)
                    group.remove(name)
        for id_, transaction in tuple(self.transactions.items()):
            since_ms = self._since_ms.setdefault(transaction, now_ms)
            if now_ms - since_ms >= TRANSACTION_MS:
                self._world.note("broker", f"transaction of {id_} is too old")
                self._world.met["transactions timed out"] += 1
                self.epochs[id_] += 1
                self.end(id_, "aborted")
