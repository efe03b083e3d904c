"""The hot path on a broker in trouble, and on records that mean trouble: each is answered once."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from enrichment.enrich.clients import Clients
from enrichment.lab.servers import LocalServers
from enrichment.stream.transaction import TransactionalProducer
from enrichment.wiring.clock import now_ms
from tests.enrich import fuzzed
from tests.enrich.streams import PAYMENT, payment
from tests.faults.answers import Account, Watch
from tests.faults.enrichers import STARTED, Enrichers, Publishing
from tests.integration.loops import Running, config, good, hesitant
from tests.integration.stages import Stream, eventually

pytestmark = pytest.mark.servers

POISONS = 3_000
# One header whose name is not UTF-8, which confluent-kafka cannot produce: aiokafka's own encoder
# in Python takes any object that encodes itself.
UNREADABLE = """
import asyncio, sys
from aiokafka import AIOKafkaProducer
class Name(str):
    def encode(self, *_):
        return b"\\xff\\xfe"
async def main():
    producer = AIOKafkaProducer(bootstrap_servers=sys.argv[1])
    await producer.start()
    try:
        for partition in range(4):
            await producer.send_and_wait(
                sys.argv[2], sys.argv[3].encode(), partition=partition, headers=[(Name("x"), b"1")]
            )
    finally:
        await producer.stop()
asyncio.run(main())
"""


def answered(stream: Stream) -> int:
    """How many answers are committed."""
    return len(stream.read(stream.topics.enriched)) + len(stream.read(stream.topics.dead_letters))


def test_no_record_stops_a_partition(stream: Stream) -> None:
    """Thousands of records as nobody should send them, events between: all go by, each once."""
    draw = random.Random(5)
    producer = Producer({"bootstrap.servers": stream.bootstrap, "linger.ms": 5})
    for number in range(POISONS):
        if number % 3 == 0:
            value, headers = fuzzed.cloud_event(draw, PAYMENT)
            poison: bytes | None = value
        else:
            poison, headers = fuzzed.value(draw, PAYMENT), fuzzed.headers(draw)
        headers = [each for each in headers if each[0] != "enrichment-progress-ms"]
        key = draw.choice((None, b"", b"\xff\xfe", draw.randbytes(5)))
        to = number % 4
        producer.produce(stream.topics.events, poison, key, to, headers=headers)
        event = payment(event_id=f"between-{number}", occurred_at=now_ms())
        producer.produce(stream.topics.events, event, b"a1", to)
    assert producer.flush(30) == 0
    to_topic = (stream.bootstrap, stream.topics.events, payment().decode())
    subprocess.run(
        [sys.executable, "-c", UNREADABLE, *to_topic],
        check=True, timeout=60, env=os.environ | {"AIOKAFKA_NO_EXTENSIONS": "1"},
    )  # fmt: skip
    stage = stream.start("enrich")
    expected = 2 * POISONS + 4
    eventually("all", lambda: answered(stream) >= expected or stage.process.poll() is not None)
    assert stage.end() == 0
    Account.take(stream.bootstrap, stream.name).assert_exact()
    between = [each for each in stream.enriched() if each.event_id.startswith("between-")]
    assert len(between) == POISONS


def test_an_aborted_transaction_is_tried_again(stream: Stream) -> None:
    """The broker refuses an output: nothing of the batch is seen until it takes it, then once."""
    admin = AdminClient({"bootstrap.servers": stream.bootstrap, "log_level": 2})

    def limit(limit_bytes: int) -> None:
        entry = ConfigEntry(
            "max.message.bytes", str(limit_bytes), incremental_operation=AlterConfigOpType.SET
        )
        topic = ConfigResource(
            ResourceType.TOPIC, stream.topics.dead_letters, incremental_configs=[entry]
        )
        for future in admin.incremental_alter_configs([topic]).values():
            future.result(10)

    limit(200)
    stage = stream.start("enrich")
    stage.await_said(STARTED)
    stream.publish([payment(occurred_at=now_ms()), b"nonsense" * 50, payment(), b"{"])
    stage.await_said("reading again")
    limit(1_048_588)
    eventually("all", lambda: answered(stream) >= 4)
    assert stage.end() == 0
    Account.take(stream.bootstrap, stream.name).assert_exact()


def test_a_full_queue_slows_down_and_loses_nothing(stream: Stream) -> None:
    """A producer whose queue holds a tenth of a batch: the loop waits for room, again and again."""
    settings = config(stream, "narrow", batch_events_max=500)
    opened = Clients.open(settings)
    narrow = settings.client | {"queue.buffering.max.messages": 50, "linger.ms": 5}
    producer = TransactionalProducer.open(narrow, settings.instance).producer
    stream.publish(good(2_000))
    running = Running(
        hesitant(stream, lambda _: None), settings, replace(opened, producer=producer)
    )
    eventually("all", lambda: answered(stream) >= 2_000 or running.failure is not None)
    running.end()
    Account.take(stream.bootstrap, stream.name).assert_exact()


def test_sigterm_under_load_finishes_the_batch(stream: Stream) -> None:
    """Exit code 0 within seconds while records keep coming; another start goes on behind it."""
    enrichers = Enrichers(stream)
    enrichers.start("0").await_said(STARTED)
    watch = Watch(stream.bootstrap, stream.name)
    publishing = Publishing(stream, 8_000, 1_000.0, seed=4)
    try:
        for _ in range(2):
            before = watch.answered
            eventually("progress", lambda before=before: watch.answered > before)  # type: ignore[misc]
            assert publishing.going
            assert enrichers.terminate("0") < 5.0
            enrichers.start("0").await_said(STARTED)
        publishing.finish()
        eventually("all", lambda: watch.answered >= 8_000)
        enrichers.terminate("0")
    finally:
        watch.close()
    Account.take(stream.bootstrap, stream.name).assert_exact()


@pytest.mark.slow
def test_a_broker_that_stands_still_and_dies_loses_nothing(
    fresh_servers: Callable[[], LocalServers], tmp_path: Path
) -> None:
    """Four seconds of silence, then kill -9 and a start with its data, under load all the while.

    The enricher may end, as it must where it cannot know what was committed: it is started again.
    """
    servers = fresh_servers()
    stream = Stream(
        tmp_path, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
    )
    enrichers = Enrichers(stream)
    enrichers.start("0").await_said(STARTED)
    publishing = Publishing(stream, 8_000, 800.0, seed=6)
    watch = Watch(stream.bootstrap, stream.name)
    try:
        eventually("the first answers", lambda: watch.answered > 100)
        broker = servers.kafka.process.running()
        assert broker is not None
        os.kill(broker.pid, signal.SIGSTOP)
        time.sleep(4.0)
        os.kill(broker.pid, signal.SIGCONT)

        def answered_at_least(count: int) -> bool:
            enrichers.tend()
            return watch.answered >= count

        before = watch.answered
        eventually("it goes on", lambda: answered_at_least(before + 1))
        servers.kafka.process.kill()
        servers.up()
        publishing.finish()
        eventually("all", lambda: answered_at_least(8_000), within_s=100.0)
        enrichers.terminate("0")
    finally:
        watch.close()
        stream.close()
    Account.take(stream.bootstrap, stream.name).assert_exact()


@pytest.mark.slow
def test_memory_stays_flat(stream: Stream) -> None:
    """Once it is warm, another wave of events adds next to nothing to what the process holds.

    After millions of events: `enrichment bench`.
    """
    stage = stream.start("enrich")
    held: list[int] = []
    for wave in (1, 2, 3):
        # The same accounts and devices each time: what is remembered of each is bounded, but not
        # by so few.
        Publishing(stream, 12_000, 20_000.0, seed=1).finish()
        eventually("the wave", lambda wave=wave: answered(stream) >= 12_000 * wave)  # type: ignore[misc]
        status = Path(f"/proc/{stage.process.pid}/status").read_text(encoding="ascii")
        [line] = [each for each in status.splitlines() if each.startswith("VmRSS")]
        held.append(int(line.split()[1]))
    assert stage.end() == 0
    assert held[2] < 1.1 * held[1], held
