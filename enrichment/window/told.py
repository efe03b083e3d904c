"""What the window stage tells of itself: closes, and the spans that lead from events to jobs."""

from typing import Final

from opentelemetry.context import Context

from enrichment.records import MicroBatch
from enrichment.stream.topics import DIGESTS
from enrichment.telemetry import metrics, trace
from enrichment.telemetry.log import logger
from enrichment.window.partition import Counts

REPORT_MS: Final = 5_000
"""How often the lag is told: a scrape comes no more often."""

# Upper bounds of the classes by which late digests are counted.
LATE_CLASSES: Final = ((1_000, "1s"), (60_000, "1m"), (3_600_000, "1h"), (86_400_000, "1d"))


def tell_close(batch: MicroBatch, now_ms: int) -> None:
    """Count a close whose micro-batch is on its topic, and make its spans.

    The micro-batch's id is its job's: whoever follows an event this far is led on to that.
    """
    within = _trace(batch, now_ms) if trace.opened() else None
    metrics.windows.add(1, {"cause": batch.cause.value})
    metrics.window_close.record(max(0, now_ms - batch.closed_at_ms), context=within)
    if batch.problems:
        metrics.window_problems.add(len(batch.problems))
    for reason, count in batch.left_out.items():
        metrics.window_left_out.add(count, {"reason": reason})


def _trace(batch: MicroBatch, now_ms: int) -> Context:
    jobs = (batch.micro_batch_id,) if batch.problems else ()
    work = trace.Work(
        topic=DIGESTS,
        group=f"enrichment.window.{batch.pipeline}",
        start_ms=batch.closed_at_ms,
        end_ms=max(now_ms, batch.closed_at_ms),
        attributes={
            "enrichment.micro_batch.id": batch.micro_batch_id,
            "enrichment.window.cause": batch.cause.value,
            "enrichment.events": batch.events,
            "enrichment.problems": len(batch.problems),
        },
    )
    followed = [trace.Followed(traceparent=sent, jobs=jobs) for sent in batch.traces]
    return trace.tell(work, followed)


def tell_counts(counts: Counts, partition: int) -> None:
    """Count what a partition has to say, say it, and forget it."""
    for late_ms in counts.late_ms:
        lateness = next((name for most, name in LATE_CLASSES if late_ms <= most), "more")
        metrics.late_digests.add(1, {"late": lateness})
    if counts.ahead_ms:
        metrics.quarantined_digests.add(len(counts.ahead_ms))
        logger().warning(
            "digests quarantined: some clock is ahead",
            partition=partition,
            digests=len(counts.ahead_ms),
            ahead_ms=max(counts.ahead_ms),
        )
    for id_ in counts.conflicts:
        logger().error("a logged close is not what its digests give", micro_batch_id=id_)
        metrics.window_conflicts.add(1)
    counts.late_ms.clear()
    counts.ahead_ms.clear()
    counts.conflicts.clear()
