"""An operator's order about one job: try it again, want it no more, set it aside."""

from enum import Enum

import msgspec

from enrichment.records.micro_batch import MicroBatch


class OrderKind(Enum):
    """What is to become of the job."""

    RETRY = "retry"
    CANCEL = "cancel"
    QUARANTINE = "quarantine"


class JobOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One order about one job, with who gave it and why.

    It travels in the job's partition number, keyed by the job's id, so that the worker that owns
    the job hears it. It counts where `issued_at_ms` is later than the newest order that the job
    bears (`Job.ordered_ms`): heard again, it changes nothing.
    """

    order_id: str
    pipeline: str
    job_id: str
    order: OrderKind
    issued_at_ms: int
    issued_by: str
    reason: str
    shard: str = ""
    # Of a retry: what there is to solve. It had left the ledger when the job was done.
    micro_batch: MicroBatch | None = None
    # Of a retry: also where the job is quarantined.
    quarantined: bool = False
