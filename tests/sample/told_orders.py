"""Orders as an operator gives them, about jobs of micro-batches of these tests."""

from enrichment.records import JobOrder, MicroBatch, OrderKind

RETRY, CANCEL, QUARANTINE = OrderKind.RETRY, OrderKind.CANCEL, OrderKind.QUARANTINE


def order(
    kind: OrderKind,
    batch: MicroBatch,
    at_ms: int,
    *,
    payload: MicroBatch | None = None,
    quarantined: bool = False,
) -> JobOrder:
    """An order about the micro-batch's job; a retry brings it, or another `payload`."""
    brought = payload or batch
    return JobOrder(
        order_id=f"{kind.value}-{at_ms}",
        pipeline=batch.pipeline,
        job_id=batch.micro_batch_id,
        order=kind,
        issued_at_ms=at_ms,
        issued_by="kim",
        reason="to see",
        shard=batch.shard,
        micro_batch=brought if kind is RETRY else None,
        quarantined=quarantined,
    )
