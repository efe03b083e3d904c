"""Spans on their way out: a bounded queue, a word once nobody takes them, and an end in time.

The SDK's batch processor does the work, in a thread of its own. What it does not do is done here:
it drops the oldest of a full queue with a line in the log for each, hears of failures without
telling anybody, and waits half a minute at the end for a collector that is away.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from enrichment.telemetry import metrics
from enrichment.telemetry.log import logger

QUEUE_MAX: Final = 8_192
"""Spans that wait for the exporter: some 20 MB. Whoever comes then is dropped, never waited for."""

BATCH_MAX: Final = 512
"""Spans of one request: some 300 kB of the hot path's (measured), as many as the SDK sends."""

DELAY_MS: Final = 5_000
"""How long a span waits for others to be sent with: who reads traces does not read them live."""

FLUSH_S: Final = 3.0
"""How long the end waits for what is queued: a collector on loopback takes a full queue in .7 s
(measured), and a stage has ten seconds to end in (`lab/processes.py`)."""

SAID_AGAIN_S: Final = 300.0
"""How soon it is said again that nobody takes spans, after somebody did: one that takes every other
batch is no news each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """An exporter, and what is said of it."""

    exporter: SpanExporter
    # As a log may name it: no password, no header.
    where: str
    # What came of its last attempt, in a word or two.
    why: Callable[[], str] = lambda: ""


class Delivery(SpanExporter):
    """An exporter that counts what is lost, and says when that begins and when it is over."""

    def __init__(self, to: Destination, now_s: Callable[[], float] = time.monotonic) -> None:
        self._to = to
        self._now_s = now_s
        self.lost = 0
        # Stages end spans in more than one thread.
        self._lock = threading.Lock()
        self._let_in = 0  # to the queue, as many as ever
        self._taken = 0  # from it
        self._settled = 0  # and sent, or given up
        self._dropped = 0  # since that was last told
        self._away = False
        self._said = False
        self._said_s = -SAID_AGAIN_S
        self._closed = False

    def let_in(self) -> bool:
        """Whether there is room for one more span, which is then counted as queued."""
        with self._lock:
            if self._let_in - self._taken >= QUEUE_MAX:
                self._dropped += 1
                return False
            self._let_in += 1
            return True

    def unsent(self) -> int:
        """Spans that nobody has taken so far, and that are not told as lost either."""
        with self._lock:
            return self._let_in - self._settled + self._dropped

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand them on; what is not taken is lost, since the queue fills behind it."""
        with self._lock:
            self._taken += len(spans)
            dropped, self._dropped = self._dropped, 0
        if dropped:
            self._lose(dropped, "queue_full")
        result = self._to.exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._back()
        else:
            self._lose(len(spans), "not_taken")
            self._gone()
        with self._lock:
            self._settled += len(spans)
        return result

    def shutdown(self) -> None:
        """Close the exporter, and end whatever wait it is in."""
        if not self._closed:
            self._closed = True
            self._to.exporter.shutdown()

    def _lose(self, spans: int, reason: str) -> None:
        # In the exporter's thread, what was dropped as well: the hot path counts nothing.
        self.lost += spans
        metrics.spans_lost.add(spans, {"reason": reason})

    def _gone(self) -> None:
        if self._away or self._closed:
            return
        self._away = True
        self._said = self._now_s() - self._said_s >= SAID_AGAIN_S
        if self._said:
            self._said_s = self._now_s()
            logger().warning(
                "nobody takes our spans: they are lost until somebody does, and nothing else is",
                collector=self._to.where,
                why=self._to.why(),
            )

    def _back(self) -> None:
        if self._away and self._said:
            logger().info("spans are taken again", collector=self._to.where, lost=self.lost)
        self._away = False


class Queue(BatchSpanProcessor):
    """Ended spans that wait for the exporter, at most `QUEUE_MAX`.

    One that finds no room is dropped, which costs the hot path a lock and a number.
    """

    def __init__(self, to: Destination) -> None:
        self._delivery = Delivery(to)
        self._where = to.where
        super().__init__(self._delivery, QUEUE_MAX, DELAY_MS, BATCH_MAX)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue it, where it is sampled and there is room."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if self._delivery.let_in():
            super().on_end(span)

    def shutdown(self) -> None:
        """Send what waits, for at most `FLUSH_S`; what is left is lost, and said."""
        # The SDK waits as long as it likes. Its thread is a daemon's, and so is this one: the
        # process ends over both.
        ending = threading.Thread(target=super().shutdown, name="spans-end", daemon=True)
        ending.start()
        ending.join(FLUSH_S)
        if ending.is_alive():
            self._delivery.shutdown()
        unsent = self._delivery.unsent()
        if lost := self._delivery.lost + unsent:
            logger().warning("spans were lost", collector=self._where, lost=lost, unsent=unsent)
