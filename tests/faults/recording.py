"""Real writers and readers that keep journals beside the stages, while things break around them."""

import random
import secrets
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from enrichment.stream.transaction import Message, Outcome, TransactionalProducer
from tests.faults.journal import Assigned, Journal, Polled, Reached
from tests.faults.recorded_producer import RecordedProducer, open_journal, value_of

CALL_S: Final = 10.0
OPEN_S: Final = 5.0
POLL_S: Final = 0.05
AWAY_S: Final = 0.5  # between attempts to reach a broker that is away
ABORTED_SHARE: Final = 0.2  # of the writer's transactions: it changes its mind
RECORDS_MAX: Final = 5
PACE_S: Final = 0.02


class _Running:
    """A thread that works until it is told to stop. What ends it early is raised by `stop`."""

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as failure:  # noqa: BLE001  # raised again by `stop`
            self._failure = failure

    def _run(self) -> None:
        raise NotImplementedError


class Reading(_Running):
    """A reader of some partitions from these offsets to their ends, and on."""

    def __init__(
        self,
        bootstrap: str,
        starts: Mapping[tuple[str, int], int],
        journals: Path,
        *,
        committed: bool = True,
    ) -> None:
        self._name = f"{'committed' if committed else 'uncommitted'}-{secrets.token_hex(3)}"
        self._journal = open_journal(journals, self._name)
        self._committed = committed
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"history-{self._name}",  # demanded; nothing is joined
                "isolation.level": "read_committed" if committed else "read_uncommitted",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
                "log_level": 2,
            }
        )
        self._positions = dict(starts)
        super().__init__(f"reading {self._name}")

    def await_end(self, ends: Mapping[tuple[str, int], int], within_s: float) -> bool:
        """Whether it has come to these ends before the time is over."""
        waited = threading.Event()
        for _ in range(int(within_s / POLL_S)):
            if all(self._positions.get(where, 0) >= end for where, end in ends.items()):
                return True
            waited.wait(POLL_S)
        return False

    def _run(self) -> None:
        for (topic, number), start in self._positions.items():
            self._journal.note(
                Assigned(
                    process=self._name,
                    topic=topic,
                    partition=number,
                    start=start,
                    read_committed=self._committed,
                )
            )
        starts = [TopicPartition(*where, start) for where, start in self._positions.items()]
        self._consumer.assign(starts)
        while not self._stop.is_set():
            for message in self._consumer.consume(1_000, POLL_S):
                note_polled(self._journal, self._name, message, self._positions)
        self._consumer.close()
        self._journal.close()


def note_polled(
    journal: Journal, process: str, message: KafkaMessage, positions: dict[tuple[str, int], int]
) -> None:
    """Note what a consumer was given; a broker that is away is none of a reader's business."""
    error = message.error()
    topic, partition = message.topic() or "", message.partition() or 0
    offset = message.offset() or 0
    if error is None:
        key = message.key()
        journal.note(
            Polled(
                process=process,
                topic=topic,
                partition=partition,
                offset=offset,
                key=(key or b"").decode(errors="replace"),
                value=value_of(key, message.value()),
            )
        )
        positions[topic, partition] = offset + 1
    elif error.code() == KafkaError._PARTITION_EOF:
        journal.note(Reached(process=process, topic=topic, partition=partition, position=offset))
        positions[topic, partition] = offset
    elif error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise AssertionError(f"{process}: what it had read is gone: {error.str()}")
    elif error.fatal():
        raise KafkaException(error)


class Sharing(_Running):
    """A member of a consumer group: it reads what it is assigned, and commits what it has read."""

    def __init__(self, bootstrap: str, topics: Sequence[str], journals: Path, group: str) -> None:
        self._name = f"member-{secrets.token_hex(3)}"
        self._journal = open_journal(journals, self._name)
        self._topics = list(topics)
        self._positions: dict[tuple[str, int], int] = {}
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "session.timeout.ms": 6_000,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
                "log_level": 2,
            }
        )
        super().__init__(f"sharing {self._name}")

    def _run(self) -> None:
        self._consumer.subscribe(self._topics, on_assign=self._assigned)
        while not self._stop.is_set():
            messages = self._consumer.consume(100, POLL_S)
            for message in messages:
                note_polled(self._journal, self._name, message, self._positions)
            if messages:
                self._commit()
        self._consumer.close()
        self._journal.close()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Begin where the group has committed; who cannot ask begins anew, which is allowed."""
        try:
            partitions = consumer.committed(partitions, CALL_S)
        except KafkaException:
            partitions = [TopicPartition(each.topic, each.partition, 0) for each in partitions]
        for each in partitions:
            each.offset = max(each.offset, 0)
            self._journal.note(
                Assigned(
                    process=self._name,
                    topic=each.topic,
                    partition=each.partition,
                    start=each.offset,
                    read_committed=True,
                )
            )
        self._positions = {(each.topic, each.partition): each.offset for each in partitions}
        consumer.assign(partitions)

    def _commit(self) -> None:
        offsets = [TopicPartition(*where, at) for where, at in self._positions.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # Its partitions are another's now, or the broker is away: what was read is read again.
            if error.args[0].fatal():
                raise


class Writing(_Running):
    """A writer of small transactions to a topic of its own, through our own producer."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, journals: Path) -> None:
        self._kafka = {"bootstrap.servers": bootstrap, "log_level": 2}
        self._topic, self._partitions = topic, partitions
        self._id = f"history-{secrets.token_hex(3)}"
        self._journal = open_journal(journals, self._id)
        self._draw = random.Random(self._id)
        self.outcomes: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        super().__init__(f"writing {self._id}")

    def _run(self) -> None:
        producer = self._open()
        while producer is not None and not self._stop.wait(PACE_S):
            outcome = self._write(producer)
            self.outcomes[outcome] += 1
            if outcome is Outcome.LOST:
                producer.close()
                producer = self._open()
        if producer is not None:
            producer.close()
        self._journal.close()

    def _open(self) -> TransactionalProducer | None:
        """The producer, its predecessor fenced; None when told to stop meanwhile."""
        while not self._stop.is_set():
            try:
                producer = TransactionalProducer.open(self._kafka, self._id, timeout_s=OPEN_S)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
                self._stop.wait(AWAY_S)
            else:
                return TransactionalProducer(RecordedProducer(producer.producer, self._journal))
        return None

    def _write(self, producer: TransactionalProducer) -> Outcome:
        """One transaction: a few records in random partitions, now and then given up."""
        messages = [
            Message(
                topic=self._topic,
                partition=self._draw.randrange(self._partitions),
                key=b"k",
                value=secrets.token_bytes(12),
            )
            for _ in range(self._draw.randint(1, RECORDS_MAX))
        ]
        if self._draw.random() >= ABORTED_SHARE:
            return producer.write(messages)
        try:
            producer.begin()
            for message in messages:
                producer.produce(message)
            producer.producer.flush(CALL_S)
        except KafkaException as error:
            return producer.give_up(error)
        return producer.abort()
