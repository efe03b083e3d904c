"""`enrichment fit`: a score table from recorded events and what turned out of them."""

import json
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enrichment.cli.app import PipelineOption, fail, pipeline_or_fail, settings_of
from enrichment.cli.fitted import HELD_OUT, Asked, print_bins, shown_interval
from enrichment.cli.progress import progress

if TYPE_CHECKING:
    from enrichment.lab.fit import Fit, Judgement
    from enrichment.lab.fit_run import Recorded, Sources
    from enrichment.pipelines import Pipeline
    from enrichment.pipelines.definition import ScoreTable
    from enrichment.settings import Settings


class Unreported(Enum):
    """What to make of events of which nothing became known."""

    GOOD = "good"
    LEAVE_OUT = "leave-out"


class ServePath(Enum):
    """Whose estimates the ring terms read."""

    HEURISTIC = "heuristic"
    CLASSICAL = "classical"
    QUANTUM = "quantum"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fit")(fit)


def fit(  # noqa: PLR0913, PLR0917  # each is an option of the fit
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Enriched records as JSON lines; none: the stream's topics."),
    ] = None,
    pipeline: PipelineOption = "payments",
    outcomes: Annotated[
        list[Path] | None,
        typer.Option(help="Outcomes as JSON lines, where files are fitted on. [labels] do too."),
    ] = None,
    judge: Annotated[
        list[Path] | None,
        typer.Option(help="A second recording, of later events, to judge the table by."),
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Fit on this simulated seed; may be repeated.")
    ] = None,
    judge_seed: Annotated[
        list[int] | None, typer.Option(help="Judge by this simulated seed; may be repeated.")
    ] = None,
    unreported: Annotated[
        Unreported, typer.Option(help="Events of which nothing became known.")
    ] = Unreported.GOOD,
    path: Annotated[
        ServePath | None,
        typer.Option(help="Whose estimates ring terms read; default: what the pipeline serves."),
    ] = None,
    version: Annotated[str, typer.Option(help="The table's name; default: the next one.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Where the table goes; default: STREAM.score.toml here.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the calibration curve: a .png or .svg file.")
    ] = None,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.", min=1)] = 200,
    bootstrap_seed: Annotated[int, typer.Option(help="The bootstrap's seed.")] = 0,
    calibrate: Annotated[
        bool, typer.Option(help="Fit what memberships are worth instead: ring_probability.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Fit a score table: a regularised logistic regression on recorded events and outcomes.

    It is judged on what it was not fitted on: by folds, on other groups of tied accounts and on
    later events; and, where there is a second recording, as it is written, on that. Simulated
    recordings say their seeds, and no seed is both fitted and judged. Exit code 2 where there is
    too little to fit on, or what is asked for would be no judgement.

    With --calibrate the map from memberships to `ring_probability` is fitted instead, for one path,
    judged on a second recording, which must be given, and written to STREAM.probability.toml.

    Examples:
      enrichment fit --pipeline payments --seed 7 --judge-seed 8 --plot calibration.svg

      enrichment fit june.jsonl --outcomes outcomes.jsonl --judge july.jsonl --out my.score.toml

      enrichment fit --calibrate --seed 7 --judge-seed 8 --plot reliability.svg
    """
    from confluent_kafka import KafkaException

    from enrichment.cli.ring_probability import calibration
    from enrichment.lab import fit_run
    from enrichment.lab.calibration import PlotError, check_plot
    from enrichment.lab.evaluate import EvaluationError
    from enrichment.lab.publish import explained
    from enrichment.lab.recorded import RecordingError
    from enrichment.lab.score_file import check_target
    from enrichment.pipelines import PipelineError
    from enrichment.rollout.bootstrap import Bootstrap

    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    sources = fit_run.Sources(
        files=tuple(files or ()),
        outcomes=tuple(outcomes or ()),
        judge=tuple(judge or ()),
        seeds=tuple(seed or ()),
        judge_seeds=tuple(judge_seed or ()),
        unreported_are_good=unreported is Unreported.GOOD,
        serve="" if path is None else path.value,
    )
    suffix = ".probability.toml" if calibrate else ".score.toml"
    asked = Asked(
        pipeline=definition,
        sources=sources,
        draws=Bootstrap(seed=bootstrap_seed, resamples=resamples),
        target=out or Path(f"{definition.name}{suffix}"),
        version=version,
        plot=plot,
        as_json=as_json,
    )
    try:
        if plot is not None:
            check_plot(plot)
        check_target(asked.target, force=force, suffix=suffix)
        recorded = _read(settings, definition, sources)
        (calibration if calibrate else _score_table)(asked, recorded)
    except (RecordingError, EvaluationError, PlotError, PipelineError) as error:
        fail(str(error), 2)
    except KafkaException as error:
        fail(explained(error))


def _score_table(asked: Asked, recorded: "Recorded") -> None:
    """Fit, write and show a score table. Raises RecordingError, PipelineError."""
    from enrichment.lab import fit_run
    from enrichment.lab.calibration import plot_calibration
    from enrichment.lab.score_file import next_version, written

    name, target = asked.pipeline.name, asked.target
    fitted, table = _fitted(asked, recorded)
    version = asked.version or next_version(asked.pipeline.score.version)
    table = fit_run.named(table, version, now_s=time.time())
    target.write_text(written(table, name), encoding="utf-8")
    best = fitted.elsewhere or fitted.by_folds
    if asked.plot is not None and best is not None:
        plot_calibration({HELD_OUT: best.bins}, f"{name}, {table.version}", asked.plot)
    if asked.as_json:
        report = fit_run.plain(fitted, table) | {"table": str(target)}
        typer.echo(json.dumps(report, indent=2))
        return
    _print(fitted)
    if asked.plot is not None:
        typer.echo(f"calibration curve: {asked.plot}")
    typer.echo(
        f"written: {target} ({table.version}). To use it, put it beside the pipeline's file, "
        f'whose\n[score] says table = "{target.name}", and start the stages anew.'
    )


def _read(settings: "Settings", pipeline: "Pipeline", sources: "Sources") -> "Recorded":
    """The recordings, with a bar for each that takes a while."""
    from enrichment.lab import fit_run
    from enrichment.wiring.clients import kafka_config

    client = None if sources.files else kafka_config(settings, "fit")
    with progress("reading", 1.0) as advance:

        def watch(_: str, share: float | None) -> None:
            advance(share or 0.0)

        return fit_run.read(client, pipeline, sources, watch)


def _fitted(asked: Asked, recorded: "Recorded") -> "tuple[Fit, ScoreTable]":
    from enrichment.lab import fit_run
    from enrichment.lab.fit import Fitting

    with progress("fitting", 1.0) as advance:
        fitting = Fitting(draws=asked.draws, on_progress=advance)
        return fit_run.made(asked.pipeline, recorded, asked.sources, fitting)


def _print(fitted: "Fit") -> None:
    """The fit for people: weights, then what they are worth."""
    from rich.console import Console
    from rich.table import Table

    typer.echo(
        f"{fitted.events:,} events, {fitted.positives:,} of them bad, in {fitted.groups:,} groups "
        f"(the largest: {fitted.largest_group:,} events); {fitted.folds} folds"
        + (f", {fitted.passed_over} more had too few bad events" if fitted.passed_over else "")
    )
    console = Console(width=110)
    table = Table("term", "weight", "sd over folds", "least", "most", title="log-odds")
    for each in (fitted.bias, *fitted.coefficients):
        name = each.name if each.told else f"{each.name} (never varied)"
        table.add_row(
            name,
            f"{each.weight:.4g}",
            *(f"{x:.3g}" for x in (each.deviation, each.least, each.most)),
        )
    console.print(table)
    figures: dict[str, Callable[[Judgement], str]] = {
        "events": lambda j: f"{j.events:,}",
        "bad": lambda j: f"{j.positives:,}",
        "expected bad": lambda j: f"{j.expected:,.1f}",
        "average precision": lambda j: shown_interval(j.average_precision),
        "… ring terms at priors": lambda j: shown_interval(j.without_ring),
        "Brier score": lambda j: shown_interval(j.brier, 5),
        "… of the bare share": lambda j: f"{j.brier_of_share:.5f}",
        "bad, of elevated": lambda j: "{1} of {0}".format(*j.levels["elevated"]),
        "bad, of highest": lambda j: "{1} of {0}".format(*j.levels["highest"]),
    }
    columns = {
        name: judged
        for name, judged in (
            ("by folds", fitted.by_folds),
            ("on the other recording", fitted.elsewhere),
            ("the table in force, there", fitted.in_force),
        )
        if judged is not None
    }
    table = Table("held-out", *columns, title="value (95 % interval, whole groups drawn)")
    for name, shown in figures.items():
        table.add_row(name, *(shown(judged) for judged in columns.values()))
    console.print(table)
    if fitted.elsewhere is not None and fitted.in_force is None:
        typer.echo("the table in force is not compared: it was fitted on that seed")
    best = fitted.elsewhere or fitted.by_folds
    print_bins("calibration, held-out", [] if best is None else best.bins)
