"""Structured logs: JSON lines on standard error, or coloured text on a terminal.

A line is one line whatever is in it, as text too: what others chose (an error's words, an id) can
neither begin a line of its own nor steer a terminal. What is named like a secret is not shown, nor
is the password in a URL. A line about a job bears the id of that job's trace, where there are any.
"""

import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import structlog
from opentelemetry import trace as opentelemetry

from enrichment.telemetry import trace

VALUE_MAX: Final = 4_000
"""Characters of one value: a traceback fits, and a message of a megabyte in an error does not."""

DEPTH_MAX: Final = 4
"""How deep lists and mappings are looked into; what lies deeper is shown as text."""

HIDDEN: Final = "[hidden]"

# Controls, those of C1 with them, line and paragraph separators, and what turns text around.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_SECRET: Final = re.compile(
    r"(password|passwd|secret|token|api_?key|pseudonym_key|authorization|credential)", re.IGNORECASE
)
_URL_PASSWORD: Final = re.compile(r"(://[^/\s:@]*):[^/\s@]+@")

_Line = MutableMapping[str, Any]


def configure(*, stage: str, pipeline: str, text: bool, to: TextIO | None = None) -> None:
    """Set up this process's logging; every line bears stage and pipeline.

    Lines go to standard error where `to` names nothing else.
    """
    renderer: Any = structlog.dev.ConsoleRenderer() if text else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _of(stage, pipeline),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            traced,
            clean,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(to or sys.stderr),
        cache_logger_on_first_use=True,
    )


def logger() -> structlog.typing.FilteringBoundLogger:
    """A logger that follows the configuration, whenever that is made."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log


def _of(stage: str, pipeline: str) -> structlog.typing.Processor:
    """What names the process in each line. A context variable would do so in one thread alone."""

    def named(_: object, __: str, line: _Line) -> _Line:
        line.setdefault("stage", stage)
        line.setdefault("pipeline", pipeline)
        return line

    return named


def traced(_: object, __: str, line: _Line) -> _Line:
    """The line with the ids of the span that it belongs to: the present one, or its job's."""
    if "trace_id" in line or not trace.opened():
        return line
    context = opentelemetry.get_current_span().get_span_context()
    # A micro-batch's id is its job's.
    job_id = line.get("job_id") or line.get("micro_batch_id")
    if not context.is_valid and isinstance(job_id, str):
        context = trace.job_context(job_id)
    if context.is_valid:
        line["trace_id"] = opentelemetry.format_trace_id(context.trace_id)
        line["span_id"] = opentelemetry.format_span_id(context.span_id)
    return line


def clean(_: object, __: str, line: _Line) -> _Line:
    """The line without what a line must not hold."""
    for key, value in line.items():
        if key == "exception":
            # Lines of a traceback are for reading: none of them can pass for a line of the log.
            line[key] = "\n  | ".join(map(_text, str(value)[-VALUE_MAX:].split("\n")))
        else:
            line[key] = _cleaned(key, value, DEPTH_MAX)
    return line


def _cleaned(key: object, value: object, depth: int) -> object:
    if isinstance(key, str) and _SECRET.search(key):
        return HIDDEN
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _text(value)
    if depth and isinstance(value, dict):
        return {_text(str(k)): _cleaned(k, v, depth - 1) for k, v in value.items()}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_cleaned("", each, depth - 1) for each in value]
    return _text(str(value))


def _text(text: str) -> str:
    if len(text) > VALUE_MAX:
        text = f"{text[:VALUE_MAX]}... ({len(text)} characters)"
    return _CONTROL.sub(_escaped, _URL_PASSWORD.sub(r"\1:***@", text))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
