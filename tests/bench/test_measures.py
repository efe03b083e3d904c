"""What is made of the figures: bounds of ratios, quantiles, memory, and the pairs of isolation."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.lab.bench import isolation, latency, memory
from enrichment.lab.bench.committed_reader import Latencies, quantile_ms
from enrichment.lab.bench.isolation import Pairs
from enrichment.lab.bench.ratios import geometric_mean, upper_bound
from enrichment.settings import Delivery


def test_a_half_and_a_double_cancel() -> None:
    """The mean of ratios is the geometric one."""
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)


def test_the_upper_bound_of_equal_pairs_is_their_ratio() -> None:
    """Where nothing varies, there is nothing to be unsure of."""
    assert upper_bound([1.07] * 10, np.random.default_rng(1)) == pytest.approx(1.07)


def test_the_upper_bound_is_that_of_a_normal_mean_where_ratios_are_log_normal() -> None:
    """For many pairs it is mean + 1.645 standard errors, on the log scale."""
    logs = np.random.default_rng(2).normal(0.05, 0.1, size=400)
    wanted = np.exp(logs.mean() + 1.645 * logs.std() / np.sqrt(len(logs)))
    assert upper_bound(list(np.exp(logs)), np.random.default_rng(3)) == pytest.approx(wanted, 2e-3)


@given(st.lists(st.floats(0.1, 10.0), min_size=1, max_size=20))
def test_the_upper_bound_lies_between_the_mean_and_the_largest(ratios: list[float]) -> None:
    """Never below what was measured on average, never beyond the worst pair."""
    bound = upper_bound(ratios, np.random.default_rng(4))
    slack = 1e-9 + 0.02 * (max(ratios) - min(ratios))  # a bootstrap is drawn
    assert geometric_mean(ratios) - slack <= bound <= max(ratios) + 1e-9


def test_a_quantile_is_a_latency_that_really_was() -> None:
    """Of a hundred, the p99 is the higher neighbour: never flattered by interpolation."""
    latencies = np.arange(1, 101, dtype=np.int64) * 1_000
    assert quantile_ms(latencies, 0.99) == 100.0
    assert quantile_ms(latencies, 0.5) == 51.0


def test_a_window_holds_what_was_due_in_it_however_late_it_came(tmp_path: Path) -> None:
    """Half-open, by the due time: an event that was stuck counts where it was due."""
    path = tmp_path / "latencies"
    np.array([[99, 1], [100, 5_000_000], [199, 3], [200, 1]], dtype=np.int64).tofile(path)
    assert list(Latencies.load(path).within(100, 200)) == [5_000_000, 3]


def _window(p99_ms: float, **cores: float) -> isolation.Window:
    return isolation.Window(p50_ms=1.0, p99_ms=p99_ms, answered=1.0, cores=cores)


def test_isolation_compares_within_pairs_and_says_who_used_the_cores() -> None:
    """The i-th window with ÷ the i-th without, whichever came first, and CPU of both sides."""
    pairs = Pairs(
        absent=[_window(10.0, enrich=0.2), _window(20.0, enrich=0.2)],
        present=[_window(11.0, enrich=0.2, sample=0.9), _window(30.0, enrich=0.2, sample=1.0)],
    )
    assert pairs.ratios == pytest.approx([1.1, 1.5])
    found = {(row.system, row.metric): row for row in isolation.rows({"saturated": pairs})}
    assert found["with ÷ without", "p99_ratio"].value == pytest.approx(1.3)
    mean, bound = (
        found["with ÷ without", name].value for name in ("p99_ratio_mean", "p99_ratio_upper_95")
    )
    assert mean < bound <= 1.5
    assert found["with", "cpu_sample"].value == pytest.approx(0.95)
    assert ("without", "cpu_sample") not in found
    assert any("NOT held" in note for note in isolation.notes({"saturated": pairs}))


def test_a_rate_that_was_not_sustained_is_said_to_be_so() -> None:
    """Answers that are missing, and a publisher that was late itself, each have their line."""
    quantiles = dict.fromkeys(latency.QUANTILES, 1.0)
    good = latency.Window(quantiles, answered=1.0, late_p99_ms=0.4, cpu_share=0.1)
    bad = latency.Window(quantiles, answered=0.7, late_p99_ms=80.0, cpu_share=0.1)
    assert list(latency.doubts("here", [good])) == []
    said = list(latency.doubts("here", [good, bad]))
    assert said == [
        "here: NOT sustained by the hot path, 70.0% answered in time",
        "here: the publisher itself was late, by 80.0 ms at its p99",
    ]
    table = list(latency.rows({(Delivery.EXACTLY_ONCE, 500): [good, bad]}))
    assert {row.metric for row in table} >= {"p50", "p99", "p99_9", "answered"}


def test_memory_is_taken_at_the_first_look_behind_its_share() -> None:
    """After a tenth of the events, and in the end; the series keeps both ends."""
    looks = [(0, 50.0), (90, 60.0), (110, 70.0), (1_000, 80.0)]
    assert memory.at_share(looks, 1_000, 0.1) == 70.0
    assert memory.at_share(looks, 1_000, 1.0) == 80.0
    many = [(n, float(n)) for n in range(1_005)]
    points = list(memory.thinned(many))
    assert points[0] == (0.0, 0.0)
    assert points[-1] == (1_004.0, 1_004.0)
    assert len(points) <= 2 * memory.POINTS
