"""Why something is not on its topic any more, in words."""

from typing import Final

from enrichment.stream.slices import Reader

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000


def gone(reader: Reader, topic: str, offset: int | None = None, partition: int = 0) -> str:
    """Why the topic does not have a record, or one at that place. Raises KafkaException."""
    if not reader.partitions(topic):
        return f"there is no topic {topic} here"
    if offset is not None:
        low, high = reader.whole(topic, partition)
        if offset >= high:
            return f"{topic}[{partition}] ends at {high}: it is not the topic that it was then"
        if offset >= low:
            return f"{topic}[{partition}] has no committed record at {offset}"
    kept_ms = reader.retention_ms(topic)
    if kept_ms is None:
        return f"gone: {topic} is compacted and keeps the newest record of each key"
    if kept_ms < 0:
        return f"not there, though {topic} keeps its records for good"
    return f"gone: {topic} keeps its records for {in_days(kept_ms)}"


def in_days(kept_ms: int) -> str:
    """A retention as people say it."""
    days, hours = kept_ms / DAY_MS, kept_ms / HOUR_MS
    if days >= 1:
        return f"{days:g} {'day' if days == 1 else 'days'}"
    return f"{hours:g} hours" if hours >= 1 else f"{kept_ms:,} ms"
