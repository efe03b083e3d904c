"""A transactional producer over a client in trouble."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from enrichment.stream import transaction
from enrichment.stream.transaction import Message, Outcome, TransactionalProducer
from tests.memory_kafka import MemoryKafka, MemoryProducer, Process


class Hanging(MemoryProducer):
    """A client one of whose calls never comes back, whatever its time-out says."""

    hung = ""

    def __init__(self, kafka: MemoryKafka) -> None:
        super().__init__(kafka, Process(), "hanging", 100)
        self.freed = threading.Event()

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        """As the client's, or never."""
        self._hang("send")
        super().send_offsets_to_transaction(*arguments)

    def commit_transaction(self, *arguments: Any) -> None:
        """As the client's, or never."""
        self._hang("commit")
        super().commit_transaction(*arguments)

    def abort_transaction(self, *arguments: Any) -> None:
        """As the client's, or never."""
        self._hang("abort")
        super().abort_transaction(*arguments)

    def _hang(self, call: str) -> None:
        if self.hung == call:
            self.freed.wait(30)


@pytest.fixture
def client() -> Iterator[Hanging]:
    """A client that has initialised its transactions."""
    client = Hanging(MemoryKafka({"target": 1}))
    client.init_transactions()
    yield client
    client.freed.set()


MESSAGE = Message(topic="target", partition=0, key=b"k", value=b"v")


@pytest.mark.parametrize("call", ["send", "commit", "abort"])
def test_a_call_that_never_comes_back_is_a_lost_transaction(
    client: Hanging, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it for ever, and nothing more is asked of that client."""
    monkeypatch.setattr(transaction, "HUNG_S", 0.1)
    client.hung = call
    producer = TransactionalProducer(client)
    producer.begin()
    producer.produce(MESSAGE)
    if call == "abort":
        assert producer.abort() is Outcome.LOST
    elif call == "commit":
        assert producer.commit() is Outcome.LOST
    else:
        assert producer.commit([TopicPartition("source", 0, 1)], object()) is Outcome.LOST


def test_a_transaction_that_the_coordinator_does_not_know_is_lost() -> None:
    """A broker that died before it heard of the transaction: start again, do not crash."""
    process = Process()
    kafka = MemoryKafka({"target": 1})
    client = MemoryProducer(kafka, process, "one", 100)
    client.init_transactions()
    producer = TransactionalProducer(client)
    producer.begin()
    producer.produce(MESSAGE)
    process.prepare("commit", "forgotten")
    assert producer.commit() is Outcome.LOST
    producer.close()


def test_a_fence_that_only_the_abort_names_is_a_lost_transaction(
    client: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is refused as "fatal error": fenced while it was produced, and no bug."""

    def refuse(code: int) -> None:
        raise KafkaException(KafkaError(code, "refused", fatal=True))

    monkeypatch.setattr(client, "produce", lambda *_, **__: refuse(KafkaError._FATAL))
    monkeypatch.setattr(client, "abort_transaction", lambda *_: refuse(KafkaError._FENCED))
    assert TransactionalProducer(client).write([MESSAGE]) is Outcome.LOST
    monkeypatch.setattr(client, "abort_transaction", lambda *_: refuse(KafkaError._FATAL))
    with pytest.raises(KafkaException):
        TransactionalProducer(client).give_up(KafkaException(KafkaError(KafkaError._FATAL)))
