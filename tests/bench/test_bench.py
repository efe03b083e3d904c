"""`enrichment bench`: its words, and one small run of each benchmark on real servers."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from enrichment.cli.bench import register
from enrichment.lab.bench.catalogue import BENCHMARKS
from enrichment.lab.bench.systems import SYSTEMS
from enrichment.settings import Delivery, Settings
from tests.cli.commands import runner_of
from tests.servers import LIBS_DIR

run = runner_of(register)
ROOT = Path(__file__).resolve().parents[2]
FIELDS = {"case", "system", "metric", "value", "unit", "low", "high", "runs"}


def test_without_a_name_it_lists_what_there_is() -> None:
    """Every benchmark, with what it measures."""
    found = run("bench", settings=Settings())
    assert found.exit_code == 0
    for name, benchmark in BENCHMARKS.items():
        assert name in found.stdout
        assert benchmark.summary in found.stdout


def test_an_unknown_name_brings_the_nearest_one() -> None:
    """A misspelt benchmark ends with code 2 and the name that was meant."""
    found = run("bench", "hotpath", settings=Settings())
    assert found.exit_code == 2
    assert "there is no benchmark 'hotpath'; did you mean 'hot-path'?" in found.stderr


def test_a_folder_for_one_benchmark_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    """`--json` of one benchmark is a file: minutes later would be too late to say so."""
    found = run("bench", "hot-path", "--json", str(tmp_path), settings=Settings())
    assert found.exit_code == 2
    assert "name a file in it" in found.stderr


def test_a_case_that_is_not_there_is_refused_before_anything_is_started() -> None:
    """`isolation --case` with an unknown name ends at once, and names those that there are."""
    found = run("bench", "isolation", "--case", "meteorite", settings=Settings())
    assert found.exit_code == 1
    assert "no case meteorite: sampler-saturated" in found.stderr


# Both kinds of trouble; the others differ from these in a signal.
ARGUMENTS = {
    "hot-path": ("--events", "4000"),
    "isolation": ("--case", "sampler-hung", "--case", "redis-hung"),
}

WITHOUT_SERVERS = ("rings", "devices", "sampling", "noise", "uplift")

SLOWEST = ("hot-path", "isolation", "kill", "latency", "memory", "scale", "window")


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.timeout(400)  # Kafka Streams may have to be built; a busy machine starts 15 processes
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_quick_run_gives_every_figure(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`bench NAME --quick` writes a file in the one form and a plot, and leaves nothing behind.

    The benchmarks themselves refuse outputs that are lost or doubled, and windows without answers.
    """
    if name in SLOWEST and "BENCHES" not in os.environ:
        pytest.skip("six minutes together: run with BENCHES=1")
    monkeypatch.chdir(ROOT)
    state, path = tmp_path / "state", tmp_path / "results" / f"{name}.json"
    (state / "kafka").mkdir(parents=True)
    (state / "kafka" / "libs").symlink_to(LIBS_DIR)
    # Built once for all runs: it takes a quarter of a minute.
    built = ROOT / ".state" / "kafka-streams"
    built.mkdir(parents=True, exist_ok=True)
    (state / "kafka-streams").symlink_to(built)
    settings = Settings(state_dir=state, topics_dir=ROOT / "topics")
    arguments = ("bench", name, "--quick", "--json", str(path), "--plots", str(tmp_path))
    found = run(*arguments, *ARGUMENTS.get(name, ()), settings=settings)
    assert found.exit_code == 0, found.stderr
    content = json.loads(path.read_text())
    if name not in (*WITHOUT_SERVERS, "client"):
        assert "4.3" in content["machine"]["kafka"]
    for row in content["rows"]:
        assert set(row) == FIELDS
        assert row["low"] <= row["value"] <= row["high"]
    assert (tmp_path / f"{name}.svg").read_text().startswith("<?xml")
    # Notes go out with the report: they name no path of this machine.
    assert str(ROOT) not in path.read_text()
    left = {entry.name for entry in state.iterdir()} - {"kafka", "kafka-streams"}
    assert left <= {"kafka-streams.lock"}, "servers left their folder behind"
    if name == "hot-path":
        _check_hot_path(content)
    if name == "client":
        _check_client(content)


def _check_client(content: Any) -> None:
    """Every way and size has its quantiles, and ratios are those of the times of one run."""
    by_name = {(row["case"], row["system"], row["metric"]): row["value"] for row in content["rows"]}
    for size in ("1 account", "10 accounts", "100 accounts"):
        for system in ("raw MGET", "enrichment", "enrichment, kept", "enrichment, asyncio"):
            assert 0 < by_name[size, system, "p50"] <= by_name[size, system, "p99"]
        ratio = by_name[size, "enrichment ÷ raw MGET", "p50_ratio"]
        ours, raw = (by_name[size, name, "p50"] for name in ("enrichment", "raw MGET"))
        assert ratio == pytest.approx(ours / raw, rel=0.001)
    said = " ".join(content["notes"])
    assert ("1 account", "feast, one figure", "p50") in by_name or "left out, feast" in said


def _check_hot_path(content: Any) -> None:
    """Ours read the cache, and the ratio is that of the rates; peers are there, or why not."""
    by_name = {(row["case"], row["system"], row["metric"]): row["value"] for row in content["rows"]}
    for delivery, short in ((Delivery.AT_LEAST_ONCE, "ALO"), (Delivery.EXACTLY_ONCE, "EO")):
        case = delivery.value
        assert by_name[case, "enrichment", "fresh_answers"] == 1.0
        named = f"enrichment {short} ÷ pass-through {short}"
        ratio = by_name["ratios", named, "throughput_ratio"]
        ours = by_name[case, "enrichment", "throughput"]
        limit = by_name[case, "pass-through", "throughput"]
        assert ratio == pytest.approx(ours / limit, rel=0.001)
    said = " ".join(content["notes"])
    for system in SYSTEMS:
        if system.quick and system.same_work:
            fresh = by_name.get((system.delivery.value, system.name, "fresh_answers"))
            assert fresh == 1.0 or f"left out, {system.kind.value}" in said
