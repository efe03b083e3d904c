"""The projector: the compacted topic of feature updates, written to Redis, never an older version.

Offsets are committed only after Redis has answered. A partition that Redis does not call `ready`
(it was flushed, replaced or never filled) is projected again from its beginning.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import redis
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from enrichment.feature.cluster import ClusterCache
from enrichment.feature.connection import Writer, is_cluster
from enrichment.feature.progress import Progress
from enrichment.feature.store import (
    BEHIND,
    READY,
    REBUILDING,
    WRITES_MAX,
    Layout,
    rank_of,
    version_of,
    without_differences,
)
from enrichment.rollout.control import ControlState
from enrichment.stream import lag
from enrichment.stream.errors import is_fatal
from enrichment.stream.framing import unframed
from enrichment.stream.topics import FEATURES
from enrichment.telemetry import metrics
from enrichment.telemetry.log import logger

BATCH_MAX: Final = 2_000  # messages per round: some 5 ms of Redis in four script calls
ROUND_S: Final = 0.1  # how long a round may wait for its first message; with it comes what is there
CALL_S: Final = 10.0
CHECK_S: Final = 1.0  # how often Redis is asked whether it still has what we gave it
# A heartbeat travels in another partition than the values that it vouches for. What is further
# behind than this share of the time that a shard may be silent for is not vouched for, and no less
# than two looks: who has just been asked is not behind.
BEHIND_SHARE: Final = 1 / 3
BEHIND_S_MIN: Final = 2.5
END_S: Final = 0.3  # how long a broker may take to say where a partition ends: then it is away
UNKNOWN: Final = 2**63  # the end of a partition of which nobody tells
AWAY_S: Final = 0.5  # between attempts at a Redis that does not answer


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorConfig:
    """How one projector process consumes and writes."""

    pipeline: str
    client: dict[str, Any]
    group_id: str
    instance: str
    # Values are kept twice as long as they may be called stale, so that old is not "never seen".
    ttl_ms: int
    # How long a shard may be silent while its features count as fresh.
    fresh_ms: int

    @property
    def behind_s(self) -> float:
        """How far behind a partition may be without that being said."""
        return max(BEHIND_S_MIN, BEHIND_SHARE * self.fresh_ms / 1000)


class Projector:
    """One projector process, from subscription to its orderly end."""

    def __init__(
        self,
        cache: redis.Redis | ClusterCache,
        config: ProjectorConfig,
        control: Callable[[], ControlState],
    ) -> None:
        """`control` says what is in force now: it is mirrored for readers that know Redis alone."""
        self._cache = cache
        self._control = control
        self._mirrored: ControlState | None = None
        self._config = config
        self._writer = Writer(cache)
        self._layout = Layout(config.pipeline, cluster=is_cluster(cache))
        self._prefix = f"{config.pipeline}|".encode()
        # Partition -> the end it had when we began to rebuild it; absent once it is ready.
        self._rebuilding: dict[int, int] = {}
        self._progress = Progress()
        self._check_s = 0.0  # when to look at Redis again
        # Something was read that Redis has not: nothing more may be before that is read again.
        self._behind = False
        self._consumer = Consumer(
            config.client
            | {
                "group.id": config.group_id,
                "group.instance.id": config.instance,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "session.timeout.ms": 6_000,
                "heartbeat.interval.ms": 1_500,
                "fetch.wait.max.ms": 50,
                # The end of a partition lies behind transaction markers, which carry no message.
                "enable.partition.eof": True,
            }
        )
        # Asks where partitions end, and reads nothing. Behind an open transaction there may be
        # committed values that a committed reader cannot see yet: to him the end lies before it,
        # and he would seem to be there.
        self._asker = Consumer(
            config.client | {"group.id": config.group_id, "isolation.level": "read_uncommitted"}
        )

    def run(self, stop: threading.Event) -> None:
        """Project until told to stop. A Redis that is away is waited for; nothing is skipped."""
        self.join()
        try:
            while not stop.is_set():
                try:
                    self.round(time.monotonic())
                except redis.RedisError as error:
                    logger().warning("Redis does not take features, trying again", error=str(error))
                    self.start_over()
                    stop.wait(AWAY_S)
        finally:
            self._consumer.close()
            self._asker.close()

    def join(self) -> None:
        """Join the group: partitions come with a later round."""
        self._consumer.subscribe([FEATURES], on_assign=self._assigned)
        logger().info("projecting", topic=FEATURES)

    def round(self, now_s: float) -> None:
        """Write what has come, and each second look whether Redis still has what it was given.

        Raises redis.RedisError where it does not take it: `start_over`, and try again later.
        """
        if self._behind:
            self._rewind(self._consumer.assignment())
            self._behind = False
        first = self._consumer.poll(ROUND_S)
        messages = [] if first is None else [first, *self._consumer.consume(BATCH_MAX, 0)]
        self._mirror()
        self._project(messages)
        if now_s >= self._check_s:
            self._check()
            self._look_behind(now_s)
            self._check_s = now_s + CHECK_S

    def start_over(self) -> None:
        """Read again, with the next round, from where Redis is known to have everything before."""
        self._behind = True

    def _project(self, messages: list[Message]) -> None:
        """Write one round of messages, then commit where they end."""
        values: dict[str, bytes | None] = {}
        ends: dict[int, int] = {}
        for message in messages:
            if (error := message.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # its public name
                    ends[message.partition()] = message.offset()
                elif is_fatal(error):
                    raise KafkaException(error)
                else:
                    logger().warning("the consumer reports", error=str(error))
                continue
            ends[message.partition()] = message.offset() + 1
            key, value = message.key(), message.value()
            value = None if value is None else unframed(value)
            if key is not None and key.startswith(self._prefix):
                name = self._layout.feature_of(key)
                version = 0 if value is None else version_of(value)
                if name is None or version is None:
                    # Waiting would not make a feature of it, and would hold up all the others.
                    where = {"partition": message.partition(), "offset": message.offset()}
                    logger().warning("not a feature update, skipped", **where)
                    continue
                # The newest of a key in this round stands for all of them: the guard, which sees
                # only that one, would let an older one that came later pass after a flush.
                held = values.pop(name, None)
                if value is None or held is None or rank_of(value) > rank_of(held):
                    held = value
                values[name] = held
        self._write(values)
        _tell(messages, len(values))
        if ends:
            offsets = [TopicPartition(FEATURES, *end) for end in ends.items()]
            self._consumer.commit(offsets=offsets, asynchronous=False)
            for number, end in ends.items():
                self._progress.reached(number, end)
            self._note_rebuilt(ends)

    def _write(self, values: dict[str, bytes | None]) -> None:
        """Set what is newer, delete what was withdrawn by a tombstone."""
        updates = [
            (key, without_differences(value)) for key, value in values.items() if value is not None
        ]
        for start in range(0, len(updates), WRITES_MAX):
            chunk = updates[start : start + WRITES_MAX]
            self._writer.write(dict(chunk), self._config.ttl_ms)
        if gone := [key for key, value in values.items() if value is None]:
            self._cache.delete(*gone)

    def _assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Take over partitions: from their committed offsets, or rebuilt where Redis lacks them."""
        try:
            self._start(partitions)
        except redis.RedisError as error:
            logger().warning("Redis does not answer at assignment", error=str(error))
            self.start_over()
        self._consumer.assign(partitions)

    def _start(self, partitions: list[TopicPartition]) -> None:
        """Set each partition's first offset, and mark in Redis those that are being rebuilt."""
        topic = self._consumer.list_topics(FEATURES, timeout=CALL_S).topics[FEATURES]
        # Before anything is called ready, so that nobody reads what is withdrawn as if it were not.
        self._mirror(again=True)
        self._cache.set(self._layout.partitions(), len(topic.partitions))
        committed = self._consumer.committed(partitions, timeout=CALL_S)
        for partition, position in zip(partitions, committed, strict=True):
            number = partition.partition
            marker = self._layout.projection(number)
            self._rebuilding.pop(number, None)
            end = self._end(partition)
            if self._goes_on(marker, position.offset, end):
                partition.offset = position.offset
            else:
                partition.offset = OFFSET_BEGINNING
                self._cache.set(marker, REBUILDING)
            if partition.offset < end:
                self._rebuilding[number] = end
            self._progress.begin(number, partition.offset)

    def _goes_on(self, marker: str, committed: int, end: int) -> bool:
        """Whether Redis has all that comes before the committed offset; its mark says the rest.

        The heartbeats of another partition may be caught up with before this one is: what is here
        would be called fresh, and be as old as we were away.
        """
        if committed == OFFSET_INVALID or self._cache.get(marker) not in {READY, BEHIND}:
            return False
        # Not where it has been emptied meanwhile.
        return bool(self._cache.set(marker, READY if committed >= end else BEHIND, xx=True))

    def _rewind(self, partitions: list[TopicPartition]) -> None:
        """Go back to where Redis is known to have everything before. Raises redis.RedisError."""
        self._start(partitions)
        for partition in partitions:
            self._consumer.seek(partition)

    def _check(self) -> None:
        """Notice a Redis that was flushed or replaced, and fill it again."""
        assigned = self._consumer.assignment()
        keys = [self._layout.projection(tp.partition) for tp in assigned]
        if not keys:
            return
        *markers, mirrored = self._cache.mget([*keys, self._layout.control()])
        if mirrored is None:
            self._mirror(again=True)
        lost = [tp for tp, marker in zip(assigned, markers, strict=True) if marker is None]
        if lost:
            numbers = [tp.partition for tp in lost]
            logger().warning("Redis has lost its features, rebuilding", partitions=numbers)
            self._rewind(lost)

    def _look_behind(self, now_s: float) -> None:
        """Say of partitions that have long been behind that they are, until they are not."""
        numbers = [tp.partition for tp in self._consumer.assignment()]
        behind: dict[tuple[str, int], int] = {}
        for number in numbers:
            try:
                end = self._end(TopicPartition(FEATURES, number), END_S)
            except KafkaException:
                break  # nor does it tell of the others: they are as old as it is away
            self._progress.told(number, end, now_s)
            behind[FEATURES, number] = max(0, end - self._progress.offset(number))
            if self._rebuilding.get(number) == UNKNOWN:
                self._rebuilding[number] = end
        for number in numbers:
            behind_s = self._progress.behind_s(number, now_s)
            if number not in self._rebuilding and behind_s > self._config.behind_s:
                self._cache.set(self._layout.projection(number), BEHIND, xx=True)
                self._rebuilding[number] = UNKNOWN
                logger().warning("partition is behind", partition=number, seconds=round(behind_s))
        lag.tell(behind)
        self._note_rebuilt({number: self._progress.offset(number) for number in numbers})

    def _mirror(self, *, again: bool = False) -> None:
        """Say in Redis what is in force, where that has changed or is to be said `again`."""
        state = self._control()
        if again or state is not self._mirrored:
            self._cache.set(self._layout.control(), msgspec.json.encode(state))
            self._mirrored = state

    def _end(self, partition: TopicPartition, within_s: float = CALL_S) -> int:
        """The end of a partition, with what is not committed yet."""
        _, high = self._asker.get_watermark_offsets(partition, timeout=within_s)
        return int(high)

    def _note_rebuilt(self, ends: dict[int, int]) -> None:
        """Call those partitions ready that have been read to the end they had."""
        for number, reached in ends.items():
            if reached >= self._rebuilding.get(number, reached + 1):
                # Not where the word that it is being rebuilt has gone: so has what came before.
                if not self._cache.set(self._layout.projection(number), READY, xx=True):
                    self.start_over()
                    continue
                del self._rebuilding[number]
                logger().info("partition projected", partition=number, offset=reached)


def _tell(messages: list[Message], written: int) -> None:
    """Count what the cache has been given, and how long the oldest of it was on its way."""
    if written:
        metrics.projected.add(written)
        oldest_ms = min(each.timestamp()[1] for each in messages if each.error() is None)
        metrics.projection_age.record(max(0.0, time.time() * 1000 - oldest_ms))
