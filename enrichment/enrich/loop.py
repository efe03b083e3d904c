"""The loop of the hot path: consume a batch, answer it, and commit outputs and offsets as one.

Exactly once: outputs, dead letters, digests and input offsets are one Kafka transaction. On any
abortable error it is aborted and the batch is read again from the committed offsets; a fatal error
ends the process, and whoever supervises it starts another.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, Final, Self

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from enrichment.enrich.batch import Enricher, Output, Outputs, Record
from enrichment.records import Digest
from enrichment.stream.errors import is_fatal
from enrichment.stream.headers import PROGRESS, STRUCTURED, StructuredEvent, cloud_event, header
from enrichment.stream.topics import DIGESTS, StreamTopics, partition_for, shard_key
from enrichment.stream.transaction import Outcome, TransactionalProducer
from enrichment.telemetry import metrics
from enrichment.telemetry.log import logger
from enrichment.telemetry.trace import valid_traceparent

CALL_S: Final = 10.0  # the longest that one call to the broker may take before the batch is dropped
FULL_S: Final = 30.0  # the longest that a full producer queue is waited for
PROGRESS_DIGITS_MAX: Final = 15  # milliseconds to the year 9999 and beyond; Python parses 4,300
# Not `message.headers()`: of a header whose name is not UTF-8 the client makes a null pointer and
# an exception, and a call that the interpreter has specialised looks at neither: it ends in a
# segmentation fault (seen). Called from C, it is checked.
HEADERS: Final = methodcaller("headers")
PROGRESS_MS: Final = 100  # how often a source's progress goes to shards that it showed nothing of


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """How one enricher process consumes and produces."""

    stream: str
    # Client configuration common to consumer and producer.
    client: dict[str, Any]
    group_id: str
    # Stable across restarts of the same instance, so that a new one fences the old one at once.
    instance: str
    exactly_once: bool
    batch_events_max: int
    batch_ms_max: int
    digest_partitions: int


class LostInstanceError(RuntimeError):
    """This process can go no further; another start of it can."""


@dataclass(frozen=True, slots=True)
class Clients:
    """What one enricher process consumes and produces with.

    The producer of exactly-once delivery has a transactional id, and has initialised it.
    """

    consumer: Consumer
    producer: Producer

    @classmethod
    def open(cls, config: LoopConfig) -> Self:
        """Clients of the broker. Raises KafkaException where it does not answer."""
        consumer = Consumer(
            config.client
            | {
                "group.id": config.group_id,
                "group.instance.id": config.instance,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": 6_000,
                "heartbeat.interval.ms": 1_500,
                "fetch.wait.max.ms": 100,
                "queued.min.messages": 10_000,
                # A full queue is looked at again after a second by default: with batches as fast
                # as ours that second is the limit, 10,000 events of each partition (measured).
                "fetch.queue.backoff.ms": 5,
            }
        )
        producing = config.client | {
            "enable.idempotence": True,
            "linger.ms": 1,
            "compression.type": "lz4",
            "partitioner": "consistent",
            "queue.buffering.max.messages": 200_000,
            # Nothing is called back for a message that was delivered.
            "delivery.report.only.error": True,
        }
        if config.exactly_once:
            transactions = TransactionalProducer.open(producing, config.instance)
            return cls(consumer, transactions.producer)
        return cls(consumer, Producer(producing))


class Loop:
    """One enricher process, from subscription to its orderly end."""

    def __init__(
        self,
        enricher: Enricher,
        config: LoopConfig,
        now_ms: Callable[[], int],
        *,
        clients: Clients | None = None,
    ) -> None:
        """`clients` are the broker's unless a test brings its own."""
        self._enricher = enricher
        self._config = config
        self._now_ms = now_ms
        self._topics = StreamTopics(config.stream)
        self._encode = msgspec.json.Encoder().encode
        self._source = f"/enrichment/{config.stream}"
        self._progress_sent_ms: dict[int, int] = {}
        self._failed: list[str] = []
        clients = clients or Clients.open(config)
        self._consumer, self._producer = clients.consumer, clients.producer
        self._transactions = TransactionalProducer(self._producer) if config.exactly_once else None

    def run(self, stop: threading.Event) -> None:
        """Answer records until told to stop.

        Raises LostInstanceError where only another start can go on, and KafkaException on what
        cannot be mended.
        """
        try:
            self._consumer.subscribe([self._topics.events])
            logger().info("enriching", topic=self._topics.events)
            while not stop.is_set():
                self._iterate()
        finally:
            self._consumer.close()
            if self._transactions is not None:
                self._transactions.close()  # between two batches there is nothing to deliver
            else:
                self._producer.flush(CALL_S)

    def _iterate(self) -> None:
        """One batch. What could not be committed is read again."""
        config = self._config
        messages = self._consumer.consume(config.batch_events_max, config.batch_ms_max / 1000)
        records = []
        ends: dict[tuple[str, int], int] = {}
        for message in messages:
            if (error := message.error()) is not None:
                self._complain(error)
                continue
            record = record_of(message)
            ends[record.topic, record.partition] = record.offset + 1
            records.append(record)
        if not records:
            self._producer.poll(0)
            return
        offsets = [TopicPartition(*where, end) for where, end in ends.items()]
        started_ms = self._now_ms()
        outputs = self._answer(records, offsets)
        if outputs is None:
            self._read_again()
            return
        metrics.batch_duration.record(self._now_ms() - started_ms)
        for name, count in outputs.verdicts.items():
            metrics.events.add(count, {"verdict": name})
        if outputs.dead_letters:
            metrics.dead_letters.add(len(outputs.dead_letters))

    def _answer(self, records: list[Record], offsets: list[TopicPartition]) -> Outputs | None:
        """Produce the answers and commit them with the offsets; None where they were not."""
        if self._transactions is None:
            outputs = self._produce_all(self._enricher.process(records))
            unsent = self._producer.flush(CALL_S)
            if unsent or self._failed:
                logger().warning("not delivered", unsent=unsent, errors=self._failed[:1])
                self._failed.clear()
                return None
            return outputs if self._commit(offsets) else None
        try:
            self._transactions.begin()
            outputs = self._produce_all(self._enricher.process(records))
        except KafkaException as failure:
            logger().warning("transaction aborted", error=str(failure.args[0]))
            outcome = self._transactions.give_up(failure)
        else:
            group = self._consumer.consumer_group_metadata()
            outcome = self._transactions.commit(offsets, group)
        if outcome is Outcome.LOST:
            raise LostInstanceError(
                f"another process runs as {self._config.instance}, or the broker lost our "
                "transaction: starting again reads what was committed"
            )
        return outputs if outcome is Outcome.COMMITTED else None

    def _commit(self, offsets: list[TopicPartition]) -> bool:
        """Commit without a transaction: whether it was done."""
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as failure:
            error = failure.args[0]
            if is_fatal(error) or error.code() == KafkaError.FENCED_INSTANCE_ID:
                raise self._lost(error) from failure
            # The group has moved on without us, or did not answer: whoever owns the partitions
            # answers the batch again, which this mode allows.
            logger().warning("offsets not committed", error=str(error))
            return False
        return True

    def _lost(self, error: KafkaError) -> LostInstanceError:
        return LostInstanceError(f"{error.str()}: is there another {self._config.instance}?")

    def _read_again(self) -> None:
        """Forget the batch, and go back to what is committed."""
        self._enricher.forget()
        self._progress_sent_ms.clear()
        assigned = self._consumer.assignment()
        try:
            positions = self._consumer.committed(assigned, timeout=CALL_S) if assigned else []
        except KafkaException as failure:
            message = f"Kafka does not say what is committed ({failure.args[0].str()})"
            raise LostInstanceError(f"{message}: starting again reads from there") from failure
        logger().warning("batch dropped, reading it again", partitions=len(positions))
        for position in positions:
            if position.offset == OFFSET_INVALID:
                position.offset = OFFSET_BEGINNING
            self._consumer.seek(position)

    def _produce_all(self, outputs: Outputs) -> Outputs:
        """Hand every output of the batch to the producer."""
        for output in outputs.enriched:
            self._produce(self._topics.enriched, output)
        for output in outputs.dead_letters:
            self._produce(self._topics.dead_letters, output)
        count = self._config.digest_partitions
        told: set[tuple[int, int]] = set()
        for digest in outputs.digests:
            target = partition_for(shard_key(digest.pipeline, digest.shard), count)
            self._produce_digest(digest, target)
            told.add((digest.source_partition, target))
        self._produce_progress(outputs.progress, told, self._now_ms())
        return outputs

    def _produce_progress(
        self, progress: Iterable[tuple[Digest, bool]], told: set[tuple[int, int]], now_ms: int
    ) -> None:
        """Tell the digest partitions that a source showed nothing of how far it has come.

        What a source stated itself goes out at once, what is merely known of it now and then.
        """
        for digest, stated in progress:
            source = digest.source_partition
            if not stated and now_ms - self._progress_sent_ms.get(source, 0) < PROGRESS_MS:
                continue
            self._progress_sent_ms[source] = now_ms
            for target in range(self._config.digest_partitions):
                # Who waits for a statement must not have to guess it from a digest of events.
                if stated or (source, target) not in told:
                    self._produce_digest(digest, target)

    def _produce_digest(self, digest: Digest, partition: int) -> None:
        id_ = f"{self._topics.events}/{digest.source_partition}/{digest.offset_last}"
        if digest.shard:
            id_ += f"/{digest.shard}/{digest.pane_start_ms}/{digest.part}"
        headers = cloud_event("digest", self._source, id_, digest.progress_ms)
        key = shard_key(digest.pipeline, digest.shard)
        self._produce(DIGESTS, Output(key, self._encode(digest), headers), partition)

    def _produce(self, topic: str, output: Output, partition: int = -1) -> None:
        """Queue one record; when the queue is full, wait for room, since nothing may be lost."""
        waited_s = 0.0
        while True:
            try:
                self._producer.produce(
                    topic,
                    output.value,
                    output.key,
                    partition,
                    headers=output.headers,
                    timestamp=output.timestamp_ms,
                    on_delivery=None if self._config.exactly_once else self._delivered,
                )
            except BufferError:
                if waited_s >= FULL_S:
                    message = f"the producer's queue was full for {FULL_S} s: the broker is away"
                    raise LostInstanceError(message) from None
                self._producer.poll(0.05)
                waited_s += 0.05
            else:
                return

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed.append(str(error))

    def _complain(self, error: KafkaError) -> None:
        """A consumer error that the client mends itself is logged; a fatal one ends the process."""
        if is_fatal(error):
            raise self._lost(error)
        logger().warning("the consumer reports", error=str(error))


def record_of(message: Message) -> Record:
    """What the hot path looks at of one message; a structured CloudEvent is unwrapped."""
    value = message.value()
    traceparent = progress_ms = None
    if headers := _headers(message):
        traceparent = valid_traceparent(header(headers, "traceparent"))
        stated = header(headers, PROGRESS)
        if stated is not None and stated.isdigit() and len(stated) <= PROGRESS_DIGITS_MAX:
            progress_ms = int(stated)
        content_type = header(headers, "content-type") or b""
        if value is not None and content_type.startswith(STRUCTURED.encode()):
            try:
                structured = msgspec.json.decode(value, type=StructuredEvent)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                # Left as it is: the decoder says of it what it says of any record without fields.
                logger().debug("not a structured CloudEvent", offset=message.offset())
            else:
                value = bytes(structured.data)
                if traceparent is None and structured.traceparent is not None:
                    traceparent = valid_traceparent(structured.traceparent.encode())
    return Record(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        key=message.key(),
        value=value,
        timestamp_ms=max(0, message.timestamp()[1]),
        traceparent=traceparent,
        progress_ms=progress_ms,
    )


def _headers(message: Message) -> list[tuple[str, bytes | None]] | None:
    """The message's headers; None where the client cannot tell them."""
    try:
        return HEADERS(message)  # type: ignore[no-any-return]
    except SystemError as error:
        # A header's name that is not UTF-8: the client raises, and would at every other start.
        logger().debug("headers are no text", offset=message.offset(), error=str(error.__cause__))
        return None
