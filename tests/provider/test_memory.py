"""Memory stays flat over many jobs, in the parent as in its spawned child."""

import os

from enrichment.lab.bench.sampling.memory import run_jobs

JOBS = int(os.environ.get("JOBS", "1000"))
GROWTH_MIB_MAX = 3.0  # an answer kept for each of the last 500 jobs would be 15 MiB


def test_memory_is_flat_over_many_jobs() -> None:
    """From the 400th job to the 1,000th (or JOBS=10000: from the 4,000th) neither process grows."""
    early, late = run_jobs((JOBS * 2 // 5, JOBS))
    assert late.parent_mib - early.parent_mib < GROWTH_MIB_MAX
    assert late.child_mib - early.child_mib < GROWTH_MIB_MAX
