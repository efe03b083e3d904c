"""A Kafka in memory for one group and its transactions, as confluent-kafka's clients show it.

It passes the contract of `tests/contract/test_transactions.py` beside a real broker. What it adds
is that calls can be made to fail, and processes to die, wherever a test wants it.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    TIMESTAMP_CREATE_TIME,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from enrichment.stream.topics import partition_for

Place = tuple[str, int]  # topic and partition

# How a call may fail: the error, whether it takes effect all the same, and how often in a row.
TROUBLES: Final[dict[str, tuple[KafkaError, bool, int]]] = {
    "abortable": (
        KafkaError(KafkaError.NOT_ENOUGH_REPLICAS, "tried in vain", txn_requires_abort=True),
        False,
        1,
    ),
    "slow": (KafkaError(KafkaError._TIMED_OUT, "no answer yet", retriable=True), False, 1),
    "unanswered": (KafkaError(KafkaError._TIMED_OUT, "answer lost", retriable=True), True, 1),
    "gone": (KafkaError(KafkaError._TIMED_OUT, "no answer", retriable=True), False, 9),
    "unknown": (KafkaError(KafkaError._TIMED_OUT, "answers lost", retriable=True), True, 9),
    "forgotten": (KafkaError(KafkaError.INVALID_TXN_STATE, "none open", fatal=True), False, 99),
    "fatal": (KafkaError(KafkaError._FATAL, "cannot go on", fatal=True), False, 99),
}


class KilledError(BaseException):
    """The process that made this call is dead: not an Exception, so that nothing handles it."""


@dataclass(slots=True, eq=False)
class Transaction:
    """One transaction of one producer."""

    owner: str
    state: str = "open"
    offsets: dict[Place, int] = field(default_factory=dict)


@dataclass(slots=True)
class Entry:
    """One record of a log."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] | None
    timestamp_ms: int
    transaction: Transaction | None

    @property
    def committed(self) -> bool:
        """Whether a committed reader may see it."""
        return self.transaction is None or self.transaction.state == "committed"


@dataclass(frozen=True, slots=True)
class Received:
    """A record, or an error, as a consumer hands it over."""

    where: Place
    at: int
    entry: Entry | None
    failure: KafkaError | None = None

    def error(self) -> KafkaError | None:
        """The error, where it is no record."""
        return self.failure

    def topic(self) -> str:
        """Where it came from."""
        return self.where[0]

    def partition(self) -> int:
        """Where it came from."""
        return self.where[1]

    def offset(self) -> int:
        """Where it came from."""
        return self.at

    def key(self) -> bytes | None:
        """The record's key."""
        assert self.entry is not None
        return self.entry.key

    def value(self) -> bytes | None:
        """The record's value."""
        assert self.entry is not None
        return self.entry.value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        """The record's headers, None where it has none."""
        assert self.entry is not None
        return self.entry.headers or None

    def timestamp(self) -> tuple[int, int]:
        """When it was created, by its producer's clock."""
        assert self.entry is not None
        return TIMESTAMP_CREATE_TIME, self.entry.timestamp_ms


class MemoryKafka:
    """Topics, one consumer group with static members, and transactions."""

    def __init__(self, topics: dict[str, int]) -> None:
        """`topics` with how many partitions each has."""
        self.topics = topics
        self.logs: dict[Place, list[Entry]] = {
            (topic, number): [] for topic, count in topics.items() for number in range(count)
        }
        self.offsets: dict[Place, int] = {}
        self.epochs: defaultdict[str, int] = defaultdict(int)
        self.transactions: dict[str, Transaction] = {}
        self.members: dict[str, MemoryConsumer] = {}
        self.generation = 0
        self.owners: dict[Place, MemoryConsumer] = {}

    def append(self, topic: str, partition: int, entry: Entry) -> None:
        """Write one record."""
        self.logs[topic, partition].append(entry)

    def committed(self, topic: str) -> list[Entry]:
        """What of the topic is committed, or was never part of a transaction."""
        return [
            entry
            for (name, _), log in self.logs.items()
            if name == topic
            for entry in log
            if entry.committed
        ]

    def committed_offsets(self, partitions: Iterable[TopicPartition]) -> list[TopicPartition]:
        """The partitions, each with the group's committed offset, as the client shows it."""
        return [
            TopicPartition(
                each.topic,
                each.partition,
                self.offsets.get((each.topic, each.partition), OFFSET_INVALID),
            )
            for each in partitions
        ]

    def end(self, id_: str, state: str) -> None:
        """End the open transaction of that id, if it has one."""
        if (transaction := self.transactions.pop(id_, None)) is not None:
            transaction.state = state
            if state == "committed":
                self.offsets |= transaction.offsets

    def expire_transactions(self) -> None:
        """Abort what has been open for too long, and fence who left it so."""
        for id_ in list(self.transactions):
            self.epochs[id_] += 1
            self.end(id_, "aborted")

    def join(self, consumer: "MemoryConsumer") -> None:
        """A member comes; one of the same name is fenced by it, and leaves it its partitions."""
        old = self.members.get(consumer.instance)
        self.members[consumer.instance] = consumer
        if old is not None:
            self._release(old)
        self.generation += 1

    def remove(self, instance: str) -> None:
        """A member's session runs out."""
        if (member := self.members.pop(instance, None)) is not None:
            self._release(member)
            self.generation += 1

    def _release(self, member: "MemoryConsumer") -> None:
        self.owners = {place: owner for place, owner in self.owners.items() if owner is not member}

    def shares(self, topics: Iterable[str]) -> dict[Place, "MemoryConsumer"]:
        """Who should own what."""
        members = [self.members[name] for name in sorted(self.members)]
        places = [place for place in sorted(self.logs) if place[0] in topics]
        return {place: members[number % len(members)] for number, place in enumerate(places)}

    def stable(self, place: Place) -> bool:
        """Whether no open transaction holds an offset of that partition back."""
        return all(place not in each.offsets for each in self.transactions.values())

    def readable(self, place: Place) -> int:
        """Where a committed reader has to stop for now."""
        for at, entry in enumerate(self.logs[place]):
            if entry.transaction is not None and entry.transaction.state == "open":
                return at
        return len(self.logs[place])


class Process:
    """One process, with the troubles that await its calls."""

    def __init__(self) -> None:
        # Calls that are left to it, None for no end.
        self.calls_left: int | None = None
        self.troubles: defaultdict[str, deque[str]] = defaultdict(deque)
        # What happens in the world just before the next call of that name.
        self.meanwhile: defaultdict[str, deque[Callable[[], None]]] = defaultdict(deque)
        # Whether any call has failed as prepared.
        self.troubled = False
        self.dead = False

    def call(self, name: str, effect: Callable[[], Any]) -> Any:
        """Make a call, or meet what has been prepared for it."""
        if self.calls_left is not None:
            self.calls_left -= 1
            self.dead = self.dead or self.calls_left < 0
        if self.dead:
            raise KilledError
        if self.meanwhile[name]:
            self.meanwhile[name].popleft()()
        if self.troubles[name]:
            self.troubled = True
            error, takes_effect, _ = TROUBLES[self.troubles[name].popleft()]
            if takes_effect:
                effect()
            raise KafkaException(error)
        return effect()

    def prepare(self, name: str, trouble: str) -> None:
        """Let the next calls of that name fail."""
        self.troubles[name].extend([trouble] * TROUBLES[trouble][2])

    def heal(self) -> None:
        """Forget what is prepared."""
        self.troubles.clear()


class MemoryProducer:
    """A producer, with or without transactions."""

    def __init__(
        self, kafka: MemoryKafka, process: Process, id_: str | None, queue_max: int = 1_000
    ) -> None:
        self._kafka, self._process, self._id, self._queue_max = kafka, process, id_, queue_max
        self._epoch = -1
        # The client learns from an answer that it is fenced, and refuses everything from then on.
        self._fenced = False
        self._transaction: Transaction | None = None
        self._queue: list[tuple[Place, Entry, Any]] = []

    def list_topics(self, timeout: float = 0) -> None:
        """Be connected, which is all that whoever begins transactions asks for."""

    def init_transactions(self, _timeout_s: float = 0) -> None:
        """Fence every earlier producer of the id, and abort what it left open."""
        assert self._id is not None
        self._kafka.epochs[self._id] += 1
        self._epoch = self._kafka.epochs[self._id]
        self._kafka.end(self._id, "aborted")

    def begin_transaction(self) -> None:
        """Open a transaction; the broker hears of it with its first record."""

        def begin() -> None:
            assert self._id is not None
            self._refuse()
            self._transaction = Transaction(self._id)

        self._process.call("begin", begin)

    def produce(
        self,
        topic: str,
        value: bytes | None = None,
        key: str | bytes | None = None,
        partition: int = -1,
        on_delivery: Any = None,
        *,
        headers: Any = None,
        timestamp: int = 0,
    ) -> None:
        """Queue one record. Raises BufferError where the queue is full."""

        def queue() -> None:
            self._refuse()
            if len(self._queue) >= self._queue_max:
                raise BufferError("Local: Queue full")
            raw = key.encode() if isinstance(key, str) else key
            count = self._kafka.topics[topic]
            to = partition if partition >= 0 else partition_for((raw or b"").decode(), count)
            entry = Entry(raw, value, headers, timestamp, self._transaction)
            self._queue.append(((topic, to), entry, on_delivery))

        self._process.call("produce", queue)

    def poll(self, _timeout_s: float = 0) -> int:
        """Deliver half of the queue: a broker takes its time."""
        self._process.call("poll", lambda: self._deliver((len(self._queue) + 1) // 2))
        return 0

    def flush(self, _timeout_s: float = 0) -> int:
        """Deliver the queue."""
        self._process.call("flush", lambda: self._deliver(len(self._queue)))
        return len(self._queue)

    def purge(self) -> None:
        """Drop the queue."""
        if not self._process.dead:
            self._queue.clear()

    def send_offsets_to_transaction(
        self, offsets: Sequence[TopicPartition], group: Any, _timeout_s: float = 0
    ) -> None:
        """Let the offsets be committed with the transaction, if the group knows the member."""

        def send() -> None:
            self._kafka_of(group)
            transaction = self._open()
            transaction.offsets |= {(each.topic, each.partition): each.offset for each in offsets}

        self._process.call("offsets", send)

    def commit_transaction(self, _timeout_s: float = 0) -> None:
        """Commit; the same again once it is done."""

        def commit() -> None:
            assert self._id is not None
            self._check()
            self._deliver(len(self._queue))
            self._kafka.end(self._id, "committed")

        self._process.call("commit", commit)

    def abort_transaction(self, _timeout_s: float = 0) -> None:
        """Abort; the same again once it is done."""

        def abort() -> None:
            assert self._id is not None
            self._queue.clear()
            self._check()
            self._kafka.end(self._id, "aborted")

        self._process.call("abort", abort)

    def _open(self) -> Transaction:
        """The open transaction, as the broker knows it."""
        assert self._id is not None
        assert self._transaction is not None
        self._check()
        return self._kafka.transactions.setdefault(self._id, self._transaction)

    def _check(self) -> None:
        """Raise where another producer bears the id now."""
        assert self._id is not None
        self._fenced = self._epoch != self._kafka.epochs[self._id]
        self._refuse()

    def _refuse(self) -> None:
        if self._fenced:
            raise KafkaException(KafkaError(KafkaError._FENCED, "fenced", fatal=True))

    def _kafka_of(self, group: Any) -> None:
        """Raise where the group does not know the member that the metadata are of."""
        consumer: MemoryConsumer
        consumer, generation = group
        if self._kafka.members.get(consumer.instance) is not consumer:
            code = (
                KafkaError.FENCED_INSTANCE_ID
                if consumer.instance in self._kafka.members
                else KafkaError.UNKNOWN_MEMBER_ID
            )
            raise KafkaException(KafkaError(code, "not a member", txn_requires_abort=True))
        if generation != consumer.generation:
            error = KafkaError(KafkaError.ILLEGAL_GENERATION, "of old", txn_requires_abort=True)
            raise KafkaException(error)

    def _deliver(self, count: int) -> None:
        """Write the first of the queue, as the client's own thread does: nobody hears of errors."""
        if self._id is not None and self._queue:
            try:
                self._open()
            except KafkaException:
                self._queue.clear()
                return
        for (topic, partition), entry, called in self._queue[:count]:
            self._kafka.append(topic, partition, entry)
            if called is not None:
                called(None, None)
        del self._queue[:count]


class MemoryConsumer:
    """A member of the group, with a static name and cooperative assignment."""

    def __init__(self, kafka: MemoryKafka, process: Process, instance: str) -> None:
        self._kafka, self._process, self.instance = kafka, process, instance
        self.generation = -1
        self._topics: list[str] = []
        self._positions: dict[Place, int] = {}
        self._joined = False
        self._fenced = False
        self._on_revoke: Callable[[Any, list[TopicPartition]], None] = lambda *_: None
        self._on_assign: Callable[[Any, list[TopicPartition]], None] = lambda *_: None

    def subscribe(
        self,
        topics: list[str],
        *,
        on_assign: Callable[[Any, list[TopicPartition]], None] | None = None,
        on_revoke: Callable[[Any, list[TopicPartition]], None] | None = None,
        on_lost: Callable[[Any, list[TopicPartition]], None] | None = None,
    ) -> None:
        """Join the group with the next `consume`. Partitions lost are told of as if given up."""
        assert on_lost == on_revoke
        self._topics = topics
        self._on_revoke = on_revoke or self._on_revoke
        self._on_assign = on_assign or self._on_assign

    def _give_up(self, places: list[Place]) -> None:
        """Tell whoever asked, who may still commit, and let go."""
        if places:
            self._on_revoke(self, [TopicPartition(*place) for place in places])
        for place in places:
            self._positions.pop(place, None)

    def consume(self, count: int, _timeout_s: float = 0) -> list[Received]:
        """Records of the partitions that are ours; what moves, moves in here alone.

        As with the real client, a rebalance may take a partition of which records are at hand.
        """
        found: list[Received] = []
        for place in sorted(self._positions):
            end = min(self._kafka.readable(place), self._positions[place] + count - len(found))
            for at in range(self._positions[place], end):
                entry = self._kafka.logs[place][at]
                if entry.committed:
                    found.append(Received(place, at, entry))
            self._positions[place] = max(self._positions[place], end)
        failure = self._process.call("consume", self._rebalance)
        # The real client's errors of no partition may say that they are of partition 0, too (seen).
        return found if failure is None else [Received(("", 0), -1, None, failure)]

    def _rebalance(self) -> KafkaError | None:
        """Give up and take over; the error where another bears our name."""
        kafka = self._kafka
        member = kafka.members.get(self.instance)
        if member is not self:
            self._give_up(sorted(self._positions))
            if member is not None and self._joined:
                if self._fenced:
                    return None  # it is said once
                self._fenced = True
                return KafkaError(KafkaError._FATAL, "fenced by another of the name")
            kafka.join(self)
            if self._joined:
                return None  # who comes anew is given partitions by a later call, as by a broker
            self._joined = True
        shares = kafka.shares(self._topics)
        if self.generation != kafka.generation:
            self.generation = kafka.generation
            gone = [each for each in sorted(self._positions) if shares[each] is not self]
            self._give_up(gone)
            for place in gone:
                if kafka.owners.get(place) is self:
                    del kafka.owners[place]
            if kafka.members.get(self.instance) is not self:
                return None  # removed while it gave up: nothing is given to it
        come = [
            place
            for place, owner in shares.items()
            if owner is self and place not in kafka.owners and kafka.stable(place)
        ]
        self._on_assign(self, [TopicPartition(*place) for place in come])
        for place in come:
            kafka.owners[place] = self
            self._positions[place] = kafka.offsets.get(place, 0)
        return None

    def consumer_group_metadata(self) -> Any:
        """What fences: who we are, and since which rebalance."""
        return self._process.call("metadata", lambda: (self, self.generation))

    def assignment(self) -> list[TopicPartition]:
        """What is ours."""
        return [TopicPartition(*place) for place in sorted(self._positions)]

    def position(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """What is read next of these; nobody is asked for it."""
        places = [(each.topic, each.partition) for each in partitions]
        return [TopicPartition(*place, self._positions[place]) for place in places]

    def get_watermark_offsets(self, partition: TopicPartition, *, cached: bool) -> tuple[int, int]:
        """The beginning, and the end that a committed reader can reach."""
        assert cached, "the hot path asks nobody"
        return 0, self._kafka.readable((partition.topic, partition.partition))

    def committed(
        self, partitions: Sequence[TopicPartition], timeout: float = 0
    ) -> list[TopicPartition]:
        """The committed offsets of the partitions."""
        del timeout
        found: list[TopicPartition] = self._process.call(
            "committed", lambda: self._kafka.committed_offsets(partitions)
        )
        return found

    def seek(self, where: TopicPartition) -> None:
        """Read on from there."""
        offset = 0 if where.offset == OFFSET_BEGINNING else where.offset
        assert (where.topic, where.partition) in self._positions
        self._positions[where.topic, where.partition] = offset

    def commit(self, *, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        """Commit without a transaction. Without waiting, failures are told to nobody who asks."""

        def commit() -> None:
            if self._kafka.members.get(self.instance) is not self:
                raise KafkaException(KafkaError(KafkaError.UNKNOWN_MEMBER_ID, "not a member"))
            places = {(each.topic, each.partition): each.offset for each in offsets}
            self._kafka.offsets |= places

        try:
            self._process.call("commit", commit)
        except KafkaException:
            if not asynchronous:
                raise

    def close(self) -> None:
        """End. A static member's partitions wait for it, until its session runs out."""
        self._positions.clear()
