"""A record with a header whose name is no UTF-8: Kafka takes it, and its client cannot read it."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, TopicPartition

from enrichment.lab.servers import LocalServers
from enrichment.records import DeadLetter, DeadLetterReason
from enrichment.stream.dead_letters import Letter, Records
from enrichment.stream.headers import UnreadableHeadersError, headers_of
from enrichment.stream.replay import Fate, judge
from tests.integration.stages import Stream, eventually

pytestmark = pytest.mark.servers

# aiokafka's encoder in Python asks a name for its bytes: this one lies. In a process of its own,
# since the choice of encoder is made at import.
PUBLISH: Final = """
import asyncio, sys
from aiokafka import AIOKafkaProducer

class Name(str):
    def encode(self, *_): return b"bad\\xff\\xfename"

async def main(bootstrap, topic):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    await producer.send_and_wait(topic, b"{}", headers=[(Name("x"), b"1")], partition=0)
    await producer.stop()

asyncio.run(main(*sys.argv[1:]))
"""


class _Bare:
    """A message without headers."""

    def headers(self) -> None:
        """None, as the client has it."""


@pytest.fixture
def stream(servers: LocalServers, tmp_path: Path) -> Iterator[Stream]:
    """A stream with one such record on its input topic, in partition 0."""
    made = Stream(
        tmp_path, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
    )
    subprocess.run(
        [sys.executable, "-c", PUBLISH, made.bootstrap, made.topics.events],
        env=os.environ | {"AIOKAFKA_NO_EXTENSIONS": "1"}, check=True, timeout=60,
    )  # fmt: skip
    yield made
    made.close()


def test_it_is_refused_and_not_touched_again(stream: Stream) -> None:
    """An error of ours, where the client has a SystemError and then a null pointer."""
    consumer = Consumer({"bootstrap.servers": stream.bootstrap, "group.id": secrets.token_hex(4)})
    consumer.assign([TopicPartition(stream.topics.events, 0, 0)])
    message = consumer.poll(30)
    assert message is not None
    good: Any = _Bare()
    for _ in range(1_000):  # until the interpreter has specialised what it calls
        assert headers_of(good) is None
    with pytest.raises(UnreadableHeadersError):
        headers_of(message)
    consumer.close()


def test_its_dead_letter_cannot_be_replayed_and_says_so(stream: Stream) -> None:
    """A record without that header would be another record."""
    record = DeadLetter(
        pipeline=stream.name, reason=DeadLetterReason.INVALID_ENVELOPE, detail="",
        topic=stream.topics.events, partition=0, offset=0, failed_at_ms=1, size_bytes=2,
    )  # fmt: skip
    letter = Letter(topic=stream.topics.dead_letters, partition=0, offset=0, record=record)
    records = Records({"bootstrap.servers": stream.bootstrap})
    assert judge(letter, set(), records) == (Fate.UNREADABLE, None)
    records.close()


def test_the_enricher_goes_on_behind_it(stream: Stream) -> None:
    """It is a dead letter like any other, and the partition moves on."""
    stage = stream.start("enrich")
    eventually(
        "an answer, or the end",
        lambda: bool(stream.dead_letters()) or stage.process.poll() is not None,
    )
    assert stage.process.poll() is None, stage.said()
    assert len(stream.dead_letters()) == 1
