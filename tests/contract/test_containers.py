"""What compose.yaml and the Dockerfile promise, read from them: no container engine runs here."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from enrichment.cli.stages import STAGES
from enrichment.lab.kafka_server import OPEN, PROPERTIES
from enrichment.lab.redis_server import CONFIG
from enrichment.lab.servers import KAFKA_PORT, REDIS_PORT
from enrichment.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
ROLES: Final = (*STAGES, "console")
SERVERS: Final = ("kafka", "redis")
# What shows the rest; the host sees these two on its loopback.
WATCHERS: Final = {"prometheus": 9090, "grafana": 3000}
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


@pytest.mark.parametrize("name", [*SERVERS, *ROLES, *WATCHERS])
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


def test_what_is_run_is_pinned(services: dict[str, dict[str, Any]]) -> None:
    """Images of others bear a version and none that moves; ours is built here."""
    for name in (*SERVERS, *WATCHERS):
        tag = services[name]["image"].partition(":")[2]
        assert re.fullmatch(r"v?[0-9]+(\.[0-9]+)+", tag), name
    assert {services[role]["image"] for role in ROLES} == {"enrichment:local"}


def test_compose_runs_as_it_is() -> None:
    """Whatever compose.yaml takes from its caller has a default, so that it runs as it is."""
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"\$\{([^}]*)\}", text)) == {"ENRICHMENT_PIPELINE:-payments"}


def test_prometheus_scrapes_every_role(services: dict[str, dict[str, Any]]) -> None:
    """Each at the port that it serves its metrics on, under its own name."""
    folder = ROOT / "deploy" / "prometheus"
    config = yaml.safe_load((folder / "prometheus.yml").read_text(encoding="utf-8"))
    (jobs,) = [each for each in config["scrape_configs"] if each["job_name"] == "enrichment"]
    scraped = {each["labels"]["stage"]: each["targets"] for each in jobs["static_configs"]}
    port = services["enrich"]["environment"]["ENRICHMENT_METRICS_PORT"]
    assert scraped == {role: [f"{role}:{port}"] for role in ROLES}
    assert "./deploy/prometheus:/etc/prometheus:ro" in services["prometheus"]["volumes"]
    assert all(each.startswith("/etc/prometheus/") for each in config["rule_files"])


def test_prometheus_keeps_what_leads_to_traces(services: dict[str, dict[str, Any]]) -> None:
    """Exemplars are kept where that is asked for, beside what the image is started with."""
    command = services["prometheus"]["command"]
    assert "--enable-feature=exemplar-storage" in command
    assert "--config.file=/etc/prometheus/prometheus.yml" in command
    folder = next(each for each in command if each.startswith("--storage.tsdb.path="))
    mounted = {volume.split(":")[1] for volume in services["prometheus"]["volumes"]}
    assert folder.partition("=")[2] in mounted


def test_grafana_finds_prometheus_and_its_dashboards(services: dict[str, dict[str, Any]]) -> None:
    """Its source is the service beside it; dashboards are looked for where they are mounted."""
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text("utf-8"))
    assert source["datasources"][0]["url"] == f"http://prometheus:{WATCHERS['prometheus']}"
    shown = yaml.safe_load((provisioning / "dashboards" / "enrichment.yaml").read_text("utf-8"))
    path = shown["providers"][0]["options"]["path"]
    assert f"./deploy/grafana:{path}:ro" in services["grafana"]["volumes"]


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
    for name, port in WATCHERS.items():
        assert services[name]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert services["console"]["ports"] == ["127.0.0.1:8180:8180"]
    assert all("ports" not in services[role] for role in STAGES)


def test_the_image_runs_as_nobody_special_from_hashed_requirements() -> None:
    """A user of its own, requirements by hash, and nothing copied that .dockerignore hides."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["10001:10001"]
    installs = [line for line in lines if " install " in line and line.startswith("RUN ")]
    assert all("--require-hashes --requirement requirements/" in line for line in installs)
    shown = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    assert lines[-1] == 'CMD ["--help"]'
    sources = {source for row in copied if "--from=build" not in row for source in row}
    assert sources == shown
    assert all((ROOT / source).exists() for source in sources)


def test_the_image_has_what_a_role_needs_and_no_more() -> None:
    """Its pins are those that tests run with; tools of development are not among them."""
    pins = {
        name: set(re.findall(r"^\S+==\S+", (ROOT / "requirements" / name).read_text(), re.M))
        for name in ("all.txt", "image.txt", "build.txt")
    }
    assert pins["image.txt"] < pins["all.txt"]
    assert pins["build.txt"] < pins["all.txt"]
    names = {pin.partition("==")[0] for pin in pins["image.txt"]}
    assert {"confluent-kafka", "qsimcirq", "faust-streaming", "redis"} <= names
    assert not names & {"pytest", "mypy", "ruff", "hypothesis", "scikit-learn", "pyarrow"}
