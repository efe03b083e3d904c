"""What the service tells, heard in this process: counts and spans."""

from collections.abc import Iterator

import pytest
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from enrichment.telemetry import exposition
from enrichment.telemetry import spans as sdk
from tests.telemetry.heard import Heard


@pytest.fixture(scope="session")
def meter() -> InMemoryMetricReader:
    """A reader of all that this process counts from now on: there is one provider a process."""
    since_last: dict[type, AggregationTemporality] = {
        Counter: AggregationTemporality.DELTA,
        Histogram: AggregationTemporality.DELTA,
    }
    reader = InMemoryMetricReader(preferred_temporality=since_last)
    api.set_meter_provider(MeterProvider(metric_readers=[reader, exposition.reader()]))
    return reader


@pytest.fixture
def heard(meter: InMemoryMetricReader) -> Heard:
    """What is counted in the test."""
    meter.get_metrics_data()
    return Heard(meter)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The spans that are made in the test."""
    made = sdk.provider(stage="test", pipeline="payments", instance="0")
    exporter = InMemorySpanExporter()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", made)
    yield exporter
    made.shutdown()
