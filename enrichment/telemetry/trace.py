"""Traces: what leads from one event to the windows and jobs that it was part of, and back.

The OpenTelemetry API alone: nothing is made, and next to nothing is paid, until the wiring has
opened an exporter. Only events whose sender has sampled them are followed. A stage that works on a
batch makes one span for it, which links to those events, and a short one in the trace of each of
the first of them, which links to the batch's. A job's span has ids made from the job's own: an
event's span links to the jobs whose features it was scored with, wherever and whenever they ran.

Times are milliseconds since 1970.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

# Version ff and ids of nothing but zeros are what the standard calls invalid.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)

LINKS_MAX: Final = 128
"""Links of one batch's span: as many as the SDK keeps by default."""

SPANS_MAX: Final = 8
"""Events of one batch that get a span of their own: each costs the hot path some 30 us, and a full
batch has 10 ms in all."""

_Ids = tuple[int, int]
_chosen: ContextVar[_Ids | None] = ContextVar("chosen", default=None)


def valid_traceparent(value: bytes | None) -> bytes | None:
    """The `traceparent` as it came, or None where it is not one."""
    return value if value is not None and _TRACEPARENT.fullmatch(value) else None


def is_sampled(traceparent: bytes) -> bool:
    """Whether a valid `traceparent` says that its sender keeps the trace."""
    return traceparent[-1:] in b"13579bdf"


def context_of(traceparent: str) -> SpanContext | None:
    """The sender's span, None where that is not sampled or nothing valid."""
    value = traceparent.encode()
    if valid_traceparent(value) is None or not is_sampled(value):
        return None
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))


def job_context(job_id: str) -> SpanContext:
    """The span of a job, by its id alone: the same in every process, before and after it ran."""
    trace_id, span_id = _ids_of(job_id)
    return SpanContext(trace_id, span_id, True, TraceFlags(TraceFlags.SAMPLED))


def chosen_ids() -> _Ids | None:
    """The ids that the span now being made is to bear: for the SDK's generator of ids."""
    return _chosen.get()


def opened() -> bool:
    """Whether spans go anywhere: else nobody need make them."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """One sampled event in a batch: its sender's span, and the jobs it was scored with."""

    traceparent: str
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a stage did with one batch of messages of one topic."""

    topic: str
    group: str
    start_ms: float
    end_ms: float
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    # How many they are, where that is known.
    messages: int = 0
    # Its steps in order, one after the other from the start.
    steps: Mapping[str, float] = field(default_factory=dict)
    # Why it is not as it should be; "" where it is.
    problem: str = ""

    @property
    def name(self) -> str:
        """As the semantic conventions for messaging name such a span."""
        return f"process {self.topic}"


def tell(
    work: Work, followed: Sequence[Followed], *, job_id: str = "", again: bool = False
) -> Context:
    """Make the spans of one batch. With a `job_id`, the batch's span is that job's.

    `again`: the job has been over before, and its span is there already: this one is below it.

    Returns the context to record the batch's figures in, so that they lead to a trace: that of the
    job, or of the first event that has a span, whose trace says more than the batch's own.
    """
    found = [
        (context, event)
        for event in followed[:LINKS_MAX]
        if (context := context_of(event.traceparent)) is not None
    ]
    tracer = trace.get_tracer("enrichment")
    attributes = _attributes(work)
    if work.messages:
        attributes["messaging.batch.message_count"] = work.messages
    if job_id:
        attributes["enrichment.job.id"] = job_id
    with _with_ids(job_id if not again else ""):
        batch = tracer.start_span(
            work.name,
            context=_under(job_context(job_id)) if again else Context(),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=[Link(context) for context, _ in found],
            start_time=_ns(work.start_ms),
        )
    if work.problem:
        batch.set_status(Status(StatusCode.ERROR, work.problem))
    _tell_steps(work, batch)
    batch.end(_ns(work.end_ms))
    leading = batch
    for context, event in found[:SPANS_MAX]:
        links = [Link(batch.get_span_context()), *(Link(job_context(job)) for job in event.jobs)]
        span = tracer.start_span(
            work.name,
            context=_under(context),
            kind=SpanKind.CONSUMER,
            attributes=_attributes(work) | ({"enrichment.job.id": job_id} if job_id else {}),
            links=links,
            start_time=_ns(work.start_ms),
        )
        span.end(_ns(work.end_ms))
        if leading is batch and not job_id:
            leading = span
    return trace.set_span_in_context(leading, Context())


def _tell_steps(work: Work, batch: Span) -> None:
    tracer, at_ms = trace.get_tracer("enrichment"), work.start_ms
    within = trace.set_span_in_context(batch, Context())
    for name, took_ms in work.steps.items():
        span = tracer.start_span(name, context=within, start_time=_ns(at_ms))
        at_ms += took_ms
        span.end(_ns(at_ms))


def _attributes(work: Work) -> dict[str, str | int]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": work.topic,
        "messaging.consumer.group.name": work.group,
        **work.attributes,
    }


def _under(context: SpanContext) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(context), Context())


def _ids_of(job_id: str) -> _Ids:
    digest = sha256(f"job|{job_id}".encode()).digest()
    return int.from_bytes(digest[:16], "big"), int.from_bytes(digest[16:24], "big")


@contextmanager
def _with_ids(job_id: str) -> Iterator[None]:
    """Have the span that is begun inside bear the job's ids; without a job, any."""
    token = _chosen.set(_ids_of(job_id) if job_id else None)
    try:
        yield
    finally:
        _chosen.reset(token)


def _ns(at_ms: float) -> int:
    return int(at_ms * 1_000_000)
