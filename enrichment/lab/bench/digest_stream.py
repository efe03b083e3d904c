"""The digests of a simulated stream as enrichers would write them, made without running any.

Decoder, digests and routes are the hot path's own. As many enrichers as the rate needs share the
source partitions, and each puts what came within `BATCH_MS` into one transaction.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, cast

import msgspec
from confluent_kafka import Producer

from enrichment.enrich.batch import Outputs
from enrichment.enrich.decode import Decoder
from enrichment.enrich.digest import DigestBuilder
from enrichment.enrich.outlet import Outlet
from enrichment.lab.scenario import SimulationSettings
from enrichment.lab.simulate import Payment, simulate
from enrichment.pipelines import Pipeline
from enrichment.stream.framing import BARE
from enrichment.stream.headers import Headers
from enrichment.stream.topics import partition_for

PARTITIONS: Final = 4  # as the topics have them, events' and digests'
ENRICHER_PER_S: Final = 30_000  # about what one enricher answers (`bench hot-path`)
BATCH_MS: Final = 20  # about what a transaction spans, at the rates that are measured


@dataclass(frozen=True, slots=True)
class DigestRecord:
    """One record of the digests topic."""

    partition: int
    key: str
    value: bytes
    headers: Headers

    @property
    def size_bytes(self) -> int:
        """Key, value and headers, before compression."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.key) + len(self.value) + headers


@dataclass(frozen=True, slots=True)
class Tick:
    """What all enrichers committed at one moment."""

    at_ms: int
    events: int
    records: Sequence[DigestRecord]


@dataclass(slots=True)
class _Recorder:
    """Takes what an outlet produces."""

    records: list[DigestRecord] = field(default_factory=list)

    def produce(  # noqa: PLR0913, PLR0917  # as confluent-kafka's producer has it
        self,
        topic: str,
        value: bytes,
        key: str,
        partition: int,
        on_delivery: object,
        timestamp: int,
        headers: Headers,
    ) -> None:
        """Keep one record."""
        del topic, on_delivery, timestamp
        self.records.append(DigestRecord(partition, key, value, headers))


class _Enricher:
    """One enricher's part of it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.recorder = _Recorder()
        self._decoder = Decoder(pipeline, None)
        self._builder = DigestBuilder(pipeline)
        self._outlet = Outlet(
            cast("Producer", self.recorder),
            pipeline.name,
            digest_partitions=PARTITIONS,
            transactional=True,
            framing=BARE,
        )
        self._offsets = [0] * PARTITIONS
        self._encode = msgspec.json.Encoder().encode

    def commit(self, payments: Sequence[tuple[int, Payment]], now_ms: int) -> None:
        """One transaction: payments with their source partitions."""
        payments = sorted(payments, key=lambda each: each[0])  # a batch is sorted so, stably
        values = [self._encode(payment) for _, payment in payments]
        events, invalid = self._decoder.decode_batch(values, now_ms=now_ms)
        if invalid:
            raise ValueError(f"a simulated payment is not valid: {invalid}")
        sources, offsets = [], []
        for source, _ in payments:
            sources.append(source)
            offsets.append(self._offsets[source])
            self._offsets[source] += 1
        outputs = Outputs(digests=self._builder.digests(sources, offsets, events, now_ms))
        outputs.progress.extend(self._builder.progress())
        self._outlet.put(outputs, now_ms)


def enrichers_for(rate_per_s: float) -> int:
    """How many enrichers answer so many events a second."""
    return min(PARTITIONS, math.ceil(rate_per_s / ENRICHER_PER_S))


def ticks(
    settings: SimulationSettings, pipeline: Pipeline, *, batch_ms: int = BATCH_MS
) -> Iterator[Tick]:
    """The digests of that stream's payments, transaction by transaction in order of time."""
    payments = (simulated.payment for simulated in simulate(settings))
    enrichers = enrichers_for(settings.rate_per_s)
    return ticks_of(payments, pipeline, enrichers=enrichers, batch_ms=batch_ms)


def ticks_of(
    payments: Iterable[Payment], pipeline: Pipeline, *, enrichers: int = 1, batch_ms: int = BATCH_MS
) -> Iterator[Tick]:
    """The digests of these payments, which come in order of time."""
    made = [_Enricher(pipeline) for _ in range(enrichers)]
    sources: dict[str, int] = {}
    for tick, group in groupby(payments, lambda payment: payment.occurred_at // batch_ms):
        at_ms = (tick + 1) * batch_ms
        batches: list[list[tuple[int, Payment]]] = [[] for _ in made]
        events = 0
        for payment in group:
            source = sources.get(payment.account_id)
            if source is None:
                source = partition_for(payment.account_id, PARTITIONS)
                sources[payment.account_id] = source
            batches[source % len(made)].append((source, payment))
            events += 1
        records: list[DigestRecord] = []
        for enricher, batch in zip(made, batches, strict=True):
            if batch:
                enricher.commit(batch, at_ms)
                records += enricher.recorder.records
                enricher.recorder.records.clear()
        yield Tick(at_ms, events, records)
