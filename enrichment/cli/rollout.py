"""`enrichment rollout`: how far each path is let in, and the kill switch."""

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import typer

from enrichment.cli.app import JsonOption, PipelineOption, pipeline_or_fail, settings_of
from enrichment.cli.instructing import plain, standing_or_fail

if TYPE_CHECKING:
    from enrichment.pipelines import Pipeline
    from enrichment.records import Control
    from enrichment.rollout.instruct import Standing

# Each of these modules has `register(group)`. A new verb is one file and one line.
VERBS: Final = ("rollout_serving", "rollout_provider", "rollout_promote")
WIDTH: Final = 11  # of a path's name and what parts it from what is said


def register(app: typer.Typer) -> None:
    """Add the noun to the top-level application."""
    rollout = typer.Typer(
        no_args_is_help=True,
        help="Let a path in by degrees, take it out, and see how far each one is let in.",
    )
    rollout.command("show")(show)
    for verb in VERBS:
        import_module(f"enrichment.cli.{verb}").register(rollout)
    app.add_typer(rollout, name="rollout")


def show(
    context: typer.Context, pipeline: PipelineOption = "payments", as_json: JsonOption = False
) -> None:
    """Show how far each path is let in: since when, by whom and why; and what caps them all.

    Exit codes: 0 shown, 1 Kafka does not answer, 2 not understood.

    Examples:
      enrichment rollout show -p payments

      enrichment rollout show -p payments --json | jq '.paths[] | select(.serves)'
    """
    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    found = standing_or_fail(settings)
    told = shown(definition, found)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        _print(told)


def shown(pipeline: "Pipeline", found: "Standing") -> dict[str, Any]:
    """The rollout of a pipeline as what stands on the topic has it, for programs."""
    from enrichment.rollout.assign import capped, rollouts_of
    from enrichment.rollout.control import EVERY, by_weight, in_force
    from enrichment.rollout.words import in_words

    held = by_weight(pipeline.name, found.controls.values())
    state = in_force(pipeline.name, held)
    by_path = {one.rollout.path: one for one in held if one.rollout is not None}
    paths = []
    for rollout in rollouts_of(pipeline, state):
        serves = rollout.stage.value != "shadow" and not capped(state, rollout.path)
        row = {
            "path": rollout.path.value,
            "stage": rollout.stage.value,
            "share": rollout.share if rollout.share else float(rollout.stage.value == "live"),
            "serves": serves,
            "capped": capped(state, rollout.path),
            "override": rollout.override,
            "evidence_id": rollout.evidence_id,
            "said_by": "file" if rollout.path not in by_path else "record",
        }
        paths.append(row | _who(by_path.get(rollout.path)))
    return {
        "pipeline": pipeline.name,
        "revision": state.revision,
        "serve": state.serve,
        "caps": [plain(one) for one in held if one.serve],
        "paths": paths,
        "untreated_share": pipeline.rollout.untreated_share,
        "untreated_amount_max": pipeline.rollout.untreated_amount_max,
        "compute": next(
            (plain(one) | {"said": in_words(one)} for one in reversed(held) if one.compute), None
        ),
        "experiment": next((plain(one) for one in reversed(held) if one.experiment), None),
        "malformed": {
            key: said
            for key, said in found.malformed.items()
            if key.partition("|")[0] in (pipeline.name, EVERY)
        },
    }


def _who(control: "Control | None") -> dict[str, Any]:
    """Since when, by whom and why; of what the pipeline's file says nobody knows."""
    if control is None:
        return {"since_ms": None, "by": "", "reason": ""}
    return {"since_ms": control.issued_at_ms, "by": control.issued_by, "reason": control.reason}


def _print(told: dict[str, Any]) -> None:
    """The same for people."""
    from enrichment.rollout.words import time_in_words

    for cap in told["caps"]:
        since = time_in_words(cap["issued_at_ms"])
        where = "" if cap["pipeline"] == told["pipeline"] else " of all pipelines"
        said = f"nothing above {cap['serve']} serves{where}"
        typer.secho(
            f"{said}: since {since}, by {cap['issued_by']}: {cap['reason']}",
            fg=typer.colors.YELLOW,
        )
    for row in told["paths"]:
        _print_path(row)
    typer.echo(f"{'heuristic':<{WIDTH}}serves where no other does")
    if told["untreated_share"]:
        typer.echo(
            f"untreated: {told['untreated_share']:.2%} of the events, up to "
            f"{told['untreated_amount_max']:g} each, are never declined on a ring path's word"
        )
    if (compute := told["compute"]) is not None:
        typer.echo(f"{compute['said']}: by {compute['issued_by']}: {compute['reason']}")
    if (experiment := told["experiment"]) is not None:
        found = experiment["experiment"]
        since = time_in_words(found["started_ms"])
        typer.echo(f"experiment {found['experiment_id']}, since {since}")
    for key, said in told["malformed"].items():
        typer.secho(f"skipped by every process: {key}: {said}", err=True, fg=typer.colors.YELLOW)


def _print_path(row: dict[str, Any]) -> None:
    """One path, and on whose word; not in a table, for reasons are sentences."""
    from enrichment.rollout.words import time_in_words

    said = row["stage"]
    if said == "canary":
        said += f" for {row['share']:.2%} of the accounts"
    if row["override"]:
        said += ", against the gate"
    if row["stage"] != "shadow":
        said += "; kept from serving by the cap" if row["capped"] else "; serves"
    typer.echo(f"{row['path']:<{WIDTH}}{said}")
    if row["since_ms"] is None:
        typer.echo(f"{'':<{WIDTH}}as the pipeline's file says")
    else:
        since = time_in_words(row["since_ms"])
        evidence = f", on evidence {row['evidence_id']}" if row["evidence_id"] else ""
        typer.echo(f"{'':<{WIDTH}}since {since}, by {row['by']}{evidence}: {row['reason']}")
