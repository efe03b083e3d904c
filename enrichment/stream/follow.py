"""A compacted topic, followed: read to its end once, then for as long as the process lives.

For what every process must know at once and nobody wants to ask for: the state is an attribute,
replaced as a whole by a thread of its own, and read without a lock.

Trouble of any kind is met in one way: the consumer is closed, the last state stands, and the topic
is read again from its beginning, for ever, a little later each time. The topic is small.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, Protocol, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from enrichment.stream.background import Background
from enrichment.stream.framing import unframed
from enrichment.telemetry.log import logger

POLL_S: Final = 0.2  # how soon an end is noticed; a record ends the wait at once
BATCH_MAX: Final = 500  # records folded at once
CALL_S: Final = 3.0  # one question to the broker
CHECK_S: Final = 2.0  # how often the broker is asked whether we are at the end
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MAX_S: Final = 1.0  # who repairs a broker should not wait for us
END_S: Final = 30.0  # without any record, while the end has not been reached: an open transaction

Record = tuple[bytes | None, bytes | None]
State_co = TypeVar("State_co", covariant=True)
State = TypeVar("State")


class Fold(Protocol[State_co]):
    """What becomes of records, one after the other."""

    @property
    def state(self) -> State_co:
        """What they amount to now. Never changed, only replaced."""

    def take(self, records: Iterable[Record]) -> list[str]:
        """Fold in records by key and value. Returns what must be said about them."""


class _Trouble(Exception):  # noqa: N818  # no error of anybody's: a reason to begin again
    """Why the topic is to be read again, in words."""


class Follower(Background, Generic[State]):
    """A thread that follows a topic. `with Follower(...) as follower: follower.await_ready(10)`.

    `state` is what the topic says, as of milliseconds ago; before `ready` it is what an empty topic
    would say. It is the same object for as long as nothing has changed.
    """

    def __init__(
        self, kafka: Mapping[str, Any], topic: str, new_fold: Callable[[], Fold[State]]
    ) -> None:
        """`new_fold` makes what an empty topic amounts to: each reading begins with a new one."""
        super().__init__(f"follow {topic}", stop_s=CALL_S + POLL_S)
        self.topic = topic
        self.state: State = new_fold().state
        self.ready = threading.Event()
        self.away = False  # the broker does not answer: the state is the last one known
        self._kafka = kafka
        self._new_fold = new_fold
        self._backoff_s = BACKOFF_FIRST_S

    def await_ready(self, timeout_s: float) -> bool:
        """Wait until the topic has been read to its end once; False where that takes longer."""
        return self.ready.wait(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (KafkaException, _Trouble) as error:
                self._note_away(str(error.args[0]))
            except Exception:  # noqa: BLE001  # a thread that ended would leave the process untold
                logger().exception("a topic cannot be followed", topic=self.topic)
                self._note_away("a mistake of ours, see above")
            self._stop.wait(self._backoff_s)
            self._backoff_s = min(2 * self._backoff_s, BACKOFF_MAX_S)

    def _note_away(self, reason: str) -> None:
        """Say it once for each outage: it is tried again every second."""
        if not self.away and not self._stop.is_set():
            logger().warning(
                "a topic cannot be followed: the last state stands, trying again",
                topic=self.topic,
                error=reason,
            )
        self.away = True

    def _follow(self) -> None:
        """Read the topic from its beginning until told to stop, or raise what is wrong."""
        consumer = Consumer(
            {
                **self._kafka,
                "group.id": "enrichment.follower",  # demanded by librdkafka; nothing is joined
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",  # what we know of is gone: begin again
                "fetch.wait.max.ms": 100,
                "reconnect.backoff.max.ms": 1_000,
            },
            # What a client says in passing is said in `_check`'s words, if it lasts.
            error_cb=lambda _error: None,
        )
        try:
            ends = self._ends(consumer)
            consumer.assign(
                [TopicPartition(self.topic, number, OFFSET_BEGINNING) for number in ends]
            )
            fold = self._new_fold()
            reached = self._read_to_end(consumer, fold, ends)
            self._arrived(fold)
            check_s = time.monotonic() + CHECK_S
            while not self._stop.is_set():
                records, further = self._polled(consumer)
                reached |= further
                if records:
                    self._fold(fold, records)
                    self._publish(fold)
                if time.monotonic() >= check_s:
                    ends = self._check(consumer, ends, reached)
                    check_s = time.monotonic() + CHECK_S
        finally:
            consumer.close()

    def _ends(self, consumer: Consumer) -> dict[int, int]:
        """Partition -> its end of now. Raises where the topic does not exist."""
        found = consumer.list_topics(self.topic, timeout=CALL_S).topics[self.topic]
        if found.error is not None or not found.partitions:
            raise _Trouble(f"there is no topic {self.topic}: `enrichment topics apply`")
        return {number: self._end(consumer, number) for number in found.partitions}

    def _end(self, consumer: Consumer, number: int) -> int:
        _, high = consumer.get_watermark_offsets(TopicPartition(self.topic, number), CALL_S)
        return int(high)

    def _read_to_end(
        self, consumer: Consumer, fold: Fold[State], ends: Mapping[int, int]
    ) -> dict[int, int]:
        """Fold what is there; how far each partition was read. The former state stands meanwhile.

        The end is an end-of-partition event at or past the end of before: until then, an open
        transaction hides records.
        """
        reached = dict.fromkeys(ends, -1)
        give_up_s = time.monotonic() + END_S
        while not self._stop.is_set():
            if all(reached[number] >= end for number, end in ends.items()):
                break
            records, further = self._polled(consumer)
            reached |= further
            if records:
                self._fold(fold, records)
                give_up_s = time.monotonic() + END_S
            if time.monotonic() > give_up_s:
                raise _Trouble(f"its end does not come: {ends}, reached {reached}")
        return reached

    def _polled(self, consumer: Consumer) -> tuple[list[Record], dict[int, int]]:
        """The next records, and partition -> offset where an end was reached."""
        records: list[Record] = []
        reached: dict[int, int] = {}
        first = consumer.poll(POLL_S)
        for message in [] if first is None else [first, *consumer.consume(BATCH_MAX, 0)]:
            error = message.error()
            if error is None:
                key, value = _bytes(message.key()), _bytes(message.value())
                records.append((key, None if value is None else unframed(value)))
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # so named
                reached[message.partition() or 0] = message.offset() or 0
            elif not error.retriable():
                raise KafkaException(error)
        return records, reached

    def _fold(self, fold: Fold[State], records: Iterable[Record]) -> None:
        for said in fold.take(records):
            logger().warning(said, topic=self.topic)

    def _arrived(self, fold: Fold[State]) -> None:
        """All that the topic held is folded in: say so, and that an outage is over."""
        if self._stop.is_set():
            return
        self._publish(fold)
        if self.away:
            logger().info("a topic is followed again", topic=self.topic)
        self.away = False
        self._backoff_s = BACKOFF_FIRST_S
        self.ready.set()

    def _publish(self, fold: Fold[State]) -> None:
        # By the same object while it says the same, also after it was read again.
        if fold.state != self.state:
            self.state = fold.state

    def _check(
        self, consumer: Consumer, ends: dict[int, int], reached: Mapping[int, int]
    ) -> dict[int, int]:
        """The ends of now. Raises where the broker is away, the topic another, or nothing comes."""
        now = self._ends(consumer)
        if now.keys() != ends.keys() or any(now[number] < ends[number] for number in ends):
            raise _Trouble("the topic is not the one that was followed")
        # By the ends of the check before: what has come since may still be on its way.
        if any(reached[number] < end for number, end in ends.items()):
            raise _Trouble(f"no more comes of it: {ends}, reached {dict(reached)}")
        return now


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
