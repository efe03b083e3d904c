"""Offsets read and answers sampled every two seconds, in a thread, without joining any group."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from enrichment.console.answers import AnswersSample, Shares
from enrichment.console.flow import STAGES, Flow, Reading, flow_of
from enrichment.console.limits import ANSWERS_READ_MAX
from enrichment.stream.background import Background
from enrichment.stream.framing import unframed
from enrichment.stream.slices import Reader, Span
from enrichment.stream.topics import CASES, DIGESTS, FEATURES, JOBS, MICRO_BATCHES, StreamTopics
from enrichment.telemetry.log import logger

EVERY_S: Final = 2.0
CALL_S: Final = 5.0
SAMPLE_S: Final = 3.0  # an open transaction may hide answers: they are sampled next time
STALE_S: Final = 10.0  # a reading older than that is no longer what is


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauged:
    """What was read last."""

    flow: Flow = field(default_factory=Flow)
    shares: Shares = field(default_factory=Shares)


class Gauge(Background):
    """A thread that reads offsets and samples answers. `with Gauge(...) as gauge: gauge.latest`."""

    def __init__(self, kafka: Mapping[str, Any], pipeline: str) -> None:
        super().__init__("gauge", stop_s=CALL_S + SAMPLE_S)
        self.latest = Gauged()
        self.away = ""  # why the broker could not be read last time, or ""
        self._kafka = dict(kafka)
        own = StreamTopics(pipeline)
        self._topics = (
            own.events,
            own.enriched,
            own.dead_letters,
            own.reviews,
            own.outcomes,
            DIGESTS,
            MICRO_BATCHES,
            JOBS,
            FEATURES,
            CASES,
        )
        self._enriched = own.enriched
        # The stages' own names for their groups, by which `kafka-consumer-groups` knows them, too.
        self._groups = {stage: f"enrichment.{stage}.{pipeline}" for stage in STAGES}
        self._reads = dict(zip(STAGES, (own.events, DIGESTS, MICRO_BATCHES, FEATURES), strict=True))
        self._before: Reading | None = None
        self._sample = AnswersSample()
        self._sampled: dict[int, int] = {}

    @property
    def alive(self) -> bool:
        """Whether the thread is there: it never ends by itself."""
        return self._thread.is_alive()

    def age_s(self) -> float | None:
        """How old the last reading is, or None where there was none yet."""
        at_s = self.latest.flow.at_s
        return time.monotonic() - at_s if at_s else None

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (KafkaException, TimeoutError) as error:
                self._note_away(str(error))
            except Exception:  # noqa: BLE001  # a thread that ended would leave the page untold
                logger().exception("the flow cannot be read")
                self._note_away("a mistake of ours: see the log")
            self._stop.wait(EVERY_S)

    def _note_away(self, why: str) -> None:
        if not self.away:
            logger().warning("the flow cannot be read: the last figures stand", error=why)
        self.away = why

    def _follow(self) -> None:
        """Read until told to stop, or raise what is wrong."""
        with contextlib.ExitStack() as stack:
            reader = stack.enter_context(Reader(self._kafka, timeout_s=SAMPLE_S))
            # Asked what their groups have committed; none of them joins. The admin client has a
            # question for it, too: while it was asked, the process ended now and then (SIGSEGV,
            # confluent-kafka 2.16), and has not since; that it was the cause is not shown.
            groups = {stage: self._group(group, stack) for stage, group in self._groups.items()}
            while not self._stop.is_set():
                began_s = time.monotonic()
                now = self._read(reader, groups)
                flow = flow_of(self._before, now, self._reads, self.latest.flow)
                self._sample.take(self._answers(reader, now.ends.get(self._enriched, {})))
                self._before = now
                self.latest = Gauged(flow=flow, shares=self._sample.shares())
                self.away = ""
                self._stop.wait(max(0.0, EVERY_S - (time.monotonic() - began_s)))

    def _group(self, group: str, stack: contextlib.ExitStack) -> Consumer:
        consumer = Consumer({**self._kafka, "group.id": group, "enable.auto.commit": False})
        stack.callback(consumer.close)
        return consumer

    def _read(self, reader: Reader, groups: Mapping[str, Consumer]) -> Reading:
        ends = {
            topic: {
                number: reader.whole(topic, number)[1] for number in range(reader.partitions(topic))
            }
            for topic in self._topics
            if reader.partitions(topic)
        }
        committed: dict[str, dict[int, int]] = {}
        for stage, consumer in groups.items():
            topic = self._reads[stage]
            asked = [TopicPartition(topic, number) for number in ends.get(topic, {})]
            found = consumer.committed(asked, CALL_S) if asked else []
            committed[stage] = {each.partition: each.offset for each in found if each.offset >= 0}
        return Reading(at_s=time.monotonic(), ends=ends, committed=committed)

    def _answers(self, reader: Reader, ends: Mapping[int, int]) -> list[bytes]:
        """The newest answers of each partition since the last reading, at most so many."""
        spans: dict[int, Span] = {}
        for number, end in ends.items():
            # At the first reading what is there is of whenever: it is not of now.
            first = self._sampled.get(number, end)
            spans[number] = (max(first, end - ANSWERS_READ_MAX), end)
            self._sampled[number] = end
        try:
            found = list(reader.read(self._enriched, spans))
        except TimeoutError:
            return []
        return [unframed(record.value() or b"") for record in found]
