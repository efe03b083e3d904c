"""The ledger: the compacted topic of jobs, which is the stage's work list, and how it is owned.

One `transactional.id` for each partition. Group metadata fences membership and not ownership, so on
assignment, in this order: `init_transactions` fences the former owner and aborts what it left open;
then the committed offset is asked for; then the ledger is read to its end, and cases, outcomes and
orders with it; only then work resumes.

One thread owns everything here, and must poll often: rebalances are told inside `poll`.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaException,
    TopicPartition,
)
from confluent_kafka import (
    Message as KafkaMessage,
)

from enrichment.records.case import Case
from enrichment.records.job import Job
from enrichment.records.micro_batch import MicroBatch
from enrichment.records.order import JobOrder
from enrichment.records.outcome import Outcome as OutcomeRecord
from enrichment.sample.hearing import Hearing
from enrichment.sample.outcomes import Said
from enrichment.stream.errors import is_fatal
from enrichment.stream.framing import unframed
from enrichment.stream.lag import lags
from enrichment.stream.to_end import scan_to_end
from enrichment.stream.topics import CASES, JOBS, MICRO_BATCHES, ORDERS, StreamTopics
from enrichment.stream.transaction import Message, Outcome, TransactionalProducer
from enrichment.telemetry.log import logger

ARRIVALS_MAX: Final = 200
"""Micro-batches a poll: at 100 KB each, their transaction stays at 20 MB."""

SESSION_MS: Final = 6_000
"""How long a crashed worker holds its partitions: the least that brokers allow by default."""

HEARTBEAT_MS: Final = SESSION_MS // 3
"""Who polls oftener than this has not been fenced by himself: see `Ledger.poll`."""

READ_S: Final = 60.0
"""A hundred thousand entries take less than a second; this is a broker that does not answer."""

CALL_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One record of the micro-batch topic; None where it is another pipeline's, or unreadable."""

    partition: int
    offset: int
    batch: MicroBatch | None


@dataclass(slots=True, kw_only=True, eq=False)
class LedgerState:
    """What the topics say of one partition: each job's and each case's newest record, and outcomes.

    `orders` are all that are still there, heard before or not. `outcomes_next` and `orders_next`
    are the offsets behind what was read.
    """

    jobs: dict[str, Job] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    said: Said = field(default_factory=Said)
    outcomes_next: int = 0
    orders: list[JobOrder] = field(default_factory=list)
    orders_next: int = 0


Assigned = Callable[[int, LedgerState], None]
Revoked = Callable[[int], None]


class Ledger:
    """The partitions that this process owns: their micro-batches in, their transactions out."""

    def __init__(
        self,
        kafka: Mapping[str, Any],
        pipeline: str,
        instance: str,
        *,
        on_assigned: Assigned,
        on_revoked: Revoked,
        stopping: Callable[[], bool],
    ) -> None:
        """Nothing is joined yet; `kafka` is what every client is told, `stopping` ends waits.

        `instance` is the same at the next start of this process: it then gets its partitions back
        at once, and not when the session of the one before has run out.
        """
        self._kafka = dict(kafka)
        self._pipeline = pipeline
        self._prefix = f"{pipeline}|".encode()
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._stopping = stopping
        self._producers: dict[int, TransactionalProducer] = {}
        self._held = False
        outcomes = StreamTopics(pipeline).outcomes
        self._outcomes = Hearing(self._kafka, pipeline, outcomes, OutcomeRecord)
        self._orders = Hearing(self._kafka, pipeline, ORDERS, JobOrder, prefix=self._prefix)
        self._decode_batch = msgspec.json.Decoder(MicroBatch)
        self._decode_job = msgspec.json.Decoder(Job)
        self._decode_case = msgspec.json.Decoder(Case)
        self._instance = instance
        self._consumer = self._member()
        self._polled_s = time.monotonic()
        self._doubtful_until_s = 0.0

    @property
    def owned(self) -> frozenset[int]:
        """The partitions that are ours now."""
        return frozenset(self._producers)

    def join(self) -> None:
        """Join the group: partitions come by `on_assigned`, inside a later `poll`."""
        self._consumer.subscribe(
            [MICRO_BATCHES],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._revoked,
        )

    def poll(self, wait_s: float) -> list[Arrival]:
        """What has come, after waiting at most `wait_s` for the first of it.

        Raises KafkaException where another process bears our name, and has taken our place.
        """
        now_s = time.monotonic()
        if now_s - self._polled_s > HEARTBEAT_MS / 1000:
            self._doubtful_until_s = now_s + SESSION_MS / 1000
        try:
            first = self._consumer.poll(wait_s)
            if first is None:
                return []
            records = [first, *self._consumer.consume(ARRIVALS_MAX - 1, timeout=0)]
            return [arrival for record in records if (arrival := self._arrival(record)) is not None]
        except KafkaException as error:
            # A client whose session runs out while nobody polls it forgets its member id, and sends
            # its next heartbeat without one: it is fenced as if by another, for good (librdkafka
            # issue 3437, seen when a broker is away while a transaction waits for it).
            if not is_fatal(error.args[0]) or now_s > self._doubtful_until_s:
                raise
            logger().warning("fenced by ourselves, joining the group anew", error=str(error))
            self._rejoin()
            return []
        finally:
            self._polled_s = time.monotonic()

    def outcomes(self) -> Iterator[tuple[int, OutcomeRecord]]:
        """The outcomes that have come in our partitions; waits for nothing."""
        return self._outcomes.news()

    def orders(self) -> Iterator[tuple[int, JobOrder]]:
        """The orders that have come in our partitions; waits for nothing."""
        return self._orders.news()

    def commit(
        self, partition: int, messages: Sequence[Message], next_offset: int | None
    ) -> Outcome:
        """Write one transaction of one partition. Once LOST, every partition is dropped.

        ABORTED means: poll, and write the same again if the partition is still ours.
        """
        producer = self._producers[partition]
        offsets = [] if next_offset is None else [_position(partition, next_offset)]
        group = self._consumer.consumer_group_metadata() if offsets else None
        outcome = producer.write(messages, offsets, group)
        if outcome is Outcome.LOST:
            logger().warning("lost a partition, joining the group anew", partition=partition)
            self._rejoin()
        return outcome

    def hold(self, full: bool) -> None:
        """Take no more micro-batches while full; keeps polling possible."""
        if not full and not self._held:
            return
        partitions = [TopicPartition(MICRO_BATCHES, partition) for partition in self._producers]
        if full:
            self._consumer.pause(partitions)
        else:
            self._consumer.resume(partitions)
        self._held = full

    def lags(self) -> dict[tuple[str, int], int]:
        """How many micro-batches wait in each partition: who became a job is no lag any more."""
        return lags(self._consumer)

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        self._consumer.close()
        for partition in tuple(self._producers):
            self._drop(partition)
        self._outcomes.close()
        self._orders.close()

    def _rejoin(self) -> None:
        """Leave and join again: the one state in which ownership and generation are both known.

        With a new client, since the old one may have been fenced for good.
        """
        for partition in tuple(self._producers):
            self._drop(partition)
        self._consumer.close()
        self._consumer = self._member()
        self.join()

    def _member(self) -> Consumer:
        """A client that is to be the member of our name in the group."""
        return Consumer(
            {
                **self._kafka,
                "group.id": f"enrichment.sample.{self._pipeline}",
                "group.instance.id": self._instance,
                # The newer protocol takes 45 s after a crash, by broker default.
                "group.protocol": "classic",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": SESSION_MS,
                "heartbeat.interval.ms": HEARTBEAT_MS,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )

    def _drop(self, partition: int) -> None:
        """Forget a partition; its open transaction is aborted by whoever takes it over."""
        producer = self._producers.pop(partition, None)
        if producer is not None:
            self._on_revoked(partition)
            self._outcomes.leave(partition)
            self._orders.leave(partition)
            producer.close()

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        for revoked in partitions:
            self._drop(revoked.partition)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Fence, ask for the offset, read the ledger, resume: in this order."""
        numbers = [assigned.partition for assigned in partitions]
        opened: dict[int, TransactionalProducer] = {}
        for number in numbers:
            producer = self._open(number)
            if producer is None:  # told to stop
                return
            opened[number] = producer
        offsets = consumer.committed([_position(number) for number in numbers], CALL_S)
        states = self._read(numbers)
        start = [
            _position(found.partition, found.offset if found.offset >= 0 else OFFSET_BEGINNING)
            for found in offsets
        ]
        consumer.incremental_assign(start)
        self._producers.update(opened)
        self._outcomes.follow({number: states[number].outcomes_next for number in numbers})
        self._orders.follow({number: states[number].orders_next for number in numbers})
        for number in numbers:
            self._on_assigned(number, states[number])

    def _open(self, partition: int) -> TransactionalProducer | None:
        """The partition's producer, every former one fenced; None when told to stop meanwhile."""
        name = f"enrichment.sample.{self._pipeline}.{partition}"
        while not self._stopping():
            try:
                return TransactionalProducer.open(self._kafka, name, timeout_s=CALL_S)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
                logger().warning("cannot fence the former owner yet", error=str(error))
        return None

    def _read(self, numbers: Sequence[int]) -> dict[int, LedgerState]:
        """What the topics say of these partitions, of our jobs and cases the newest record each."""
        states = {number: LedgerState() for number in numbers}
        topics = (JOBS, CASES, self._outcomes.topic, ORDERS)
        wanted = [TopicPartition(topic, number) for topic in topics for number in numbers]
        for record in scan_to_end(self._kafka, wanted, READ_S):
            state = states[record.partition() or 0]
            if record.topic() == self._outcomes.topic:
                state.outcomes_next = (record.offset() or 0) + 1
                outcome = self._outcomes.read(record)
                if outcome is not None:
                    state.said.add(outcome)
                continue
            if record.topic() == ORDERS:
                state.orders_next = (record.offset() or 0) + 1
                order = self._orders.read(record)
                if order is not None:
                    state.orders.append(order)
                continue
            key = record.key() or b""
            if not key.startswith(self._prefix):
                continue
            name = key.decode()
            if record.topic() == JOBS:
                self._fold(record, state.jobs, name, self._decode_job)
            else:
                self._fold(record, state.cases, name, self._decode_case)
        return states

    def _fold(self, record: KafkaMessage, into: dict[str, Any], name: str, decoder: Any) -> None:
        """Let the record replace the former one of its key. A record of ours always decodes."""
        into.pop(name, None)  # so that the order is that of the newest records
        value = record.value()
        if value is not None:
            into[name] = decoder.decode(unframed(value))

    def _arrival(self, record: KafkaMessage) -> Arrival | None:
        """The record as an arrival; None where its partition is not ours (any more)."""
        error = record.error()
        if error is not None:
            if error.retriable():
                return None
            raise KafkaException(error)
        partition, offset = record.partition() or 0, record.offset() or 0
        if partition not in self._producers:
            return None
        batch: MicroBatch | None = None
        key, value = record.key() or b"", record.value()
        if key.startswith(self._prefix) and value is not None:
            try:
                batch = self._decode_batch.decode(unframed(value))
            except msgspec.DecodeError as problem:
                logger().error(
                    "a micro-batch cannot be read and is left out",
                    topic=MICRO_BATCHES,
                    partition=partition,
                    offset=offset,
                    error=str(problem),
                )
        return Arrival(partition=partition, offset=offset, batch=batch)


def _position(partition: int, offset: int = OFFSET_BEGINNING) -> TopicPartition:
    return TopicPartition(MICRO_BATCHES, partition, offset)
