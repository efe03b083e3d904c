"""A slow bucket leads to a trace: exemplars, as a scraper of OpenMetrics reads them."""

import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id
from prometheus_client import start_http_server
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Exemplar

from enrichment.telemetry import trace
from tests.telemetry.heard import Heard
from tests.telemetry.way import Way, ring, traceparent

OPEN = "application/openmetrics-text;version=1.0.0"

Found = dict[tuple[str, str], list[tuple[float, float, Exemplar]]]


@dataclass(frozen=True, slots=True)
class Scrape:
    """A scraper of this process, over HTTP."""

    port: int

    def text(self, accept: str = OPEN) -> str:
        """What it is answered."""
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/metrics", headers={"Accept": accept}
        )
        with urllib.request.urlopen(asked) as answer:  # noqa: S310  # ours
            found: str = answer.read().decode()
        return found

    def exemplars(self) -> Found:
        """(Family, `step` or "") -> buckets that have one: the bounds on both sides, and it."""
        found: Found = {}
        families = text_string_to_metric_families(self.text())  # type: ignore[no-untyped-call]
        for family in families:
            below = 0.0
            for sample in family.samples:
                if not sample.name.endswith("_bucket"):
                    continue
                bound = float(sample.labels["le"])
                if sample.exemplar is not None:
                    key = (family.name, sample.labels.get("step", ""))
                    found.setdefault(key, []).append((below, bound, sample.exemplar))
                below = 0.0 if bound == float("inf") else bound
        return found

    def leading_to(self, trace_id: int) -> Found:
        """Those of one trace."""
        wanted = format_trace_id(trace_id)
        every = {
            key: [one for one in buckets if one[2].labels["trace_id"] == wanted]
            for key, buckets in self.exemplars().items()
        }
        return {key: buckets for key, buckets in every.items() if buckets}


@pytest.fixture(scope="module")
def scrape(meter: InMemoryMetricReader) -> Iterator[Scrape]:
    """The page of metrics, served as a stage serves it."""
    assert meter
    server, thread = start_http_server(0, addr="127.0.0.1")
    yield Scrape(server.server_port)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("spans")
def test_a_batchs_bucket_leads_to_a_sampled_event_in_it(heard: Heard, scrape: Scrape) -> None:
    """Its trace stands at the one bucket that the batch fell into, with what was measured."""
    Way().enrich(*zip(ring(3), [None, traceparent(1001), traceparent(1002)], strict=True))
    measured = {name: point.sum for name, _, point in heard.points() if hasattr(point, "sum")}
    found = scrape.leading_to(1001)
    for family, name in (
        ("enrichment_latency_milliseconds", "enrichment.latency"),
        ("enrichment_batch_duration_milliseconds", "enrichment.batch.duration"),
    ):
        [(below, bound, exemplar)] = found[family, ""]
        assert below < exemplar.value <= bound
        assert exemplar.value == pytest.approx(measured[name])
    steps = {step for family, step in found if family == "enrichment_batch_step_milliseconds"}
    assert steps == {"wait", "read", "score", "hold", "produce", "commit"}
    # One for the batch, and no second for its other events.
    assert scrape.leading_to(1002) == {}


def test_the_span_that_is_named_is_there(spans: InMemorySpanExporter, scrape: Scrape) -> None:
    """It is the event's own in its trace, whose parent is its sender's."""
    Way().enrich((ring(1)[0], traceparent(1003)))
    [(_, _, exemplar)] = scrape.leading_to(1003)["enrichment_latency_milliseconds", ""]
    [named] = [
        span
        for span in spans.get_finished_spans()
        if format_span_id(span.context.span_id) == exemplar.labels["span_id"]
    ]
    assert named.parent is not None
    assert named.parent.span_id == 1003


@pytest.mark.usefixtures("spans")
def test_jobs_and_windows_lead_to_traces(scrape: Scrape) -> None:
    """A job's figures to its own trace, a window's close to that of a payment in it."""
    way = Way()
    way.enrich(*zip(ring(5), [traceparent(1004), None, None, None, None], strict=True))
    closed = way.close()
    way.solve(closed)
    job = trace.job_context(closed.micro_batch_id)
    of_job = scrape.leading_to(job.trace_id)
    [(below, bound, exemplar)] = of_job["enrichment_job_duration_milliseconds", ""]
    assert below <= exemplar.value <= bound
    assert exemplar.labels["span_id"] == format_span_id(job.span_id)
    assert ("enrichment_job_step_milliseconds", "execution") in of_job
    assert ("enrichment_window_close_milliseconds", "") in scrape.leading_to(1004)


@pytest.mark.usefixtures("spans")
def test_an_exemplar_stays_whoever_has_read_it(scrape: Scrape) -> None:
    """A probe, or another scraper, does not take it from the next; a newer one takes its place."""
    Way().enrich((ring(1)[0], traceparent(1005)))
    scrape.text("text/plain")
    scrape.text()
    [_] = scrape.leading_to(1005)["enrichment_latency_milliseconds", ""]
    for _ in range(5):
        Way().enrich((ring(1)[0], traceparent(1006)))
    buckets = scrape.exemplars()["enrichment_latency_milliseconds", ""]
    assert len({bound for _, bound, _ in buckets}) == len(buckets)
    assert 1006 in {int(one.labels["trace_id"], 16) for _, _, one in buckets}


@pytest.mark.usefixtures("spans")
def test_the_classic_format_has_none(scrape: Scrape) -> None:
    """And otherwise the same series: whoever scrapes it sees no difference."""
    Way().enrich((ring(1)[0], traceparent(1007)))
    classic = scrape.text("text/plain;version=0.0.4")
    assert " # {" not in classic
    assert " # {" in scrape.text()
    series = re.compile(r"^enrichment_[a-z_]+\{[^}]*\}", re.MULTILINE)
    assert set(series.findall(classic)) == set(series.findall(scrape.text()))


def test_nothing_leads_anywhere_without_spans(meter: InMemoryMetricReader, scrape: Scrape) -> None:
    """A batch whose events are sampled, in a process that makes no spans, leaves no exemplar."""
    assert meter
    Way().enrich((ring(1)[0], traceparent(1008)))
    assert scrape.leading_to(1008) == {}
