"""A transactional producer: outputs and input offsets in one Kafka transaction, or none of them.

What went wrong comes back as one of three outcomes, since only three things can be done about it:
go on, do it again, or let go. Anything else is a bug or a broken configuration, and raises.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Self

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from enrichment.stream.aside import Aside
from enrichment.stream.headers import Headers
from enrichment.stream.topics import MESSAGE_BYTES_MAX

CALL_S: Final = 3.0
"""How long one call to the coordinator may take before it is tried again."""

CALLS_MAX: Final = 3
"""How often the same call is tried: beyond, whoever waits for us has noticed."""

HUNG_S: Final = CALL_S + 2.0
"""When a call has not even come back with its time-out, it never will: see `Aside`."""

TRANSACTION_MS: Final = 10_000
"""How long a dead producer's open transaction may stall committed readers."""

LOSSES: Final = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001  # so named by librdkafka for its own errors
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        # The coordinator knows of no open transaction: it died before it had heard of ours (seen).
        KafkaError.INVALID_TXN_STATE,
    }
)
"""Errors that say that the producer or its transaction is not ours any more."""


class HungError(RuntimeError):
    """A call of the client has not come back, and keeps the producer with it."""


class Outcome(Enum):
    """What became of a transaction."""

    COMMITTED = "committed"
    # Nothing of it will be seen: the same may be written again, if the partitions are still ours.
    ABORTED = "aborted"
    # This producer is of no use any more: another has taken over its id, or nobody knows whether
    # the commit went through. Let go of its partitions, and read from the topics what is true.
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One record to be produced; a value of None is a tombstone."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = field(default_factory=list)


class TransactionalProducer:
    """One producer with a transactional id, used by one thread.

    `begin`, `produce`, `commit` are for who streams into a transaction; `write` does all of it for
    who has the messages at hand.
    """

    def __init__(self, producer: Producer) -> None:
        self.producer = producer

    @classmethod
    def open(
        cls,
        config: dict[str, Any],
        transactional_id: str,
        *,
        timeout_s: float = 30.0,
        timeout_ms: int = TRANSACTION_MS,
    ) -> Self:
        """A producer that has fenced every earlier one of its id, and aborted what they left open.

        `timeout_ms` is the transaction's. Raises KafkaException where the coordinator does not
        answer in `timeout_s`.
        """
        producer = Producer(
            {
                # By default a client that has lost all brokers starts anew from `bootstrap.servers`
                # and waits for a group coordinator that it has let go of (librdkafka issue
                # 5511, seen at each restart of a lone broker). With "none" it goes on in a second;
                # where addresses change, another start helps.
                "metadata.recovery.strategy": "none",
                "linger.ms": 0,  # whoever uses transactions has batched already
                "message.max.bytes": MESSAGE_BYTES_MAX,
                "compression.type": "lz4",
                **config,
                "transactional.id": transactional_id,
                "transaction.timeout.ms": timeout_ms,
                # librdkafka wants it within the transaction's; the message dies with it anyway.
                "message.timeout.ms": timeout_ms,
            }
        )
        # Without a connection the coordinator is asked for again after half a second (measured).
        producer.list_topics(timeout=timeout_s)
        producer.init_transactions(timeout_s)
        return cls(producer)

    def begin(self) -> None:
        """Open a transaction. What is produced from here on belongs to it."""
        self.producer.begin_transaction()

    def produce(self, message: Message) -> None:
        """Queue a message; where the queue is full, wait until it is not."""
        while True:
            try:
                self.producer.produce(
                    message.topic,
                    value=message.value,
                    key=message.key,
                    partition=message.partition,
                    headers=message.headers,
                )
            except BufferError:
                self.producer.poll(0.05)
            else:
                return

    def commit(
        self, offsets: Sequence[TopicPartition] = (), group: object | None = None
    ) -> Outcome:
        """Commit what was produced, together with input offsets where `group` is given.

        `group` must be the consumer's metadata of now, since it fences by generation.
        """
        try:
            # Without it, offsets sent right behind messages wait for a 100 ms retry (measured).
            self.producer.flush(CALL_S)
            if offsets and group is not None:
                self._patiently(
                    lambda: self.producer.send_offsets_to_transaction(offsets, group, CALL_S)
                )
            self._patiently(lambda: self.producer.commit_transaction(CALL_S))
        except HungError:
            return Outcome.LOST
        except KafkaException as error:
            return self.give_up(error)
        except SystemError as error:
            # What the client makes of several errors that come up in one flush (seen when fenced).
            if not isinstance(error.__cause__, KafkaException):
                raise
            return self.give_up(error.__cause__)
        return Outcome.COMMITTED

    def write(
        self,
        messages: Iterable[Message],
        offsets: Sequence[TopicPartition] = (),
        group: object | None = None,
    ) -> Outcome:
        """One whole transaction."""
        try:
            self.begin()
            for message in messages:
                self.produce(message)
        except KafkaException as error:
            return self.give_up(error)
        return self.commit(offsets, group)

    def abort(self) -> Outcome:
        """Abort the open transaction: ABORTED, or LOST where it is no longer ours to abort."""
        try:
            self._patiently(lambda: self.producer.abort_transaction(CALL_S))
        except HungError:
            return Outcome.LOST
        except KafkaException as error:
            if _lost(_error(error)):
                return Outcome.LOST
            raise
        return Outcome.ABORTED

    def give_up(self, error: KafkaException) -> Outcome:
        """Abort where the error allows it, else say that we have lost it, else raise."""
        cause = _error(error)
        # Who produces is told that something fatal has happened, and who aborts what it was (seen).
        fatal = cause.code() == KafkaError._FATAL  # noqa: SLF001  # so named by librdkafka
        if fatal and self.abort() is Outcome.LOST:
            return Outcome.LOST
        if cause.txn_requires_abort():
            return self.abort()
        if _lost(cause):
            return Outcome.LOST
        raise error

    def close(self) -> None:
        """Drop what is queued; an open transaction is aborted by the broker or by the next owner.

        Does not wait: the producer may be that of a partition which is no longer ours.
        """
        try:
            self.producer.purge()
            self.producer.flush(0)
        except KafkaException as error:
            # A producer that another has fenced says so even now, and has nothing left to deliver.
            if not _lost(_error(error)):
                raise

    def _patiently(self, call: Callable[[], object]) -> None:
        """Repeat a call whose failure says that the very same may be tried again."""
        for left in reversed(range(CALLS_MAX)):
            aside = Aside("transaction")
            called = aside.submit(call)
            aside.shutdown()
            try:
                called.result(HUNG_S)
            except TimeoutError:
                raise HungError from None
            except KafkaException as error:
                if not _error(error).retriable() or left == 0:
                    raise
            else:
                return


def _lost(error: KafkaError) -> bool:
    """Whether the producer is fenced, or the fate of its transaction not known."""
    return error.code() in LOSSES or error.retriable()


def _error(exception: KafkaException) -> KafkaError:
    """The error inside the exception."""
    error = exception.args[0]
    assert isinstance(error, KafkaError)  # noqa: S101  # so documented
    return error
