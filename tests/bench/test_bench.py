"""`enrichment bench`: its words, and one small run of each benchmark on real servers."""

import json
from pathlib import Path

import pytest

from enrichment.cli.bench import register
from enrichment.lab.bench.catalogue import BENCHMARKS
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


@pytest.mark.servers
@pytest.mark.slow
def test_a_quick_run_gives_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bench all --quick` writes one file per benchmark in the one form, with ratios.

    The benchmark itself refuses outputs that are lost or doubled. That all answers are fresh shows
    that ours really read the cache.
    """
    monkeypatch.chdir(ROOT)
    state, results = tmp_path / "state", tmp_path / "results"
    (state / "kafka").mkdir(parents=True)
    (state / "kafka" / "libs").symlink_to(LIBS_DIR)
    settings = Settings(state_dir=state, topics_dir=ROOT / "topics")
    arguments = ("bench", "all", "--quick", "--events", "4000", "--json", str(results))
    found = run(*arguments, settings=settings)
    assert found.exit_code == 0, found.stderr
    assert {path.stem for path in results.iterdir()} == set(BENCHMARKS)
    content = json.loads((results / "hot-path.json").read_text())
    assert "4.3" in content["machine"]["kafka"]
    for row in content["rows"]:
        assert set(row) == FIELDS
        assert row["low"] <= row["value"] <= row["high"]
    by_name = {(row["case"], row["system"], row["metric"]): row["value"] for row in content["rows"]}
    for delivery in Delivery:
        case = delivery.value
        assert by_name[case, "enrichment", "fresh_answers"] == 1.0
        ratio = by_name[case, "enrichment ÷ pass-through", "throughput_ratio"]
        ours = by_name[case, "enrichment", "throughput"]
        limit = by_name[case, "pass-through", "throughput"]
        assert ratio == pytest.approx(ours / limit, rel=0.001)
    assert [path.name for path in state.iterdir()] == ["kafka"], "servers left their folder behind"
