"""`enrichment control withdraw | lift | list`: what must not be used any more."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from enrichment.cli.app import JsonOption, fail, pipeline_or_fail, settings_of
from enrichment.cli.instructing import (
    framing_or_fail,
    mirrored,
    on_kafka,
    plain,
    say_why,
    standing_or_fail,
    tell,
)
from enrichment.cli.who import By, login

if TYPE_CHECKING:
    from enrichment.records import Withdrawal

EXIT_MISUSE: Final = 2
SKEW_MS: Final = 1_000  # for all pipelines: what a pipeline's file says where it says nothing

Pipeline = Annotated[
    str,
    typer.Option(
        "--pipeline", "-p", help="A pipeline by name, or '*' for all of them. Never guessed."
    ),
]
Job = Annotated[str, typer.Option("--job", help="The ring features that this job computed.")]
Calibration = Annotated[
    str, typer.Option("--calibration", help="The ring features computed under this calibration.")
]
Until = Annotated[
    str,
    typer.Option(
        "--until",
        help="All features computed at or before: 'now', a time like 2026-11-25T03:00:00Z, or "
        "milliseconds since 1970. Beside --job or --calibration it narrows them.",
    ),
]
All = Annotated[
    bool,
    typer.Option("--all", help="All features, those still to be computed too, until it is lifted."),
]


def register(app: typer.Typer) -> None:
    """Adds the noun to the top-level application."""
    control = typer.Typer(
        no_args_is_help=True,
        help="Withdraw features from use everywhere within two seconds, without rewriting them.",
    )
    control.command("withdraw")(withdraw)
    control.command("lift")(lift)
    control.command("list")(list_)
    app.add_typer(control, name="control")


def withdraw(  # noqa: PLR0913, PLR0917  # one for each option
    context: typer.Context,
    pipeline: Pipeline,
    reason: Annotated[str, typer.Option("--reason", help="Why: it is asked for, and kept.")],
    job: Job = "",
    calibration: Calibration = "",
    until: Until = "",
    everything: All = False,
    by: By = "",
    as_json: JsonOption = False,
) -> None:
    """Withdraw features: from then on events are answered without them, and say `withdrawn`.

    Exit codes: 0 written, 1 Kafka did not take it, 2 not understood.

    Examples:
      enrichment control withdraw -p payments --job 'payments|eu|1700000000000|0' --reason "bad run"

      enrichment control withdraw -p payments --calibration c-2026-11-24 --reason "drifted"

      enrichment control withdraw -p '*' --all --reason "incident 42" --by "on call"
    """
    from enrichment.records import Control
    from enrichment.rollout import instruct
    from enrichment.rollout.control import EVERY, WITHDRAWALS_MAX, control_key

    settings = settings_of(context)
    say_why(reason)
    skew_ms = SKEW_MS
    if pipeline != EVERY:
        definition = pipeline_or_fail(pipeline, settings)
        pipeline, skew_ms = definition.name, definition.features.skew_ms
    name, withdrawal = _named(job, calibration, until, everything, skew_ms)
    found = standing_or_fail(settings)
    key = control_key(pipeline, name)
    replaced = found.controls.pop(key, None)
    standing = [one for one in found.controls.values() if one.pipeline in (pipeline, EVERY)]
    if (job or calibration) and sum(
        one.withdrawal is not None for one in standing
    ) >= WITHDRAWALS_MAX:
        fail(
            f"{WITHDRAWALS_MAX} withdrawals are in force already, and one more would withdraw "
            "everything: lift some, or use --until now or --all"
        )
    control = Control(
        pipeline=pipeline,
        name=name,
        issued_at_ms=time.time_ns() // 1_000_000,
        issued_by=by or login(),
        reason=reason.strip(),
        withdrawal=withdrawal,
    )
    framing = framing_or_fail(settings)
    written = on_kafka(
        settings, lambda kafka, count: instruct.instruct(kafka, control, count, framing)
    )
    seen = mirrored(settings, pipeline, [*found.controls.values(), control])
    tell("withdrawn", control, written, seen, replaced=replaced, as_json=as_json)


def lift(  # noqa: PLR0913, PLR0917  # one for each option
    context: typer.Context,
    pipeline: Pipeline,
    job: Job = "",
    calibration: Calibration = "",
    until: Annotated[
        bool, typer.Option("--until", help="What was withdrawn with --until.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="What was withdrawn with --all.")
    ] = False,
    name: Annotated[
        str, typer.Option("--name", help="Whatever stands under this name, as `list` shows it.")
    ] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why, if it should be kept.")] = "",
    by: By = "",
    as_json: JsonOption = False,
) -> None:
    """Lift a withdrawal: the features it covered are used again, as fresh or old as they are.

    Exit codes: 0 lifted, 1 Kafka did not take it, 2 there is nothing such to lift.

    Examples:
      enrichment control lift -p payments --job 'payments|eu|1700000000000|0'

      enrichment control lift -p '*' --all --reason "incident 42 is over"
    """
    import difflib

    from enrichment.rollout import instruct
    from enrichment.rollout.control import control_key

    settings = settings_of(context)
    if not name:
        name = _name(job, calibration, until=until, everything=everything)
    found = standing_or_fail(settings)
    key = control_key(pipeline, name)
    control = found.controls.pop(key, None)
    if control is None and key not in found.malformed:
        near = difflib.get_close_matches(key, found.controls, n=1, cutoff=0.3)
        hint = f"; the nearest is {near[0]}" if near else ": `enrichment control list`"
        fail(f"nothing is in force under {key}{hint}", EXIT_MISUSE)
    who = by or login()
    framing = framing_or_fail(settings)
    written = on_kafka(
        settings,
        lambda kafka, count: instruct.lift(
            kafka, key, count, by=who, reason=reason, framing=framing
        ),
    )
    seen = mirrored(settings, pipeline, list(found.controls.values()))
    tell("lifted", control, written, seen, as_json=as_json)


def list_(
    context: typer.Context,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="Only what concerns this pipeline.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List what is in force, the newest first: what, since when, by whom and why.

    Example: enrichment control list --pipeline payments --json
    """
    from rich.console import Console
    from rich.table import Table

    from enrichment.rollout.control import EVERY
    from enrichment.rollout.words import in_words, time_in_words

    found = standing_or_fail(settings_of(context))
    chosen = [
        one
        for one in found.controls.values()
        if pipeline is None or one.pipeline in (pipeline, EVERY)
    ]
    chosen.sort(key=lambda one: (one.issued_at_ms, one.name), reverse=True)
    if as_json:
        shown = [plain(one) for one in chosen]
        typer.echo(json.dumps({"controls": shown, "malformed": found.malformed}, indent=2))
        return
    table = Table("pipeline", "name", "what", "since", "by", "reason")
    for one in chosen:
        since = time_in_words(one.issued_at_ms)
        table.add_row(one.pipeline, one.name, in_words(one), since, one.issued_by, one.reason)
    if chosen:
        Console().print(table)
    else:
        typer.echo("nothing is in force")
    for key, said in found.malformed.items():
        typer.secho(f"skipped by every process: {key}: {said}", err=True, fg=typer.colors.YELLOW)


def _name(job: str, calibration: str, *, until: bool, everything: bool) -> str:
    """The name of the withdrawal that these options ask for, one at most of each thing."""
    if [bool(job), bool(calibration), everything].count(True) > 1 or (everything and until):
        fail("give one of --job, --calibration and --all: each is lifted by itself", EXIT_MISUSE)
    if everything:
        return "withdraw.all"
    if job:
        return f"withdraw.job.{job}"
    if calibration:
        return f"withdraw.calibration.{calibration}"
    if until:
        return "withdraw.until"
    return fail("say what: --job ID, --calibration ID, --until or --all", EXIT_MISUSE)


def _named(
    job: str, calibration: str, until: str, everything: bool, skew_ms: int
) -> "tuple[str, Withdrawal]":
    """A withdrawal as the options say, and its name."""
    from enrichment.records import Withdrawal
    from enrichment.rollout.words import time_of

    name = _name(job, calibration, until=bool(until), everything=everything)
    now_ms = time.time_ns() // 1_000_000
    try:
        until_ms = time_of(until, now_ms + skew_ms) if until else 0
    except ValueError as error:
        fail(f"--until: {error}", EXIT_MISUSE)
    return name, Withdrawal(
        job_id=job, calibration_id=calibration, until_ms=until_ms, everything=everything
    )
