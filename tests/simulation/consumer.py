"""A consumer of the simulated broker, as the stages use confluent-kafka's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from tests.memory_kafka import Place, Received
from tests.simulation.broker import Broker
from tests.simulation.money import Admin
from tests.simulation.world import Instance

EOF_CODE = KafkaError._PARTITION_EOF
Told = Callable[[Any, list[TopicPartition]], None]


class SimConsumer:
    """A consumer of the process that makes it; a member of its group once it has subscribed."""

    def __init__(self, broker: Broker, process: Instance, config: Mapping[str, Any]) -> None:
        self.process = process
        self.instance = str(config.get("group.instance.id", ""))
        self.generation = -1
        self._broker = broker
        self._group = broker.groups[config["group.id"]]
        self._tells_ends = bool(config.get("enable.partition.eof", False))
        self._cooperative = "cooperative" in str(config.get("partition.assignment.strategy", ""))
        self._topics: list[str] = []
        self._positions: dict[Place, int] = {}
        self._owned: set[Place] = set()
        self._paused: set[Place] = set()
        # Where the end of a partition was told of last.
        self._told: dict[Place, int] = {}
        self._on_assign: Told = lambda *_: None
        self._on_revoke: Told = lambda *_: None
        self._joined = False

    # Belonging to the group.

    def subscribe(
        self,
        topics: list[str],
        *,
        on_assign: Told,
        on_revoke: Told | None = None,
        on_lost: Told | None = None,
    ) -> None:
        """Join the group with the next poll."""
        assert on_lost == on_revoke
        self._topics, self._on_assign = topics, on_assign
        self._on_revoke = on_revoke or self._on_revoke
        self._joined = False

    def unsubscribe(self) -> None:
        """Leave, and know of nothing any more."""

        def leave() -> None:
            self._forget(self._owned)
            if self._group.members.get(self.instance) is self:
                self._group.release(self)
                self._group.generation += 1
            self._topics = []

        self.process.call("unsubscribe", leave)

    def close(self) -> None:
        """End: a static member's partitions wait for it, until its session runs out."""

        def end() -> None:
            if self._owned:
                self._on_revoke(self, [TopicPartition(*place) for place in sorted(self._owned)])
            self._forget(self._owned)
            self._topics = []

        if not self.process.dead:
            self.process.call("close", end)

    def consumer_group_metadata(self) -> Any:
        """What fences: who we are, and since which rebalance."""
        return self.process.call("metadata", lambda: (self, self.generation))

    def _forget(self, places: set[Place]) -> None:
        for place in sorted(places):
            self._positions.pop(place, None)
            self._paused.discard(place)
        self._owned = self._owned - places

    def _rebalance(self) -> None:
        """Give up and take over, as the group wants it."""
        broker, group = self._broker, self._group
        member = group.members.get(self.instance)
        if member is not self:
            if self._owned:
                self._on_revoke(self, [TopicPartition(*place) for place in sorted(self._owned)])
                self._forget(self._owned)
            if member is not None and self._joined:
                raise FencedInstanceError(self.instance)
            if member is not None:
                group.release(member)
            group.members[self.instance] = broker.members[self.instance] = self  # type: ignore[assignment]
            group.generation += 1
            self._joined = True
        shares = {
            (topic, number)
            for topic in self._topics
            for number in range(broker.topics[topic])
            if group.share(number) is self
        }
        if self.generation != group.generation:
            self.generation = group.generation
            self._give_up(self._owned - shares if self._cooperative else set(self._owned))
            if group.members.get(self.instance) is not self:
                return  # removed while it gave up: nothing is given to it
        new = {place for place in shares - self._owned if place not in group.owners}
        if not new or (not self._cooperative and self._owned | new != shares):
            return
        for place in new:
            group.owners[place] = self
        self._owned |= new
        self.process.world.note(self.instance, f"is given {sorted(new)}")
        self._on_assign(self, [TopicPartition(*place) for place in sorted(new)])

    def _give_up(self, gone: set[Place]) -> None:
        if not gone:
            return
        self.process.world.note(self.instance, f"gives up {sorted(gone)}")
        self._on_revoke(self, [TopicPartition(*place) for place in sorted(gone)])
        self._forget(gone)
        for place in gone:
            if self._group.owners.get(place) is self:
                del self._group.owners[place]

    # Reading.

    def assign(self, wanted: Sequence[TopicPartition]) -> None:
        """Read these, and nothing else."""
        self._positions = {}
        self._told = {}
        self.incremental_assign(wanted)

    def incremental_assign(self, wanted: Sequence[TopicPartition]) -> None:
        """Read these, too."""
        for each in wanted:
            self._positions[each.topic, each.partition] = _from(each.offset)

    def unassign(self) -> None:
        """Read nothing."""
        self._positions = {}

    def assignment(self) -> list[TopicPartition]:
        """What is read."""
        return [TopicPartition(*place) for place in sorted(self._positions)]

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        """Take no more of these for now."""
        self._paused |= {(each.topic, each.partition) for each in partitions}

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        """Take more of these again."""
        self._paused -= {(each.topic, each.partition) for each in partitions}

    def seek(self, where: TopicPartition) -> None:
        """Read on from there."""
        self._positions[where.topic, where.partition] = _from(where.offset)
        self._told.pop((where.topic, where.partition), None)

    def poll(self, _timeout_s: float = 0) -> Received | None:
        """One record of what is there, and the time when rebalances are told."""

        def look() -> Received | None:
            if self._topics:
                self._rebalance()
            return next(iter(self._take(1)), None)

        found: Received | None = self.process.call("poll", look)
        return found

    def consume(self, count: int = 1, timeout: float = 0) -> list[Received]:
        """What is there; where there is nothing, that is worth waiting for."""
        found: list[Received] = self.process.call("consume", lambda: self._take(count))
        if not found and timeout:
            self.process.world.pause(int(timeout * 1000))
        return found

    def _take(self, count: int) -> list[Received]:
        found: list[Received] = []
        for place, position in sorted(self._positions.items()):
            if place in self._paused or len(found) >= count:
                continue
            log, end = self._broker.logs[place], self._broker.readable(place)
            at = position
            while at < end and len(found) < count:
                if log[at].committed:
                    found.append(Received(place, at, log[at]))
                at += 1
            self._positions[place] = max(at, position)
            if (
                self._tells_ends
                and at >= end
                and len(found) < count
                and self._told.get(place) != at
            ):
                self._told[place] = at
                found.append(Received(place, at, None, KafkaError(EOF_CODE)))
        return found

    def get_watermark_offsets(self, where: TopicPartition, timeout: float = 0) -> tuple[int, int]:
        """The ends of a partition that a committed reader can reach now."""
        del timeout
        place = (where.topic, where.partition)
        return self.process.call("watermarks", lambda: (0, self._broker.readable(place)))  # type: ignore[no-any-return]

    def list_topics(self, topic: str, timeout: float = 0) -> Any:
        """How many partitions the topic has, as far as anybody asks."""
        del timeout
        return Admin(self._broker).list_topics(topic)

    # Offsets.

    def committed(
        self, partitions: Sequence[TopicPartition], timeout: float = 0
    ) -> list[TopicPartition]:
        """The committed offsets; while a transaction holds one back, that is waited for."""
        del timeout

        while not all(self._broker.stable((each.topic, each.partition)) for each in partitions):
            before_ms = self.process.world.now_ms
            self.process.world.pause(100)
            if self.process.world.now_ms == before_ms:
                break
        found: list[TopicPartition] = self.process.call(
            "committed", lambda: self._broker.committed_offsets(partitions)
        )
        return found

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        """Commit without a transaction."""
        assert not asynchronous

        def write() -> None:
            if self._group.members.get(self.instance) is not self:
                raise KafkaException(KafkaError(KafkaError.UNKNOWN_MEMBER_ID, "not a member"))
            self._broker.offsets |= {(each.topic, each.partition): each.offset for each in offsets}

        self.process.call("commit_offsets", write)


class FencedInstanceError(Exception):
    """Another process bears the static name: the client ends with a fatal error."""


def _from(offset: int) -> int:
    return 0 if offset in {OFFSET_BEGINNING, OFFSET_INVALID} else offset
