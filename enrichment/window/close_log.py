"""Reading a partition to its end: the log of closes, and outcomes, before a shard goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from enrichment.stream.security import PLAIN, Security

POLL_MS = 50


@asynccontextmanager
async def _consumer(bootstrap: str, security: Security) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap.split(","),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=POLL_MS,
        **security.aiokafka(),
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def read_to_end(
    bootstrap: str, topic: str, partition: int, *, start: int = 0, security: Security = PLAIN
) -> tuple[list[Any], int]:
    """The committed records of a partition from `start` to its end, and the offset that follows.

    What is written meanwhile may or may not be among them. Raises KafkaError.
    """
    target = TopicPartition(topic, partition)
    async with _consumer(bootstrap, security) as consumer:
        consumer.assign([target])
        end = (await consumer.end_offsets([target]))[target]
        beginning = (await consumer.beginning_offsets([target]))[target]
        position = min(max(start, beginning), end)
        consumer.seek(target, position)
        records: list[Any] = []
        while position < end:
            found = await consumer.getmany(target, timeout_ms=POLL_MS)
            for batch in found.values():
                records.extend(batch)
            # The position moves past the markers of transactions, which are no records.
            position = await consumer.position(target)
            await asyncio.sleep(0)
        return records, position
