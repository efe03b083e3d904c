"""`enrichment preflight` against real servers."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from enrichment.cli import preflight, topics
from enrichment.feature.address import Address
from enrichment.lab.servers import LocalServers
from enrichment.profile import Profile
from enrichment.settings import Settings
from tests.cli.commands import runner_of

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.servers
run_preflight = runner_of(preflight.register)
run_topics = runner_of(topics.register)
DIGESTS = "enrichment.digests.yaml"


def questions(settings: Settings) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code, and each question's row by name."""
    result = run_preflight("preflight", "--json", settings=settings)
    return result.exit_code, {each["name"]: each for each in json.loads(result.stdout)["questions"]}


def test_fresh_servers_pass_and_a_short_retention_fails(
    fresh_servers: Callable[[], LocalServers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With topics applied all passes in development; too short a retention names the file."""
    monkeypatch.chdir(ROOT)
    servers = fresh_servers()  # topics by their own names, which other tests have too
    folder = tmp_path / "topics"
    shutil.copytree(ROOT / "topics", folder)
    settings = Settings(
        topics_dir=folder,
        kafka_bootstrap=servers.bootstrap,
        redis_url=Address.parse(servers.redis_url),
    )
    assert run_topics("topics", "apply", settings=settings).exit_code == 0
    code, found = questions(settings)
    failed = [each for each in found.values() if each["outcome"] == "fail"]
    assert (code, failed) == (0, [])
    assert found["topics"]["seen"].endswith("topics")
    assert found["explicit"]["outcome"] == "pass"
    assert found["cache"]["seen"].startswith("Redis ")
    assert "noeviction" in found["cache"]["seen"]
    assert found["durable"]["todo"].startswith("set replicas: 3")

    strict = settings.model_copy(update={"profile": Profile.PRODUCTION})
    code, found = questions(strict)
    assert code == 1
    assert found["durable"]["outcome"] == "fail"

    path = folder / DIGESTS
    path.write_text(path.read_text().replace("retention.ms: 34560000000", "retention.ms: 21600000"))
    # The file alone: the broker is still as it was.
    code, found = questions(settings)
    assert (code, found["topics"]["outcome"]) == (1, "fail")
    assert found["retention"]["outcome"] == "pass"
    assert run_topics("topics", "apply", settings=settings).exit_code == 0
    code, found = questions(settings)
    assert (code, found["topics"]["outcome"]) == (1, "pass")
    assert found["retention"]["outcome"] == "fail"
    assert f"{path} to 21600500" in found["retention"]["todo"]
