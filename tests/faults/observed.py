"""What a committed reader sees of a trial: the ledger as it grows, and all topics at the end."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import msgspec
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from enrichment.stream.to_end import MOVING
from enrichment.stream.topics import CASES, FEATURES, JOBS, MICRO_BATCHES
from tests.faults.invariants import TERMINAL, Entry, Version
from tests.integration.sampling import PARTITIONS

CALL_S: Final = 10.0
END_S: Final = 40.0  # longer than an orphaned transaction may hide the end


class _Head(msgspec.Struct):
    """As much of any of our values as the checks need."""

    version: int = 0
    subgraph: str = ""
    computed_at_ms: int = 0
    state: str = ""
    attempt: int = 0
    provider: str = ""


_decode = msgspec.json.Decoder(_Head).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One record, and when it was shown: by the monotonic clock, and by its writer's wall clock."""

    shown_s: float
    written_ms: int
    topic: str
    partition: int
    key: str
    head: _Head


def committed_reader(bootstrap: str, *, eof: bool = False) -> Consumer:
    """A reader of committed records, of no group."""
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "faults.reader",  # demanded by librdkafka; nothing is joined
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": eof,
            "fetch.wait.max.ms": 20,
            "log_level": 2,
        }
    )


def ends_of(
    bootstrap: str, *topics: str, partitions: int = PARTITIONS
) -> dict[tuple[str, int], int]:
    """The high watermarks of all partitions."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    wanted = {
        TopicPartition(topic, number): OffsetSpec.latest()
        for topic in topics
        for number in range(partitions)
    }
    give_up_s = time.monotonic() + END_S
    while True:
        try:
            return {
                (place.topic, place.partition): future.result(CALL_S).offset
                for place, future in admin.list_offsets(wanted).items()
            }
        except KafkaException as error:
            # A partition that was just created, or whose broker was just started.
            if error.args[0].code() not in MOVING or time.monotonic() > give_up_s:
                raise
            time.sleep(0.1)


class Watch:
    """A thread that reads ledger and features of one pipeline as they are committed."""

    def __init__(self, bootstrap: str, pipeline: str) -> None:
        self._prefix = f"{pipeline}|".encode()
        self.seen: list[Seen] = []
        self.states: dict[str, str] = {}
        self.failure: BaseException | None = None
        self._consumer = committed_reader(bootstrap)
        ends = ends_of(bootstrap, JOBS, FEATURES)
        self._consumer.assign([TopicPartition(*place, end) for place, end in ends.items()])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no more. Raises what has ended it before."""
        self._stop.set()
        self._thread.join(10)
        if self.failure is not None:
            raise self.failure

    def terminal(self, job_ids: Sequence[str]) -> bool:
        """Whether all these jobs have come to their end."""
        return all(self.states.get(job_id) in TERMINAL for job_id in job_ids)

    def of(self, topic: str, since_ms: int) -> list[Seen]:
        """What was written to a topic from that moment on, in the order in which it was shown."""
        return [
            one for one in tuple(self.seen) if one.topic == topic and one.written_ms >= since_ms
        ]

    def longest_silence_s(self, topic: str, from_s: float, to_s: float) -> float:
        """The longest time in which a partition that has records at all has shown none."""
        longest = 0.0
        seen = tuple(self.seen)
        for partition in range(PARTITIONS):
            shown = [s.shown_s for s in seen if s.topic == topic and s.partition == partition]
            if not shown:
                continue
            marks = [from_s, *(at for at in shown if from_s < at < to_s), to_s]
            longest = max(longest, *(b - a for a, b in pairwise(marks)))
        return longest

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for message in self._consumer.consume(1_000, 0.02):
                    if message.error() is None and (message.key() or b"").startswith(self._prefix):
                        self._take(message)
        except BaseException as failure:  # noqa: BLE001  # raised by `close`
            self.failure = failure
        finally:
            self._consumer.close()

    def _take(self, message: Message) -> None:
        head = _decode(message.value() or b"{}")
        key = (message.key() or b"").decode()
        one = Seen(
            shown_s=time.monotonic(),
            written_ms=message.timestamp()[1],
            topic=message.topic() or "",
            partition=message.partition() or 0,
            key=key,
            head=head,
        )
        self.seen.append(one)
        if one.topic == JOBS:
            self.states[key] = head.state


@dataclass(slots=True, kw_only=True)
class Topics:
    """What the topics hold of one pipeline, read afresh from where they were before the trial."""

    ledger: list[Entry] = field(default_factory=list)
    features: list[Version] = field(default_factory=list)
    cases: list[Version] = field(default_factory=list)

    @classmethod
    def read(cls, bootstrap: str, pipeline: str, starts: Mapping[tuple[str, int], int]) -> "Topics":
        """All committed records up to the present ends. Raises TimeoutError."""
        made = cls()
        prefix = f"{pipeline}|".encode()
        for message in _scan(bootstrap, starts):
            key, value = message.key() or b"", message.value()
            if not key.startswith(prefix) or value is None:
                continue
            head, name, topic = _decode(value), key.decode(), message.topic()
            if topic == JOBS:
                made.ledger.append(Entry(job_id=name, state=head.state, attempt=head.attempt))
            else:
                rows = made.features if topic == FEATURES else made.cases
                row = Version(
                    key=name,
                    version=head.version,
                    subgraph=head.subgraph,
                    computed_at_ms=head.computed_at_ms,
                )
                rows.append(row)
        return made


def read_from() -> tuple[str, ...]:
    """The topics of a history."""
    return (JOBS, FEATURES, CASES)


def lags(bootstrap: str, groups: Mapping[str, str]) -> dict[str, int]:
    """Group -> how many records lie before it in its topic, over all partitions."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    found = {}
    for group, topic in groups.items():
        ends = ends_of(bootstrap, topic)
        asked = ConsumerGroupTopicPartitions(group)
        known = admin.list_consumer_group_offsets([asked])[group].result(CALL_S)
        at = {(place.topic, place.partition): place.offset for place in known.topic_partitions}
        found[group] = sum(max(0, end - max(0, at.get(place, 0))) for place, end in ends.items())
    return found


def groups_of(pipeline: str) -> dict[str, str]:
    """The consumer groups whose lag counts, and the topic of each."""
    return {
        f"enrichment.sample.{pipeline}": MICRO_BATCHES,
        f"enrichment.project.{pipeline}": FEATURES,
    }


def _scan(bootstrap: str, starts: Mapping[tuple[str, int], int]) -> Iterator[Message]:
    """Every committed record from there to the ends of now."""
    ends = ends_of(bootstrap, *{topic for topic, _ in starts})
    reader: Any = committed_reader(bootstrap, eof=True)
    reader.assign([TopicPartition(*place, start) for place, start in starts.items()])
    give_up_s = time.monotonic() + END_S
    open_ = {place for place, start in starts.items() if ends[place] > start}
    try:
        while open_:
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"no end of {sorted(open_)} in {END_S:.0f} s")
            for message in reader.consume(1_000, 0.05):
                place = (message.topic(), message.partition())
                if message.error() is None:
                    yield message
                elif message.offset() >= ends[place]:
                    open_.discard(place)
    finally:
        reader.close()
