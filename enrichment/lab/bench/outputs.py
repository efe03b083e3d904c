"""What a run has left on its topic: counted as a committed reader sees it, and then deleted."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from confluent_kafka import OFFSET_END, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from enrichment.lab.bench.catalogue import BenchError
from enrichment.records import VerdictName

READ_S: Final = 60.0
CALL_S: Final = 10.0
LOOKED_AT: Final = 20  # every so many answers one is decoded: all of them would take longer than it


class _Verdict(msgspec.Struct):
    name: VerdictName


class _Answer(msgspec.Struct):
    verdict: _Verdict


@dataclass(frozen=True, slots=True)
class Seen:
    """How many records there were, and the share of answers whose features were fresh."""

    total: int
    fresh: float


class Outputs:
    """The topics that runs produce to, on one broker."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})

    def ends(self, topic: str) -> list[TopicPartition]:
        """Where the topic ends now, for a committed reader."""
        reader = self._reader()
        try:
            partitions = reader.list_topics(topic, timeout=CALL_S).topics[topic].partitions
            return [
                TopicPartition(
                    topic,
                    number,
                    reader.get_watermark_offsets(TopicPartition(topic, number), CALL_S)[1],
                )
                for number in partitions
            ]
        finally:
            reader.close()

    def read(self, before: list[TopicPartition], *, answers: bool) -> Seen:
        """What a committed reader finds behind `before`; `answers` are looked at, a few of them."""
        verdicts: Counter[VerdictName] = Counter()
        total = 0
        decode = msgspec.json.Decoder(_Answer).decode
        for value in self.values(before):
            total += 1
            if answers and total % LOOKED_AT == 0:
                verdicts[decode(value).verdict.name] += 1
        return Seen(total, verdicts[VerdictName.FRESH] / max(1, verdicts.total()))

    def values(self, before: list[TopicPartition]) -> Iterator[bytes]:
        """What a committed reader finds behind `before`, up to where each partition ends now.

        A topic that is written to meanwhile is not followed: its end would be caught up with by
        chance, or never.
        """
        end_of = {at.partition: at.offset for at in self.ends(before[0].topic)}
        left = {at.partition for at in before if at.offset < end_of[at.partition]}
        reader = self._reader()
        try:
            reader.assign(before)
            give_up_s = time.monotonic() + READ_S
            while left:
                for message in reader.consume(10_000, 0.2):
                    number, offset = message.partition(), message.offset()
                    # The end of a partition is said as an error; a transaction's marker is no
                    # message, so that the last one before the end may not be the one before it.
                    if message.error() is not None or offset >= end_of[number] - 1:
                        left.discard(number)
                    if message.error() is None and offset < end_of[number]:
                        value: Any = message.value()
                        yield value
                if time.monotonic() > give_up_s:
                    raise BenchError(f"an output topic was not read within {READ_S:.0f} s")
        finally:
            reader.close()

    def delete(self, topic: str) -> None:
        """Nothing is left of the topic: disks are finite, and runs are many."""
        partitions = self._admin.list_topics(topic, timeout=CALL_S).topics[topic].partitions
        ends = [TopicPartition(topic, number, OFFSET_END) for number in partitions]
        for future in self._admin.delete_records(ends).values():
            future.result(CALL_S)

    def _reader(self) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self._bootstrap,
                "group.id": "bench-reader",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "log_level": 0,
            }
        )
