"""`enrichment changes` and `enrichment experiment`: what an operator sees of what was done."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from enrichment.cli import changes, control, experiment
from enrichment.lab.servers import LocalServers
from enrichment.settings import Settings
from enrichment.wiring.control import noticing
from tests.cli.commands import runner_of
from tests.integration.stages import Stream

WHY = ("--reason", "to see")

run_changes = runner_of(changes.register)
run_experiment = runner_of(experiment.register)
run_control = runner_of(control.register)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--kind", "rolout"], "did you mean 'rollout'?"),
        (["list", "--since", "soon"], "wanted a time"),
        (["diff"], "say which"),
        (["diff", "a", "b", "--since", "2h"], "not both"),
        (["diff", "a", "--until", "now"], "stand alone"),
    ],
)
def test_what_is_not_understood_is_refused(arguments: list[str], said: str) -> None:
    """Before Kafka is even asked, with exit code 2 and what to say instead."""
    result = run_changes("changes", *arguments, settings=Settings(kafka_bootstrap="127.0.0.1:1"))
    assert result.exit_code == 2
    assert said in result.output


def test_an_experiment_has_a_reason_and_a_plain_id() -> None:
    """Refused before Kafka is even asked."""
    settings = Settings(kafka_bootstrap="127.0.0.1:1")
    for arguments, said in ((["--reason", " "], "say why"), (["--id", "a b", *WHY], "letters")):
        result = run_experiment("experiment", "start", *arguments, settings=settings)
        assert result.exit_code == 2
        assert said in result.output


class Operator:
    """Commands on the shared servers, for a pipeline that only one test knows."""

    def __init__(self, servers: LocalServers, folder: Path) -> None:
        self.stream = Stream(
            folder, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
        )
        self.name = self.stream.name
        self.settings = Settings.model_validate(
            {
                "kafka_bootstrap": servers.bootstrap,
                "redis_url": servers.redis_url,
                "pipelines_dir": folder,
            }
        )

    def does(self, run: Any, *arguments: str, code: int = 0) -> str:
        """What the command says about this pipeline."""
        result: Result = run(*arguments, "-p", self.name, settings=self.settings)
        assert result.exit_code == code, result.output
        return result.output

    def told(self, run: Any, *arguments: str) -> Any:
        """What it says as JSON."""
        return json.loads(self.does(run, *arguments, "--json"))

    def listed(self, *arguments: str) -> list[Any]:
        """The changes of this pipeline, the newest first."""
        found: list[Any] = self.told(run_changes, "changes", "list", *arguments)["changes"]
        return found


@pytest.fixture
def operator(servers: LocalServers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """The commands; no projector runs here that `control` could wait for."""
    monkeypatch.setattr("enrichment.cli.instructing.MIRRORED_S", 0.2)
    return Operator(servers, tmp_path)


@pytest.mark.servers
def test_an_experiment_ties_changes_together(operator: Operator) -> None:
    """What is done while it is on bears its id; a second replaces it, and no id is used twice."""
    begin = ("experiment", "start", *WHY)
    first = operator.told(run_experiment, *begin)
    id_ = first["experiment"]["experiment"]["experiment_id"]
    assert id_.startswith(f"{operator.name}-2")
    operator.does(run_control, "control", "withdraw", "--job", "j1", *WHY)
    assert [one["subject"] for one in operator.listed("--experiment", id_)] == [
        "withdraw.job.j1",
        "experiment",
    ]
    assert f"there was an experiment '{id_}'" in operator.does(
        run_experiment, *begin, "--id", id_, code=2
    )
    said = operator.does(run_experiment, *begin, "--id", f"{operator.name}.second")
    assert f"in place of {id_}" in said
    shown = operator.told(run_experiment, "experiment", "show")
    assert shown["experiment"]["experiment"]["experiment_id"] == f"{operator.name}.second"
    assert [one["experiment_id"] for one in shown["past"]] == [id_]
    assert (shown["unlike"], len(shown["changes"])) == ([], 1)

    file = operator.stream.folder / f"{operator.name}.toml"
    file.write_text(file.read_text() + "\n# another\n")
    assert "pipeline_version is another" in operator.does(run_experiment, "experiment", "show")
    operator.does(run_control, "control", "lift", "--name", "experiment")
    assert "no experiment is on" in operator.does(run_experiment, "experiment", "show")
    operator.does(run_control, "control", "lift", "--job", "j1")


@pytest.mark.servers
def test_changes_are_listed_and_held_side_by_side(operator: Operator) -> None:
    """By id, by a beginning of it, or between two moments."""
    operator.does(run_control, "control", "withdraw", "--calibration", "c1", *WHY, "--by", "kim")
    narrowed = ("--calibration", "c1", "--until", "1764039600000")
    operator.does(run_control, "control", "withdraw", *narrowed, "--reason", "narrowed")
    operator.does(run_control, "control", "lift", "--calibration", "c1")
    gone, second, first = operator.listed()
    assert [one["changed_by"] for one in operator.listed("--by", "kim")] == ["kim"]
    assert len(operator.listed("--limit", "1", "--kind", "withdrawal")) == 1
    assert operator.listed("--since", "1h", "--until", "30m") == []
    assert "narrowed" in operator.does(run_changes, "changes", "list")

    told = operator.told(run_changes, "changes", "diff", first["change_id"], second["change_id"])
    [difference] = told["differences"]
    assert [line for line in difference["diff"] if line[0] in "+-"][2:] == [
        f'-  "issued_at_ms": {first["changed_at_ms"]},',
        '-  "issued_by": "kim",',
        f'+  "issued_at_ms": {second["changed_at_ms"]},',
        f'+  "issued_by": "{second["changed_by"]}",',
        '-  "reason": "to see",',
        '+  "reason": "narrowed",',
        '-    "calibration_id": "c1"',
        '+    "calibration_id": "c1",',
        '+    "until_ms": 1764039600000',
    ]
    assert told["changes"] == [second["change_id"]]
    whole = operator.told(run_changes, "changes", "diff", "1h", "now")
    assert (whole["differences"], len(whole["changes"])) == ([], 3)
    lines = operator.told(run_changes, "changes", "diff", "--since", first["change_id"])
    assert [one["after"] for one in lines["differences"]] == [""]

    alone = run_changes("changes", "diff", gone["change_id"], settings=operator.settings)
    assert '-  "reason": "narrowed",' in alone.output
    nowhere = run_changes("changes", "diff", "zz", settings=operator.settings)
    assert nowhere.exit_code == 2
    assert "there is no change 'zz'" in nowhere.output
    either = run_changes("changes", "diff", "2", settings=operator.settings)
    assert "could be any of" in either.output


@pytest.mark.servers
def test_files_and_budgets_are_noticed_at_a_start(operator: Operator) -> None:
    """The hot path's start records files, the sampler's the budget; as they are, line by line."""
    pipeline = operator.stream.pipeline
    for stage in ("enrich", "sample"):
        with noticing(operator.settings, pipeline, stage) as thread:
            thread._thread.join(30)  # type: ignore[attr-defined]
    found = {one["subject"]: one for one in operator.listed()}
    assert {subject: one["kind"] for subject, one in found.items()} == {
        f"{operator.name}.toml": "pipeline",
        "payments.score.toml": "score_table",
        "budget": "budget",
    }
    text = (operator.stream.folder / f"{operator.name}.toml").read_text()
    assert found[f"{operator.name}.toml"]["after"] == text
    assert json.loads(found["budget"]["after"])["pipeline_day"] == pipeline.budget.day
    with noticing(operator.settings, pipeline, "enrich") as thread:
        thread._thread.join(30)  # type: ignore[attr-defined]
    assert len(operator.listed()) == 3
