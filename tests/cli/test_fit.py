"""`enrichment fit`: from files to a table that a pipeline takes, or to why there is none."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import Result

from enrichment.cli import fit
from enrichment.pipelines import Pipeline, PipelineError, load
from enrichment.settings import Settings
from tests.cli.commands import runner_of
from tests.lab.recordings import DEVICE_IN_RING, drawn, write

PIPELINES = Path(__file__).resolve().parents[2] / "enrichment" / "pipelines"
run = runner_of(fit.register)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Records and outcomes of two simulated seeds, 1 and 2, in files."""
    folder = tmp_path_factory.mktemp("recorded")
    return write(folder, "two", [*drawn(1, 2_000), *drawn(2, 2_000)])


def run_fit(recorded: tuple[Path, Path], *arguments: object) -> Result:
    """The command on these files, with few resamples."""
    records, told = recorded
    given = ("fit", str(records), "--outcomes", str(told), "--resamples", "20")
    return run(*given, *map(str, arguments), settings=Settings())


def test_a_fitted_table_is_taken_by_its_pipeline(
    recorded: tuple[Path, Path], tmp_path: Path
) -> None:
    """Put beside the pipeline's file it gives the weights; the report and the plot are there."""
    out, plot = tmp_path / "payments.score.toml", tmp_path / "curve.svg"
    seeds = ("--seed", 1, "--judge-seed", 2)
    result = run_fit(recorded, *seeds, "--out", out, "--plot", plot, "--version", "tried-1")
    assert result.exit_code == 0, result.output
    for said in ("average precision", "Brier score", "sd over folds", "calibration", "tried-1"):
        assert said in result.stdout
    assert plot.read_text().startswith("<?xml")
    shutil.copy(PIPELINES / "payments.toml", tmp_path)
    score = load("payments", tmp_path).score
    assert score.version == "tried-1"
    weights = {term.name: term.weight for term in score.terms}
    assert weights["device_in_ring"] == pytest.approx(DEVICE_IN_RING, abs=0.6)
    assert score.provenance is not None
    assert (score.provenance.seeds, score.provenance.judged_seeds) == ((1,), (2,))
    assert score.provenance.fitted_at.endswith("Z")


def test_json_holds_what_the_tables_do(recorded: tuple[Path, Path], tmp_path: Path) -> None:
    """Folds, the other recording and the table in force; coefficients with their spread."""
    out = tmp_path / "x.score.toml"
    result = run_fit(recorded, "--seed", 1, "--judge-seed", 2, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["version"] == "payments-2"
    assert report["table"] == str(out)
    for name in ("by_folds", "elsewhere", "in_force"):
        judged = report["judged"][name]
        assert judged["average_precision"]["low"] <= judged["average_precision"]["value"]
        assert 0 < judged["brier"]["value"] < 1
        assert sum(each["events"] for each in judged["bins"]) == judged["events"]
    first = report["coefficients"][0]
    assert first["name"] == "bias"
    assert first["least"] <= first["most"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say of which seed with --seed"),
        (("--seed", 1, "--judge-seed", 1), "the table is fitted on that seed"),
        (("--seed", 9), "holds no event of that seed"),
        (("--seed", 1, "--judge", "none.jsonl", "--judge-seed", 2), "none.jsonl: no such file"),
        (("--seed", 1, "--plot", "curve.pdf"), "wanted a file ending in .png or .svg"),
        (("--seed", 1, "--out", "table.toml"), "whose name ends in .score.toml"),
    ],
)
def test_what_would_be_no_fit_is_refused(
    recorded: tuple[Path, Path],
    arguments: tuple[object, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With exit code 2, one line that says what to change, and no file left behind."""
    monkeypatch.chdir(tmp_path)
    result = run_fit(recorded, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_is_there_is_kept(recorded: tuple[Path, Path], tmp_path: Path) -> None:
    """Unless --force says otherwise; it is said before the work."""
    out = tmp_path / "mine.score.toml"
    out.write_text("mine")
    result = run_fit(recorded, "--seed", 1, "--out", out)
    assert result.exit_code == 2
    assert "is there already; --force replaces it" in result.stderr
    assert out.read_text() == "mine"


def test_files_without_outcomes_need_labels(recorded: tuple[Path, Path]) -> None:
    """A pipeline without [labels] does not know what turned out."""
    result = run("fit", str(recorded[0]), settings=Settings())
    assert result.exit_code == 2
    assert "has no [labels]: say with --outcomes what turned out" in result.stderr


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    """What is no enriched record is an error, and not skipped."""
    other = tmp_path / "x.jsonl"
    other.write_text('{"a": 1}\n')
    told = tmp_path / "o.jsonl"
    told.write_text("")
    result = run("fit", str(other), "--outcomes", str(told), settings=Settings())
    assert result.exit_code == 2
    assert "record 1 is no enriched event" in result.stderr


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same with the energies that memberships are calibrated with."""
    folder = tmp_path_factory.mktemp("sampled")
    return write(folder, "two", [*drawn(1, 3_000, energy=-4.0), *drawn(2, 3_000, energy=-4.0)])


def test_a_calibration_is_taken_by_its_pipeline(sampled: tuple[Path, Path], tmp_path: Path) -> None:
    """Named in [sampling] and put beside; the report tells Brier scores and where it goes."""
    out, plot = tmp_path / "payments.probability.toml", tmp_path / "curve.svg"
    seeds = ("--seed", 1, "--judge-seed", 2)
    result = run_fit(sampled, "--calibrate", *seeds, "--out", out, "--plot", plot)
    assert result.exit_code == 0, result.output
    for said in ("ring_probability", "the bare share", "membership, were it one", "reliability"):
        assert said in result.stdout
    assert "account: too few bad events, no map" in result.stdout
    assert plot.read_text().startswith("<?xml")
    found = load_with(tmp_path, "layers = 2").probability
    assert found is not None
    assert (found.version, found.sampled.path, found.sampled.sampler) == (
        "payments-ring-1", "quantum", "qsim",
    )  # fmt: skip
    assert [steps.kind for steps in found.steps] == ["device"]
    assert (found.provenance.seeds, found.provenance.judged_seeds) == ((1,), (2,))
    assert found.provenance.simulated
    assert found.provenance.metrics["brier_device"] > 0
    assert (
        found.provenance.metrics["brier_device"] < found.provenance.metrics["brier_of_share_device"]
    )
    with pytest.raises(PipelineError, match="layers is 3, and was 2: fit it anew"):
        load_with(tmp_path, "layers = 3")


def load_with(folder: Path, layers: str) -> Pipeline:
    """Payments in that folder, with the calibration beside and so many layers."""
    text = (PIPELINES / "payments.toml").read_text()
    assert "layers = 2" in text
    named = f'{layers}\nprobability = "payments.probability.toml"'
    (folder / "payments.toml").write_text(text.replace("layers = 2", named))
    shutil.copy(PIPELINES / "payments.score.toml", folder)
    return load("payments", folder)


def test_a_calibration_as_json_holds_what_the_tables_do(
    sampled: tuple[Path, Path], tmp_path: Path
) -> None:
    """Steps, and for each kind the scores with their intervals and the reliability."""
    out = tmp_path / "x.probability.toml"
    seeds = ("--seed", 1, "--judge-seed", 2)
    result = run_fit(sampled, "--calibrate", *seeds, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    (device,) = report["judged"]
    assert device["kind"] == "device"
    assert device["brier"]["low"] <= device["brier"]["value"] <= device["brier"]["high"]
    assert device["brier"]["value"] < device["brier_of_share"]["value"]
    assert sum(each["events"] for each in device["bins"]) == device["events"]
    assert report["left_out"] == ["account", "beneficiary"]
    assert report["steps"][0]["probability"] == sorted(report["steps"][0]["probability"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--seed", 1), "is judged on what it has not seen: name another seed"),
        (("--seed", 1, "--judge-seed", 1), "the table is fitted on that seed"),
        (("--seed", 1, "--judge-seed", 2, "--path", "heuristic"), "no memberships of one sampler"),
        (("--seed", 1, "--judge-seed", 2, "--out", "x.score.toml"), "ends in .probability.toml"),
    ],
)
def test_what_would_be_no_calibration_is_refused(
    sampled: tuple[Path, Path],
    arguments: tuple[object, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With exit code 2, one line that says what to change, and no file left behind."""
    monkeypatch.chdir(tmp_path)
    result = run_fit(sampled, "--calibrate", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []
