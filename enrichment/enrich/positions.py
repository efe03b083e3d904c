"""Where one process reads its partitions, through rebalances and aborted transactions.

Two things are not left to the client (librdkafka 2.16): one would have records answered twice, the
other lets partitions stand still. `integration/test_enrich_rebalance.py` provokes both.

- **Where a partition begins.** While an open transaction of another member holds its offsets back,
  the client asks again and again. When the group rebalances meanwhile, it takes it that nothing is
  committed, and begins with the oldest record (it asks later, as its pull request 3272 has it, but
  has forgotten that it was to ask). So the first records of a partition that came are looked at;
  what is committed is not taken.
- **What is committed.** Asked of the consumer, that is answered behind its joining anew, which in a
  rebalance takes as long as the slowest member's heartbeat. So another client is asked, which is of
  the group but no member of it.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from enrichment.enrich.batch import Record
from enrichment.telemetry.log import logger

LOOK_S: Final = 0.2  # how long the partitions that go on wait for one that cannot begin yet
ASKED_S: Final = 10.0  # how long they wait where nothing can go on


class LostInstanceError(RuntimeError):
    """This process can go no further; another start of it can."""


class Positions:
    """Where a consumer reads the partitions of one topic."""

    def __init__(self, consumer: Consumer, asker: Consumer, topic: str) -> None:
        """The asker is of the consumer's group, but has not joined it."""
        self._consumer = consumer
        self._asker = asker
        self._topic = topic
        # Partitions that came, of which no record has.
        self._come: set[int] = set()
        # Partitions that were given up since records were last looked at.
        self._gone: set[int] = set()

    def given(self, _consumer: Consumer, partitions: Iterable[TopicPartition]) -> None:
        """Partitions come."""
        self._come.update(each.partition for each in partitions)

    def given_up(self, partitions: set[int]) -> None:
        """Partitions go. Records of theirs may be at hand, or come with the call that says so."""
        self._come -= partitions
        self._gone |= partitions

    def checked(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages that are to be answered, of those that have come since the last call.

        Raises LostInstanceError where that cannot be told.
        """
        if self._gone:
            messages = self._kept(messages)
        if self._come and messages:
            messages = self._begun(messages)
        return messages

    def go_back(self, records: Iterable[Record]) -> None:
        """Read these records again, but for those that were committed after all.

        An answer that got lost may hide that they were: the group knows. Where it says less than we
        have committed ourselves, or nothing, it is wrong. Raises LostInstanceError where it gives
        no answer.
        """
        first: dict[int, int] = {}
        for record in records:
            first.setdefault(record.partition, record.offset)
        begin = self._begin(first, ASKED_S)
        if begin.keys() != first.keys():
            message = "Kafka does not say what is committed"
            raise LostInstanceError(f"{message}: starting again reads from there")
        logger().info("reading again from what is committed", partitions=len(first))
        for number, at in begin.items():
            self._consumer.seek(TopicPartition(self._topic, number, at))

    def close(self) -> None:
        """Let go of the asker."""
        self._asker.close()

    def _kept(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Those of partitions that were not given up."""
        gone, self._gone = self._gone, set()
        kept = _without(messages, gone)
        back = {each.partition for each in self._consumer.assignment()} & gone
        if back and len(kept) < len(messages):
            # Which of their records were read before they were given up, nobody can tell.
            message = f"partitions {sorted(back)} came back before their records were dropped"
            raise LostInstanceError(f"{message}: starting again reads what was committed")
        return kept

    def _begun(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Those of partitions that do not begin before what is committed; the others go there."""
        first: dict[int, int] = {}
        for message in messages:
            if message.error() is None and message.partition() in self._come:
                first.setdefault(message.partition(), message.offset())
        begin = self._begin(first, LOOK_S)
        self._come -= begin.keys()
        moved = {number for number, at in first.items() if begin.get(number) != at}
        for number in moved:
            # Where it is not known yet, the same records come again: nothing is read past.
            at = begin.get(number, first[number])
            logger().info("not begun there", partition=number, offset=first[number], but=at)
            self._consumer.seek(TopicPartition(self._topic, number, at))
        return _without(messages, moved)

    def _begin(self, first: dict[int, int], timeout_s: float) -> dict[int, int]:
        """Partition -> where to read on, if known: `first`, or behind it what is committed."""
        if not first:
            return {}
        partitions = [TopicPartition(self._topic, number) for number in first]
        try:
            found = self._asker.committed(partitions, timeout=timeout_s)
        except KafkaException as failure:
            logger().info("committed offsets not known", error=str(failure.args[0]))
            return {}
        return {
            each.partition: max(first[each.partition], each.offset)
            for each in found
            if each.error is None
        }


def _without(messages: Sequence[Message], partitions: set[int]) -> list[Message]:
    """All but the records of these partitions.

    Errors are kept: one of the whole client may say that it is of partition 0 (seen: that somebody
    else bears our name, and nothing came any more).
    """
    return [
        each for each in messages if each.error() is not None or each.partition() not in partitions
    ]
