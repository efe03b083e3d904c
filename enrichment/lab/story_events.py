"""The newest enriched event of a kind: what a story asks `lineage` about."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from enrichment.records import Enriched
from enrichment.stream.framing import unframed
from enrichment.stream.topics import StreamTopics

TAIL: Final = 4_000  # records of each partition, from the end: some seconds of a story's stream
READ_S: Final = 15.0


def newest(
    client: Mapping[str, Any], stream: str, holds: Callable[[Enriched], bool]
) -> Enriched | None:
    """Of the last records of the enriched topic the one decided last for which it holds."""
    topic = StreamTopics(stream).enriched
    reader = Consumer(
        {
            **client,
            "group.id": "enrichment.reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    decoder = msgspec.json.Decoder(Enriched)
    best: Enriched | None = None
    try:
        open_ = set()
        starts = []
        for number in reader.list_topics(topic, timeout=10).topics[topic].partitions:
            low, high = reader.get_watermark_offsets(TopicPartition(topic, number), 10)
            starts.append(TopicPartition(topic, number, max(low, high - TAIL)))
            open_.add(number)
        reader.assign(starts)
        give_up_s = time.monotonic() + READ_S
        while open_ and time.monotonic() < give_up_s:
            for message in reader.consume(2_000, 0.2):
                error = message.error()
                if error is None:
                    found = decoder.decode(unframed(message.value() or b""))
                    newer = best is None or found.decided_at_ms >= best.decided_at_ms
                    best = found if newer and holds(found) else best
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # its public name
                    open_.discard(message.partition())
                else:
                    raise KafkaException(error)
    finally:
        reader.close()
    return best
