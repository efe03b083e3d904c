"""What the benchmark of several hot-path processes makes of its runs."""

from enrichment.lab.bench.observe import Rate
from enrichment.lab.bench.scale import Shared, rows


def _shared(rate: float, share: float) -> Shared:
    rated = Rate(events_per_s=rate, cpu_s_per_million=30.0, memory_peak_mib=300.0)
    return Shared(rate=rated, least_share=share, broker_cores=0.5)


def test_ratios_are_taken_run_by_run() -> None:
    """Two processes ÷ one of the same round, so that what drifts over time cancels."""
    found = {1: [_shared(30.0, 1.0), _shared(20.0, 1.0)], 2: [_shared(45.0, 0.5)] * 2}
    (ratio,) = [row for row in rows(found, 1_000) if row.metric == "throughput_ratio"]
    assert (ratio.system, ratio.low, ratio.high, ratio.runs) == ("2 ÷ 1", 1.5, 2.25, 2)


def test_what_the_least_busy_process_did_is_told() -> None:
    """A second process without partitions would show there."""
    found = {1: [_shared(30.0, 1.0)], 2: [_shared(30.0, 0.01)]}
    shares = {row.system: row.value for row in rows(found, 1_000) if row.metric == "least_share"}
    assert shares == {"1 process": 1.0, "2 processes": 0.01}
