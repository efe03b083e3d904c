"""Where spans go: the SDK, opened by the wiring alone.

Sampling is the senders': only events that they sampled are followed (`trace.py`), and of windows
and jobs, which are few, all are told.
"""

import sys
from typing import Final, TextIO

from opentelemetry import trace
from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_NAMESPACE,
    Resource,
)
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from enrichment.telemetry.trace import LINKS_MAX, chosen_ids

QUEUE_MAX: Final = 8_192
"""Spans that wait for the exporter: some 20 MB. Beyond that they are dropped, never waited for."""


class Ids(RandomIdGenerator):
    """Random ids, but for a span whose ids follow from what it is of."""

    def generate_span_id(self) -> int:
        """The chosen one, or any."""
        chosen = chosen_ids()
        return super().generate_span_id() if chosen is None else chosen[1]

    def generate_trace_id(self) -> int:
        """The chosen one, or any."""
        chosen = chosen_ids()
        return super().generate_trace_id() if chosen is None else chosen[0]


def provider(*, stage: str, pipeline: str, instance: str) -> TracerProvider:
    """A provider of tracers that names its process; nothing is exported until it is told where."""
    return TracerProvider(
        id_generator=Ids(),
        resource=Resource.create(
            {
                SERVICE_NAMESPACE: "enrichment",
                SERVICE_NAME: f"enrichment-{stage}",
                SERVICE_INSTANCE_ID: f"{stage}.{pipeline}.{instance}",
                "enrichment.pipeline": pipeline,
            }
        ),
        span_limits=SpanLimits(max_links=LINKS_MAX),
        shutdown_on_exit=True,
    )


def console(to: TextIO | None = None) -> SpanExporter:
    """An exporter that writes each span as a line of JSON, to standard error like the logs."""
    return ConsoleSpanExporter(out=to or sys.stderr, formatter=_line)


def open_spans(exporter: SpanExporter, made: TracerProvider) -> None:
    """Export every span of this process from now on, in a thread of its own."""
    made.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUE_MAX))
    trace.set_tracer_provider(made)


def _line(span: ReadableSpan) -> str:
    written: str = span.to_json(indent=None)
    return written + "\n"
