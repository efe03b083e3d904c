"""The Faust application: agents that read digests and outcomes, and publish what closes.

At a close the features go out first and are awaited, then the micro-batch is: whoever sees the
micro-batch finds its features in their topic. Nothing is committed before both are acknowledged,
and after a crash the log of closes says what was published, so that nothing is published twice.
"""

import asyncio
import gc
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import faust
import msgspec
from faust.types import TP
from mode.supervisors import CrashingSupervisor

from enrichment.pipelines import Pipeline
from enrichment.records import Digest, Outcome
from enrichment.stream import lag
from enrichment.stream.framing import BARE, Framing, unframed
from enrichment.stream.security import PLAIN, Security
from enrichment.stream.topics import DIGESTS, MESSAGE_BYTES_MAX, StreamTopics, shard_key
from enrichment.telemetry.log import logger
from enrichment.window.driver import App, Consumer, credentials
from enrichment.window.outlet import Outlet
from enrichment.window.partition import Partition
from enrichment.window.seldom import Seldom
from enrichment.window.takeover import Note, Takeover
from enrichment.window.told import REPORT_MS, tell_close, tell_counts

TICK_S: Final = 0.01  # what waits for nothing but quiet waits at most two of these
SESSION_S: Final = 6  # after a crash, another worker takes over within about this
STOP_S: Final = 4.0  # after this a stop no longer waits for a broker that does not answer
HEARTBEAT_MIN_MS: Final = 1_000
HEARTBEAT_MAX_MS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowConfig:
    """What the window stage is told of its surroundings. Counts are of partitions."""

    bootstrap: str
    feature_partitions: int
    # Of the stream's events topic; 0 where that is not known.
    source_partitions: int = 0
    client_id: str = "window"
    framing: Framing = BARE
    security: Security = PLAIN


class WindowStage:
    """The state of one worker: the partitions it holds, and how it publishes. It keeps the books.

    Everything runs in one event loop; the lock keeps a close and its publication in one piece.
    """

    def __init__(self, pipeline: Pipeline, config: WindowConfig, now_ms: Callable[[], int]) -> None:
        self._pipeline = pipeline
        self._config = config
        self._now_ms = now_ms
        self._prefix = shard_key(pipeline.name, "").encode()
        self._outcomes_topic = StreamTopics(pipeline.name).outcomes
        fresh_ms = pipeline.features.fresh_ms
        self._beat_ms = min(max(fresh_ms // 3, HEARTBEAT_MIN_MS), HEARTBEAT_MAX_MS)
        self._partitions: dict[int, Partition] = {}
        self._outcomes_next: dict[int, int] = {}
        self._takeover = Takeover(pipeline.name, config.bootstrap, config.security)
        # When each partition's horizons were last kept.
        self._kept_ms: dict[int, int] = {}
        self._told_ms = 0
        self._generation = -1
        self._seen: dict[int, int] = {}
        self._lock = asyncio.Lock()
        self._digests = msgspec.json.Decoder(Digest)
        self._outcomes = msgspec.json.Decoder(Outcome)
        self._encode = msgspec.json.Encoder().encode
        self._outlet = Outlet(
            config.bootstrap,
            pipeline.name,
            feature_partitions=config.feature_partitions,
            framing=config.framing,
            security=config.security,
        )
        self.app = self._new_app()
        self.app.install(self, self._leave_in_time)
        self._declare()

    def _new_app(self) -> App:
        hosts = self._config.bootstrap.replace(" ", "").split(",")
        return App(
            f"enrichment.window.{self._pipeline.name}",
            broker=";".join(f"kafka://{host}" for host in hosts),
            broker_client_id=self._config.client_id,
            broker_credentials=credentials(self._config.security),
            broker_session_timeout=SESSION_S,
            broker_heartbeat_interval=1,
            broker_commit_interval=1.0,
            # aiokafka gives up a request after this, and then tries again.
            broker_request_timeout=60,
            consumer_auto_offset_reset="earliest",
            consumer_max_fetch_size=MESSAGE_BYTES_MAX,
            agent_supervisor=CrashingSupervisor,
            # Faust makes this folder although nothing here is kept in it.
            datadir=Path(tempfile.gettempdir()) / "enrichment-window",
            store="memory://",
            stream_wait_empty=False,
            table_standby_replicas=0,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
        )

    def _declare(self) -> None:
        """Tell Faust of the topics, agents and the clock."""
        raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw"}
        digests = self.app.topic(DIGESTS, value_serializer="raw", **raw)
        outcomes = self.app.topic(self._outcomes_topic, value_serializer="raw", **raw)

        async def window(stream: Any) -> None:
            async for event in stream.noack().events():
                await self._on_digest(event)

        async def judge(stream: Any) -> None:
            async for event in stream.noack().events():
                self._on_outcome(event)

        self.app.agent(digests, name="window")(window)
        self.app.agent(outcomes, name="judge")(judge)
        self.app.task(self._clock)

    async def _on_digest(self, event: Any) -> None:
        """Take in one record of the digests topic, and publish what closes by it."""
        message = event.message
        async with self._lock:
            partition = self._partitions.get(message.partition)
            if partition is None:
                return  # lost since it was fetched
            if not (message.key or b"").startswith(self._prefix):
                partition.skip(message.offset)
                return
            try:
                digest = self._digests.decode(unframed(message.value or b""))
            except msgspec.MsgspecError as error:
                logger().error(
                    "digest passed over: it cannot be read",
                    partition=message.partition,
                    offset=message.offset,
                    error=str(error),
                )
                partition.skip(message.offset)
                return
            partition.receive(
                digest,
                message.offset,
                written_ms=round(message.timestamp * 1000),
                now_ms=self._now_ms(),
            )
            await self._publish_due(partition)
            tell_counts(partition.counts, partition.number)

    def _on_outcome(self, event: Any) -> None:
        message = event.message
        partition = self._partitions.get(message.partition)
        if partition is None or message.offset < self._outcomes_next.get(message.partition, 0):
            return
        self._outcomes_next[message.partition] = message.offset + 1
        self._judge(partition, message.value, message.offset)

    def _judge(self, partition: Partition, value: bytes | None, offset: int) -> None:
        try:
            outcome = self._outcomes.decode(unframed(value or b""))
        except msgspec.MsgspecError as error:
            logger().error(
                "outcome passed over: it cannot be read",
                partition=partition.number,
                offset=offset,
                error=str(error),
            )
        else:
            partition.judge(outcome, now_ms=self._now_ms())

    async def _clock(self) -> None:
        """What only time brings: settled progress, idle shards, heartbeats."""
        try:
            while not self.app.should_stop:
                await asyncio.sleep(TICK_S)
                if not self.app.rebalancing:
                    async with self._lock:
                        await self._tick()
        except Exception as error:  # noqa: BLE001  # Faust hangs on what a task raises
            logger().exception("the window stage's clock failed")
            await self.app.crash(error)

    def _tell_lag(self, now_ms: int) -> None:
        """Tell how far behind the digests' ends we are; a transaction's marker counts as one."""
        self._told_ms = now_ms
        end_of = self.app.consumer.end_of
        lag.tell(
            {
                (DIGESTS, number): max(0, end - partition.next_offset)
                for number, partition in self._partitions.items()
                if (end := end_of(TP(DIGESTS, number))) is not None
            }
        )

    async def _tick(self) -> None:
        for number, partition in self._partitions.items():
            if self._seen.get(number) == partition.next_offset:
                partition.settle()
            self._seen[number] = partition.next_offset
            await self._publish_due(partition)
            now_ms = self._now_ms()
            if beats := partition.heartbeats(self._beat_ms, now_ms):
                await self._outlet.features(beats)
            if now_ms - self._kept_ms[number] >= self._pipeline.window.keep_ms:
                self._kept_ms[number] = now_ms
                await self._outlet.horizons(partition.changes(), number)
                partition.kept()
        if not 0 <= (now_ms := self._now_ms()) - self._told_ms < REPORT_MS:
            self._tell_lag(now_ms)

    async def _publish_due(self, partition: Partition) -> None:
        # The clock is asked anew for each: where several are due, the last closes a while after.
        while (close := next(partition.due(self._now_ms()), None)) is not None:
            await self._outlet.features(close.features)
            offset = await self._outlet.micro_batch(close.micro_batch, partition.number)
            partition.published(close, offset)
            tell_close(close.micro_batch, self._now_ms())

    def safe(self) -> dict[TP, tuple[int, str]]:
        """Per digest partition the oldest offset that a rebuild needs, and where its log starts."""
        books = {}
        for number, partition in self._partitions.items():
            offset, log_start = partition.safe()
            note = Note(log=log_start, watermark=partition.watermark())
            books[TP(DIGESTS, number)] = (offset, self._encode(note).decode())
        return books

    def _leave_in_time(self) -> None:
        """See to it that a stop ends, even if the broker does not answer.

        What was acknowledged is in the log, and the rest is read again: leaving is always safe.
        """
        timer = threading.Timer(STOP_S, lambda: os._exit(1 if self.app.crashed else 0))
        timer.daemon = True
        timer.start()

    async def on_seek(self, consumer: Consumer) -> None:
        """Go on with partitions that we held all along, and rebuild the others."""
        async with self._lock:
            generation = self.app.consumer_generation_id
            # Held in the generation before, and so by nobody else meanwhile.
            unbroken = generation in (self._generation, self._generation + 1)
            self._generation = generation
            numbers = {tp.partition for tp in consumer.assignment() if tp.topic == DIGESTS}
            self._partitions = {
                number: partition
                for number, partition in self._partitions.items()
                if unbroken and number in numbers
            }
            for number in sorted(numbers - self._partitions.keys()):
                await self._take_over(consumer, number)
            await consumer.seek_wait(dict(self._positions(consumer.assignment())))

    async def _take_over(self, consumer: Consumer, number: int) -> None:
        """Have a partition as topics leave it, before its digests are read."""
        known = await self._takeover.read(consumer, number)
        partition = Partition(
            self._pipeline, number, start=known.start, sources=self._config.source_partitions
        )
        now_ms = self._now_ms()
        partition.load(known.horizons, now_ms=now_ms)
        for value, offset in known.outcomes:
            self._judge(partition, value, offset)
        partition.follow(known.log, now_ms=now_ms)
        self._outcomes_next[number] = known.outcomes_end
        self._partitions[number] = partition
        self._kept_ms[number] = now_ms
        logger().info(
            "digest partition taken over",
            partition=number,
            start=partition.next_offset,
            logged_closes=len(known.log.closes),
            outcomes=len(known.outcomes),
            horizon_slices=known.slices,
            seconds=round(known.took_s, 2),
        )

    def _positions(self, assigned: Iterable[TP]) -> Iterable[tuple[TP, int]]:
        """From where to read each assigned partition."""
        for tp in assigned:
            if tp.partition in self._partitions:
                if tp.topic == DIGESTS:
                    yield tp, self._partitions[tp.partition].next_offset
                else:
                    yield tp, self._outcomes_next[tp.partition]


def run(pipeline: Pipeline, config: WindowConfig, now_ms: Callable[[], int]) -> None:
    """Run one worker until a signal ends it. Exits the process: with 0 if it was told to."""
    # The horizon is millions of small objects that live long: the collector must not walk them all
    # whenever a few have come.
    gc.set_threshold(100_000, 20, 100)
    stage = WindowStage(pipeline, config, now_ms)
    logging.getLogger().addHandler(Seldom(now_ms))
    worker = faust.Worker(
        stage.app, override_logging=False, redirect_stdouts=False, console_port=0, quiet=True
    )
    worker.spinner = None  # it draws on standard output even when told to be quiet
    worker.execute_from_commandline()
