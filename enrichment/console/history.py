"""One job's transitions, read from `sampling.job-events` when they are asked for."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from enrichment.console.folds import JobRow
from enrichment.console.limits import EVENTS_SHOWN_MAX
from enrichment.records import JobEvent
from enrichment.stream.framing import unframed
from enrichment.stream.slices import Reader
from enrichment.stream.topics import JOB_EVENTS, partition_for, shard_key

SKEW_MS: Final = 60_000
"""How far apart the clocks of two machines that write may be: a page waits, and a lineage, which
must miss nothing, allows ten times as much."""

READ_S: Final = 10.0


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
