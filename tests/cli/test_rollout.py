"""`enrichment rollout`: what an operator says, what is refused, and what is shown."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import Result

from enrichment.cli.rollout import register
from enrichment.lab.servers import LocalServers
from enrichment.records import Path as ServedPath
from enrichment.records import Rollout, Stage
from enrichment.settings import Settings
from enrichment.stream.topics import CONTROL
from tests.cli.commands import runner_of
from tests.integration.stages import Stream
from tests.rollout.controls import control

run = runner_of(register)
WHY = ("--reason", "to be sure")
NOWHERE = Settings(kafka_bootstrap="127.0.0.1:1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demote", "quantm", "--to", "shadow", "-p", "payments", *WHY], "did you mean quantum"),
        (["demote", "heuristic", "--to", "shadow", "-p", "payments", *WHY], "always let in"),
        (["demote", "quantum", "--to", "live", "-p", "payments", *WHY], "promote"),
        (["demote", "quantum", "--to", "shadow", "-p", "paymnts", *WHY], "did you mean"),
        (["demote", "quantum", "--to", "shadow", "-p", "payments", "--reason", " "], "say why"),
        (["demote", "quantum", "--to", "shadow", *WHY], "--pipeline"),
        (["kill", "-p", "payments"], "--reason"),
        (["kill", "-p", "payments", "--reason", ""], "say why"),
        (["kill", "-p", "payments", "--path", "all", *WHY], "wanted quantum or classical"),
        (["kill", *WHY], "--pipeline"),
        (["restore", "-p", "paymnts"], "did you mean"),
    ],
)
def test_what_is_not_understood_is_refused(arguments: list[str], said: str) -> None:
    """Before Kafka is even asked, with exit code 2 and what to say instead."""
    result = run("rollout", *arguments, settings=NOWHERE)
    assert result.exit_code == 2, result.output
    assert said in result.output


class Operator:
    """The commands on the shared servers, for a pipeline that only this test knows."""

    def __init__(self, servers: LocalServers, folder: Path) -> None:
        self.stream = Stream(
            folder, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
        )
        self._settings = Settings.model_validate(
            {
                "kafka_bootstrap": servers.bootstrap,
                "redis_url": servers.redis_url,
                "pipelines_dir": folder,
            }
        )

    def says(self, verb: str, *arguments: str, pipeline: str = "") -> Result:
        """One command, and what came of it."""
        named = pipeline or self.stream.name
        return run("rollout", verb, *arguments, "-p", named, settings=self._settings)

    def shown(self) -> Any:
        """What `show` says, for programs."""
        return json.loads(self.says("show", "--json").output)

    def path(self, name: str) -> Any:
        """One path of it."""
        return next(one for one in self.shown()["paths"] if one["path"] == name)

    def let_in(self, rollout: Rollout) -> None:
        """What `promote` would write."""
        one = control(f"rollout.{rollout.path.value}", pipeline=self.stream.name, rollout=rollout)
        key = f"{one.pipeline}|{one.name}"
        self.stream.produce(CONTROL, key, msgspec.json.encode(one), 0)


@pytest.fixture
def operator(servers: LocalServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """An operator of a stream that nobody else has."""
    # No projector runs here that it could wait for.
    monkeypatch.setattr("enrichment.cli.instructing.MIRRORED_S", 0.2)
    return Operator(servers, tmp_path)


@pytest.mark.servers
def test_a_path_is_demoted_step_by_step(operator: Operator) -> None:
    """From live to a canary, to fewer, to shadow; never back, and each with who and why."""
    assert operator.path("quantum") | {"by": "", "reason": ""} == {
        "path": "quantum", "stage": "live", "share": 1.0, "serves": True, "capped": False,
        "override": False, "evidence_id": "", "said_by": "file", "since_ms": None, "by": "",
        "reason": "",
    }  # fmt: skip
    told = operator.says("demote", "quantum", "--to", "canary", *WHY, "--by", "someone")
    assert told.exit_code == 0, told.output
    assert "quantum is canary for 5.00% of the accounts" in told.output
    assert "in force within 2 s" in told.output
    told = operator.says("demote", "quantum", "--to", "canary", "--share", "0.5", *WHY)
    assert told.exit_code == 2
    assert "rollout promote quantum" in told.output
    told = operator.says("demote", "quantum", "--to", "canary", "--share", "nan", *WHY)
    assert (told.exit_code, "wants a share above 0" in told.output) == (2, True)
    told = operator.says("demote", "quantum", "--to", "shadow", "--share", "0.1", *WHY)
    assert (told.exit_code, "--share is a canary's" in told.output) == (2, True)
    assert operator.path("quantum")["by"] == "someone"
    assert operator.says("demote", "quantum", "--to", "shadow", *WHY).exit_code == 0
    found = operator.path("quantum")
    assert (found["stage"], found["serves"], found["said_by"]) == ("shadow", False, "record")
    assert operator.path("classical")["stage"] == "live"
    assert "to be sure" in operator.says("show").output


@pytest.mark.servers
def test_an_override_stays_marked_until_the_path_is_in_shadow(operator: Operator) -> None:
    """What was let in against the gate says so as long as any of it serves."""
    let_in = Rollout(path=ServedPath.QUANTUM, stage=Stage.LIVE, override=True, evidence_id="e-1")
    operator.let_in(let_in)
    assert "against the gate" in operator.says("show").output
    assert operator.says("demote", "quantum", "--to", "canary", *WHY).exit_code == 0
    found = operator.path("quantum")
    assert (found["override"], found["evidence_id"]) == (True, "e-1")
    assert operator.says("demote", "quantum", "--to", "shadow", *WHY).exit_code == 0
    assert operator.path("quantum")["override"] is False


@pytest.mark.servers
def test_the_kill_switch_is_pulled_and_lifted(operator: Operator) -> None:
    """Stricter by stricter; a weaker one is refused; the rollout below it stays as it was."""
    told = operator.says("restore")
    assert (told.exit_code, "no kill switch is pulled" in told.output) == (2, True)
    told = operator.says("kill", "--path", "quantum", *WHY, "--json")
    assert json.loads(told.stdout)["control"]["serve"] == "classical"
    found = operator.path("quantum")
    assert (found["stage"], found["capped"], found["serves"]) == ("live", True, False)
    assert operator.path("classical")["serves"]
    told = operator.says("kill", *WHY, "--json")
    assert json.loads(told.stdout)["control"]["serve"] == "heuristic"
    assert operator.shown()["serve"] == "heuristic"
    told = operator.says("kill", "--path", "quantum", *WHY)
    assert (told.exit_code, "restore" in told.output) == (2, True)
    assert "nothing above heuristic serves: since" in operator.says("show").output
    assert operator.says("restore").exit_code == 0
    assert operator.shown()["caps"] == []
    assert operator.path("quantum")["serves"]


@pytest.mark.servers
def test_a_switch_for_all_is_not_undone_by_one_pipeline(operator: Operator) -> None:
    """A weaker one of its own changes nothing, and lifting its own says what is left."""
    assert operator.says("kill", *WHY, pipeline="*").exit_code == 0
    try:
        told = operator.says("kill", "--path", "quantum", *WHY)
        assert "nothing above heuristic serves" in told.output
        assert operator.shown()["serve"] == "heuristic"
        assert "another cap is left" in operator.says("restore").output
        told = operator.says("restore")
        assert (told.exit_code, "-p '*'" in told.output) == (2, True)
    finally:
        assert operator.says("restore", pipeline="*").exit_code == 0
    assert operator.shown()["serve"] == ""
