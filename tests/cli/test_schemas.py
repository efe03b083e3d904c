"""`enrichment schemas`: generate, check and release."""

import json
from pathlib import Path

import pytest

from enrichment import __version__
from enrichment.cli import schemas
from enrichment.settings import Settings
from tests.cli.commands import runner_of

ROOT = Path(__file__).resolve().parents[2]
run = runner_of(schemas.register)
SETTINGS = Settings(topics_dir=ROOT / "topics")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder with schemas generated now."""
    result = run("schemas", "generate", "--schemas-dir", str(tmp_path), settings=SETTINGS)
    assert result.exit_code == 0
    assert "asyncapi.yaml" in result.stdout.split()
    return str(tmp_path)


def test_what_is_committed_passes() -> None:
    """As `make schemas` runs it."""
    result = run("schemas", "check", "--schemas-dir", str(ROOT / "schemas"), settings=SETTINGS)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "files are as generated" in result.stdout


def test_generating_again_changes_nothing(folder: str) -> None:
    """It says so."""
    result = run("schemas", "generate", "--schemas-dir", folder, settings=SETTINGS)
    assert result.stdout == "nothing changed\n"


def test_a_stale_file_fails_the_check(folder: str) -> None:
    """With exit code 3, the file's name and the command that mends it."""
    (Path(folder) / "job.json").write_text("{}")
    result = run("schemas", "check", "--schemas-dir", folder, settings=SETTINGS)
    assert result.exit_code == 3
    assert "job.json: is not what would be generated now" in result.stdout
    assert "enrichment schemas generate" in result.stdout


def test_a_break_fails_the_check(folder: str) -> None:
    """When a released version had a value that today's schema does not take."""
    released = run("schemas", "release", "0.0.9", "--schemas-dir", folder, settings=SETTINGS)
    assert released.exit_code == 0
    path = Path(folder) / "released" / "0.0.9" / "outcome.json"
    schema = json.loads(path.read_text())
    schema["$defs"]["OutcomeKind"]["enum"].append("escaped")
    path.write_text(json.dumps(schema))
    result = run("schemas", "check", "--schemas-dir", folder, "--json", settings=SETTINGS)
    assert result.exit_code == 3
    assert json.loads(result.stdout) == [
        {
            "file": "released/0.0.9/outcome.json",
            "detail": "$.kind: 'escaped' is no longer a value",
        }
    ]


def test_a_release_is_the_packages_by_default(folder: str) -> None:
    """And the check names it from then on."""
    run("schemas", "release", "--schemas-dir", folder, settings=SETTINGS)
    assert (Path(folder) / "released" / __version__ / "digest.json").is_file()
    result = run("schemas", "check", "--schemas-dir", folder, settings=SETTINGS)
    assert f"released versions read: {__version__}" in result.stdout


@pytest.mark.parametrize("version", ["1", "v1.0.0", "../../x", "1.0.0.0", ""])
def test_a_version_is_three_numbers(folder: str, version: str) -> None:
    """Anything else is wrong usage."""
    result = run("schemas", "release", version, "--schemas-dir", folder, settings=SETTINGS)
    assert result.exit_code == 2
    assert "wanted a version such as 0.2.0" in result.stderr


def test_a_missing_folder_says_where_to_look() -> None:
    """An installed package has no schemas/ beside it."""
    result = run("schemas", "check", "--schemas-dir", "/nowhere", settings=SETTINGS)
    assert result.exit_code == 2
    assert "there is no folder '/nowhere'" in result.stderr


def test_a_topic_without_a_manifest_is_named(tmp_path: Path) -> None:
    """The description of the service cannot be made without it."""
    (tmp_path / "topics").mkdir()
    for path in (ROOT / "topics").glob("*.yaml"):
        if path.stem != "rings.cases":
            (tmp_path / "topics" / path.name).write_bytes(path.read_bytes())
    settings = Settings(topics_dir=tmp_path / "topics")
    result = run("schemas", "check", settings=settings)
    assert result.exit_code == 2
    assert "there is no manifest of topic 'rings.cases'" in result.stderr
