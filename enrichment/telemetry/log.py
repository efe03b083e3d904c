"""Structured logs: JSON lines on standard error, or coloured text on a terminal."""

import sys
from typing import Any, TextIO

import structlog


def configure(*, stage: str, pipeline: str, text: bool, to: TextIO | None = None) -> None:
    """Set up this process's logging; every line bears stage and pipeline.

    Lines go to standard error where `to` names nothing else.
    """
    renderer: Any = structlog.dev.ConsoleRenderer() if text else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(to or sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(stage=stage, pipeline=pipeline)


def logger() -> structlog.typing.FilteringBoundLogger:
    """A logger that follows the configuration, whenever that is made."""
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log
