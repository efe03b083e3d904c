"""What compose.yaml and the Dockerfile promise, read from them: no container engine runs here."""

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from enrichment.lab.kafka_server import OPEN, PROPERTIES
from enrichment.lab.redis_server import CONFIG
from enrichment.lab.servers import KAFKA_PORT, REDIS_PORT
from enrichment.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
ROLES: Final = ("enrich", "window", "sample", "project")
SERVERS: Final = ("kafka", "redis")
# A container's addresses are its own; all else is to be as `enrichment up` has it.
ADDRESSES: Final = frozenset(
    {
        "controller.quorum.voters",
        "listeners",
        "advertised.listeners",
        "listener.security.protocol.map",
        "log.dirs",
    }
)


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """The services of compose.yaml, merge keys resolved."""
    document = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    found: dict[str, dict[str, Any]] = document["services"]
    return found


@pytest.mark.parametrize("name", SERVERS + ROLES)
def test_every_server_and_role_has_a_health_check(
    services: dict[str, dict[str, Any]], name: str
) -> None:
    """Each says how it is asked, how often, and how long it may take to begin."""
    check = services[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries", "start_period"} <= check.keys()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_waits_for_what_it_needs(services: dict[str, dict[str, Any]], role: str) -> None:
    """It starts as `enrichment ROLE --pipeline NAME` after healthy servers and applied topics."""
    service = services[role]
    assert service["command"] == [role, "--pipeline", "${ENRICHMENT_PIPELINE:-payments}"]
    assert service["build"] == "."
    assert {name: need["condition"] for name, need in service["depends_on"].items()} == {
        "kafka": "service_healthy",
        "redis": "service_healthy",
        "topics": "service_completed_successfully",
    }


@pytest.mark.parametrize("role", [*ROLES, "topics"])
def test_a_role_is_given_only_settings_that_exist(
    services: dict[str, dict[str, Any]], role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each variable is a field of the settings, and together they are valid."""
    environment = services[role]["environment"]
    fields = {f"ENRICHMENT_{name.upper()}" for name in Settings.model_fields}
    assert environment.keys() <= fields
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.kafka_bootstrap == "kafka:9092"
    assert str(settings.metrics_port) in services["enrich"]["healthcheck"]["test"][-1]


def test_the_broker_is_set_up_as_up_sets_it_up(services: dict[str, dict[str, Any]]) -> None:
    """Every broker setting of `enrichment up` that is no address stands in compose.yaml."""
    lines = [line for line in (PROPERTIES + OPEN).splitlines() if line and not line.startswith("#")]
    wanted = dict(line.split("=", 1) for line in lines)
    given = services["kafka"]["environment"]
    for name in wanted.keys() - ADDRESSES:
        variable = f"KAFKA_{name.replace('.', '_').upper()}"
        assert given.get(variable) == wanted[name], variable


def test_redis_keeps_what_up_keeps(services: dict[str, dict[str, Any]]) -> None:
    """The durability and memory policy of `enrichment up` are the container's as well."""
    lines = [line for line in CONFIG.splitlines() if line and not line.startswith("#")]
    wanted = dict(line.split(" ", 1) for line in lines)
    command = services["redis"]["command"]
    given = dict(zip(command[1::2], command[2::2], strict=True))
    for name in ("appendonly", "appendfsync", "save", "maxmemory-policy"):
        assert given[f"--{name}"] == wanted[name].strip('"'), name


def test_only_loopback_sees_the_servers(services: dict[str, dict[str, Any]]) -> None:
    """Published on the host's loopback alone, on the ports that `enrichment up` uses."""
    assert services["kafka"]["ports"] == [f"127.0.0.1:{KAFKA_PORT}:{KAFKA_PORT}"]
    assert services["redis"]["ports"] == [f"127.0.0.1:{REDIS_PORT}:6379"]
    assert all("ports" not in services[role] for role in ROLES)


def test_the_image_runs_as_nobody_special_from_hashed_requirements() -> None:
    """A user of its own, requirements by hash, and nothing copied that .dockerignore hides."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["enrichment"]
    assert any("--require-hashes --requirement requirements/all.txt" in line for line in lines)
    shown = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    sources = {source for row in copied if "--from=build" not in row for source in row}
    assert sources == shown
    assert all((ROOT / source).exists() for source in sources)
