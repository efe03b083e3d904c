"""Orders about jobs, published where their workers hear them, and what is then said of them."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self

import msgspec
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from enrichment.records import Change
from enrichment.records.job import JobEvent
from enrichment.records.order import JobOrder
from enrichment.stream.changes import message_of
from enrichment.stream.errors import is_fatal
from enrichment.stream.framing import BARE, Framing, unframed
from enrichment.stream.headers import cloud_event
from enrichment.stream.reviews import UnwrittenError
from enrichment.stream.topics import JOB_EVENTS, MESSAGE_BYTES_MAX, ORDERS

FLUSH_S: Final = 10.0
CALL_S: Final = 10.0
POLL_S: Final = 0.1


def publish(
    client: Mapping[str, Any],
    orders: Iterable[tuple[int, JobOrder]],
    framing: Framing = BARE,
    changes: Iterable[Change] = (),
) -> None:
    """Produce changes and orders, each into its job's partition, and wait until Kafka has them.

    Raises UnwrittenError where it does not confirm all of them: some may be written.
    """
    # In no transaction: a worker that takes a partition over reads its orders to their end, and
    # would wait for one that whoever was killed has left open. An order is a record of its own.
    failed: list[str] = []

    def delivered(error: object, _: Any) -> None:
        if error is not None:
            failed.append(str(error))

    producer = Producer(
        {**client, "enable.idempotence": True, "message.max.bytes": MESSAGE_BYTES_MAX}
    )
    for one in (message_of(change, framing) for change in changes):
        producer.produce(
            one.topic, one.value, one.key, one.partition, delivered, headers=one.headers
        )
    for partition, order in orders:
        bare = cloud_event("job-order", "/enrichment/jobs", order.order_id, order.issued_at_ms)
        value, headers = framing.framed(ORDERS, msgspec.json.encode(order), bare)
        producer.produce(
            ORDERS, value, order.job_id, partition, headers=headers, on_delivery=delivered
        )
    left = producer.flush(FLUSH_S)
    if failed or left:
        said = failed[0] if failed else f"Kafka has not taken it in {FLUSH_S:.0f} s"
        raise UnwrittenError(f"not every order is known to be written: {said}")


class Answers:
    """What workers say of orders on `sampling.job-events`, from the moment this is opened."""

    def __init__(self, client: Mapping[str, Any], partitions: int) -> None:
        """Note where the topic ends now; `partitions` is how many it has."""
        self._decode = msgspec.json.Decoder(JobEvent).decode
        self._consumer = Consumer(
            {
                **client,
                "group.id": "enrichment.jobs",  # demanded; not joined
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
            }
        )
        ends = [
            self._consumer.get_watermark_offsets(TopicPartition(JOB_EVENTS, number), CALL_S)[1]
            for number in range(partitions)
        ]
        self._consumer.assign(
            [TopicPartition(JOB_EVENTS, number, end) for number, end in enumerate(ends)]
        )

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hear nothing more."""
        self._consumer.close()

    def heard(self, order_ids: Sequence[str], within_s: float) -> dict[str, JobEvent]:
        """The event that answers each of these orders, of those that were answered in time."""
        wanted = set(order_ids)
        found: dict[str, JobEvent] = {}
        give_up_s = time.monotonic() + within_s
        while len(found) < len(wanted) and time.monotonic() < give_up_s:
            for record in self._consumer.consume(500, timeout=POLL_S):
                error = record.error()
                if error is not None:
                    if is_fatal(error):
                        raise KafkaException(error)
                    continue  # it goes on by itself; what does not come in time is not heard
                event = self._decode(unframed(record.value() or b""))
                if event.order_id in wanted:
                    found[event.order_id] = event
        return found
