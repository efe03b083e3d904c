"""The names of the topics, and which partition a key travels in."""

from dataclasses import dataclass
from typing import Final
from zlib import crc32

DIGESTS: Final = "enrichment.digests"
MICRO_BATCHES: Final = "sampling.micro-batches"
JOBS: Final = "sampling.jobs"
JOB_EVENTS: Final = "sampling.job-events"
ORDERS: Final = "sampling.orders"
FEATURES: Final = "features.updates"
CASES: Final = "rings.cases"
CONTROL: Final = "enrichment.control"
CHANGES: Final = "enrichment.changes"
REPLAYS: Final = "enrichment.replays"
HORIZONS: Final = "enrichment.horizons"

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024  # as the topics of digests and of what follows allow

# Topics whose partition numbers correspond: a shard's records stay in one number all the way.
COPARTITIONED: Final = (DIGESTS, HORIZONS, MICRO_BATCHES, JOBS, CASES, ORDERS)


@dataclass(frozen=True, slots=True)
class StreamTopics:
    """The five topics that belong to one stream alone."""

    stream: str

    @property
    def events(self) -> str:
        """Where events are published."""
        return f"{self.stream}.events"

    @property
    def enriched(self) -> str:
        """Where their enriched forms appear."""
        return f"{self.stream}.enriched"

    @property
    def dead_letters(self) -> str:
        """Where invalid records end."""
        return f"{self.stream}.dead-letters"

    @property
    def outcomes(self) -> str:
        """Where outcomes are published, in the partition of their shard."""
        return f"{self.stream}.outcomes"

    @property
    def reviews(self) -> str:
        """Where events wait for an analyst, who answers through outcomes."""
        return f"{self.stream}.reviews"


def partition_for(key: str, partitions: int) -> int:
    """CRC-32 of the key modulo the partition count: what librdkafka calls `consistent`.

    Given explicitly wherever we produce, because client libraries hash keys differently.
    """
    return crc32(key.encode()) % partitions


def shard_key(pipeline: str, shard: str) -> str:
    """The key that decides in which partition number a shard travels."""
    return f"{pipeline}|{shard}"
