"""A producer that keeps a journal: what a stage sends in its transactions, and what it is told."""

import os
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaError, Producer
from confluent_kafka import Message as KafkaMessage

from enrichment.stream.transaction import TransactionalProducer
from tests.faults.journal import SUFFIX, Acked, Ended, Journal, Sent

_numbers: Final = count()


def open_journal(folder: Path, name: str) -> Journal:
    """A journal of this process; of one name there may be many, each start has its own."""
    folder.mkdir(parents=True, exist_ok=True)
    return Journal(folder / f"{name}-{os.getpid()}-{next(_numbers)}{SUFFIX}")


def value_of(key: bytes | None, value: bytes | None) -> str:
    """What names a record's content; nothing for a tombstone."""
    if value is None:
        return ""
    return blake2b((key or b"") + b"|" + value, digest_size=12).hexdigest()


class RecordedProducer:
    """A producer that notes what it is told to send, and what it is told of it.

    Everything else is the producer's.
    """

    def __init__(self, producer: Producer, journal: Journal) -> None:
        self._producer = producer
        self._journal = journal
        self._name = f"{os.getpid()}.{next(_numbers)}"
        self._sends = count()
        self._transaction = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def __len__(self) -> int:
        return len(self._producer)

    def produce(
        self,
        topic: str,
        value: bytes | None = None,
        key: str | bytes | None = None,
        partition: int = -1,
        **options: Any,
    ) -> None:
        """Note it, then send it: what is not noted was not sent."""
        assert partition >= 0, "nobody here leaves the partition to the client"
        send = f"{self._name}.{next(self._sends)}"

        def delivered(error: KafkaError | None, message: KafkaMessage) -> None:
            if error is None:
                offset = message.offset()
                self._journal.note(Acked(process=self._name, send=send, offset=offset or 0))

        named = key.encode() if isinstance(key, str) else key
        self._journal.note(
            Sent(
                process=self._name,
                send=send,
                topic=topic,
                partition=partition,
                key=(named or b"").decode(errors="replace"),
                value=value_of(named, value),
                transaction=self._transaction,
            )
        )
        self._producer.produce(
            topic, value=value, key=key, partition=partition, on_delivery=delivered, **options
        )

    def begin_transaction(self) -> None:
        """Begin a transaction, which gets a name."""
        self._producer.begin_transaction()
        self._transaction = f"{self._name}.x{next(self._sends)}"

    def commit_transaction(self, *arguments: Any) -> None:
        """Commit; the word on it is noted when it comes."""
        self._producer.commit_transaction(*arguments)
        self._end(committed=True)

    def abort_transaction(self, *arguments: Any) -> None:
        """Abort, likewise."""
        self._producer.abort_transaction(*arguments)
        self._end(committed=False)

    def _end(self, *, committed: bool) -> None:
        ended = Ended(process=self._name, transaction=self._transaction, committed=committed)
        self._journal.note(ended)


def record_transactions(folder: Path, name: str) -> None:
    """Have every transactional producer of this process keep a journal, from now on."""
    journal = open_journal(folder, name)
    plain = TransactionalProducer.__init__

    def recorded(self: TransactionalProducer, producer: Producer) -> None:
        plain(self, RecordedProducer(producer, journal))

    TransactionalProducer.__init__ = recorded  # type: ignore[method-assign]
