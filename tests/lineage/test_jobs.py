"""A job's id names its shard, and with it the partition that it travels in."""

import pytest

from enrichment.lineage.jobs import CHECK, checked_id, is_job_id, shard_of
from enrichment.records.micro_batch import micro_batch_id
from enrichment.stream.topics import shard_key


@pytest.mark.parametrize("shard", ["north", "", "a|b", "all"])
def test_a_job_travels_in_the_partition_of_its_shard(shard: str) -> None:
    """Also where the shard's name holds the separator, and where the job is a spot check."""
    job_id = micro_batch_id("payments", shard, 1_700_000_000_000, 3)
    assert shard_of(job_id) == shard_key("payments", shard)
    assert shard_of(job_id + CHECK) == shard_key("payments", shard)
    assert checked_id(job_id + CHECK) == job_id


@pytest.mark.parametrize("text", ["", "payments", "payments|north", "payments|north|x|0"])
def test_what_is_no_jobs_id_is_known_as_such(text: str) -> None:
    """Nothing is looked for in a partition that nobody named."""
    assert not is_job_id(text)
    with pytest.raises(ValueError, match="no job's id"):
        shard_of(text)
