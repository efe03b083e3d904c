"""`enrichment control`: what an operator says, what is refused, and where it is in force."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from typer.testing import Result

from enrichment.cli.control import register
from enrichment.lab.servers import LocalServers
from enrichment.rollout.control import WITHDRAWALS_MAX
from enrichment.settings import Settings
from enrichment.stream.topics import CONTROL
from tests.cli.commands import runner_of
from tests.integration.stages import Stream
from tests.rollout.controls import control, record

run = runner_of(register)
JOB = "payments|eu|1700000000000|0"
WHY = ("--reason", "a bad run")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--job", "j", "--reason", "  "], "say why"),
        (["--job", "j"], "--reason"),
        ([*WHY], "say what"),
        (["--all", "--job", "j", *WHY], "give one of"),
        (["--all", "--until", "now", *WHY], "give one of"),
        (["--until", "2026-11-25T03:00:00", *WHY], "in which zone"),
        (["--until", "soon", *WHY], "'soon' is not"),
    ],
)
def test_what_is_not_understood_is_refused(arguments: list[str], said: str) -> None:
    """Before Kafka is even asked, with exit code 2 and what to say instead."""
    settings = Settings(kafka_bootstrap="127.0.0.1:1")
    result = run("control", "withdraw", "-p", "payments", *arguments, settings=settings)
    assert result.exit_code == 2
    assert said in result.output
    result = run("control", "withdraw", "-p", "paymnts", "--all", *WHY, settings=settings)
    assert result.exit_code == 2
    assert "payments" in result.output


@pytest.fixture
def operator(
    servers: LocalServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """The command on the shared servers, for a pipeline that only this test knows."""
    # No projector runs here that it could wait for.
    monkeypatch.setattr("enrichment.cli.instructing.MIRRORED_S", 0.2)
    stream = Stream(
        tmp_path, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
    )
    settings = Settings.model_validate(
        {
            "kafka_bootstrap": servers.bootstrap,
            "redis_url": servers.redis_url,
            "pipelines_dir": tmp_path,
        }
    )

    def command(action: str, *arguments: str, pipeline: str = stream.name) -> Result:
        return run("control", action, "-p", pipeline, *arguments, settings=settings)

    command.stream = stream  # type: ignore[attr-defined]
    return command


def stream_of(operator: Any) -> Stream:
    """The stream that the fixture made."""
    stream: Stream = operator.stream
    return stream


@pytest.mark.servers
def test_what_is_withdrawn_is_listed_until_it_is_lifted(operator: Callable[..., Result]) -> None:
    """Each by itself, with who and why; what nobody mirrors is said, and is no failure."""
    assert "nothing is in force" in operator("list").output
    result = operator("withdraw", "--job", JOB, *WHY, "--by", "someone")
    assert result.exit_code == 0
    assert f"rings of job {JOB}" in result.output
    assert "in force within 2 s" in result.output
    assert "enrichment project" in result.output
    told = json.loads(operator("withdraw", "--until", "now", *WHY, "--json").output)
    skew_ms = stream_of(operator).pipeline.features.skew_ms
    control_ = told["control"]
    assert 0 <= control_["issued_at_ms"] + skew_ms - control_["withdrawal"]["until_ms"] < 10_000
    assert told["mirrored"] == {"after_s": None}
    listed = json.loads(operator("list", "--json").output)
    assert listed["malformed"] == {}
    assert [one["name"] for one in listed["controls"]] == ["withdraw.until", f"withdraw.job.{JOB}"]
    assert listed["controls"][1]["issued_by"] == "someone"
    assert "a bad run" in operator("list").output

    assert operator("lift", "--job", JOB, "--reason", "it was good").exit_code == 0
    again = operator("lift", "--job", JOB)
    assert again.exit_code == 2
    assert "the nearest is" in again.output
    assert operator("lift", "--name", "withdraw.until").exit_code == 0
    assert json.loads(operator("list", "--json").output)["controls"] == []


@pytest.mark.servers
def test_a_second_withdrawal_of_the_same_replaces_the_first(
    operator: Callable[..., Result],
) -> None:
    """And says so; of a calibration, narrowed to a time, by its own name."""
    arguments = ["--calibration", "c1", "--until"]
    operator("withdraw", *arguments, "2026-11-25T03:00:00Z", *WHY)
    told = json.loads(
        operator("withdraw", *arguments, "1764039600000", "--reason", "later", "--json").output
    )
    assert told["replaced"]["reason"] == "a bad run"
    assert told["replaced"]["withdrawal"]["until_ms"] == 1_795_575_600_000
    assert told["control"]["withdrawal"] == {"calibration_id": "c1", "until_ms": 1_764_039_600_000}
    assert told["written"]["topic"] == CONTROL
    assert operator("lift", "--calibration", "c1").exit_code == 0


@pytest.mark.servers
def test_junk_is_listed_and_can_be_lifted(operator: Callable[..., Result]) -> None:
    """What every process skips stands on the topic until somebody takes it away."""
    stream = stream_of(operator)
    stream.produce(CONTROL, f"{stream.name}|junk", b"junk", 0)
    listed = json.loads(operator("list", "--json").output)
    assert "not a control record" in listed["malformed"][f"{stream.name}|junk"]
    assert operator("lift", "--name", "junk").exit_code == 0
    assert f"{stream.name}|junk" not in json.loads(operator("list", "--json").output)["malformed"]


@pytest.mark.servers
def test_the_list_of_bad_jobs_has_an_end(operator: Callable[..., Result]) -> None:
    """One more would withdraw everything, so it is refused, and says what to do instead."""
    stream = stream_of(operator)
    producer = Producer({"bootstrap.servers": stream.bootstrap})
    for number in range(WITHDRAWALS_MAX):
        one = control(f"withdraw.job.{number}", pipeline=stream.name, job_id=str(number))
        producer.produce(CONTROL, record(one)[1], record(one)[0], 0)
    assert producer.flush(30) == 0
    refused = operator("withdraw", "--job", "one-more", *WHY)
    assert refused.exit_code == 1
    assert "--until now" in refused.output
    assert operator("withdraw", "--job", "7", *WHY).exit_code == 0
    for number in range(WITHDRAWALS_MAX):
        producer.produce(CONTROL, None, f"{stream.name}|withdraw.job.{number}", 0)
    assert producer.flush(30) == 0


def test_a_silent_broker_is_one_line() -> None:
    """Where to look, and exit code 1; nothing is said to be withdrawn."""
    settings = Settings(kafka_bootstrap="127.0.0.1:1")
    result = run("control", "withdraw", "-p", "payments", "--all", *WHY, settings=settings)
    assert result.exit_code == 1
    assert "127.0.0.1:1" in result.output
    assert "withdrawn" not in result.output
