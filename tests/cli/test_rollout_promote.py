"""`enrichment rollout promote`: what is asked, what is refused, and what is written and kept."""

import json
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

import msgspec
import pytest
from typer.testing import Result

from enrichment.cli import rollout_promote
from enrichment.cli.rollout import register
from enrichment.lab.servers import LocalServers
from enrichment.records import ChangeKind, Control, Experiment, Path, Rollout, Stage
from enrichment.rollout.evidence import Evidence
from enrichment.rollout.instruct import instruct, standing
from enrichment.rollout.judgement import Judgement, Proofs
from enrichment.settings import Settings
from enrichment.stream.changes import recorded
from tests.cli.commands import runner_of
from tests.integration.stages import Stream
from tests.rollout.evidences import PROVED, differing, evidence, figure

run = runner_of(register)
WHY = ("--reason", "it has shown enough")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["quantum"], "--reason"),
        (["quantum", "--reason", " "], "say why"),
        (["quantum", "--override", "--reason", ""], "say why"),
        (["heuristic", *WHY], "what is left"),
        (["quantm", *WHY], "did you mean quantum"),
    ],
)
def test_what_is_not_understood_is_refused(arguments: list[str], said: str) -> None:
    """Before Kafka is even asked, with exit code 2 and what to say instead."""
    settings = Settings(kafka_bootstrap="127.0.0.1:1")
    result = run("rollout", "promote", "-p", "payments", *arguments, settings=settings)
    assert result.exit_code == 2
    assert said in result.output


class Operator:
    """The command on real servers, for a pipeline that only this test knows."""

    def __init__(self, servers: LocalServers, folder: FilePath) -> None:
        self.stream = Stream(
            folder, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
        )
        self.kafka = {"bootstrap.servers": servers.bootstrap}
        self.settings = Settings.model_validate(
            {
                "kafka_bootstrap": servers.bootstrap,
                "redis_url": servers.redis_url,
                "pipelines_dir": folder,
            }
        )
        self.evidence: Evidence | None = None
        self.proofs = PROVED
        self.since_ms: list[int | None] = []
        pipeline = self.stream.pipeline
        self.experiment = Experiment(
            experiment_id="e1",
            started_ms=1,
            pipeline_version=pipeline.version,
            score_version=pipeline.score.version,
        )

    def __call__(self, *arguments: str) -> Result:
        """`enrichment rollout promote` with these."""
        name = self.stream.name
        return run("rollout", "promote", *arguments, "-p", name, *WHY, settings=self.settings)

    def look(self, *_: Any) -> Evidence | None:
        """In place of what the topics would show."""
        return self.evidence

    def prove(self, *arguments: Any, **_: Any) -> Proofs:
        """In place of what running things again would."""
        self.since_ms.append(arguments[-1])
        return self.proofs

    def weighed(self) -> Evidence:
        """Good evidence of this pipeline."""
        return evidence(
            pipeline=self.stream.name,
            pipeline_version=self.experiment.pipeline_version,
            score_version=self.experiment.score_version,
        )

    def tell(self, name: str, **said: Any) -> None:
        """Put something in force."""
        control = Control(
            pipeline=self.stream.name,
            name=name,
            issued_at_ms=7,
            issued_by="a test",
            reason="before",
            **said,
        )
        instruct(self.kafka, control, 1)

    def rollout(self, path: str = "quantum") -> Control | None:
        """What stands of the path now."""
        return standing(self.kafka, 1).controls.get(f"{self.stream.name}|rollout.{path}")

    def kept(self) -> list[tuple[bool, Judgement]]:
        """Whether each was against the gate, and what the gate said, the oldest first."""
        return [
            (change.override, msgspec.json.decode(change.after, type=Judgement))
            for change in recorded(self.kafka).changes
            if change.kind is ChangeKind.EVIDENCE and change.pipeline == self.stream.name
        ]


@pytest.fixture
def operator(
    servers: LocalServers, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> Operator:
    """Quantum in shadow, an experiment that runs, and no evidence yet."""
    made = Operator(servers, tmp_path)
    monkeypatch.setattr(rollout_promote, "look", made.look)
    monkeypatch.setattr(rollout_promote, "proofs", made.prove)
    made.tell("experiment", experiment=made.experiment)
    made.tell("rollout.quantum", rollout=Rollout(path=Path.QUANTUM, stage=Stage.SHADOW))
    return made


@pytest.mark.servers
def test_a_path_is_let_in_by_degrees(operator: Operator) -> None:
    """Refused without evidence, then a canary, then live; each asking is on record."""
    refused = operator("quantum")
    assert refused.exit_code == 3
    assert "no look at all yet" in refused.output
    operator.evidence = operator.weighed()
    assert operator("quantum", "--dry-run").exit_code == 0
    standing_ = operator.rollout()
    assert standing_ is not None
    assert standing_.reason == "before"

    passed = operator("quantum", "--share", ".2", "--by", "someone")
    assert passed.exit_code == 0, passed.output
    assert "quantum may be canary" in passed.output
    control = operator.rollout()
    assert control is not None
    assert (control.issued_by, control.reason) == ("someone", WHY[1])
    assert control.rollout == Rollout(
        path=Path.QUANTUM, stage=Stage.CANARY, share=0.2, evidence_id="v1"
    )
    assert operator.since_ms == [None, None]  # a canary that has yet to begin

    told = json.loads(operator("quantum", "--json").output)
    assert operator.since_ms[-1] == control.issued_at_ms
    assert told["judgement"]["target"] == "live"
    assert told["judgement"]["passed"]
    live = operator.rollout()
    assert live is not None
    assert live.rollout == Rollout(path=Path.QUANTUM, stage=Stage.LIVE, evidence_id="v1")
    again = operator("quantum")
    assert again.exit_code == 2
    assert "live already" in again.output
    kept = operator.kept()
    assert [judgement.passed for _, judgement in kept] == [False, True, True]
    assert kept[1][1].evidence == operator.evidence
    assert kept[1][1].proofs == PROVED


@pytest.mark.servers
def test_against_the_gate_it_is_marked(operator: Operator) -> None:
    """Without --override a refusal changes nothing; with it everything says so."""
    operator.evidence = differing(operator.weighed(), quantum_heuristic=figure(0.1, -0.1, 0.3))
    before = operator.rollout()
    assert operator("quantum").exit_code == 3
    assert operator.rollout() == before
    forced = operator("quantum", "--to", "live", "--override")
    assert forced.exit_code == 0
    assert "AGAINST THE GATE" in forced.output
    control = operator.rollout()
    assert control is not None
    assert control.rollout is not None
    assert (control.rollout.stage, control.rollout.override) == (Stage.LIVE, True)
    assert [(against, judgement.passed) for against, judgement in operator.kept()] == [
        (False, False),
        (True, False),
    ]
    changes = [one for one in recorded(operator.kafka).changes if one.after and one.override]
    assert {one.kind for one in changes if one.pipeline == operator.stream.name} == {
        ChangeKind.EVIDENCE,
        ChangeKind.ROLLOUT,
    }


@pytest.mark.servers
def test_a_demotion_that_came_meanwhile_stands(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the gate was asked about is not there any more: nothing is written over it."""
    canary = Rollout(path=Path.QUANTUM, stage=Stage.CANARY, share=0.2)
    operator.tell("rollout.quantum", rollout=canary)
    operator.evidence = operator.weighed()

    def prove(*_: Any) -> Proofs:
        operator.tell("rollout.quantum", rollout=Rollout(path=Path.QUANTUM, stage=Stage.SHADOW))
        return PROVED

    monkeypatch.setattr(rollout_promote, "proofs", prove)
    late = operator("quantum")
    assert late.exit_code == 1
    assert "something else stands" in late.output
    control = operator.rollout()
    assert control is not None
    assert control.rollout == Rollout(path=Path.QUANTUM, stage=Stage.SHADOW)


@pytest.mark.servers
def test_shares_and_stages_go_one_way(operator: Operator) -> None:
    """Further, or it is not a promotion."""
    ask: Callable[..., str] = lambda *rest: operator("quantum", *rest).output  # noqa: E731
    assert "--share is a canary's" in ask("--to", "live", "--share", ".1")
    assert "above 0, up to 1" in ask("--share", "1.5")
    assert "wanted canary or live" in ask("--to", "shadow")
    canary = Rollout(path=Path.QUANTUM, stage=Stage.CANARY, share=0.2)
    operator.tell("rollout.quantum", rollout=canary)
    assert "a canary already" in ask("--to", "canary")
    assert "rollout demote" in ask("--to", "canary", "--share", ".1")
    operator.evidence = operator.weighed()
    assert operator("quantum", "--to", "canary", "--share", ".5").exit_code == 0
