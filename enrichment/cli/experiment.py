"""`enrichment experiment start | show`: what ties runs, jobs and evidence together."""

import json
import re
import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from enrichment.cli.app import JsonOption, PipelineOption, fail, pipeline_or_fail, settings_of
from enrichment.cli.changes_read import (
    asked,
    framing_or_fail,
    read_changes,
    standing_controls,
)
from enrichment.cli.who import By, login

if TYPE_CHECKING:
    from collections.abc import Iterable

    from enrichment.pipelines import Pipeline
    from enrichment.records import Change, Control, Experiment
    from enrichment.rollout.instruct import Written
    from enrichment.settings import Settings

EXIT_MISUSE: Final = 2
ID: Final = re.compile(r"[A-Za-z0-9._-]{1,60}")
"""What files, labels and shells all bear."""

SHOWN_MAX: Final = 20


def register(app: typer.Typer) -> None:
    """Adds the noun to the top-level application."""
    experiment = typer.Typer(
        no_args_is_help=True, help="Begin an experiment: evidence is of what was decided since."
    )
    experiment.command("start")(start)
    experiment.command("show")(show)
    app.add_typer(experiment, name="experiment")


def start(
    context: typer.Context,
    reason: Annotated[str, typer.Option("--reason", help="Why: it is asked for, and kept.")],
    pipeline: PipelineOption = "payments",
    id_: Annotated[
        str, typer.Option("--id", help="Its id; pipeline, date and four digits by default.")
    ] = "",
    by: By = "",
    as_json: JsonOption = False,
) -> None:
    """Begin an experiment, in place of the one that is on: jobs and changes bear its id.

    It is of the pipeline's file and the score table as they are now; with others it is another
    experiment, which you begin yourself. `enrichment control lift --name experiment` ends it.

    Exit codes: 0 begun, 1 Kafka did not take it, 2 not understood, or its id was used before.

    Examples:
      enrichment experiment start -p payments --reason "are quantum rings any better?"

      enrichment experiment start -p payments --id rings-in-spring --reason "second try" --json
    """
    from enrichment.records import Control, Experiment
    from enrichment.rollout.control import EXPERIMENT

    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    if not reason.strip():
        fail("say why with --reason: whoever reads the evidence will want to know", EXIT_MISUSE)
    now_ms = time.time_ns() // 1_000_000
    id_ = id_ or _new_id(definition.name, now_ms)
    if not ID.fullmatch(id_):
        fail(f"--id '{id_}': wanted letters, digits, '.', '_' and '-', 60 at most", EXIT_MISUSE)
    _refuse_used(id_, read_changes(settings).changes)
    former = _on(settings, definition.name)
    control = Control(
        pipeline=definition.name,
        name=EXPERIMENT,
        issued_at_ms=now_ms,
        issued_by=by.strip() or login(),
        reason=reason.strip(),
        experiment=Experiment(
            experiment_id=id_,
            started_ms=now_ms,
            pipeline_version=definition.version,
            score_version=definition.score.version,
        ),
    )
    written = _write(settings, control)
    _tell(control, former, written, as_json=as_json)


def show(
    context: typer.Context,
    pipeline: PipelineOption = "payments",
    as_json: JsonOption = False,
) -> None:
    """Show the experiment that is on, what was changed while it was, and those before it.

    Exit codes: 0 done, 1 Kafka does not answer, 2 no such pipeline or topic.

    Example: enrichment experiment show -p payments --json
    """
    from enrichment.rollout.changes import Wanted, chosen

    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    changes = read_changes(settings).changes
    on = _on(settings, definition.name)
    experiment = None if on is None else on.experiment
    within: list[Change] = []
    if experiment is not None:
        wanted = Wanted(pipeline=definition.name, experiment_id=experiment.experiment_id)
        within = chosen(changes, wanted)
    unlike = _unlike(experiment, definition)
    past = [one for one in _begun(changes, definition.name) if one != experiment]
    if as_json:
        told = {
            "experiment": None if on is None else _plain(on),
            "unlike": unlike,
            "changes": [one.change_id for one in within],
            "past": [_plain(one) for one in past],
        }
        typer.echo(json.dumps(told, indent=2))
        return
    _print(on, within, unlike, past)


def _new_id(pipeline: str, now_ms: int) -> str:
    """Readable, and by four random digits another than any that begins the same day."""
    from enrichment.rollout.words import time_in_words

    return f"{pipeline[:40]}-{time_in_words(now_ms)[:10]}-{secrets.token_hex(2)}"


def _refuse_used(id_: str, changes: "Iterable[Change]") -> None:
    """End the command where an experiment had that id: their evidence would be mixed."""
    from enrichment.rollout.words import time_in_words

    for change in changes:
        if change.experiment_id == id_:
            when = time_in_words(change.changed_at_ms)
            fail(f"there was an experiment '{id_}' at {when}: choose another --id", EXIT_MISUSE)


def _on(settings: "Settings", pipeline: str) -> "Control | None":
    """The record of the experiment that is on, where there is one."""
    from enrichment.rollout.control import EVERY, EXPERIMENT, control_key

    standing = standing_controls(settings)
    own, of_all = (standing.get(control_key(name, EXPERIMENT)) for name in (pipeline, EVERY))
    return own or of_all


def _begun(changes: "Iterable[Change]", pipeline: str) -> "list[Experiment]":
    """The experiments of the pipeline that were ever begun, in order."""
    import msgspec

    from enrichment.records import ChangeKind, Control

    controls = [
        msgspec.json.decode(change.after, type=Control)
        for change in changes
        if change.pipeline == pipeline and change.kind is ChangeKind.EXPERIMENT and change.after
    ]
    return [one.experiment for one in controls if one.experiment is not None]


def _unlike(experiment: "Experiment | None", pipeline: "Pipeline") -> list[str]:
    """What is not as it was when the experiment began, of what makes it this one."""
    if experiment is None:
        return []
    pairs = {
        "pipeline_version": (experiment.pipeline_version, pipeline.version),
        "score_version": (experiment.score_version, pipeline.score.version),
    }
    return [name for name, (was, is_) in pairs.items() if was != is_]


def _write(settings: "Settings", control: "Control") -> "Written":
    """Put it in force and on record; what is wrong ends the command."""
    from enrichment.rollout import instruct
    from enrichment.rollout.control import MalformedControlError
    from enrichment.stream.topics import CHANGES, CONTROL
    from enrichment.wiring.clients import kafka_config, partition_count

    framing = framing_or_fail(settings, CONTROL, CHANGES)
    count = asked(settings, lambda: partition_count(settings, CONTROL))
    kafka = kafka_config(settings, "control")
    try:
        return asked(settings, lambda: instruct.instruct(kafka, control, count, framing))
    except (MalformedControlError, instruct.UnrecordedError) as error:
        fail(str(error), EXIT_MISUSE)


def _tell(
    control: "Control", former: "Control | None", written: "Written", *, as_json: bool
) -> None:
    experiment = control.experiment
    replaced = None if former is None else former.experiment
    assert experiment is not None  # noqa: S101  # `start` has made it
    if as_json:
        told = {
            "experiment": _plain(control),
            "replaced": None if replaced is None else _plain(replaced),
            "change_id": written.change_id,
        }
        typer.echo(json.dumps(told, indent=2))
        return
    typer.echo(f"experiment {experiment.experiment_id} is on, for pipeline {control.pipeline}")
    typer.echo(
        f"with pipeline file {experiment.pipeline_version}, score table {experiment.score_version}"
    )
    if replaced is not None:
        typer.echo(f"in place of {replaced.experiment_id}, which ends with it")
    typer.echo(f"on record as change {written.change_id}")


def _print(
    on: "Control | None", within: "list[Change]", unlike: list[str], past: "list[Experiment]"
) -> None:
    from enrichment.rollout.words import time_in_words

    if on is None or on.experiment is None:
        typer.echo("no experiment is on: `enrichment experiment start`")
    else:
        one = on.experiment
        typer.echo(f"{one.experiment_id}, since {time_in_words(one.started_ms)}")
        typer.echo(f"by {on.issued_by}: {on.reason}")
        typer.echo(f"pipeline file {one.pipeline_version}, score table {one.score_version}")
        typer.echo(f"{len(within)} changes: `enrichment changes list --experiment` shows them")
    for name in unlike:
        typer.secho(
            f"{name} is another now: begin a new experiment, what is decided with it is no "
            "evidence of this one",
            fg=typer.colors.YELLOW,
        )
    for former in past[::-1][:SHOWN_MAX]:
        typer.echo(f"before: {former.experiment_id}, since {time_in_words(former.started_ms)}")


def _plain(record: "Control | Experiment") -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(record)
    return plain
