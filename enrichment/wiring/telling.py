"""What a process tells of itself: metrics to be scraped, spans to be sent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from enrichment.pipelines import Pipeline
from enrichment.settings import Settings, Traces
from enrichment.wiring.errors import ConfigurationError

if TYPE_CHECKING:
    from enrichment.telemetry.delivery import Destination


def serve_metrics(port: int, host: str = "127.0.0.1") -> None:
    """Let the counters be scraped by Prometheus: /metrics at that port of that address."""
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from prometheus_client import start_http_server

    from enrichment.telemetry import exposition

    metrics.set_meter_provider(MeterProvider(metric_readers=[exposition.reader()]))
    start_http_server(port, addr=host)


@contextmanager
def exported_spans(settings: Settings, pipeline: Pipeline, stage: str) -> Iterator[None]:
    """Spans go where the settings say meanwhile, the last within seconds of the end.

    Without that nothing makes any. Raises ConfigurationError.
    """
    if settings.traces is Traces.NONE:
        yield
        return
    from enrichment.telemetry import spans

    to = spans.console() if settings.traces is Traces.CONSOLE else _collector()
    made = spans.provider(stage=stage, pipeline=pipeline.name, instance=settings.instance)
    spans.open_spans(to, made)
    try:
        yield
    finally:
        made.shutdown()


def check_spans(settings: Settings) -> None:
    """Raise ConfigurationError where spans cannot go where the settings say. Nothing is sent."""
    if settings.traces is Traces.OTLP:
        _collector().exporter.shutdown()


def _collector() -> "Destination":
    try:
        from enrichment.telemetry import otlp
    except ModuleNotFoundError as missing:
        raise ConfigurationError(
            f"ENRICHMENT_TRACES=otlp needs pip install 'enrichment[otlp]' ({missing.name})"
        ) from missing
    try:
        return otlp.collector(os.environ)
    except otlp.CollectorError as error:
        raise ConfigurationError(str(error)) from error
