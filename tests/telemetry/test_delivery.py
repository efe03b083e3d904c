"""What becomes of spans on their way out, whoever takes them."""

import sys
import threading
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from structlog.testing import capture_logs

from enrichment.pipelines import load
from enrichment.settings import Settings, Traces
from enrichment.telemetry import delivery, spans
from enrichment.telemetry.delivery import Delivery, Destination, Queue
from enrichment.wiring.errors import ConfigurationError
from enrichment.wiring.telling import exported_spans
from tests.telemetry.heard import Heard


class Exporter(SpanExporter):
    """One that takes spans when it is let, or says that it cannot."""

    def __init__(self) -> None:
        self.answers: list[SpanExportResult] = []
        self.free = threading.Event()
        self.began = threading.Event()
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Wait to be let."""
        self.began.set()
        self.free.wait(10)
        answer = self.answers.pop(0) if self.answers else SpanExportResult.SUCCESS
        if answer is SpanExportResult.SUCCESS:
            self.taken += len(spans)
        return answer

    def shutdown(self) -> None:
        """End the wait."""
        self.free.set()


def test_a_full_queue_drops_what_comes_and_counts_it(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No more than its bound waits, none has a line of its own, and each is accounted for."""
    monkeypatch.setattr(delivery, "QUEUE_MAX", 40)
    monkeypatch.setattr(delivery, "BATCH_MAX", 10)
    exporter, made = Exporter(), spans.provider(stage="s", pipeline="p", instance="0")
    made.add_span_processor(Queue(Destination(exporter=exporter, where="here")))
    tracer = made.get_tracer("test")
    for _ in range(10):
        tracer.start_span("first").end()
    assert exporter.began.wait(5)  # they are on their way, and no longer wait
    for _ in range(100):
        tracer.start_span("more").end()
    exporter.free.set()
    made.force_flush()
    assert exporter.taken == 10 + 40
    assert heard.counts()["enrichment.spans.lost"] == {(("reason", "queue_full"),): 60}
    with capture_logs() as said:
        made.shutdown()
    assert (said[0]["lost"], said[0]["unsent"]) == (60, 0)
    assert caplog.records == []  # of the SDK, which says it of each


def test_the_end_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that does not come back is left, and what it was not given is told as unsent."""
    monkeypatch.setattr(delivery, "FLUSH_S", 0.1)
    monkeypatch.setattr(delivery, "BATCH_MAX", 1)
    exporter, made = Exporter(), spans.provider(stage="s", pipeline="p", instance="0")
    made.add_span_processor(Queue(Destination(exporter=exporter, where="here")))
    for _ in range(3):
        made.get_tracer("test").start_span("one").end()
    assert exporter.began.wait(5)
    with capture_logs() as said:
        made.shutdown()
    assert said[0]["event"] == "spans were lost"
    assert said[0]["unsent"] >= 1


def test_one_that_comes_and_goes_is_said_every_few_minutes() -> None:
    """A collector that takes every other batch is no news each time, and is again later."""
    exporter, now_s = Exporter(), [0.0]
    exporter.free.set()
    out = Delivery(Destination(exporter=exporter, where="here"), lambda: now_s[0])
    failed, took = SpanExportResult.FAILURE, SpanExportResult.SUCCESS
    with capture_logs() as said:
        exporter.answers = [failed, failed, took, failed, took, failed, took]
        for _ in range(7):
            out.export(())
        assert len(said) == 2
        now_s[0] = delivery.SAID_AGAIN_S
        exporter.answers = [failed, took]
        out.export(())
        out.export(())
    assert [line["log_level"] for line in said] == ["warning", "info"] * 2


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start ends with what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.delitem(sys.modules, "enrichment.telemetry.otlp", raising=False)
    import enrichment.telemetry

    monkeypatch.delattr(enrichment.telemetry, "otlp", raising=False)
    opened = exported_spans(Settings(traces=Traces.OTLP), load("payments"), "enrich")
    with pytest.raises(ConfigurationError, match=r"'enrichment\[otlp\]'"), opened:
        pass
