"""What is counted between two looks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.metrics.export import InMemoryMetricReader

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Heard:
    """A reader that is asked for what has been counted since it was last asked."""

    reader: InMemoryMetricReader

    def points(self) -> Iterator[tuple[str, Labels, Any]]:
        """(instrument, labels, point) of everything."""
        found = self.reader.get_metrics_data()
        for resource in found.resource_metrics if found is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        labels = tuple(
                            (str(k), str(v)) for k, v in (point.attributes or {}).items()
                        )
                        yield metric.name, labels, point

    def counts(self) -> dict[str, dict[Labels, float]]:
        """Instrument -> labels -> what was counted, of a histogram how often."""
        told: dict[str, dict[Labels, float]] = {}
        for name, labels, point in self.points():
            value = point.count if hasattr(point, "bucket_counts") else point.value
            if value:
                told.setdefault(name, {})[labels] = value
        return told
