"""`enrichment topics` without a broker: what it says of wrong usage, and new manifests."""

import shutil
from pathlib import Path

import pytest

from enrichment.cli import topics
from enrichment.settings import Settings
from tests.cli.commands import runner_of

ROOT = Path(__file__).resolve().parents[2]
run = runner_of(topics.register)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with manifests of one's own, and a port at which nobody listens."""
    shutil.copytree(ROOT / "topics", tmp_path / "topics")
    return Settings(topics_dir=tmp_path / "topics", kafka_bootstrap="127.0.0.1:1")


@pytest.mark.parametrize("command", ["diff", "apply"])
def test_an_unknown_topic_is_guessed(command: str, settings: Settings) -> None:
    """Before any broker is asked, with exit code 2."""
    result = run("topics", command, "payments.evnts", settings=settings)
    assert result.exit_code == 2
    assert result.stderr == (
        "error: there is no topic 'payments.evnts'; did you mean 'payments.events'?\n"
    )


@pytest.mark.parametrize("command", ["diff", "apply"])
def test_a_missing_folder_says_where_to_look(command: str, settings: Settings) -> None:
    """An installed package has no topics/ beside it."""
    result = run("topics", command, "--topics-dir", "/nowhere", settings=settings)
    assert result.exit_code == 2
    assert "there is no folder '/nowhere'" in result.stderr
    assert "--topics-dir" in result.stderr


@pytest.mark.parametrize("command", ["diff", "apply"])
def test_a_silent_broker_is_one_line(
    command: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What, where and what to do, and no trace."""
    monkeypatch.setattr("enrichment.stream.topic_admin.TIMEOUT_S", 1.0)
    result = run("topics", command, settings=settings)
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: Kafka at 127.0.0.1:1 does not answer within")
    assert "enrichment up" in last
    assert "ENRICHMENT_KAFKA_BOOTSTRAP" in last
    assert "Traceback" not in result.output


def test_manifests_that_cannot_work_are_refused(settings: Settings) -> None:
    """Unequal partition counts of what a shard travels are found before a broker is asked."""
    path = settings.topics_dir / "rings.cases.yaml"
    path.write_text(path.read_text().replace("partitions: 4", "partitions: 2"))
    result = run("topics", "diff", settings=settings)
    assert result.exit_code == 2
    assert "rings.cases 2" in result.stderr
    assert "wanted equal partition counts" in result.stderr


def test_a_stream_of_ones_own_gets_manifests(settings: Settings, tmp_path: Path) -> None:
    """Five, with the partitions that digests have; again, it leaves them alone."""
    for path in settings.topics_dir.glob("*.yaml"):
        path.write_text(path.read_text().replace("partitions: 4", "partitions: 6"))
    own = tmp_path / "logins.toml"
    pipelines = ROOT / "enrichment" / "pipelines"
    shutil.copy(pipelines / "payments.score.toml", tmp_path)
    shipped = (pipelines / "payments.toml").read_text()
    own.write_text(shipped.replace('name = "payments"', 'name = "logins"', 1))
    result = run("topics", "new", str(own), settings=settings)
    assert result.exit_code == 0
    assert result.stdout.count("written: ") == 5
    outcomes = settings.topics_dir / "logins.outcomes.yaml"
    assert "partitions: 6" in outcomes.read_text()
    outcomes.write_text(outcomes.read_text() + "# mine\n")
    again = run("topics", "new", str(own), settings=settings)
    assert again.stdout.count("there already: ") == 5
    assert outcomes.read_text().endswith("# mine\n")


def test_new_manifests_need_a_pipeline(settings: Settings) -> None:
    """A misspelt one is guessed."""
    result = run("topics", "new", "paymets", settings=settings)
    assert result.exit_code == 2
    assert "did you mean 'payments'?" in result.stderr


def test_a_pipeline_of_calls_gets_its_outcomes_topic_alone(settings: Settings) -> None:
    """It has no events to publish, answer or review."""
    file = settings.topics_dir.parent / "calls.toml"
    file.write_text('[stream]\nname = "calls"\n\n[calls]\n')
    assert run("topics", "new", str(file), settings=settings).exit_code == 0
    assert [path.name for path in settings.topics_dir.glob("calls.*")] == ["calls.outcomes.yaml"]
