"""Parts of topics as a committed reader sees them: between offsets or times, or the newest first.

One reader for all that one question asks of a broker: opening a client takes longer than most of
what is read with it. No group is joined and nothing is committed.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

CALL_S: Final = 10.0
POLL_S: Final = 0.01
"""How long a poll waits to be full: small parts come at once, and are many."""

BATCH_MAX: Final = 2_000
CHUNK_FIRST: Final = 1_000
"""Records of each partition that a search reads first: whatever is seconds old is among them."""

CHUNK_MAX: Final = 32_000
"""And at most at once: a search that goes far back wastes no more than that behind its find."""

STALL_S: Final = 3.0
"""Without a word for so long the client is asked anew: on a busy machine it has slept on a
partition that had more to read (seen, confluent-kafka 2.16)."""

FETCH_KB_MAX: Final = 16_384
"""What a client reads ahead of one partition, in kB; what lies behind a part is of no use."""

Span = tuple[int, int]
"""Offsets [first, end)."""

Wanted = Callable[[Message], bool]


class Reader:
    """A client that reads any part of any topic. `with Reader(kafka) as reader: ...`.

    Every call raises KafkaException where the broker does not answer, and TimeoutError where what
    is asked for does not come: behind an open transaction nothing is committed yet.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        *,
        timeout_s: float = 30.0,
        on_read: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`on_read` is told how many records have been read in all, now and then."""
        self.kafka = dict(kafka)
        self._timeout_s = timeout_s
        self._on_read = on_read
        self._read = 0
        self._partitions: dict[str, int] = {}
        # A committed reader is told the last stable offset for an end: see `stream.to_end`.
        self._asker = self._client("read_uncommitted")
        self._reader = self._client("read_committed")

    def _client(self, isolation: str) -> Consumer:
        return Consumer(
            {
                **self.kafka,
                "group.id": "enrichment.reader",  # demanded by librdkafka; nothing is joined
                "isolation.level": isolation,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 20,
                "queued.max.messages.kbytes": FETCH_KB_MAX,
                # A full queue is asked again after a second by default, in which nothing is read.
                "fetch.queue.backoff.ms": 5,
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.close()
        self._asker.close()

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has; 0 where there is none of that name."""
        if topic not in self._partitions:
            self._asker.list_topics(topic, timeout=CALL_S)
            # Both are told the leaders: who reads a partition without knowing its leader waits a
            # second for it (measured, confluent-kafka 2.16).
            found = self._reader.list_topics(topic, timeout=CALL_S).topics[topic]
            self._partitions[topic] = 0 if found.error is not None else len(found.partitions)
        return self._partitions[topic]

    def whole(self, topic: str, partition: int) -> Span:
        """From the oldest record that is still there to behind the newest."""
        low, high = self._asker.get_watermark_offsets(TopicPartition(topic, partition), CALL_S)
        return int(low), int(high)

    def spans(
        self, topic: str, partitions: "list[int] | range", since_ms: int = 0, until_ms: int = 0
    ) -> dict[int, Span]:
        """What each partition holds of records with a timestamp in [since_ms, until_ms), 0: all.

        By the first record at or after each time: where timestamps are out of order, records
        beyond may have one within.
        """
        whole = {number: self.whole(topic, number) for number in partitions}
        first = self._offsets(topic, whole, since_ms) if since_ms > 0 else {}
        end = self._offsets(topic, whole, until_ms) if until_ms > 0 else {}
        return {
            number: (max(low, first.get(number, low)), min(high, end.get(number, high)))
            for number, (low, high) in whole.items()
        }

    def _offsets(self, topic: str, whole: Mapping[int, Span], at_ms: int) -> dict[int, int]:
        """The first offset of each partition with that timestamp or a later one, else the end."""
        asked = [TopicPartition(topic, number, at_ms) for number in whole]
        found = self._asker.offsets_for_times(asked, CALL_S) if asked else []
        return {
            each.partition: self._first_since(topic, each, whole[each.partition], at_ms)
            for each in found
        }

    def _first_since(self, topic: str, told: TopicPartition, whole: Span, at_ms: int) -> int:
        """What the broker told, unless that is a transaction's marker among older records.

        Markers bear the wall clock, and records may bear an older time, as in a replay: then the
        first record of that time or a later one is sought by halves.
        """
        first = middle = told.offset if told.offset >= 0 else whole[1]
        end = whole[1]
        while first < end:
            part = {told.partition: (middle, whole[1])}
            record = next(iter(self.read(topic, part)), None)
            if record is None or record.timestamp()[1] >= at_ms:
                end = middle
            else:
                first = (record.offset() or 0) + 1
            middle = (first + end) // 2
        return first

    def at(self, topic: str, partition: int, offset: int) -> Message | None:
        """The record at that offset, or None where it is gone or was never committed."""
        low, high = self.whole(topic, partition)
        if not low <= offset < high:
            return None
        return next(iter(self.read(topic, {partition: (offset, offset + 1)})), None)

    def read(self, topic: str, spans: Mapping[int, Span]) -> Iterator[Message]:
        """Every committed record of these parts that is still there, in order by partition."""
        ends = {number: end for number, (first, end) in spans.items() if first < end}
        if not ends:
            return
        self.partitions(topic)
        following = {number: spans[number][0] for number in ends}
        self._assign(topic, following)
        heard_s = asked_s = time.monotonic()
        woken = False
        while ends:
            found = self._reader.consume(BATCH_MAX, timeout=POLL_S)
            if not found and not woken:
                self._wake(topic, ends)
                woken = True
            if found:
                self._read += len(found)
                self._on_read(self._read)
            for record in found:
                number, offset = record.partition() or 0, record.offset() or 0
                is_record = _is_record(record)
                if is_record and number in ends and offset < ends[number]:
                    heard_s = asked_s = time.monotonic()
                    following[number] = offset + 1
                    yield record
                # The last of a part may be a transaction's marker, which nobody is shown.
                if number in ends and offset + is_record >= ends[number]:
                    del ends[number]
                    self._reader.pause([TopicPartition(topic, number)])
            now_s = time.monotonic()
            if now_s - heard_s > self._timeout_s:
                raise TimeoutError(f"{topic}{sorted(ends)}: no end within {self._timeout_s:.0f} s")
            if ends and now_s - asked_s > STALL_S:
                self._assign(topic, {number: following[number] for number in ends})
                asked_s, woken = now_s, False

    def _assign(self, topic: str, following: Mapping[int, int]) -> None:
        """Have these partitions read from these offsets."""
        parts = [TopicPartition(topic, number, offset) for number, offset in following.items()]
        self._reader.assign(parts)
        # What was paused stays so when it is assigned again (measured, confluent-kafka 2.16).
        self._reader.resume(parts)

    def _wake(self, topic: str, partitions: Iterable[int]) -> None:
        """Have the client look at what it is to fetch.

        The thread that asks a broker may sleep a second before it sees another assignment; any
        question to that broker wakes it (measured, confluent-kafka 2.16).
        """
        for number in partitions:
            self._reader.get_watermark_offsets(TopicPartition(topic, number), CALL_S)

    def newest_first(
        self, topic: str, spans: Mapping[int, Span], wanted: Wanted
    ) -> Iterator[list[Message]]:
        """The wanted records, chunk by chunk back from the end, each chunk's the newest first.

        Chunks grow as it goes back; whoever has found what was sought stops asking. An empty list
        is a chunk without any.
        """
        left, size = dict(spans), CHUNK_FIRST
        while any(first < end for first, end in left.values()):
            chunk = {number: (max(first, end - size), end) for number, (first, end) in left.items()}
            found = [record for record in self.read(topic, chunk) if wanted(record)]
            found.sort(key=lambda record: (record.timestamp()[1], record.offset()), reverse=True)
            yield found
            left = {number: (spans[number][0], chunk[number][0]) for number in left}
            size = min(2 * size, CHUNK_MAX)

    def newest(self, topic: str, spans: Mapping[int, Span], wanted: Wanted) -> Message | None:
        """The newest wanted record, or None."""
        for found in self.newest_first(topic, spans, wanted):
            if found:
                return found[0]
        return None

    def retention_ms(self, topic: str) -> int | None:
        """How long the topic keeps records; -1: for good, None: compacted, or it does not say."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        admin = AdminClient(self.kafka)  # held: what it was asked ends with it
        asked = admin.describe_configs([resource], request_timeout=CALL_S)
        config = asked[resource].result(CALL_S)
        if "delete" not in str(config["cleanup.policy"].value):
            return None
        return int(str(config["retention.ms"].value))


def _is_record(found: Message) -> bool:
    """Whether it is a record, and not the word that a partition has ended. Raises KafkaException.

    What the client tries again by itself is given no offset, and so ends nothing.
    """
    error = found.error()
    if error is None:
        return True
    if error.code() == KafkaError._PARTITION_EOF or error.retriable():  # noqa: SLF001  # so named
        return False
    raise KafkaException(error)
