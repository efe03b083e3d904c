"""Spans reach a collector over a real socket; one that is away costs nothing and is said once."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.util._once import Once
from structlog.testing import capture_logs
from typer.testing import CliRunner

from enrichment.cli.app import build
from enrichment.pipelines import load
from enrichment.settings import Settings, Traces
from enrichment.telemetry import delivery, otlp, trace
from enrichment.wiring.errors import ConfigurationError
from enrichment.wiring.telling import exported_spans
from tests.telemetry.collector import Collected, collecting
from tests.telemetry.way import TOPICS, Way, ring, traceparent

SECRET = "s3cret-of-ours"  # noqa: S105  # looked for in what is said


@pytest.fixture
def collector() -> Iterator[Collected]:
    """A collector that takes what it is sent."""
    with collecting() as collected:
        yield collected


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this test alone; and the global provider is put back."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", None)
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER_SET_ONCE", Once())


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> str:
    """The variables name a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    return f"http://127.0.0.1:{port}/v1/traces"


def exported() -> Any:
    """As a stage's process has it."""
    return exported_spans(Settings(traces=Traces.OTLP), load("payments"), "enrich")


def provider() -> TracerProvider:
    """What is open."""
    opened = api.get_tracer_provider()
    assert isinstance(opened, TracerProvider)
    return opened


def span() -> None:
    """One more."""
    api.get_tracer("test").start_span("one").end()


def test_a_payments_trace_arrives_with_its_job(
    collector: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answer, close and job of one payment are in its trace at the collector; who told them is."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer {SECRET}")
    with exported():
        way = Way()
        way.enrich(*zip(ring(5), [traceparent(7), None, None, None, None], strict=True))
        closed = way.close()
        way.solve(closed)
    names = [span.name for span in collector.of_trace(7)]
    batches = [f"process {topic}" for topic in (TOPICS.events, "enrichment.digests")]
    assert names == [*batches, "process sampling.micro-batches"]
    job = trace.job_context(closed.micro_batch_id)
    [ran] = [
        span for span in collector.of_trace(job.trace_id) if not span.parent_span_id
    ]  # its steps are below it
    assert ran.span_id == job.span_id.to_bytes(8, "big")
    assert [link.trace_id for link in ran.links] == [(7).to_bytes(16, "big")]
    told_by = collector.spans[0][0]
    assert told_by["service.name"] == "enrichment-enrich"
    assert told_by["service.instance.id"] == "enrich.payments.0"
    assert told_by["enrichment.pipeline"] == "payments"
    assert set(collector.paths) == {"/v1/traces"}
    assert all(sent["authorization"] == f"Bearer {SECRET}" for sent in collector.headers)


def test_a_collector_that_is_away_is_said_once_and_ends_nothing(
    away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage answers, the log has one line at the first failure and one at the end."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    with capture_logs() as said, exported():
        way = Way()
        for _ in range(3):
            way.enrich(*((value, traceparent(n + 1)) for n, value in enumerate(ring(5))))
            provider().force_flush()
    assert len(way.kafka.committed(TOPICS.enriched)) == 15
    first, last = [line for line in said if "collector" in line]
    assert first["log_level"] == "warning"
    assert (first["collector"], first["why"]) == (away, "ConnectionError")
    assert last["event"] == "spans were lost"
    assert last["lost"] >= 3 * 6


def test_the_sdk_says_nothing_of_its_own(away: str) -> None:
    """It has a line for each attempt, and quotes headers: in a process alone ours are all."""
    code = (
        "import logging\n"
        "from opentelemetry import trace\n"
        "from enrichment import pipelines, settings\n"
        "from enrichment.wiring import telling\n"
        "from enrichment.telemetry import log\n"
        "logging.basicConfig()  # as whoever embeds us may\n"
        "log.configure(stage='enrich', pipeline='payments', text=False)\n"
        "told = settings.Settings(traces=settings.Traces.OTLP)\n"
        "with telling.exported_spans(told, pipelines.load('payments'), 'enrich'):\n"
        "    for _ in range(3):\n"
        "        trace.get_tracer('test').start_span('one').end()\n"
        "        trace.get_tracer_provider().force_flush()\n"
    )
    for headers, why in (("a=b", "ConnectionError"), (f"a={SECRET}%0ab", "no request")):
        variables = {"OTEL_EXPORTER_OTLP_HEADERS": headers, "OTEL_EXPORTER_OTLP_TIMEOUT": "0.1"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | variables, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert [line["event"].partition(":")[0] for line in lines] == [
            "nobody takes our spans", "spans were lost",
        ]  # fmt: skip
        assert {line["collector"] for line in lines} == {away}
        assert lines[0]["why"].startswith(why)
        assert SECRET not in done.stderr


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "does not answer"])
def test_the_end_does_not_wait_for_a_collector_that_is_away(
    silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it refuses, and is tried again, or takes the request and never answers."""
    monkeypatch.setattr(delivery, "FLUSH_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not silent:
            server.close()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        with capture_logs() as said:
            with exported():
                span()
                began_s = time.monotonic()
            took_s = time.monotonic() - began_s
    assert 0.2 < took_s < 1.5
    assert said[-1]["event"] == "spans were lost"


def test_what_waits_is_sent_at_the_end(
    collector: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost where the collector answers, though no batch was full and no time was up."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.endpoint}/elsewhere")
    with capture_logs() as said, exported():
        for _ in range(3 * delivery.BATCH_MAX):
            span()
    assert len(collector.spans) == 3 * delivery.BATCH_MAX
    assert set(collector.paths) == {"/elsewhere"}
    assert said == []


def test_it_is_said_when_spans_are_taken_again(
    collector: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, with what was lost meanwhile; what refuses us is named by its status."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"api-key={SECRET}")
    collector.status = 401
    with capture_logs() as said, exported():
        for status in (401, 401, 200, 200):
            collector.status = status
            span()
            provider().force_flush()
    assert [line["event"].partition(":")[0] for line in said] == [
        "nobody takes our spans", "spans are taken again", "spans were lost",
    ]  # fmt: skip
    assert said[0]["why"] == "HTTP 401"
    assert said[1]["lost"] == said[2]["lost"] == 2
    assert SECRET not in repr(said)


@pytest.mark.parametrize(
    "headers", [f"authorization={SECRET}%0d%0aother:x", f"authorization={SECRET}ü"]
)
def test_a_header_that_cannot_be_sent_is_not_shown(
    headers: str, collector: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The libraries quote it in what they raise."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    refusal = ""
    with capture_logs() as said:
        try:
            with exported():
                span()
        except ConfigurationError as error:
            refusal = str(error)
    assert said or refusal
    assert SECRET not in repr(said) + refusal


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://localhost:4318/v1/traces"),
        ({"ENDPOINT": ""}, "http://localhost:4318/v1/traces"),
        ({"ENDPOINT": "https://c:1/base/"}, "https://c:1/base/v1/traces"),
        ({"ENDPOINT": "http://c", "TRACES_ENDPOINT": "http://d/x"}, "http://d/x"),
    ],
)
def test_the_standards_variables_say_where(variables: dict[str, str], url: str) -> None:
    """The general address is completed, the one of traces is taken as it is."""
    environ = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()}
    assert otlp.Collector.of(environ).url == url


def test_an_address_is_named_without_what_is_secret_in_it() -> None:
    """Neither password nor query are in what logs bear."""
    url = f"https://us:{SECRET}@[::1]:4318/v1/traces?key={SECRET}"
    found = otlp.Collector.of({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": url})
    assert found.where == "https://[::1]:4318/v1/traces"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "no http:// or https:// address"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:port", "no http:// or https:// address"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf alone"),
        ("OTEL_EXPORTER_OTLP_HEADERS", f"a=b,{SECRET}", "entry 2 is not name=value"),
    ],
)
def test_variables_that_cannot_be_meant_end_the_start(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their names, and in one line without a header's text."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=said) as refused, exported():
        pass
    assert name in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("command", ["enrich", "run"])
def test_a_command_ends_with_what_is_wrong(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2 before any server is asked, of `run` too, which would start stages for ever."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    settings = Settings(traces=Traces.OTLP, log_text=True)
    result = CliRunner().invoke(build(), [command], obj=settings)
    assert result.exit_code == 2
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is grpc" in result.stderr


def test_nothing_of_it_is_imported_unless_it_is_asked_for() -> None:
    """Neither requests nor protobuf are what a stage without a collector waits for."""
    code = (
        "import sys\n"
        "import enrichment.cli, enrichment.wiring.stages, enrichment.enrich.loop\n"
        "import enrichment.telemetry.spans, enrichment.telemetry.exposition\n"
        "print(*sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"requests", "google.protobuf", "opentelemetry.exporter.otlp"}
    assert heavy & set(found.stdout.split()) == set()
