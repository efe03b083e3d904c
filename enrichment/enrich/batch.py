"""One batch: records in, enriched events, dead letters and digests out. No Kafka in it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from enrichment.enrich.decode import Decoder, Event, Invalid
from enrichment.enrich.digest import DigestBuilder
from enrichment.enrich.features import FeaturePlan, verdict_of
from enrichment.enrich.lookup import EntityGroup, Found, Lookup
from enrichment.enrich.score import Scorer
from enrichment.pipelines import Pipeline
from enrichment.records import DeadLetter, DeadLetterReason, Digest, Enriched, Origin
from enrichment.stream.headers import Headers, cloud_event

OUTPUT_BYTES_MAX: Final = 950_000  # below Kafka's default message limit of 1 MiB, headers included

DETAIL_MAX: Final = 1_000  # characters: it may quote a value as large as the record


class Record(msgspec.Struct, frozen=True):
    """One input record, as far as the hot path looks at it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    # When it was published, in milliseconds; its answer bears the same.
    timestamp_ms: int = 0
    traceparent: bytes | None = None
    # Set on a record that is no event but a source's word on how far it has come.
    progress_ms: int | None = None


class Output(msgspec.Struct, frozen=True):
    """One record to produce."""

    key: str
    value: bytes
    headers: Headers
    # The record's timestamp; 0 is the time of producing.
    timestamp_ms: int = 0


@dataclass(slots=True)
class Outputs:
    """What one batch leads to."""

    enriched: list[Output] = field(default_factory=list)
    dead_letters: list[Output] = field(default_factory=list)
    digests: list[Digest] = field(default_factory=list)
    progress: list[tuple[Digest, bool]] = field(default_factory=list)
    verdicts: dict[str, int] = field(default_factory=dict)


class Enricher:
    """The work of the hot path on one pipeline's records."""

    def __init__(
        self,
        pipeline: Pipeline,
        lookup: Lookup,
        now_ms: Callable[[], int],
        pseudonym: Callable[[str], str] | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._lookup = lookup
        self._now_ms = now_ms
        self._decoder = Decoder(pipeline, pseudonym)
        self._plan = FeaturePlan(pipeline)
        self._scorer = Scorer(pipeline)
        self._digests = DigestBuilder(pipeline)
        self._encode = msgspec.json.Encoder().encode
        self._source = f"/enrichment/{pipeline.name}"
        # A source may say that the window of the latest possible event is complete, and no more:
        # else one stray record would close every window to come.
        self._ahead_ms = pipeline.limits.future_ms + pipeline.window.size_ms

    def process(self, records: list[Record]) -> Outputs:
        """Answer every record. The batch has one decision time, read after its features."""
        outputs = Outputs()
        now_ms = self._now_ms()
        events: list[tuple[Record, Event]] = []
        for record in records:
            if record.progress_ms is not None and record.progress_ms <= now_ms + self._ahead_ms:
                self._digests.add_progress(record.partition, record.offset, record.progress_ms)
                continue
            event = (
                self._decoder.decode(record.value, now_ms=now_ms)
                if record.progress_ms is None
                else Invalid(
                    DeadLetterReason.ABSURD_TIME, f"progress to {record.progress_ms}, in the future"
                )
            )
            if isinstance(event, Invalid):
                outputs.dead_letters.append(self._dead_letter(record, event, now_ms))
            else:
                events.append((record, event))
        found = self._read(event for _, event in events)
        decided_at_ms = self._now_ms()
        for record, event in events:
            self._answer(record, event, found, decided_at_ms, outputs)
        outputs.digests.extend(self._digests.drain())
        outputs.progress.extend(self._digests.progress())
        return outputs

    def forget(self) -> None:
        """Drop what an aborted transaction had counted."""
        self._digests.forget()

    def _read(self, events: Iterator[Event]) -> Found | None:
        """One read for the distinct groups of the batch."""
        wanted: dict[EntityGroup, None] = {}
        for event in events:
            wanted.update(dict.fromkeys(self._plan.keys(event)))
        return self._lookup.read(list(wanted))

    def _answer(
        self, record: Record, event: Event, found: Found | None, at_ms: int, outputs: Outputs
    ) -> None:
        """Score one event; one that would not fit once enriched is a dead letter instead."""
        used = self._plan.used(event, found, now_ms=at_ms)
        scored = self._scorer.score(event.numbers, {(u.role, u.group): u for u in used})
        verdict = verdict_of(used)
        value = self._encode(
            Enriched(
                event_id=event.id,
                pipeline=self._pipeline.name,
                origin=Origin(record.topic, record.partition, record.offset),
                occurred_at_ms=event.occurred_at_ms,
                decided_at_ms=at_ms,
                event=msgspec.Raw(event.payload),
                verdict=verdict,
                path=scored.path,
                scores=scored.scores,
                level=scored.level,
                decision=scored.decision,
                reasons=scored.reasons,
                features=tuple(used),
                pipeline_version=self._pipeline.version,
                score_version=self._pipeline.score.version,
            )
        )
        if len(value) > OUTPUT_BYTES_MAX:
            invalid = Invalid(
                DeadLetterReason.TOO_LARGE,
                f"{len(value)} bytes once enriched, the limit is {OUTPUT_BYTES_MAX}",
            )
            outputs.dead_letters.append(self._dead_letter(record, invalid, at_ms))
            return
        # The id is the event's own: a consumer that sees an event twice can tell.
        headers = cloud_event("enriched", self._source, event.id, event.occurred_at_ms)
        if record.traceparent is not None:
            headers.append(("traceparent", record.traceparent))
        outputs.enriched.append(Output(event.key, value, headers, record.timestamp_ms))
        name = verdict.name.value
        outputs.verdicts[name] = outputs.verdicts.get(name, 0) + 1
        self._digests.add(record.partition, record.offset, event)

    def _dead_letter(self, record: Record, invalid: Invalid, now_ms: int) -> Output:
        """The dead letter of one record; its payload where nothing is sensitive and it fits."""
        value = record.value or b""
        open_ = not self._pipeline.stream.sensitive
        # Base64 makes a third more of it.
        kept = open_ and len(value) <= OUTPUT_BYTES_MAX * 7 // 10
        key = record.key.decode(errors="replace")[:1024] if record.key and open_ else None
        letter = DeadLetter(
            pipeline=self._pipeline.name,
            reason=invalid.reason,
            detail=invalid.detail[:DETAIL_MAX],
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            failed_at_ms=now_ms,
            size_bytes=len(value),
            payload=value if kept else None,
            key=key,
        )
        origin = f"{record.topic}/{record.partition}/{record.offset}"
        headers = cloud_event("dead-letter", self._source, origin, now_ms)
        if record.traceparent is not None:
            headers.append(("traceparent", record.traceparent))
        return Output(key or origin, self._encode(letter), headers, record.timestamp_ms)
