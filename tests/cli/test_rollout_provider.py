"""`enrichment rollout provider`: what is written, what is refused, and how it is taken back."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from enrichment.cli.rollout import register
from enrichment.lab.servers import LocalServers
from enrichment.rollout import instruct
from enrichment.settings import Settings
from tests.cli.commands import runner_of
from tests.integration.stages import Stream

run = runner_of(register)
WHY = ("--reason", "to see")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["qsim", "--reason", "  "], "say why"),
        ([*WHY], "say a provider"),
        (["--check", "exact", *WHY], "a check is"),
        (["--every", "5", *WHY], "a check is"),
        (["--check", "exact", "--every", "5", "--no-check", *WHY], "a check is"),
        (["virtuel", *WHY], "did you mean virtual?"),
        (["--check", "nowhere", "--every", "5", *WHY], "there is no provider 'nowhere'"),
        (["ionq", *WHY], "set ENRICHMENT_IONQ_API_KEY"),
        (["google", *WHY], "set ENRICHMENT_GOOGLE_PROJECT"),
    ],
)
def test_what_is_not_understood_is_refused(arguments: list[str], said: str) -> None:
    """Before Kafka is asked, with exit code 2, and with what is missing."""
    settings = Settings(kafka_bootstrap="127.0.0.1:1")
    result = run("rollout", "provider", "-p", "payments", *arguments, settings=settings)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_a_price_needs_a_budget() -> None:
    """A configured vendor is refused all the same where the pipeline may spend nothing."""
    settings = Settings.model_validate(
        {
            "kafka_bootstrap": "127.0.0.1:1",
            "ionq_api_key": "some-key",
            "ionq_price_per_shot": 0.01,
        }
    )
    result = run("rollout", "provider", "ionq", "-p", "payments", *WHY, settings=settings)
    assert result.exit_code == 2
    assert "[budget]" in result.output


@dataclass(slots=True, kw_only=True)
class Operator:
    """The command on the shared servers, for a pipeline that only this test knows."""

    pipeline: str
    settings: Settings

    def __call__(self, *arguments: str) -> dict[str, Any]:
        """Give it, and return what it says for programs."""
        given = ("-p", self.pipeline, *WHY, "--json", *arguments)
        result = run("rollout", "provider", *given, settings=self.settings)
        assert result.exit_code == 0, result.output
        said: dict[str, Any] = json.loads(result.stdout)
        return said


@pytest.fixture
def operator(servers: LocalServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """Somebody at a terminal."""
    # No projector runs here that it could wait for.
    monkeypatch.setattr("enrichment.cli.instructing.MIRRORED_S", 0.2)
    stream = Stream(
        tmp_path, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
    )
    settings = Settings.model_validate(
        {
            "kafka_bootstrap": servers.bootstrap,
            "redis_url": servers.redis_url,
            "pipelines_dir": stream.folder,
        }
    )
    return Operator(pipeline=stream.name, settings=settings)


@pytest.mark.servers
def test_each_option_changes_its_part_and_the_file_takes_all_back(operator: Operator) -> None:
    """A provider, then a check beside it, then neither: the record is lifted with the last."""
    both = {"provider": "virtual", "check_provider": "exact", "check_every": 5}
    assert operator("virtual")["control"]["compute"] == {"provider": "virtual"}
    assert operator("--check", "exact", "--every", "5")["control"]["compute"] == both
    said = operator("qsim")  # the file's
    assert said["replaced"]["compute"] == both
    assert said["control"]["compute"] == {"check_provider": "exact", "check_every": 5}
    # Workers may have the key that is not here.
    said = operator("ionq", "--anyway", "--no-check")
    assert said["control"]["compute"] == {"provider": "ionq"}
    assert operator("qsim")["done"] == "lifted"
    kafka = {"bootstrap.servers": operator.settings.kafka_bootstrap}
    assert f"{operator.pipeline}|compute" not in instruct.standing(kafka, 1).controls
