"""Lockstep: wait until everything that a window led to can be read from the cache.

So that a replay of years judges the quality of the features, and not a race against them: a
window's events are published, then its micro-batches, their jobs and the projection are awaited.
"""

import time
from collections import Counter
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from enrichment.records import JobState
from enrichment.stream.framing import unframed
from enrichment.stream.topics import FEATURES, JOBS, MICRO_BATCHES

STEP_S: Final = 60.0  # the longest that one window may take; far more than any of them should
POLL_S: Final = 0.005
TERMINAL: Final = frozenset(
    {JobState.SUCCEEDED, JobState.FAILED, JobState.TIMED_OUT, JobState.FALLBACK_COMPLETE}
)

Window = tuple[str, int]  # shard, start in milliseconds


class LockstepError(RuntimeError):
    """A window that did not come back, said in one line that tells what to look at."""


class _Closed(msgspec.Struct, frozen=True):
    """What is needed here of a micro-batch; the rest is not even parsed."""

    micro_batch_id: str
    shard: str
    window_start_ms: int
    events: int


class _Job(msgspec.Struct, frozen=True):
    """What is needed here of a job."""

    micro_batch_id: str
    state: JobState


class Lockstep:
    """Follows one pipeline's micro-batches, jobs and projection from now on."""

    def __init__(self, client: dict[str, Any], pipeline: str) -> None:
        self._pipeline = pipeline
        self._prefix = f"{pipeline}|".encode()
        common = client | {"enable.auto.commit": False, "isolation.level": "read_committed"}
        self._news = Consumer(
            common | {"group.id": f"enrichment.lockstep.{pipeline}", "fetch.wait.max.ms": 20}
        )
        # Not a member of the projector's group: it only asks for what the group has committed.
        self._projector = Consumer(common | {"group.id": f"enrichment.project.{pipeline}"})
        self._features = self._partitions(FEATURES)
        self._news.assign(
            [
                TopicPartition(topic, tp.partition, self._end(self._news, tp))
                for topic in (MICRO_BATCHES, JOBS)
                for tp in self._partitions(topic)
            ]
        )
        self._closed = msgspec.json.Decoder(_Closed)
        self._job = msgspec.json.Decoder(_Job)
        self._events: Counter[Window] = Counter()
        self._batches: dict[Window, set[str]] = {}
        self._terminal: set[str] = set()

    def wait(self, expected: Counter[Window]) -> None:
        """Return when these windows, with that many events each, are in the cache.

        Raises LockstepError when that takes longer than STEP_S.
        """
        give_up_s = time.monotonic() + STEP_S
        while not self._solved(expected):
            self._poll()
            if time.monotonic() > give_up_s:
                raise LockstepError(self._missing(expected))
        while (lag := self._lag()) > 0:
            if time.monotonic() > give_up_s:
                raise LockstepError(
                    f"{lag} feature updates are not projected after {STEP_S:.0f} s: is "
                    f"`enrichment project --pipeline {self._pipeline}` running?"
                )
            time.sleep(POLL_S)
        for window in expected:
            self._events.pop(window, None)
            self._terminal -= self._batches.pop(window, set())

    def close(self) -> None:
        """Close the connections."""
        self._news.close()
        self._projector.close()

    def _poll(self) -> None:
        """Take in what micro-batches and jobs there are."""
        for message in self._news.consume(500, POLL_S):
            if (error := message.error()) is not None:
                if error.fatal() or error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise KafkaException(error)
                continue
            key, value = message.key(), message.value()
            if key is None or value is None or not key.startswith(self._prefix):
                continue
            if message.topic() == JOBS:
                job = self._job.decode(unframed(value))
                if job.state in TERMINAL:
                    self._terminal.add(job.micro_batch_id)
                continue
            closed = self._closed.decode(unframed(value))
            window = (closed.shard, closed.window_start_ms)
            batches = self._batches.setdefault(window, set())
            # A close may be produced twice, under the same identity.
            if closed.micro_batch_id not in batches:
                batches.add(closed.micro_batch_id)
                self._events[window] += closed.events

    def _solved(self, expected: Counter[Window]) -> bool:
        """Whether all events are in closes, and all closes' jobs have ended."""
        return all(
            self._events[window] >= events and self._batches.get(window, set()) <= self._terminal
            for window, events in expected.items()
        )

    def _missing(self, expected: Counter[Window]) -> str:
        """What has not come back, and who should have brought it."""
        for (shard, start_ms), events in expected.items():
            seen = self._events[shard, start_ms]
            where = f"window {start_ms} of shard '{shard}'"
            if seen < events:
                stages = "enrich` and `enrichment window"
                return self._blame(f"{where}: {seen} of {events} events in micro-batches", stages)
            if not self._batches[shard, start_ms] <= self._terminal:
                return self._blame(f"{where}: its job has not ended", "sample")
        return "everything has come back"

    def _blame(self, what: str, stages: str) -> str:
        return f"{what} after {STEP_S:.0f} s: is `enrichment {stages}` running for this pipeline?"

    def _lag(self) -> int:
        """How many feature updates are committed and not yet projected."""
        lag = 0
        for position in self._projector.committed(self._features, timeout=10):
            lag += max(0, self._end(self._projector, position) - max(0, position.offset))
        return lag

    def _partitions(self, topic: str) -> list[TopicPartition]:
        found = self._news.list_topics(topic, timeout=10).topics[topic].partitions
        return [TopicPartition(topic, number) for number in sorted(found)]

    def _end(self, consumer: Consumer, partition: TopicPartition) -> int:
        """The end of a partition for a committed reader."""
        where = TopicPartition(partition.topic, partition.partition)
        _, high = consumer.get_watermark_offsets(where, timeout=10)
        return int(high)
