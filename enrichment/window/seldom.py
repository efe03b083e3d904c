"""What Faust and aiokafka log, as lines of ours, each logger seldom: an outage is thousands."""

import logging
from collections.abc import Callable
from typing import Final

from enrichment.telemetry.log import logger

SAY_MS: Final = 10_000


class Seldom(logging.Handler):
    """Warnings and errors of libraries; of each logger one in `SAY_MS`, with the number left out.

    What bears an exception is a bug's trace, and always passes.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        super().__init__(logging.WARNING)
        self._now_ms = now_ms
        self._said_ms: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the record on, or count it."""
        now_ms, name = self._now_ms(), record.name
        if record.exc_info is None and now_ms - self._said_ms.get(name, 0) < SAY_MS:
            self._left_out[name] = self._left_out.get(name, 0) + 1
            return
        self._said_ms[name] = now_ms
        logger().log(
            record.levelno,
            record.getMessage(),
            library=name,
            left_out=self._left_out.pop(name, 0),
            exc_info=record.exc_info,
        )
