"""What topics have of one job, read when it is asked for: its transitions, its micro-batch."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from enrichment.console.folds import JobRow
from enrichment.console.limits import EVENTS_SHOWN_MAX
from enrichment.records import JobEvent, MicroBatch
from enrichment.stream.framing import unframed
from enrichment.stream.slices import Reader
from enrichment.stream.topics import JOB_EVENTS, MICRO_BATCHES, partition_for, shard_key

SKEW_MS: Final = 60_000
"""How far apart the clocks of two machines that write may be: a page waits, and a lineage, which
must miss nothing, allows ten times as much."""

READ_S: Final = 10.0

WAITED_MS: Final = (SKEW_MS, 86_400_000)
"""How long a micro-batch may have waited for a sampler: seconds mostly; a day is looked through
where it is not found, and nobody waits longer for an answer."""


def history(kafka: Mapping[str, Any], job: JobRow) -> list[JobEvent]:
    """The newest transitions of a job in order, at most EVENTS_SHOWN_MAX of them.

    Raises KafkaException, TimeoutError.
    """
    decode = msgspec.json.Decoder(JobEvent).decode
    found: list[JobEvent] = []
    key = job.job_id.encode()
    with Reader(kafka, timeout_s=READ_S) as reader:
        count = reader.partitions(JOB_EVENTS)
        if not count:
            return []
        where = [partition_for(shard_key(job.pipeline, job.shard), count)]
        spans = reader.spans(JOB_EVENTS, where, job.created_ms - SKEW_MS, job.updated_ms + SKEW_MS)
        for record in reader.read(JOB_EVENTS, spans):
            value = record.value()
            if value is not None and record.key() == key:
                found.append(decode(unframed(value)))
                del found[:-EVENTS_SHOWN_MAX]
    return found


def micro_batch(kafka: Mapping[str, Any], job: JobRow) -> MicroBatch | None:
    """The micro-batch of a job's own content, or None. Raises KafkaException, TimeoutError."""
    decode = msgspec.json.Decoder(MicroBatch).decode
    shard = shard_key(job.pipeline, job.shard)
    key, named = shard.encode(), msgspec.json.encode(job.job_id)
    with Reader(kafka, timeout_s=READ_S) as reader:
        count = reader.partitions(MICRO_BATCHES)
        if not count:
            return None
        where = [partition_for(shard, count)]
        until_ms = job.created_ms + SKEW_MS
        for waited_ms in WAITED_MS:
            spans = reader.spans(MICRO_BATCHES, where, job.created_ms - waited_ms, until_ms)
            for record in reader.read(MICRO_BATCHES, spans):
                value = record.value() or b""
                # Decoding one takes longer than to see that it is another.
                if record.key() != key or named not in value:
                    continue
                batch = decode(unframed(value))
                if batch.micro_batch_id == job.job_id and batch.content_hash == job.content_hash:
                    return batch
    return None
