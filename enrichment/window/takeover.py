"""What topics say of a digest partition, for whoever takes it over."""

import time
from dataclasses import dataclass
from typing import Any

import msgspec
from faust.types import TP

from enrichment.records import MicroBatch
from enrichment.records.horizon_slice import HorizonSlice
from enrichment.stream.framing import unframed
from enrichment.stream.security import PLAIN, Security
from enrichment.stream.topics import DIGESTS, HORIZONS, MICRO_BATCHES, StreamTopics, shard_key
from enrichment.window.close_log import read_to_end
from enrichment.window.driver import Consumer
from enrichment.window.partition import Log
from enrichment.window.snapshot import Snapshot
from enrichment.window.watermark import WatermarkState


class Note(msgspec.Struct, frozen=True):
    """What stands beside a committed offset: where the log of closes is to be read from."""

    log: int = 0
    watermark: WatermarkState = WatermarkState()


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What was found of one partition."""

    # The digest from which to read.
    start: int
    log: Log
    # Values of outcomes with their offsets, and the offset behind them.
    outcomes: list[tuple[bytes | None, int]]
    outcomes_end: int
    horizons: Snapshot
    slices: int
    took_s: float


class Takeover:
    """Reads those topics to their ends, one partition at a time."""

    def __init__(self, pipeline: str, bootstrap: str, security: Security = PLAIN) -> None:
        self._pipeline = pipeline
        self._bootstrap = bootstrap
        self._security = security
        self._prefix = shard_key(pipeline, "").encode()
        self._micro_batches = msgspec.json.Decoder(MicroBatch)
        self._slices = msgspec.json.Decoder(HorizonSlice)

    async def read(self, consumer: Consumer, number: int) -> Known:
        """What is known of the partition. Raises KafkaError; MsgspecError on what is not ours."""
        started_s = time.monotonic()
        tp = TP(DIGESTS, number)
        committed = (await consumer.committed([tp])).get(tp)
        start, note = 0, Note()
        if committed is not None and committed.offset >= 0:
            start = committed.offset
            if committed.metadata:
                note = msgspec.json.decode(committed.metadata, type=Note)
        earliest = (await consumer.earliest_offsets(tp))[tp]
        # Before the log: what is kept of a horizon is in the log by then, whoever writes meanwhile.
        kept, _ = await self._read(HORIZONS, number)
        horizons, slices = Snapshot(self._pipeline), 0
        for record in kept:
            key = (record.key or b"").decode()
            if key.startswith(self._prefix.decode()):
                value = record.value and self._slices.decode(unframed(record.value))
                horizons.read(key, value or None)
                slices += 1
        outcomes, outcomes_end = await self._read(StreamTopics(self._pipeline).outcomes, number)
        closes, end = await self._read(MICRO_BATCHES, number, start=note.log)
        log = Log(
            closes=tuple(
                (record.offset, self._micro_batches.decode(unframed(record.value)))
                for record in closes
                if (record.key or b"").startswith(self._prefix)
            ),
            end=end,
            watermark=note.watermark,
        )
        return Known(
            start=max(start, earliest),
            log=log,
            outcomes=[(record.value, record.offset) for record in outcomes],
            outcomes_end=outcomes_end,
            horizons=horizons,
            slices=slices,
            took_s=time.monotonic() - started_s,
        )

    async def _read(self, topic: str, number: int, *, start: int = 0) -> tuple[list[Any], int]:
        where = self._bootstrap
        return await read_to_end(where, topic, number, start=start, security=self._security)
