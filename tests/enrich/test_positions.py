"""Where partitions are read while they move, and after a batch that was not committed."""

from collections.abc import Sequence
from typing import Final

import pytest
from confluent_kafka import KafkaError, TopicPartition

from enrichment.enrich.clients import Clients, LoopConfig
from enrichment.enrich.loop import Loop
from enrichment.enrich.positions import LostInstanceError
from enrichment.stream.topics import DIGESTS
from tests.enrich.streams import PAYMENTS, enricher, payment
from tests.faults.answers import origin_of
from tests.feature.cached import NOW_MS
from tests.memory_kafka import (
    Entry,
    MemoryConsumer,
    MemoryKafka,
    MemoryProducer,
    Place,
    Process,
    Received,
)
from tests.telemetry.way import TOPICS, AtOnce, Laps

STAYS: Final = (TOPICS.events, 0)
MOVES: Final = (TOPICS.events, 1)
ALL: Final = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_a_partition_that_stays_is_not_read_again_when_another_moves() -> None:
    """Its records at hand are answered, and nobody is asked how far it is committed."""
    kafka, process = _published(), Process()
    other = MemoryConsumer(kafka, Process(), "two")
    # The first call joins the group; the second has all records at hand when the other joins.
    process.meanwhile["consume"].extend([lambda: None, lambda: kafka.join(other)])
    consumer = _Lying(kafka, process, "one")
    _enrich(consumer, kafka, process)
    assert _answered(kafka) == ALL[:3]
    assert kafka.offsets == {STAYS: 3}
    # Asked once, when it came.
    assert consumer.asked == [[STAYS]]


def test_a_partition_that_comes_back_at_once_ends_the_process() -> None:
    """What was read of it before and after stands in one batch: another start tells them apart."""
    kafka, process = _published(), Process()
    with pytest.raises(LostInstanceError, match="came back"):
        _enrich(_There(kafka, process, "one"), kafka, process)
    assert kafka.offsets == {}
    _enrich(MemoryConsumer(kafka, process, "one"), kafka, process)
    assert _answered(kafka) == ALL


def test_who_is_fenced_hears_of_it_though_partitions_go_with_the_same_call() -> None:
    """The error is of the client and of no partition, whatever partition it names."""
    kafka, process = _published(), Process()
    double = MemoryConsumer(kafka, Process(), "one")
    process.meanwhile["consume"].extend([lambda: None, lambda: kafka.join(double)])
    with pytest.raises(LostInstanceError, match="is there another"):
        _enrich(MemoryConsumer(kafka, process, "one"), kafka, process)


def test_a_client_that_begins_too_early_is_put_right() -> None:
    """What is committed is not answered again."""
    kafka, process = _published(), Process()
    _enrich(MemoryConsumer(kafka, process, "one"), kafka, process)
    kafka.append(*STAYS, _payment("late"))
    _enrich(_Early(kafka, process, "one"), kafka, process)
    assert _answered(kafka) == sorted([*ALL, (0, 3)])


def test_a_client_that_begins_too_early_waits_until_it_is_known_where() -> None:
    """Nothing is answered while the group does not say what is committed, and nothing is lost."""
    kafka, process = _published(), Process()
    _enrich(MemoryConsumer(kafka, process, "one"), kafka, process)
    kafka.append(*STAYS, _payment("late"))
    process.troubles["committed"].extend(["slow"] * 3)
    _enrich(_Early(kafka, process, "one"), kafka, process)
    assert _answered(kafka) == sorted([*ALL, (0, 3)])


@pytest.mark.parametrize("offset", [-1001, 1])
def test_a_group_that_says_less_than_was_committed_is_not_believed(offset: int) -> None:
    """An aborted batch is read again from its own beginning, not from an offset long past."""
    kafka, process = _published(), Process()

    def more() -> None:
        for number in range(2):
            kafka.append(TOPICS.events, number, _payment("late"))

    def trouble() -> None:
        consumer.says = offset
        process.prepare("commit", "abortable")

    consumer = _Lying(kafka, process, "one")
    process.meanwhile["commit"].extend([more, trouble])
    _enrich(consumer, kafka, process)
    assert _answered(kafka) == sorted([*ALL, (0, 3), (1, 3)])
    assert kafka.offsets == {STAYS: 4, MOVES: 4}


class _There(MemoryConsumer):
    """A member that gives a partition up and has it back in the call that first brings records."""

    _back = False

    def consume(self, count: int, _timeout_s: float = 0) -> list[Received]:
        """As its parent, and that once."""
        found = super().consume(count)
        if found and not self._back:
            self._back = True
            self._give_up([MOVES])
            self._positions[MOVES] = self._kafka.offsets.get(MOVES, 0)
            found += super().consume(count)
        return found


class _Early(MemoryConsumer):
    """A member whose client begins with the oldest record, whatever is committed."""

    def _rebalance(self) -> KafkaError | None:
        had = set(self._positions)
        failure = super()._rebalance()
        for place in self._positions.keys() - had:
            self._positions[place] = 0
        return failure


class _Lying(MemoryConsumer):
    """A member that may be told one offset of all partitions; it keeps what it asked for."""

    says: int | None = None

    def __init__(self, kafka: MemoryKafka, process: Process, instance: str) -> None:
        super().__init__(kafka, process, instance)
        self.asked: list[list[Place]] = []

    def committed(
        self, partitions: Sequence[TopicPartition], timeout: float = 0
    ) -> list[TopicPartition]:
        """What the group says."""
        self.asked.append([(each.topic, each.partition) for each in partitions])
        if self.says is None:
            return super().committed(partitions, timeout)
        return [TopicPartition(each.topic, each.partition, self.says) for each in partitions]


def _published() -> MemoryKafka:
    """Three payments in each of two partitions."""
    topics = (TOPICS.enriched, TOPICS.dead_letters, TOPICS.reviews, DIGESTS)
    kafka = MemoryKafka({TOPICS.events: 2} | dict.fromkeys(topics, 1))
    for number in range(6):
        kafka.append(TOPICS.events, number % 2, _payment(f"e{number}"))
    return kafka


def _payment(event_id: str) -> Entry:
    return Entry(b"k", payment(event_id=event_id), None, NOW_MS, None)


def _enrich(consumer: MemoryConsumer, kafka: MemoryKafka, process: Process) -> None:
    """Let the hot path take a few batches."""
    producer = MemoryProducer(kafka, process, "one")
    producer.init_transactions()
    config = LoopConfig(
        stream="payments", client={}, group_id="g", instance="one",
        exactly_once=True, batch_events_max=100, batch_ms_max=10, digest_partitions=1,
    )  # fmt: skip
    clients = Clients(consumer, producer, consumer)
    loop = Loop(enricher(PAYMENTS), config, lambda: NOW_MS, clients=clients, committer=AtOnce())
    loop.run(Laps(12))


def _answered(kafka: MemoryKafka) -> list[tuple[int, int]]:
    """Partition and offset of every record that has an answer."""
    answers = kafka.committed(TOPICS.enriched)
    return sorted(origin_of(Received((TOPICS.enriched, 0), 0, each))[1:] for each in answers)
