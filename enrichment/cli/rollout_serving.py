"""`enrichment rollout demote | kill | restore`: a path taken out, which never asks the gate."""

import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from enrichment.cli.app import JsonOption, fail, pipeline_or_fail, settings_of
from enrichment.cli.instructing import (
    EXIT_MISUSE,
    canary_share,
    framing_or_fail,
    mirrored,
    on_kafka,
    ring_path,
    say_why,
    standing_or_fail,
    tell,
)
from enrichment.cli.who import By, login

if TYPE_CHECKING:
    from enrichment.pipelines import Pipeline
    from enrichment.records import Control, Rollout
    from enrichment.rollout.instruct import Written
    from enrichment.settings import Settings
    from enrichment.stream.framing import Framing

STAGES: Final = ("shadow", "canary")

Why = Annotated[str, typer.Option("--reason", help="Why: it is asked for, and kept.")]
One = Annotated[str, typer.Option("--pipeline", "-p", help="A pipeline by name. Never guessed.")]
OneOrAll = Annotated[
    str,
    typer.Option(
        "--pipeline", "-p", help="A pipeline by name, or '*' for all of them. Never guessed."
    ),
]


def register(group: typer.Typer) -> None:
    """Add the verbs to `enrichment rollout`."""
    group.command("demote")(demote)
    group.command("kill")(kill)
    group.command("restore")(restore)


def demote(  # noqa: PLR0913, PLR0917  # one for each option
    context: typer.Context,
    path: Annotated[str, typer.Argument(help="quantum or classical.")],
    to: Annotated[str, typer.Option("--to", help="shadow (used for nobody) or canary.")],
    pipeline: One,
    reason: Why,
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            help="Of the accounts, for a canary: .05 is 5 %. The file's canary_share if not given.",
        ),
    ] = None,
    by: By = "",
    as_json: JsonOption = False,
) -> None:
    """Let a path in less far: from live to a canary or to shadow, or a canary for fewer accounts.

    The gate is not asked. In shadow the path goes on being computed and recorded, and is not used.

    Exit codes: 0 written, 1 Kafka did not take it, 2 not understood, or it would let the path in
    further, which `enrichment rollout promote` alone does.

    Examples:
      enrichment rollout demote quantum --to shadow -p payments --reason "drifted since noon"

      enrichment rollout demote classical -p payments --to canary --share .05 --reason "a step back"
    """
    from enrichment.rollout.assign import rollouts_of
    from enrichment.rollout.control import ROLLOUT, in_force

    settings = settings_of(context)
    wanted = ring_path(path)
    say_why(reason)
    if to not in STAGES:
        fail(f"--to {to}: wanted shadow or canary; a path is made live by `promote`", EXIT_MISUSE)
    definition = pipeline_or_fail(pipeline, settings)
    found = standing_or_fail(settings)
    state = in_force(definition.name, found.controls.values())
    [now] = [one for one in rollouts_of(definition, state) if one.path is wanted]
    lower = _lower(definition, now, to, share)
    control = _control(definition.name, f"{ROLLOUT}{wanted.value}", reason, by, rollout=lower)
    written = _put(settings, control, framing_or_fail(settings))
    replaced = found.controls.get(written.key)
    seen = mirrored(settings, definition.name, (found.controls | {written.key: control}).values())
    tell("written", control, written, seen, replaced=replaced, as_json=as_json)


def kill(
    context: typer.Context,
    pipeline: OneOrAll,
    reason: Why,
    path: Annotated[
        str,
        typer.Option(
            "--path", help="Only what is above: 'quantum' leaves the classical path serving."
        ),
    ] = "classical",
    by: By = "",
    as_json: JsonOption = False,
) -> None:
    """Pull the kill switch: the heuristic alone decides, within two seconds, until `restore`.

    It caps whatever the rollout says, overrides too, and changes nothing of it. All paths go on
    being computed and recorded.

    Exit codes: 0 written, 1 Kafka did not take it, 2 not understood, or a stricter one is in force.

    Examples:
      enrichment rollout kill -p payments --reason "incident 42"

      enrichment rollout kill -p payments --path quantum --reason "a bad calibration"

      enrichment rollout kill -p '*' --reason "incident 42" --by "on call"
    """
    from enrichment.rollout.control import CAPS, EVERY, SERVE, control_key, in_force
    from enrichment.stream.framing import BARE

    settings = settings_of(context)
    cap = CAPS[CAPS.index(ring_path(path).value) - 1]
    say_why(reason)
    if pipeline != EVERY:
        pipeline = pipeline_or_fail(pipeline, settings).name
    control = _control(pipeline, SERVE, reason, by, serve=cap)
    standing = None
    if cap != CAPS[0]:
        standing = standing_or_fail(settings).controls.get(control_key(pipeline, SERVE))
        _refuse_weaker(cap, standing)
    # The strictest is written before anything else is asked, and needs no schema registry.
    written = _put(settings, control, BARE)
    typer.secho(f"written as {written.key}; looking who follows it", err=True)
    found = standing_or_fail(settings)
    seen = mirrored(settings, pipeline, found.controls.values())
    tell("written", control, written, seen, replaced=standing, as_json=as_json)
    lowest = in_force(pipeline, found.controls.values()).serve
    if lowest != cap:
        typer.secho(f"another cap is lower: nothing above {lowest} serves", err=True)


def _refuse_weaker(cap: str, standing: "Control | None") -> None:
    """End the command where it would let more serve than what stands."""
    from enrichment.rollout.control import CAPS

    if standing is not None and CAPS.index(standing.serve) < CAPS.index(cap):
        fail(
            f"{standing.serve} is in force already, by {standing.issued_by}: {standing.reason}; "
            f"{cap} would let more serve: `enrichment rollout restore` first",
            EXIT_MISUSE,
        )


def restore(
    context: typer.Context,
    pipeline: OneOrAll,
    reason: Annotated[str, typer.Option("--reason", help="Why, if it should be kept.")] = "",
    by: By = "",
    as_json: JsonOption = False,
) -> None:
    """Lift the kill switch: paths serve again, each as far as the rollout lets it in.

    Exit codes: 0 lifted, 1 Kafka did not take it, 2 there is nothing to lift.

    Examples:
      enrichment rollout restore -p payments --reason "incident 42 is over"

      enrichment rollout restore -p '*'
    """
    from enrichment.rollout import instruct
    from enrichment.rollout.control import EVERY, SERVE, control_key, in_force

    settings = settings_of(context)
    if pipeline != EVERY:
        pipeline = pipeline_or_fail(pipeline, settings).name
    found = standing_or_fail(settings)
    key = control_key(pipeline, SERVE)
    control = found.controls.pop(key, None)
    left = in_force(pipeline, found.controls.values()).serve
    if control is None:
        other = f"; but all pipelines are capped at {left}: -p '*'" if left else ""
        fail(f"no kill switch is pulled for {pipeline}{other}", EXIT_MISUSE)
    who = by or login()
    framing = framing_or_fail(settings)
    written = on_kafka(
        settings,
        lambda kafka, count: instruct.lift(
            kafka, key, count, by=who, reason=reason.strip(), framing=framing
        ),
    )
    seen = mirrored(settings, pipeline, list(found.controls.values()))
    tell("lifted", control, written, seen, as_json=as_json)
    if left:
        typer.secho(f"another cap is left: nothing above {left} serves", err=True)


def _lower(pipeline: "Pipeline", now: "Rollout", to: str, share: float | None) -> "Rollout":
    """The rollout that was asked for; the end where it lets the path in further than now."""
    from enrichment.records import Rollout, Stage

    name = now.path.value
    if to == Stage.SHADOW.value:
        if share is not None:
            fail("--share is a canary's: in shadow a path serves nobody", EXIT_MISUSE)
        return Rollout(path=now.path, stage=Stage.SHADOW)
    wanted = canary_share(pipeline, share)
    serves = {Stage.SHADOW: 0.0, Stage.CANARY: now.share, Stage.LIVE: 1.0}[now.stage]
    if wanted > serves:
        fail(
            f"{name} is {now.stage.value}, for {serves:.2%} of the accounts: {wanted:.2%} would "
            f"let it in further, which is `enrichment rollout promote {name}`'s to ask for",
            EXIT_MISUSE,
        )
    # What was let in against the gate stays marked as long as any of it is let in.
    return Rollout(
        path=now.path,
        stage=Stage.CANARY,
        share=wanted,
        evidence_id=now.evidence_id,
        override=now.override,
    )


def _control(pipeline: str, name: str, reason: str, by: str, **said: Any) -> "Control":
    """The record of an instruction that is given now."""
    from enrichment.records import Control

    return Control(
        pipeline=pipeline,
        name=name,
        issued_at_ms=time.time_ns() // 1_000_000,
        issued_by=by or login(),
        reason=reason.strip(),
        **said,
    )


def _put(settings: "Settings", control: "Control", framing: "Framing") -> "Written":
    """Put it in force."""
    from enrichment.rollout import instruct

    return on_kafka(
        settings, lambda kafka, count: instruct.instruct(kafka, control, count, framing)
    )
