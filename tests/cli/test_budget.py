"""`enrichment budget show`: the ledger's sums beside the limits and what the counter has."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.cli.budget import register
from enrichment.lab.redis_server import RedisServer
from enrichment.lab.servers import LocalServers
from enrichment.pipelines import load
from enrichment.records.job import Charge
from enrichment.sample.budget import Answer, Grant
from enrichment.settings import Settings
from enrichment.stream.topics import JOBS
from enrichment.wiring.money import open_budget
from tests.cli.commands import own_pipeline, runner_of
from tests.sample.entries import entry

run = runner_of(register)
TODAY = datetime.now(UTC).date()
DAY = (TODAY - date(1970, 1, 1)).days


@pytest.fixture
def ledger(servers: LocalServers) -> Producer:
    """Writes to a ledger that is there."""
    admin = AdminClient({"bootstrap.servers": servers.bootstrap})
    if JOBS not in admin.list_topics(timeout=10).topics:
        [future] = admin.create_topics([NewTopic(JOBS, 4, 1)]).values()
        future.result(30)
    return Producer({"bootstrap.servers": servers.bootstrap})


def charge(attempt: int, micro: int, *, settled: bool = False) -> Charge:
    """One at ionq, today."""
    return Charge(attempt=attempt, provider="ionq", day=DAY, micro=micro, settled=settled)


@pytest.mark.servers
def test_sums_limits_and_the_counter(
    servers: LocalServers, own_redis: RedisServer, ledger: Producer, tmp_path: Path
) -> None:
    """Spent and reserved by the ledger, what is left, and the counter: missing, present, away."""
    name = own_pipeline(tmp_path)
    file = tmp_path / f"{name}.toml"
    file.write_text(file.read_text() + "\n[budget]\nday = 2.5\n")
    settings = Settings.model_validate(
        {
            "kafka_bootstrap": servers.bootstrap,
            "redis_url": f"redis://{own_redis.address}",
            "pipelines_dir": tmp_path,
            "budget_day": 10,
        }
    )
    charges = (charge(1, 250_000, settled=True), charge(2, 1_000_000))
    ledger.produce(JOBS, entry(f"{name}|a", name, *charges), f"{name}|a", 0)
    assert ledger.flush(10) == 0

    def shown(*more: str) -> dict[str, Any]:
        result = run("budget", "show", "-p", name, "--json", *more, settings=settings)
        assert result.exit_code == 0, result.output
        said: dict[str, Any] = json.loads(result.output)
        return said

    said = shown()
    assert said["day"] == TODAY.isoformat()
    assert said["counter"] == {"state": "missing", "claims": 0, "detail": ""}
    everybody, own = said["sums"]
    assert everybody["limit_micro"] == 10_000_000
    assert own == {
        "scope": f"pipeline:{name}",
        "limit_micro": 2_500_000,
        "spent_micro": 250_000,
        "reserved_micro": 1_000_000,
        "counted_micro": None,
        "left_micro": 1_250_000,
    }

    pipeline = load(name, tmp_path)
    budget = open_budget(settings, pipeline)
    answer = Answer(grant=Grant.WAITING)
    while answer.grant is Grant.WAITING:
        answer = budget.ask(f"{name}|a|2", charge(2, 1_000_000), name)
    assert answer.grant is Grant.GRANTED
    assert budget.left(name, "ionq", DAY) == 1_250_000
    budget.close()
    said = shown()
    assert said["counter"]["state"] == "present"
    assert said["sums"][1]["counted_micro"] == 1_250_000
    text = run("budget", "show", "-p", name, settings=settings).output
    assert "1.25" in text
    assert "the counter is present" in text
    yesterday = (TODAY - timedelta(days=1)).isoformat()
    assert shown("--day", yesterday)["claims"] == 0

    own_redis.process.stop()
    assert shown()["counter"]["state"] == "away"
    everything = run("budget", "show", settings=settings).output
    assert "nothing paid is begun: the budget's counter does not answer" in everything
    assert f"pipeline:{name}" in everything


def test_what_is_not_understood_is_refused() -> None:
    """A day that is none, a pipeline that is none, a Kafka that is away: one line each."""
    settings = Settings(kafka_bootstrap="127.0.0.1:1")
    result = run("budget", "show", "--day", "yesterday", settings=settings)
    assert (result.exit_code, "2026-11-28" in result.output) == (2, True)
    result = run("budget", "show", "-p", "paymnts", settings=settings)
    assert (result.exit_code, "payments" in result.output) == (2, True)
    result = run("budget", "show", settings=settings)
    assert (result.exit_code, "the ledger cannot be read" in result.output) == (1, True)
