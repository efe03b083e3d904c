"""What the hot path has answered, as a committed reader sees it: read once, or watched as it comes.

An answer is known by its origin: the topic, partition and offset of the input record.
"""

import secrets
import threading
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import msgspec
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from enrichment.stream.headers import header
from enrichment.stream.topics import DIGESTS, StreamTopics

SHOWN_S: Final = 5.0


class _Place(msgspec.Struct):
    topic: str
    partition: int
    offset: int


class _Answer(msgspec.Struct):
    """As much of an enriched event (`origin`) or of a dead letter (the rest) as tells its own."""

    origin: _Place | None = None
    topic: str = ""
    partition: int = -1
    offset: int = -1


class _Digest(msgspec.Struct):
    source_partition: int
    events: int = 0


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_digest = msgspec.json.Decoder(_Digest).decode


def committed_reader(bootstrap: str, *topics: str, eof: bool = False) -> Consumer:
    """A consumer of every partition of the topics, from their beginning, committed records only."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": secrets.token_hex(8),
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": eof,
            # A reader that sleeps when it has caught up would be measured instead of its writer.
            "fetch.wait.max.ms": 20,
            "log_level": 2,
        }
    )
    found = consumer.list_topics(timeout=10).topics
    consumer.assign(
        [TopicPartition(topic, number, 0) for topic in topics for number in found[topic].partitions]
    )
    return consumer


def scan(bootstrap: str, *topics: str) -> Iterator[Message]:
    """Every record of the topics that a committed reader sees now, one after the other."""
    consumer = committed_reader(bootstrap, *topics, eof=True)
    open_ = {(each.topic, each.partition) for each in consumer.assignment()}
    try:
        while open_:
            for message in consumer.consume(5_000, 0.05):
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    open_.discard((message.topic(), message.partition()))
                else:
                    raise AssertionError(error.str())
    finally:
        consumer.close()


def origin_of(message: Message) -> tuple[str, int, int]:
    """Topic, partition and offset of the record that this one answers."""
    answer = _decode_answer(message.value())
    place = answer.origin or answer
    return place.topic, place.partition, place.offset


@dataclass(slots=True)
class Account:
    """The multiset of answers by origin, beside the inputs that they should be."""

    # Input partition -> how many records it holds, at offsets from 0 on.
    inputs: dict[int, int]
    enriched: int = 0
    dead_letters: int = 0
    lost: int = 0
    duplicates: int = 0
    # Duplicates whose `ce_id` differs from that of the first answer: a consumer could not tell.
    renamed: int = 0
    strangers: int = 0
    # Enriched events, and what digests say of them, by input partition.
    by_partition: Counter[int] = field(default_factory=Counter)
    digested: Counter[int] = field(default_factory=Counter)

    @classmethod
    def take(cls, bootstrap: str, stream: str) -> "Account":
        """Read everything that is committed, with a reader of its own.

        A commit is answered before all its partitions show it: what seems to lack is looked for
        again.
        """
        give_up_s = time.monotonic() + SHOWN_S
        while True:
            account = cls._take(bootstrap, stream)
            whole = account.lost == 0 and +account.digested == +account.by_partition
            if whole or time.monotonic() > give_up_s:
                return account

    @classmethod
    def _take(cls, bootstrap: str, stream: str) -> "Account":
        topics = StreamTopics(stream)
        account = cls(inputs=_held(bootstrap, topics.events))
        times = {number: bytearray(size) for number, size in account.inputs.items()}
        ids = {number: array("q", bytes(8 * size)) for number, size in account.inputs.items()}
        for message in scan(bootstrap, topics.enriched, topics.dead_letters):
            topic, partition, offset = origin_of(message)
            if topic != topics.events or not 0 <= offset < account.inputs.get(partition, 0):
                account.strangers += 1
                continue
            id_ = hash(header(message.headers(), "ce_id"))
            seen = times[partition][offset]
            times[partition][offset] = min(seen + 1, 255)
            if seen == 0:
                ids[partition][offset] = id_
            else:
                account.duplicates += 1
                account.renamed += ids[partition][offset] != id_
            if message.topic() == topics.enriched:
                account.enriched += 1
                account.by_partition[partition] += 1
            else:
                account.dead_letters += 1
        account.lost = sum(each.count(0) for each in times.values())
        prefix = f"{stream}|".encode()
        for message in scan(bootstrap, DIGESTS):
            if message.key().startswith(prefix):
                digest = _decode_digest(message.value())
                account.digested[digest.source_partition] += digest.events
        return account

    def assert_exact(self) -> None:
        """Each input is answered once, and the digests count the same events."""
        assert (self.lost, self.duplicates, self.strangers) == (0, 0, 0), self
        assert self.enriched + self.dead_letters == sum(self.inputs.values()), self
        assert +self.digested == +self.by_partition, self


def _held(bootstrap: str, topic: str) -> dict[int, int]:
    """How many records each partition of a topic without transactions holds."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": secrets.token_hex(8)})
    try:
        held = {}
        for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
            assert low == 0
            held[number] = high
        return held
    finally:
        consumer.close()


class Watch:
    """A committed reader that notes when answers to each input partition arrive."""

    def __init__(self, bootstrap: str, stream: str) -> None:
        topics = StreamTopics(stream)
        self._consumer = committed_reader(bootstrap, topics.enriched, topics.dead_letters)
        self._end = threading.Event()
        # Input partition -> the offsets that were answered.
        self._answered: defaultdict[int, set[int]] = defaultdict(set)
        # Input partition -> when answers to it arrived, by the monotonic clock, one a batch.
        self._arrivals: defaultdict[int, list[float]] = defaultdict(list)
        self._thread = threading.Thread(target=self._run, name="watch")
        self._thread.start()

    @property
    def answered(self) -> int:
        """How many inputs have an answer."""
        return sum(map(len, list(self._answered.values())))

    def _run(self) -> None:
        while not self._end.is_set():
            messages = self._consumer.consume(2_000, 0.02)
            now_s = time.monotonic()
            heard = set()
            for message in messages:
                if message.error() is None:
                    _, partition, offset = origin_of(message)
                    self._answered[partition].add(offset)
                    heard.add(partition)
            for partition in heard:
                self._arrivals[partition].append(now_s)
        self._consumer.close()

    def close(self) -> None:
        """End it."""
        self._end.set()
        self._thread.join(10)

    def silence_s(self, partition: int, start_s: float, end_s: float) -> float:
        """The longest time without an answer to that partition that began between the moments."""
        marks = [start_s, *(at for at in self._arrivals[partition] if at > start_s)]
        gaps = [after - before for before, after in pairwise(marks) if before <= end_s]
        return max(gaps, default=0.0)
