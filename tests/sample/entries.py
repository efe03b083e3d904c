"""Entries of the ledger that are there for their charges alone."""

import msgspec

from enrichment.records.job import Charge, Job, JobState


def entry(name: str, pipeline: str, *charges: Charge) -> bytes:
    """A pending job's, as it travels."""
    return msgspec.json.encode(job(name, pipeline, *charges))


def job(name: str, pipeline: str, *charges: Charge) -> Job:
    """A pending job with these charges."""
    return Job(
        job_id=name,
        pipeline=pipeline,
        shard="s",
        micro_batch_id=name,
        state=JobState.PENDING,
        attempt=1,
        created_ms=0,
        updated_ms=0,
        deadline_ms=0,
        charges=charges,
    )
