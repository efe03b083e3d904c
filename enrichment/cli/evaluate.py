"""`enrichment evaluate`: a file's labels against what was enriched."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from enrichment.cli.app import PipelineOption, fail, pipeline_or_fail, settings_of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(  # noqa: PLR0913, PLR0917  # each is an option of the judgement
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file that was replayed, with its labels.")],
    pipeline: PipelineOption = "payments",
    start: Annotated[
        str,
        typer.Option("--from", help="Judge from this share of the events (0.5) or this time."),
    ] = "0",
    k: Annotated[int, typer.Option("--k", help="The k of both precisions at k.", min=1)] = 100,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="The bootstrap's seed.")] = 0,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Write the same as JSON to this file.")
    ] = None,
) -> None:
    """Join a file's labels with the enriched topic by event id, and judge every score.

    Prints how many events were enriched, missing and doubled; then AUC, average precision,
    precision at k and the fraud detection handbook's card precision at k (mean over days, cards
    that were caught removed), for the served score and each path's, each with a 95 % bootstrap
    interval resampled by the stream's key. A path is judged by the next lesser one's score where
    it had none of its own. Exit code 1 when an event is missing or doubled.

    Examples:
      enrichment evaluate ratings.csv.gz --pipeline trust --from 0.5

      enrichment evaluate cards.csv --pipeline cards --from 2018-04-08 --json report.json
    """
    from confluent_kafka import KafkaException

    from enrichment.lab.evaluate import EvaluationError, Judging, parse_start
    from enrichment.lab.evaluate import evaluate as judge
    from enrichment.lab.publish import explained
    from enrichment.lab.tables import TableError
    from enrichment.wiring.clients import kafka_config

    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    try:
        judging = Judging(start=parse_start(start), k=k, resamples=resamples, seed=seed)
        report = judge(kafka_config(settings, "evaluate"), definition, file, judging)
    except (EvaluationError, TableError) as error:
        fail(str(error), 2)
    except KafkaException as error:
        fail(explained(error))
    if as_json is not None:
        as_json.write_text(json.dumps(report, indent=2) + "\n")
    _print(report)
    if report["missing"] or report["doubled"]:
        fail(f"{report['missing']} events are missing, {report['doubled']} doubled")


def _print(report: dict[str, Any]) -> None:
    """The report as a table."""
    from rich.console import Console
    from rich.table import Table

    for name in ("events", "enriched", "missing", "doubled", "judged", "positives"):
        typer.echo(f"{name:>10}  {report[name]:,}")
    for name in ("share_by_verdict", "share_by_path"):
        shares = ", ".join(f"{key} {value:.1%}" for key, value in report[name].items())
        typer.echo(f"{name.removeprefix('share_'):>10}  {shares}")
    k = report["k"]
    figures = {
        "auc": "AUC",
        "average_precision": "average precision",
        "precision_at_k": f"precision at {k}",
        "card_precision_at_k": f"card precision at {k}",
    }
    table = Table("score", *figures.values(), title="value (95 % interval)", title_style="")
    for score, values in report["scores"].items():
        table.add_row(score, *(_interval(values[figure]) for figure in figures))
    Console(width=130).print(table)


def _interval(shown: dict[str, float | None]) -> str:
    if shown["value"] is None:
        return "undefined"
    ends = (shown["low"], shown["high"])
    span = " to ".join("?" if end is None else f"{end:.3f}" for end in ends)
    return f"{shown['value']:.3f} ({span})"
