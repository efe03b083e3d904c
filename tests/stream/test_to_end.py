"""A topic is read to its end also while its partitions get their leaders."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.lab.servers import LocalServers
from enrichment.stream import to_end


class Consumer:
    """A consumer of one empty partition, whose broker answers `refusals` first."""

    refusals: Iterator[int] = iter(())

    def __init__(self, _: dict[str, Any]) -> None:
        """Take any configuration."""

    def get_watermark_offsets(self, _: TopicPartition, __: float) -> tuple[int, int]:
        """Return the watermarks, or raise what is the broker's next refusal."""
        for code in self.refusals:
            raise KafkaException(KafkaError(code))
        return 0, 0

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Take partitions."""

    def consume(self, _: int, **__: float) -> list["End"]:
        """Return that the partition has ended."""
        return [End()]

    def close(self) -> None:
        """Let go of nothing."""


class End:
    """The word that partition 0 of topic t has ended at offset 0."""

    def error(self) -> KafkaError:
        """Return the word itself."""
        return KafkaError(KafkaError._PARTITION_EOF)

    def topic(self) -> str:
        """Return the topic."""
        return "t"

    def partition(self) -> int:
        """Return the partition."""
        return 0

    def offset(self) -> int:
        """Return the offset."""
        return 0


def test_a_partition_without_a_leader_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a broker says of a topic that was just created is no failure; anything else is."""
    monkeypatch.setattr(to_end, "Consumer", Consumer)
    monkeypatch.setattr(to_end, "LEADER_S", 0.0)
    new = (KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION)
    monkeypatch.setattr(Consumer, "refusals", iter(new))
    assert to_end.read_to_end({}, [TopicPartition("t", 0)], 1.0) == []
    monkeypatch.setattr(Consumer, "refusals", iter((KafkaError.TOPIC_AUTHORIZATION_FAILED,)))
    with pytest.raises(KafkaException):
        to_end.read_to_end({}, [TopicPartition("t", 0)], 1.0)


@pytest.mark.servers
def test_what_is_committed_behind_an_open_transaction_is_waited_for(servers: LocalServers) -> None:
    """Another producer's open transaction hides it; a reading that ended there would miss it."""
    kafka: dict[str, Any] = {"bootstrap.servers": servers.bootstrap, "log_level": 2}
    topic = f"t{secrets.token_hex(4)}"
    admin = AdminClient(kafka)
    [created] = admin.create_topics([NewTopic(topic, 1, 1)]).values()
    created.result(30)
    begun = Producer(kafka | {"transactional.id": topic})
    begun.init_transactions(30)
    begun.begin_transaction()
    begun.produce(topic, b"open", partition=0)
    begun.flush(10)
    other = Producer(kafka)
    other.produce(topic, b"committed", partition=0)
    other.flush(10)
    where = [TopicPartition(topic, 0)]
    with pytest.raises(TimeoutError):
        to_end.read_to_end(kafka, where, 1.0)
    begun.abort_transaction(10)
    assert [record.value() for record in to_end.read_to_end(kafka, where, 10.0)] == [b"committed"]
