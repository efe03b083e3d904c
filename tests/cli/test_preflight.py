"""`enrichment preflight` without servers: its exit codes and what it prints."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from enrichment.cli import preflight
from enrichment.cli.app import build
from enrichment.feature.address import Address
from enrichment.pipelines import names
from enrichment.preflight import gather
from enrichment.preflight.questions import QUESTIONS
from enrichment.profile import Profile, table
from enrichment.settings import Settings
from tests.cli.commands import own_pipeline, runner_of

ROOT = Path(__file__).resolve().parents[2]
run = runner_of(preflight.register)


@pytest.fixture(autouse=True)
def in_the_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests, schemas and requirements are looked for where the command runs."""
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", names())
def test_a_clone_is_fit_for_development(name: str) -> None:
    """Every shipped pipeline passes offline, with exit code 0; failures would come last."""
    result = run("preflight", "-p", name, "--offline", settings=Settings())
    assert result.exit_code == 0, result.stdout
    assert "FAIL  " not in result.stdout
    assert result.stdout.splitlines()[-1].endswith("0 FAIL")


def test_production_fails_what_suits_development() -> None:
    """Exit code 1; failures last, each with what to do; the same as JSON."""
    settings = Settings(profile=Profile.PRODUCTION)
    result = run("preflight", "--offline", settings=settings)
    assert result.exit_code == 1
    rows = [line for line in result.stdout.splitlines() if line[:4] in {"pass", "n/a ", "FAIL"}]
    words = [row.split()[0] for row in rows]
    assert words == sorted(words, key=["pass", "n/a", "FAIL"].index)
    as_json = run("preflight", "--offline", "--json", settings=settings)
    assert as_json.exit_code == 1
    found = json.loads(as_json.stdout)
    assert (found["pipeline"], found["profile"]) == ("payments", "production")
    assert [each["name"] for each in found["questions"]] == [each.name for each in QUESTIONS]
    failed = [each for each in found["questions"] if each["outcome"] == "fail"]
    assert {each["name"] for each in failed} == {
        "weights", "latency", "gate", "secrets", "settings",
    }  # fmt: skip
    assert all(each["todo"] for each in failed)
    assert sum(word == "FAIL" for word in words) == len(failed)


def test_servers_that_are_away_are_failures_with_a_line_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Within bounds, without a trace, and one cause is said once."""
    monkeypatch.setattr(gather, "KAFKA_S", 0.5)
    monkeypatch.setattr(gather, "REDIS_S", 0.5)
    settings = Settings(
        kafka_bootstrap="127.0.0.1:1", redis_url=Address.parse("redis://127.0.0.1:1")
    )
    result = run("preflight", settings=settings)
    assert result.exit_code == 1
    assert result.stdout.count("Kafka at 127.0.0.1:1 does not answer") == 1
    assert result.stdout.count("Redis at 127.0.0.1:1 does not answer") == 1
    assert "FAIL  kill-switch" in result.stdout
    assert "Traceback" not in result.output


def test_a_misspelt_pipeline_is_guessed() -> None:
    """With exit code 2."""
    result = run("preflight", "-p", "paymets", "--offline", settings=Settings())
    assert result.exit_code == 2
    assert "did you mean 'payments'?" in result.stderr


def test_what_a_pipelines_file_says_is_told_from_defaults(tmp_path: Path) -> None:
    """A margin that is written passes where the same one, left as it comes, does not."""
    name = own_pipeline(tmp_path)
    settings = Settings(profile=Profile.PRODUCTION, pipelines_dir=tmp_path)

    def outcome() -> str:
        result = run("preflight", "-p", name, "--offline", "--json", settings=settings)
        rows = {each["name"]: each["outcome"] for each in json.loads(result.stdout)["questions"]}
        return str(rows["gate"])

    assert outcome() == "fail"
    file = tmp_path / f"{name}.toml"
    file.write_text(file.read_text() + "\n[rollout.gate]\nmargin = 0.02\nlooks = [100, 200, 400]\n")
    assert outcome() == "pass"


def test_the_rules_are_printed() -> None:
    """As docs/preflight.md has them."""
    result = run("preflight", "--rules", settings=Settings())
    assert (result.exit_code, result.stdout) == (0, "\n".join(table()) + "\n")


def test_every_question_is_in_the_documents() -> None:
    """By name and text."""
    text = (ROOT / "docs" / "preflight.md").read_text()
    for question in QUESTIONS:
        assert f"| `{question.name}` | {question.text} |" in text


@pytest.mark.parametrize("stage", ["enrich", "window", "sample", "guard", "project", "run"])
def test_a_stage_does_not_start_with_what_its_profile_refuses(stage: str) -> None:
    """Exit code 2 before any server is asked, with all that is to be mended."""
    settings = Settings(profile=Profile.PRODUCTION, log_text=True)
    result = CliRunner().invoke(build(), [stage], obj=settings)
    assert result.exit_code == 2
    assert "production (ENRICHMENT_PROFILE) does not start with" in result.stderr
    for rule in ("local_kafka", "log_text", "simulated_weights"):
        assert f"\n  {rule}: " in result.stderr
