"""One batch: records in, enriched events, dead letters and digests out. No Kafka in it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import msgspec

from enrichment.enrich.answer import Answer, completed
from enrichment.enrich.decode import Decoder, Invalid
from enrichment.enrich.digest import DigestBuilder
from enrichment.enrich.events import Event, Events
from enrichment.enrich.features import FeaturePlan
from enrichment.enrich.known import KnownFeatures
from enrichment.enrich.lookup import Lookup
from enrichment.enrich.route import Router
from enrichment.enrich.score import Joint, Scored, Scorer, View
from enrichment.pipelines import Pipeline
from enrichment.records import (
    DeadLetter,
    DeadLetterReason,
    Decision,
    Digest,
    Origin,
    Path,
    Review,
)
from enrichment.rollout.control import ControlState
from enrichment.stream.envelope import CORRELATION, Envelope
from enrichment.stream.evidence import Evidence, evidence
from enrichment.stream.headers import Headers, cloud_event, header
from enrichment.telemetry.trace import LINKS_MAX, Followed, is_sampled

OUTPUT_BYTES_MAX: Final = 950_000  # below Kafka's default message limit of 1 MiB, headers included
KEPT_BYTES_MAX: Final = OUTPUT_BYTES_MAX * 7 // 10  # base64 makes a third more of it
DETAIL_MAX: Final = 1_000  # characters: it may quote a value as large as the record


class Record(msgspec.Struct, frozen=True, gc=False):
    """One input record, as far as the hot path looks at it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    # When it was published, in milliseconds; its answer bears the same.
    timestamp_ms: int = 0
    headers: Sequence[tuple[str, bytes | None]] | None = None
    # The record opened; None where nothing surrounds its event.
    envelope: Envelope | None = None

    @property
    def event(self) -> bytes | None:
        """The event's bytes, without what surrounds them."""
        return self.value if self.envelope is None else self.envelope.value


class Output(msgspec.Struct, frozen=True, gc=False):
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
    # Events that wait for somebody's decision.
    reviews: list[Output] = field(default_factory=list)
    dead_letters: list[Output] = field(default_factory=list)
    digests: list[Digest] = field(default_factory=list)
    progress: list[tuple[Digest, bool]] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    # Events by level, decision and path, as `Scored.outcome` writes them; records that are none.
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    # How many of the events their senders had sampled, and the first of those.
    sampled: int = 0
    # What was waited for the feature cache.
    read_ms: float = 0.0
    followed: list[Followed] = field(default_factory=list)

    def reject(self, letter: Output, why: Invalid) -> None:
        """Note a record that is no event, with its dead letter."""
        self.dead_letters.append(letter)
        self.reasons[why.reason.value] += 1


class Enricher:
    """The work of the hot path on one pipeline's records."""

    def __init__(
        self,
        pipeline: Pipeline,
        lookup: Lookup,
        now_ms: Callable[[], int],
        pseudonym: Callable[[str], str] | None = None,
        *,
        control: Callable[[], ControlState] | None = None,
    ) -> None:
        """`control` tells what is in force; without one nothing ever is."""
        self._pipeline = pipeline
        self._now_ms = now_ms
        self._pseudonym = pseudonym if pipeline.stream.sensitive else None
        nothing = ControlState(pipeline=pipeline.name)
        self._control = control or (lambda: nothing)
        self._lookup = lookup
        self._router = Router(pipeline)
        self._decoder = Decoder(pipeline, pseudonym)
        self._scorer = Scorer(pipeline)
        self._known = KnownFeatures(
            FeaturePlan(pipeline), self._scorer, lookup, now_ms, self._control
        )
        self._digests = DigestBuilder(pipeline)
        self._encode = msgspec.json.Encoder().encode
        # A source may say that the window of the latest possible event is complete, and no more:
        # else one stray record would close every window to come.
        self._ahead_ms = pipeline.limits.future_ms + pipeline.window.size_ms
        self._source = f"/enrichment/{pipeline.name}"

    def process(self, records: Sequence[Record]) -> Outputs:
        """Answer every record. The batch has one decision time, read after its features."""
        outputs = Outputs()
        now_ms = self._now_ms()
        enveloped = any(record.envelope is not None for record in records)
        if enveloped:
            records = self._opened(records, outputs, now_ms)
        events, invalid = self._decoder.decode_batch(
            [record.event for record in records], now_ms=now_ms
        )
        for row, why in invalid.items():
            outputs.reject(self._dead_letter(records[row], why, now_ms), why)
        if len(events):
            read = [records[row] for row in events.rows] if invalid else records
            self._answer(read, events, outputs, enveloped=enveloped)
        outputs.progress.extend(self._digests.progress())
        outputs.read_ms = self._lookup.spent_ms()
        return outputs

    @property
    def killed(self) -> bool:
        """Whether the kill switch is pulled."""
        return self._control().serve == Path.HEURISTIC.value

    def forget(self) -> None:
        """Drop what an aborted transaction had told."""
        self._digests.forget()

    def _opened(self, records: Sequence[Record], outputs: Outputs, now_ms: int) -> list[Record]:
        """The records that are to be decoded: no word of a source's progress, nothing closed."""
        events = []
        for record in records:
            envelope = record.envelope
            why: Invalid | None = None
            if envelope is None:
                pass
            elif envelope.problem is not None:
                why = Invalid(DeadLetterReason.INVALID_ENVELOPE, envelope.problem)
            elif (progress_ms := envelope.progress_ms) is not None:
                if progress_ms <= now_ms + self._ahead_ms:
                    self._digests.add_progress(record.partition, record.offset, progress_ms)
                    continue
                detail = f"progress to {progress_ms}, in the future"
                why = Invalid(DeadLetterReason.ABSURD_TIME, detail)
            if why is None:
                events.append(record)
            else:
                outputs.reject(self._dead_letter(record, why, now_ms), why)
        return events

    def _answer(
        self, records: Sequence[Record], events: Events, outputs: Outputs, *, enveloped: bool
    ) -> None:
        """Score the events; one that would not fit once enriched is a dead letter instead."""
        decided_at_ms, views = self._known.views(events)
        scorer = self._scorer
        own = scorer.of_events(events.numbers, len(events))
        joints = scorer.joints(views, events.numbers)
        # As late as can be: what was said while the cache was read counts for this batch.
        routes = self._router.routes(events, self._control())
        too_large: set[int] = set()
        outcomes: list[str] = []
        pipeline, version = self._pipeline.name, self._pipeline.version
        score_version = self._pipeline.score.version
        columns = zip(
            records, events.ids, events.occurred_at_ms, events.payloads, joints, views, strict=True
        )
        for index, (record, id_, at_ms, payload, joint, mine) in enumerate(columns):
            route = routes[index]
            scored = scorer.scored(*own[index], joint, route)
            headers, correlation_id = self._headers("enriched", id_, at_ms, record)
            answer = self._encode(
                Answer(
                    id_,
                    pipeline,
                    Origin(record.topic, record.partition, record.offset),
                    at_ms,
                    decided_at_ms,
                    msgspec.Raw(payload),
                    joint.seen.written,
                    scored.path,
                    scored.scores,
                    scored.level,
                    scored.decision,
                    scored.reasons,
                    version,
                    score_version,
                    correlation_id,
                )
            )
            value = completed(answer, scored, route, mine)
            if len(value) > OUTPUT_BYTES_MAX:
                detail = f"{len(value)} bytes once enriched, the limit is {OUTPUT_BYTES_MAX}"
                why = Invalid(DeadLetterReason.TOO_LARGE, detail)
                outputs.reject(self._dead_letter(record, why, decided_at_ms), why)
                too_large.add(index)
                continue
            outcomes.append(scored.outcome)
            outputs.enriched.append(Output(events.keys[index], value, headers, record.timestamp_ms))
            if scored.decision is Decision.REVIEW:
                review = self._review(record, events[index], scored, joint, decided_at_ms)
                outputs.reviews.append(review)
        if too_large:
            kept = [index for index in range(len(events)) if index not in too_large]
            records, joints = [records[index] for index in kept], [joints[index] for index in kept]
            views = [views[index] for index in kept]
            events = events.only(kept)
        outputs.verdicts.update([joint.seen.name for joint in joints])
        outputs.outcomes.update(outcomes)
        traces = _sampled(records) if enveloped else {}
        if traces:
            first = islice(traces.items(), LINKS_MAX)
            outputs.followed = [_followed(views[index], sent) for index, sent in first]
            outputs.sampled = len(traces)
        partitions = [record.partition for record in records]
        offsets = [record.offset for record in records]
        outputs.digests = self._digests.digests(partitions, offsets, events, decided_at_ms, traces)

    def _headers(self, kind: str, id_: str, at_ms: int, record: Record) -> tuple[Headers, str]:
        """The headers of an output about this record, and its correlation id."""
        headers = cloud_event(kind, self._source, id_, at_ms)
        if record.envelope is None:
            return headers, ""
        carried = record.envelope.carried(self._pseudonym)
        return headers + carried, (header(carried, CORRELATION) or b"").decode()

    def _review(
        self, record: Record, event: Event, scored: Scored, joint: Joint, at_ms: int
    ) -> Output:
        """What an analyst is to decide on."""
        headers, correlation_id = self._headers("review", event.id, event.occurred_at_ms, record)
        review = Review(
            event_id=event.id,
            pipeline=self._pipeline.name,
            origin=Origin(record.topic, record.partition, record.offset),
            occurred_at_ms=event.occurred_at_ms,
            decided_at_ms=at_ms,
            score=scored.scores.served,
            path=scored.path,
            level=scored.level,
            reasons=tuple(scored.reasons),
            verdict=joint.seen.verdict,
            entities=event.entities,
            shard=event.shard,
            score_version=self._pipeline.score.version,
            amount_minor=event.amount_minor,
            correlation_id=correlation_id,
        )
        return Output(event.key, self._encode(review), headers, record.timestamp_ms)

    def _dead_letter(self, record: Record, invalid: Invalid, now_ms: int) -> Output:
        """The dead letter of one record: the whole of it where nothing is sensitive and it fits."""
        kept: Evidence = {}
        if not self._pipeline.stream.sensitive:
            kept = evidence(record.key, record.value, record.headers, bytes_max=KEPT_BYTES_MAX)
        replay_of = record.envelope.replay_of if record.envelope else None
        letter = DeadLetter(
            pipeline=self._pipeline.name,
            reason=invalid.reason,
            detail=invalid.detail[:DETAIL_MAX],
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            failed_at_ms=now_ms,
            size_bytes=len(record.value or b""),
            published_at_ms=record.timestamp_ms,
            replay_of=(replay_of or b"").decode(),
            **kept,
        )
        origin = f"{record.topic}/{record.partition}/{record.offset}"
        headers, _ = self._headers("dead-letter", origin, now_ms, record)
        return Output(letter.key or origin, self._encode(letter), headers, record.timestamp_ms)


def _sampled(records: Sequence[Record]) -> dict[int, str]:
    """The `traceparent`s of the events that their senders sampled, by place."""
    return {
        index: sent.decode()
        for index, record in enumerate(records)
        if record.envelope is not None
        and (sent := record.envelope.traceparent) is not None
        and is_sampled(sent)
    }


def _followed(views: Sequence[View], traceparent: str) -> Followed:
    """A sampled event, and the jobs whose features it was scored with."""
    jobs = dict.fromkeys(used.job_id for view in views for used in view.used if used.job_id)
    return Followed(traceparent=traceparent, jobs=tuple(jobs))
