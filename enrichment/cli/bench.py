"""`enrichment bench NAME`: measurements with their peers beside, as a table and as JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enrichment.cli.app import fail, settings_of

if TYPE_CHECKING:
    from enrichment.lab.bench.report import Report

ALL = "all"
WIDTH = 120  # a row is one line, in a terminal as in a log


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


def bench(  # noqa: PLR0913, PLR0917  # one for each option
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="A benchmark, or 'all'. Without one: what there is.")
    ] = None,
    json_path: Annotated[
        Path | None,
        typer.Option("--json", help="Also write JSON: to a file, or for 'all' into a folder."),
    ] = None,
    events: Annotated[
        int | None, typer.Option(help="Events per run; by default what suits the benchmark.", min=1)
    ] = None,
    runs: Annotated[int, typer.Option(help="Runs of each system, in ABBA order.", min=1)] = 3,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="One small run each: tries the benchmark, measures little."),
    ] = False,
    pairs: Annotated[
        int,
        typer.Option(
            help="isolation: pairs of windows for each case, in ABBA order; kill: pulls a rate.",
            min=1,
        ),
    ] = 10,
    cases: Annotated[
        list[str] | None,
        typer.Option(
            "--case", help="isolation, window, sampling: one of its cases, may be repeated."
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="uplift: simulated streams, each judged by the others.", min=2)
    ] = 5,
    plots: Annotated[
        Path | None, typer.Option(help="Also draw each table as an SVG in this folder.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            help="sampling, noise: also put the tables into this Markdown page, at its marks.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    stored: Annotated[
        Path | None,
        typer.Option(
            help="Measure nothing: show, draw and put into the page what --json wrote there.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Measure, with the peers in the same run: on the same events, servers and machine.

    Each benchmark but `rings`, `devices`, `sampling`, `noise` and `uplift`, which need none, starts
    servers of its own on free ports, runs its systems one after the other in alternating order
    (ABBA), and prints the median of all runs with the lowest and the highest (`uplift`: its figure
    with a 95 % interval).
    Compare the ratios: absolute figures belong to the machine, and need a quiet one.

    The JSON is {"name", "machine", "rows", "notes", "series", "spread"}; a row has "case",
    "system", "metric", "value", "unit", "low", "high" and "runs".

    Examples:
      enrichment bench

      enrichment bench hot-path --runs 5 --json hot-path.json --plots docs/plots

      enrichment bench client --runs 5 --json client.json

      enrichment bench isolation --case redis-hung --case redis-dead --pairs 4

      enrichment bench sampling --stored docs/reports/sampling.json --page docs/sampling.md

      enrichment bench all --json bench-results/
    """
    from enrichment.lab.bench.catalogue import BENCHMARKS, BenchError, BenchOptions
    from enrichment.lab.bench.report import Report
    from enrichment.lab.server_process import ServerError
    from enrichment.stream.manifests import ManifestError, nearest
    from enrichment.stream.topic_admin import BrokerError

    if name is None:
        for each, benchmark in BENCHMARKS.items():
            typer.echo(f"{each:<12}  {benchmark.summary}")
        return
    if name not in (ALL, *BENCHMARKS):
        fail(f"there is no benchmark '{name}'; {nearest(name, (ALL, *BENCHMARKS))}", 2)
    if json_path is not None and name != ALL and json_path.is_dir():
        fail(f"--json {json_path} is a folder: name a file in it", 2)
    settings = settings_of(context)
    options = BenchOptions(
        events=events,
        runs=runs,
        quick=quick,
        pairs=pairs,
        cases=tuple(cases or ()),
        state_dir=settings.state_dir,
        topics_dir=settings.topics_dir,
        say=lambda line: typer.echo(line, err=True),
        seeds=seeds,
    )
    for each in BENCHMARKS if name == ALL else (name,):
        try:
            report = BENCHMARKS[each].run(options) if stored is None else Report.read(stored)
        except (BenchError, ServerError, ManifestError, BrokerError) as error:
            fail(f"{each}: {error}")
        if report.name != each:
            fail(f"{stored} is a report of '{report.name}', not of '{each}'", 2)
        _print(report)
        if json_path is not None:
            path = json_path / f"{each}.json" if name == ALL else json_path
            report.write(path)
            typer.echo(f"The same as JSON: {path}")
        _show(report, plots, page)


def _show(report: "Report", plots: Path | None, page: Path | None) -> None:
    """Draw the report, and put its tables into the page, where those are asked for."""
    if plots is not None:
        from enrichment.lab.bench.plots import draw

        typer.echo(f"The plot: {draw(report, plots)}")
    if page is not None:
        from enrichment.lab.bench.sampling.tables import put

        typer.echo(f"Tables in {page}: {', '.join(put(report, page)) or 'none'}")


def _print(report: "Report") -> None:
    """The table for people."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    title = f"{report.name}: {report.spread}"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for column in ("case", "system", "metric", "value", "low", "high", "unit", "runs"):
        right = column in {"value", "low", "high", "runs"}
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    case = ""
    for row in report.rows:
        if case not in {"", row.case}:
            table.add_section()
        case = row.case
        figures = (f"{figure:,.5g}" if figure < 1e5 else f"{figure:,.0f}"
                   for figure in (row.value, row.low, row.high))  # fmt: skip
        table.add_row(row.case, row.system, row.metric, *figures, row.unit, str(row.runs))
    Console(width=WIDTH).print(table)
    for note in report.notes:
        typer.echo(f"- {note}")
    typer.echo(", ".join(f"{name} {value}" for name, value in report.machine.items()))
