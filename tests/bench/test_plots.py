"""The plots: one for each benchmark, the same figures making the same bytes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from enrichment.lab.bench.catalogue import BENCHMARKS
from enrichment.lab.bench.plots import PLOTS, draw
from enrichment.lab.bench.report import Report, Row
from enrichment.lab.bench.systems import SYSTEMS


def report(name: str) -> Report:
    """A report with the rows that its plot reads."""
    rows = [*together(), *on_devices(), *uplifted()]  # each plot takes the rows of its own metrics
    more = {
        "sampling": sampled,
        "noise": noisy,
        "kill": pulled,
        "telemetry": told,
        "client": client_reads,
        "scale": shared,
    }
    rows += more.get(name, lambda: iter(()))()
    if name == "hot-path":
        for system in SYSTEMS:
            rates = [system.per_s, system.per_s * 1.1, system.per_s * 0.9]
            rows.append(Row.of(system.delivery.value, system.name, "throughput", rates, "events/s"))
    if name == "latency":
        for case, factor in (("exactly_once", 2.0), ("at_least_once", 1.0)):
            for rate, ms in ((500, 4.0), (2_000, 5.0), (10_000, 8.0), (30_000, 22.0)):
                for metric, of in (("p50", 1.0), ("p99", 2.5), ("p99_9", 7.0)):
                    values = [ms * factor * of * drift for drift in (0.9, 1.0, 1.2)]
                    rows.append(Row.of(case, f"{rate:,} events/s", metric, values, "ms"))
    if name == "isolation":
        for case, ratio in (("sampler-saturated", 1.04), ("redis-hung", 1.2)):
            values = [ratio * drift for drift in (0.95, 1.0, 1.1)]
            rows.append(Row.of(case, "with ÷ without", "p99_ratio", values, "ratio"))
            rows.append(
                Row.of(case, "with ÷ without", "p99_ratio_upper_95", [ratio + 0.05], "ratio")
            )
            rows.append(Row.of(case, "without", "p99", [9.0, 10.0, 12.0], "ms"))
            rows.append(Row.of(case, "with", "p99", [10.0, 11.0, 12.0], "ms"))
    if name == "reencode":
        rows.append(Row.of("answer", "own bytes", "time", [5.0, 5.1, 5.3], "µs/event"))
        rows.append(Row.of("answer", "written anew", "time", [8.0, 8.2, 8.3], "µs/event"))
    series = {"resident memory, MiB": ((0.0, 60.0), (5e5, 98.0), (5e6, 100.0))}
    machine: dict[str, str | int | float] = {"cores": 2, "cpu": "of a test"}
    return Report(name=name, machine=machine, rows=tuple(rows), series=series)


def shared() -> Iterator[Row]:
    """The rows of `scale` that are drawn."""
    for count, rate in ((1, 3e4), (2, 5e4)):
        rates = [rate, 1.1 * rate, 0.9 * rate]
        yield Row.of("scale", f"{count} processes", "throughput", rates, "events/s")


def together() -> Iterator[Row]:
    """The rows of `rings` that are drawn."""
    for strength, share in ((0.25, 0.7), (0.5, 0.8), (0.75, 0.9)):
        for way in ("as it runs", "without hub cut"):
            for metric in ("ever_together", "end_together"):
                values = [share * drift for drift in (0.9, 1.0, 1.1)]
                yield Row.of(f"strength {strength}", way, metric, values, "share")


def uplifted() -> Iterator[Row]:
    """The rows of `uplift` that are drawn."""
    for case in ("strength 0.25", "strength 0.5"):
        for system in ("QAOA p=2", "random"):
            for metric in ("trees_over_none", "logistic_over_none"):
                yield Row.of(case, system, metric, [-0.01, 0.01, 0.02], "")


def on_devices() -> Iterator[Row]:
    """The rows of `devices` that are drawn."""
    for system, share in (("noiseless", 0.6), ("calibrated line", 0.5)):
        values = [share * drift for drift in (0.9, 1.0, 1.1)]
        for size in (6, 8):
            yield Row.of(f"device n={size} p=2", system, "ratio", values, "ratio")


def told() -> Iterator[Row]:
    """The rows of `telemetry` that are drawn."""
    for case in ("none sampled", "all sampled"):
        for way in ("told to nobody", "counted"):
            yield Row.of(case, way, "time", [5.0, 5.1, 5.3], "µs/event")


def client_reads() -> Iterator[Row]:
    """The rows of `client` that are drawn."""
    for case in ("1 account", "100 accounts"):
        for system, micros in (("raw MGET", 400.0), ("enrichment", 500.0)):
            yield Row.of(case, system, "p50", [0.9 * micros, micros, 1.1 * micros], "µs")


def pulled() -> Iterator[Row]:
    """The rows of `kill` that are drawn."""
    for metric, ms in (("from_command", 900.0), ("from_record", 60.0)):
        values = [ms * drift for drift in (0.9, 1.0, 1.2)]
        yield Row.of("5,000 events/s", "kill switch", metric, values, "ms")


def sampled() -> Iterator[Row]:
    """The rows of `sampling` that are drawn."""
    for size in (8, 12):
        for path, rate in (("direct qsim", 2_000.0), ("numpy", 1_500.0)):
            rates = [rate / size, rate * 1.1 / size]
            yield Row.of(f"speed, n={size}, dense", path, "problems", rates, "problems/s")
        for system, value in (("QAOA p=2", 0.7), ("random", 0.5)):
            for metric in ("ratio", "auc", "auc_error"):
                yield Row.of(f"quality, n={size}", system, metric, [value, value + 0.1], metric)
    for place, value in (("(.05, .95)", 0.95), ("[0, 0.5]", 0.96), ("[0.5, 1]", 0.94)):
        yield Row.of("coverage, 100 shots", place, "coverage", [value, value + 0.01], "share")


def noisy() -> Iterator[Row]:
    """The rows of `noise` that are drawn."""
    for case in ("n=6 p=1", "n=8 p=1"):
        for system in ("ideal", "virtual"):
            yield Row.of(case, system, "ratio", [0.5, 0.6], "ratio")
        for system in ("ideal, other seed", "virtual"):
            yield Row.of(case, system, "membership_gap", [0.02, 0.03], "membership")


def test_every_benchmark_has_a_plot() -> None:
    """The two tables have the same names."""
    assert set(PLOTS) == set(BENCHMARKS)


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_an_svg_whose_bytes_are_those_of_its_figures(name: str, tmp_path: Path) -> None:
    """Drawn twice, the file is the same: a plot in the docs changes when its figures do."""
    first = draw(report(name), tmp_path / "one")
    again = draw(report(name), tmp_path / "two")
    assert first.name == f"{name}.svg"
    assert first.read_bytes() == again.read_bytes()
