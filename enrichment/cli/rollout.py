"""`enrichment rollout`: how far each path is let in, and the kill switch."""

import json
from importlib import import_module
from typing import Any, Final

import typer

from enrichment.cli.app import JsonOption, PipelineOption, pipeline_or_fail, settings_of
from enrichment.cli.instructing import standing_or_fail

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
    from enrichment.rollout.shown import shown

    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    found = standing_or_fail(settings)
    told = shown(definition, found.controls, found.malformed)
    if as_json:
        typer.echo(json.dumps(told, indent=2))
    else:
        _print(told)


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
