"""`enrichment rollout promote`: the gate is asked, and what it says is carried out and kept."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from enrichment.cli.app import JsonOption, fail, pipeline_or_fail, settings_of
from enrichment.cli.instructing import (
    EXIT_MISUSE,
    canary_share,
    framing_or_fail,
    on_kafka,
    ring_path,
    say_why,
    standing_or_fail,
)
from enrichment.cli.progress import progress
from enrichment.cli.rollout_judged import print_json, print_judgement
from enrichment.cli.rollout_proofs import proofs
from enrichment.cli.who import By, login

if TYPE_CHECKING:
    from enrichment.pipelines import Pipeline
    from enrichment.records import Control, Experiment, Rollout, Stage
    from enrichment.rollout.control import ControlState
    from enrichment.rollout.evidence import Evidence
    from enrichment.rollout.judgement import Judgement, Proofs, Question
    from enrichment.settings import Settings

EXIT_REFUSED: Final = 3


def register(group: typer.Typer) -> None:
    """Add the verb to `enrichment rollout`."""
    group.command("promote")(promote)


def promote(  # noqa: PLR0913, PLR0917  # one for each option
    context: typer.Context,
    path: Annotated[str, typer.Argument(help="quantum or classical.")],
    pipeline: Annotated[
        str, typer.Option("--pipeline", "-p", help="A pipeline by name. Never guessed.")
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why: it is asked for, and kept.")],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="canary or live.  [default: from shadow canary, from there live]",
            show_default=False,
        ),
    ] = "",
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            help="Of the accounts, for a canary: .05 is 5 %. The file's canary_share if not given.",
        ),
    ] = None,
    override: Annotated[
        bool, typer.Option("--override", help="Let it in though the gate refuses. It is marked.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask, and change nothing; nothing is kept, either.")
    ] = False,
    by: By = "",
    as_json: JsonOption = False,
) -> None:
    """Ask the gate to let a path in further, and do so where every check passes.

    The evidence is that of the last look. Records are scored again and jobs run again on the spot.
    What was asked and what the gate said is kept (`enrichment changes list`), a refusal too.

    Exit codes: 0 promoted, or it would be (--dry-run); 1 Kafka did not take it, or a topic cannot
    be read; 2 not understood; 3 refused.

    Examples:
      enrichment rollout promote classical -p payments --reason "first look"

      enrichment rollout promote quantum -p payments --to canary --share .1 --dry-run --reason "?"

      enrichment rollout promote quantum -p payments --to live --override --reason "demo for audit"
    """
    from enrichment.rollout.assign import rollouts_of
    from enrichment.rollout.control import ROLLOUT, control_key, in_force
    from enrichment.rollout.gate import judge

    settings = settings_of(context)
    wanted = ring_path(path)
    say_why(reason)
    definition = pipeline_or_fail(pipeline, settings)
    who = by or login()
    found = standing_or_fail(settings)
    state = in_force(definition.name, found.controls.values())
    [now] = [one for one in rollouts_of(definition, state) if one.path is wanted]
    target = _target(now, to, share)
    asked_share = _share(definition, now, target, share)
    question = _question(definition, now, target, state.experiment)
    evidence = look(settings, definition, state)
    record = found.controls.get(control_key(definition.name, f"{ROLLOUT}{wanted.value}"))
    judgement = judge(
        evidence,
        question,
        definition.rollout.gate,
        # Without evidence there is nothing to prove.
        _proofs(settings, definition, question, record, known=evidence is not None),
    )
    further = judgement.passed or override
    if not as_json:
        print_judgement(judgement, override=override)
    control = None
    if not dry_run:
        _keep(settings, judgement, by=who, reason=reason.strip(), override=override)
        if further:
            control = _control(judgement, who, reason.strip(), asked_share)
            _instruct(settings, control, record, as_json=as_json)
    if as_json:
        print_json(judgement, control, override=override, dry_run=dry_run)
    if not further:
        raise typer.Exit(EXIT_REFUSED)


def look(settings: "Settings", pipeline: "Pipeline", state: "ControlState") -> "Evidence | None":
    """The evidence of the last look that was reached, or None where none was."""
    from confluent_kafka import KafkaException

    from enrichment.lab.publish import explained
    from enrichment.rollout.gather import GatherError, experimented, latest_look
    from enrichment.rollout.redraw import sampler_of
    from enrichment.wiring.clients import kafka_config
    from enrichment.wiring.clock import now_ms

    if state.experiment is None:
        return None
    provider = state.compute.provider if state.compute is not None else ""
    try:
        with progress("weighing the evidence", None):
            return latest_look(
                kafka_config(settings, "rollout"),
                pipeline,
                experimented(state.experiment),
                now_ms=now_ms(),
                sampler=sampler_of(pipeline, provider),
            )
    except (GatherError, TimeoutError) as error:
        fail(str(error))
    except KafkaException as error:
        fail(explained(error))


def _target(now: "Rollout", to: str, share: float | None) -> "Stage":
    """The stage that is asked for; the end where that is not further than now."""
    from enrichment.records import Stage

    name = now.path.value
    if now.stage is Stage.LIVE:
        fail(f"{name} is live already: there is nothing further", EXIT_MISUSE)
    if not to:
        return Stage.CANARY if now.stage is Stage.SHADOW else Stage.LIVE
    if to not in {"canary", "live"}:
        fail(f"--to {to}: wanted canary or live; `demote` takes a path out", EXIT_MISUSE)
    if to == "canary" and now.stage is Stage.CANARY and share is None:
        fail(f"{name} is a canary already: --share for more accounts, or --to live", EXIT_MISUSE)
    return Stage(to)


def _share(pipeline: "Pipeline", now: "Rollout", target: "Stage", share: float | None) -> float:
    """The canary's share, or nought; the end where it makes no sense or lets nobody further in."""
    from enrichment.records import Stage

    if target is Stage.LIVE:
        if share is not None:
            fail("--share is a canary's: live is for all accounts", EXIT_MISUSE)
        return 0.0
    wanted = canary_share(pipeline, share)
    if wanted <= now.share:
        fail(
            f"{now.path.value} is a canary for {now.share:.2%} of the accounts already: for fewer "
            "it is `enrichment rollout demote`",
            EXIT_MISUSE,
        )
    return wanted


def _question(
    pipeline: "Pipeline", now: "Rollout", target: "Stage", experiment: "Experiment | None"
) -> "Question":
    from enrichment.rollout.judgement import Question

    return Question(
        path=now.path,
        before=now.stage,
        target=target,
        pipeline=pipeline.name,
        pipeline_version=pipeline.version,
        score_version=pipeline.score.version,
        experiment=experiment,
    )


def _proofs(
    settings: "Settings",
    pipeline: "Pipeline",
    question: "Question",
    record: "Control | None",
    *,
    known: bool,
) -> "Proofs":
    """What is found on the spot; of a canary since its own record was written."""
    from enrichment.records import Stage
    from enrichment.rollout.judgement import Proofs

    if not known:
        return Proofs()
    goes_live = question.before is Stage.CANARY and question.target is Stage.LIVE
    since_ms = record.issued_at_ms if goes_live and record is not None else None
    return proofs(settings, pipeline, question, since_ms)


def _keep(
    settings: "Settings", judgement: "Judgement", *, by: str, reason: str, override: bool
) -> None:
    """Put on record what was asked and said, before anything follows from it."""
    from confluent_kafka import KafkaException

    from enrichment.rollout.on_record import asked
    from enrichment.stream.changes import append, new_change_id
    from enrichment.stream.reviews import UnwrittenError
    from enrichment.wiring.clients import kafka_config
    from enrichment.wiring.clock import now_ms

    at_ms = now_ms()
    against = override and not judgement.passed
    change = asked(judgement, (new_change_id(at_ms), at_ms), by=by, reason=reason, override=against)
    try:
        append(kafka_config(settings, "rollout"), [change], framing_or_fail(settings))
    except UnwrittenError as error:
        fail(f"nothing was changed: {error}")
    except KafkaException as error:
        fail(f"nothing was changed: Kafka at {settings.kafka_bootstrap}: {error.args[0].str()}")


def _control(judgement: "Judgement", by: str, reason: str, share: float) -> "Control":
    """What lets the path in, marked where that is against the gate."""
    from enrichment.records import Control, Rollout
    from enrichment.rollout.control import ROLLOUT
    from enrichment.wiring.clock import now_ms

    return Control(
        pipeline=judgement.pipeline,
        name=f"{ROLLOUT}{judgement.path.value}",
        issued_at_ms=now_ms(),
        issued_by=by,
        reason=reason,
        rollout=Rollout(
            path=judgement.path,
            stage=judgement.target,
            share=share,
            evidence_id=judgement.evidence_id,
            override=not judgement.passed,
        ),
    )


def _instruct(
    settings: "Settings", control: "Control", record: "Control | None", *, as_json: bool
) -> None:
    """Put it in force in place of what was judged: a demotion that came meanwhile stands."""
    from enrichment.rollout import instruct
    from enrichment.rollout.words import in_words

    framing = framing_or_fail(settings)
    written = on_kafka(
        settings,
        lambda kafka, count: instruct.instruct(kafka, control, count, framing, in_place_of=record),
    )
    if not as_json:
        typer.echo(f"{in_words(control)}: written as {written.key}, in force within 2 s")
