"""What a scraper gets: the SDK's metrics, with an exemplar at each bucket that has one.

An exemplar is one measurement that was made in a sampled trace, and the way from a slow bucket to
that trace. The SDK has the last of each bucket and forgets it once it is read, by whomever: probes
and people read as well. Python's exporter for Prometheus leaves it out. Here the last of each
bucket is kept, and stands at the bucket for whoever asks for OpenMetrics, as Prometheus does; the
classic text format has no place for it, and is as it was.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import Exemplar as Measured
from opentelemetry.sdk.metrics.export import (
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricReader,
    MetricsData,
)
from opentelemetry.trace import format_span_id, format_trace_id
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

from enrichment.telemetry.metrics import TABLE

BUCKET: Final = "_bucket"
BOUND: Final = "le"
SCOPE: Final = "otel_scope_"
"""Labels of the exporter's own, which say where in the code an instrument is from."""

_Labels = frozenset[tuple[str, str]]
_Series = tuple[str, _Labels]


def reader(registry: CollectorRegistry = REGISTRY) -> MetricReader:
    """A reader for the SDK's provider; what is counted can be scraped from the registry."""
    return _Reader(registry)


class Exemplars:
    """The last exemplar of each bucket: as many as there are buckets, for as long as the process.

    Prometheus takes one in once, by its time.
    """

    def __init__(self) -> None:
        # Histogram with labels -> upper bound, as it is written -> the last that fell below it.
        self._last: dict[_Series, dict[str, Exemplar]] = {}

    def note(self, found: MetricsData) -> None:
        """Keep what the SDK has had since it was last read."""
        for resource in found.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name in TABLE and isinstance(metric.data, Histogram):
                        self._note(metric, metric.data)

    def _note(self, metric: Metric, histogram: Histogram) -> None:
        for point in histogram.data_points:
            labels = frozenset((k, str(v)) for k, v in (point.attributes or {}).items())
            for measured in point.exemplars:
                if (exemplar := _exemplar(measured)) is not None:
                    buckets = self._last.setdefault((TABLE[metric.name].exposed, labels), {})
                    buckets[_bound(point, measured.value)] = exemplar

    def at(self, family: Family) -> Family:
        """The family with its exemplars."""
        family.samples = [self._sample(family.name, sample) for sample in family.samples]
        return family

    def _sample(self, name: str, sample: Sample) -> Sample:
        if sample.name != name + BUCKET:
            return sample
        # A label that a point does not have is written as "" where another of the family has it.
        labels = frozenset(
            (label, value)
            for label, value in sample.labels.items()
            if value and label != BOUND and not label.startswith(SCOPE)
        )
        exemplar = self._last.get((name, labels), {}).get(sample.labels[BOUND])
        return sample if exemplar is None else sample._replace(exemplar=exemplar)


def _bound(point: HistogramDataPoint, value: float) -> str:
    """The upper bound of the bucket that a value falls into, as the exporter writes it."""
    index = bisect_left(point.explicit_bounds, value)
    return f"{point.explicit_bounds[index]}" if index < len(point.explicit_bounds) else "+Inf"


def _exemplar(measured: Measured) -> Exemplar | None:
    """As Prometheus has it; None where it leads to no trace, as another filter would keep it."""
    if measured.trace_id is None or measured.span_id is None:
        return None
    ids = {
        "trace_id": format_trace_id(measured.trace_id),
        "span_id": format_span_id(measured.span_id),
    }
    return Exemplar(ids, measured.value, measured.time_unix_nano / 1e9)


class _Reader(PrometheusMetricReader):
    """The exporter, over a registry of its own, and before it what adds the exemplars."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._exemplars = Exemplars()
        exported = CollectorRegistry()
        super().__init__(registry=exported)
        self._scraped = registry
        self._with_exemplars = _Exposed(exported, self._exemplars)
        registry.register(self._with_exemplars)

    def _receive_metrics(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **rest: Any
    ) -> None:
        if metrics_data is not None:
            self._exemplars.note(metrics_data)
        super()._receive_metrics(metrics_data, timeout_millis, **rest)

    def shutdown(self, timeout_millis: float = 30_000, **rest: Any) -> None:
        self._scraped.unregister(self._with_exemplars)
        super().shutdown(timeout_millis, **rest)


class _Exposed(Collector):
    """What one registry has, with exemplars, for another."""

    def __init__(self, exported: CollectorRegistry, exemplars: Exemplars) -> None:
        self._exported = exported
        self._exemplars = exemplars
        # Scrapes come in threads of their own, and the exporter hands over what it read last.
        self._lock = threading.Lock()

    def describe(self) -> Iterable[Family]:
        """Nothing beforehand: without this the registry would ask for everything."""
        return ()

    def collect(self) -> Iterable[Family]:
        """The families, read now."""
        with self._lock:
            return [self._exemplars.at(family) for family in self._exported.collect()]
