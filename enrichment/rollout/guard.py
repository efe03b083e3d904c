"""The guard: a process that watches what was let in, and takes it out without being asked.

It follows finished jobs from now on, and has evidence weighed again every minute by a thread of its
own, so that what takes seconds never keeps back what takes milliseconds. It joins no group and
keeps nothing: a second guard sees the same and says the same, which is harmless, and one that
starts anew begins with empty windows.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from enrichment.records.enriched import Path
from enrichment.records.job import JobEvent
from enrichment.rollout.control import ControlState
from enrichment.rollout.evidence import Evidence
from enrichment.rollout.policy import Demotion, Policy, Standing
from enrichment.stream.background import Background
from enrichment.stream.framing import unframed
from enrichment.stream.topics import JOB_EVENTS
from enrichment.telemetry import metrics
from enrichment.telemetry.log import logger

POLL_S: Final = 0.2  # how soon an end is noticed; a job ends the wait at once
BATCH_MAX: Final = 500  # events taken at once: control is looked at between two batches
CALL_S: Final = 5.0  # one question to the broker
AGAIN_S: Final = 1.0  # between two attempts at what a broker did not take or give
WEIGH_S: Final = 60.0  # from one weighing's end to the next: outcomes come in hours and days


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the guard asks and tells.

    `demote` raises KafkaException or TimeoutError where it is not known to be written.
    """

    control: Callable[[], ControlState]
    # None where there is none to be had: no experiment, or nothing known yet.
    evidence: Callable[[], Evidence | None]
    demote: Callable[[Demotion], None]


class Weighing(Background):
    """A thread that has evidence weighed now and then; only the newest is kept."""

    def __init__(self, evidence: Callable[[], Evidence | None], every_s: float = WEIGH_S) -> None:
        # Whoever ends the guard does not wait until a topic has been read.
        super().__init__("weigh", stop_s=0.0)
        self._evidence = evidence
        self._every_s = every_s
        self._newest: Queue[Evidence] = Queue(maxsize=1)

    def newest(self) -> Evidence | None:
        """What has been weighed since it was last asked."""
        try:
            return self._newest.get_nowait()
        except Empty:
            return None

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                found = self._evidence()
            except Exception:  # noqa: BLE001  # a thread that ended would leave outcomes unheard
                logger().exception("evidence could not be weighed, trying again")
                found = None
            if found is not None:
                self._put(found)
            self._stop.wait(self._every_s)

    def _put(self, found: Evidence) -> None:
        """In place of one that nobody has asked for."""
        self.newest()
        try:
            self._newest.put_nowait(found)
        except Full:
            raise AssertionError("unreachable: nobody else puts") from None


class Tail:
    """The job events from when it was opened on; an outage loses none that the topic still has."""

    def __init__(self, kafka: Mapping[str, Any]) -> None:
        """Open at the ends of now. Raises KafkaException."""
        self._consumer = Consumer(
            {
                **kafka,
                "group.id": "enrichment.guard",  # demanded by librdkafka; nothing is joined
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": 100,
                "reconnect.backoff.max.ms": 1_000,
            }
        )
        self._decode = msgspec.json.Decoder(JobEvent).decode
        try:
            self._consumer.assign(self._ends())
        except KafkaException:
            self._consumer.close()
            raise

    def _ends(self) -> list[TopicPartition]:
        """Where each partition ends now."""
        found = self._consumer.list_topics(JOB_EVENTS, timeout=CALL_S).topics[JOB_EVENTS]
        if found.error is not None:
            raise KafkaException(found.error)
        ends = [TopicPartition(JOB_EVENTS, number) for number in found.partitions]
        for one in ends:
            one.offset = self._consumer.get_watermark_offsets(one, CALL_S)[1]
        return ends

    def events(self) -> list[JobEvent]:
        """What has come, waiting a moment for the first."""
        first = self._consumer.poll(POLL_S)
        found = []
        for message in [] if first is None else [first, *self._consumer.consume(BATCH_MAX, 0)]:
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  # so named
                    # The client tries again by itself, from where it is.
                    logger().warning("job events cannot be read", error=error.str())
                continue
            try:
                found.append(self._decode(unframed(message.value() or b"")))
            except msgspec.DecodeError as error:
                where = f"{message.partition()}/{message.offset()}"
                logger().warning("skipped: no job event", at=where, error=str(error))
        return found

    def close(self) -> None:
        """Leave the topic."""
        self._consumer.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A demotion to be written, when what tipped it happened, and what it is a demotion of."""

    demotion: Demotion
    since_ms: int
    standing: Standing | None


class Guard:
    """What is seen, what follows from it, and what has yet to be written: one demotion a path."""

    def __init__(self, policy: Policy, ports: Ports, now_ms: Callable[[], int]) -> None:
        """The policy's windows are the guard's alone."""
        self._policy = policy
        self._ports = ports
        self._now_ms = now_ms
        self._pending: dict[Path, _Pending] = {}
        self._again_s = 0.0

    def run(self, kafka: Mapping[str, Any], stop: threading.Event) -> None:
        """Watch until told to stop. Raises KafkaException where there are no job events."""
        tail = Tail(kafka)
        try:
            with Weighing(self._ports.evidence) as weighing:
                logger().info("watching what is let in")
                while not stop.is_set():
                    self.turn(tail.events(), weighing.newest())
        finally:
            tail.close()

    def turn(self, events: list[JobEvent], evidence: Evidence | None) -> None:
        """One turn: what has come is judged, and what follows is written."""
        self._policy.heed(self._ports.control())
        for event in events:
            for demotion in self._policy.ended(event):
                self._note(demotion, event.at_ms)
        if evidence is not None:
            for demotion in self._policy.weighed(evidence):
                self._note(demotion, evidence.until_ms)
        self._write()

    def _note(self, demotion: Demotion, since_ms: int) -> None:
        standing = self._policy.standing(demotion.path)
        pending = _Pending(demotion=demotion, since_ms=since_ms, standing=standing)
        self._pending.setdefault(demotion.path, pending)

    def _write(self) -> None:
        """Write what is pending; what Kafka does not take is written later, if it still holds."""
        for path, one in list(self._pending.items()):
            if self._policy.standing(path) != one.standing:  # somebody was faster
                del self._pending[path]
        if not self._pending or time.monotonic() < self._again_s:
            return
        for path, one in list(self._pending.items()):
            demotion = one.demotion
            try:
                self._ports.demote(demotion)
            except (KafkaException, TimeoutError) as error:
                self._again_s = time.monotonic() + AGAIN_S
                logger().error(
                    "a path could not be taken out, trying again",
                    path=path.value,
                    reason=demotion.reason,
                    error=str(error.args[0]),
                )
                return
            del self._pending[path]
            metrics.demotions.add(1, {"path": path.value, "figure": demotion.figure})
            logger().warning(
                "a path was taken out",
                path=path.value,
                reason=demotion.reason,
                after_ms=self._now_ms() - one.since_ms,
            )
