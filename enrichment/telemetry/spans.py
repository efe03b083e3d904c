"""Where spans go: the SDK, opened by the wiring alone.

Sampling is the senders': only events that they sampled are followed (`trace.py`), and of windows
and jobs, which are few, all are told.
"""

import sys
from typing import TextIO

from opentelemetry import trace
from opentelemetry.sdk.resources import (
    SERVICE_INSTANCE_ID,
    SERVICE_NAME,
    SERVICE_NAMESPACE,
    Resource,
)
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from enrichment.telemetry.delivery import Destination, Queue
from enrichment.telemetry.trace import LINKS_MAX, chosen_ids


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
        # Whoever opens it closes it: at the interpreter's exit no thread can be started any more,
        # and without one the wait for a collector that is away has no end (`delivery.Queue`).
        shutdown_on_exit=False,
    )


def console(to: TextIO | None = None) -> Destination:
    """Each span as a line of JSON, on standard error like the logs."""
    exporter = ConsoleSpanExporter(out=to or sys.stderr, formatter=_line)
    return Destination(exporter=exporter, where="standard error")


def open_spans(to: Destination, made: TracerProvider) -> None:
    """Send every span of this process there from now on, in a thread of its own.

    `made.shutdown()` sends what is queued then, for some seconds at most.
    """
    made.add_span_processor(Queue(to))
    trace.set_tracer_provider(made)


def _line(span: ReadableSpan) -> str:
    written: str = span.to_json(indent=None)
    return written + "\n"
