"""A micro-batch with its digests and the input records that they count, as the topics have them."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from confluent_kafka import Message

from enrichment.lineage.derive import Derived, Written, covered, derived, extent
from enrichment.lineage.gone import gone
from enrichment.lineage.jobs import contents, key_of
from enrichment.lineage.tree import Batch, DigestRow, InputRange, Place
from enrichment.pipelines import Pipeline
from enrichment.records import Digest, MicroBatch
from enrichment.stream.framing import unframed
from enrichment.stream.slices import Reader
from enrichment.stream.topics import DIGESTS, MICRO_BATCHES, StreamTopics, shard_key

DIGESTS_MAX: Final = 10_000
"""Digests listed of one close: at full load a window of two seconds has some hundreds."""


def place_of(message: Message) -> Place:
    """Where a record stands."""
    return Place(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
    )


def digests_of(reader: Reader, pipeline: Pipeline, batch: MicroBatch) -> list[Written]:
    """The digests that a close covers, as far as they are still there."""
    partition, first, last = extent(batch)
    if first < 0 or partition >= reader.partitions(DIGESTS):
        return []
    key = shard_key(batch.pipeline, batch.shard)
    decode = msgspec.json.Decoder(Digest).decode
    low, high = reader.whole(DIGESTS, partition)
    part = {partition: (max(low, first), min(high, last + 1))}
    written = (
        Written(
            offset=message.offset() or 0,
            written_ms=message.timestamp()[1],
            digest=decode(unframed(message.value() or b"")),
        )
        for message in reader.read(DIGESTS, part)
        if key_of(message) == key
    )
    return list(covered(pipeline, batch, written))


def rederived(reader: Reader, pipeline: Pipeline, batch: MicroBatch) -> Derived:
    """The micro-batch derived again from its digests, and held against what bears its identity."""
    others = [one for _, one in contents(reader, batch.micro_batch_id)]
    return derived(batch, digests_of(reader, pipeline, batch), others)


def traced_batch(reader: Reader, pipeline: Pipeline, id_: str) -> Batch:
    """The micro-batch of that identity, whether or not it is still there."""
    found = contents(reader, id_)
    if not found:
        return Batch(micro_batch_id=id_, gone=gone(reader, MICRO_BATCHES))
    (message, batch), *others = found
    own = digests_of(reader, pipeline, batch)
    again = derived(batch, own, [other for _, other in others])
    partition, first, last = extent(batch)
    return Batch(
        micro_batch_id=id_,
        place=place_of(message),
        shard=batch.shard,
        window_start_ms=batch.window_start_ms,
        window_end_ms=batch.window_end_ms,
        closed_by=batch.cause.value,
        closed_at_ms=batch.closed_at_ms,
        events=batch.events,
        problems=len(batch.problems),
        content_hash=batch.content_hash,
        version=batch.version,
        others=tuple(place_of(other) for other, _ in others),
        digests_at={"topic": DIGESTS, "partition": partition, "first": first, "last": last},
        digests=tuple(_row(one) for one in own[:DIGESTS_MAX]),
        derived=again,
        # A shard that closes by outcomes alone has no digests.
        digests_gone="" if again.content_hash or first < 0 else gone(reader, DIGESTS),
        inputs=tuple(_inputs(reader, StreamTopics(pipeline.name).events, own)),
    )


def _row(one: Written) -> DigestRow:
    digest = one.digest
    return DigestRow(
        offset=one.offset,
        written_ms=one.written_ms,
        source_partition=digest.source_partition,
        offset_first=digest.offset_first,
        offset_last=digest.offset_last,
        events=digest.events,
        part=digest.part,
        parts=digest.parts,
    )


def _inputs(reader: Reader, topic: str, own: Sequence[Written]) -> Iterable[InputRange]:
    """The source offsets that digests count, one range for each partition."""
    by_partition: dict[int, list[Digest]] = {}
    for one in own:
        by_partition.setdefault(one.digest.source_partition, []).append(one.digest)
    count = reader.partitions(topic)
    for partition, digests in sorted(by_partition.items()):
        first = min(digest.offset_first for digest in digests)
        last = max(digest.offset_last for digest in digests)
        low, high = reader.whole(topic, partition) if partition < count else (0, 0)
        yield InputRange(
            topic=topic,
            partition=partition,
            first=first,
            last=last,
            events=sum(digest.events for digest in digests),
            digests=len(digests),
            there=max(0, min(last + 1, high) - max(first, low)),
        )
