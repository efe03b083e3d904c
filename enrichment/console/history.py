"""One job's transitions, read from `sampling.job-events` when they are asked for."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from enrichment.console.limits import EVENTS_SHOWN_MAX
from enrichment.records import JobEvent
from enrichment.stream.framing import unframed
from enrichment.stream.slices import Reader
from enrichment.stream.topics import JOB_EVENTS, partition_for, shard_key

SKEW_MS: Final = 600_000  # how far apart the clocks of two machines may be that write to topics
READ_S: Final = 10.0


def history(
    kafka: Mapping[str, Any], job_id: str, shard: tuple[str, str], since_ms: int
) -> list[JobEvent]:
    """The newest transitions of a job in order, at most EVENTS_SHOWN_MAX of them.

    `shard` is its pipeline's name and the shard, which say in which partition it travels;
    `since_ms` when it was made. Raises KafkaException, TimeoutError.
    """
    decode = msgspec.json.Decoder(JobEvent).decode
    found: list[JobEvent] = []
    with Reader(kafka, timeout_s=READ_S) as reader:
        count = reader.partitions(JOB_EVENTS)
        if not count:
            return []
        where = [partition_for(shard_key(*shard), count)]
        spans = reader.spans(JOB_EVENTS, where, since_ms - SKEW_MS)
        for record in reader.read(JOB_EVENTS, spans):
            value = record.value()
            if value is not None and record.key() == job_id.encode():
                found.append(decode(unframed(value)))
                del found[:-EVENTS_SHOWN_MAX]
    return found
