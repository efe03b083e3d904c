"""A line of the log is one line, holds no secret, and leads to its job's trace."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from threading import Thread
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from enrichment.stream.envelope import read_envelope
from enrichment.telemetry import trace
from enrichment.telemetry.log import VALUE_MAX, configure, logger
from tests.enrich.streams import PAYMENTS, enricher, payment, pseudonym, records, sensitive
from tests.feature.cached import MemoryCache, heartbeat
from tests.sample.fakes import Bench
from tests.sample.streams import batch, problem

FORGED = 'x\n2026-01-01 [error] the kill switch was pulled\r\x1b[2J\u2028{"level": "error"}\x9b'


@pytest.fixture(params=["json", "text"])
def written(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What is logged in the test, in either form."""
    before, to = structlog.get_config(), io.StringIO()
    configure(stage="enrich", pipeline="payments", text=request.param == "text", to=to)
    structlog.configure(cache_logger_on_first_use=False)
    yield to
    structlog.contextvars.clear_contextvars()
    structlog.configure(**before)


def test_nothing_that_others_chose_begins_a_line(written: io.StringIO) -> None:
    """Newlines and control characters are escaped, wherever they are: also in what is nested."""
    logger().warning("attempt failed", detail=FORGED, nested={"a": [FORGED]}, of=ValueError(FORGED))
    lines = written.getvalue().splitlines()
    assert len(lines) == 1
    bare = lines[0].replace("\x1b[", "")  # the text form's own colours
    assert not set(bare) & set("\x00\r\x1b\x9b\u2028")
    assert "[2J" not in lines[0].replace("x1b[2J", "")


def test_a_traceback_cannot_pass_for_lines_of_the_log(written: io.StringIO) -> None:
    """It is shown whole, each of its lines indented, and what the error says is in it."""
    try:
        _fail()
    except ValueError:
        logger().exception("failed")
    first, *rest = written.getvalue().splitlines()
    assert "failed" in first
    assert not any(line.startswith("2026-01-01") for line in rest)
    assert "ValueError" in written.getvalue()


def test_secrets_are_not_shown(written: io.StringIO) -> None:
    """What is named like one, however deep, and the password in a URL."""
    options = {"api_key": "hunter2", "deep": {"token": "hunter2"}}
    url = "rediss://default:hunter2@cache:6379/0"
    told: dict[str, Any] = {"redis_password": "hunter2", "options": options, "url": url}
    logger().info("opened", **told)
    assert "hunter2" not in written.getvalue()
    assert "cache:6379" in written.getvalue()


def test_a_value_has_a_bound(written: io.StringIO) -> None:
    """An error that quotes a megabyte is cut, and says how long it was."""
    logger().info("refused", error="x" * 1_000_000)
    assert len(written.getvalue()) < 2 * VALUE_MAX
    assert "1000000 characters" in written.getvalue()


def test_sensitive_values_are_in_no_line(written: io.StringIO) -> None:
    """Whatever is wrong with a record, and with the cache: a card number is not told."""
    card = "4111-1111-1111-1111"
    stream = sensitive(PAYMENTS, "account_id", "note")
    cache = MemoryCache(heartbeat())
    hot = enricher(stream, cache, pseudonym=pseudonym)
    bad = [
        payment(account_id=card, amount="much"),
        payment(account_id=card, occurred_at=card),
        card.encode(),
        payment(account_id=card, note={"card": card}),
    ]
    outputs = hot.process(records(*bad))
    assert len(outputs.dead_letters) == 3
    cache.held = {key: card.encode() for key in cache.held}  # somebody else's values
    hot.process(records(payment(account_id=card)))
    read_envelope([("ce_specversion", card.encode()), ("ce_id", card.encode())], card.encode())
    assert "not a feature" in written.getvalue()
    assert card not in written.getvalue()


def test_a_line_about_a_job_leads_to_its_trace(
    written: io.StringIO, spans: InMemorySpanExporter
) -> None:
    """Job, trace and span, as a trace viewer writes them; without traces no id of one."""
    bench = Bench()
    one = batch(0, (problem(0),))
    bench.provider("qsim").answers = [_emptied]
    bench.send(one)
    bench.turns(20)
    context = trace.job_context(one.micro_batch_id)
    [line] = [line for line in written.getvalue().splitlines() if "attempt failed" in line]
    assert one.micro_batch_id in line
    assert f"{context.trace_id:032x}" in line
    assert f"{context.span_id:016x}" in line
    assert f"{context.trace_id:032x}" in {
        f"{s.context.trace_id:032x}" for s in spans.get_finished_spans()
    }


def test_json_lines_bear_stage_pipeline_level_and_time() -> None:
    """What a collector looks for is where it looks, from whichever thread a line is."""
    before, to = structlog.get_config(), io.StringIO()
    try:
        configure(stage="sample", pipeline="payments", text=False, to=to)
        thread = Thread(target=lambda: structlog.get_logger().info("opened", jobs=3))
        thread.start()
        thread.join()
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.configure(**before)
    line: dict[str, Any] = json.loads(to.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "opened", "level": "info", "jobs": 3, "stage": "sample", "pipeline": "payments",
    }  # fmt: skip


def _fail() -> None:
    raise ValueError(FORGED)


def _emptied(result: Any) -> Any:
    """An answer without its first problem: a fault of the provider's."""
    return replace(result, sets=result.sets[:0])
