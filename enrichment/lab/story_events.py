"""The newest enriched event of a kind: what a story asks `lineage` about."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from enrichment.records import Enriched
from enrichment.stream.framing import unframed
from enrichment.stream.slices import Reader
from enrichment.stream.topics import StreamTopics

TAIL: Final = 4_000  # records of each partition, from the end: some seconds of a story's stream


def newest(
    client: Mapping[str, Any],
    stream: str,
    holds: Callable[[Enriched], bool],
    better: Callable[[Enriched], bool] = lambda _: False,
) -> Enriched | None:
    """Of the last enriched records for which it holds the one decided last.

    One that is better comes before all that are not. Raises KafkaException, TimeoutError.
    """
    topic = StreamTopics(stream).enriched
    decode = msgspec.json.Decoder(Enriched).decode
    with Reader(client) as reader:
        whole = reader.spans(topic, range(reader.partitions(topic)))
        tail = {number: (max(first, end - TAIL), end) for number, (first, end) in whole.items()}
        events = (decode(unframed(each.value() or b"")) for each in reader.read(topic, tail))
        return max(
            filter(holds, events),
            key=lambda event: (better(event), event.decided_at_ms),
            default=None,
        )
