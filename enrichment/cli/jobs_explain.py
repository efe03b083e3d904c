"""`enrichment jobs explain`: a job from micro-batch to features, drawn again and compared."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from enrichment.cli.app import JsonOption, fail, pipeline_or_fail, settings_of

if TYPE_CHECKING:
    from enrichment.circuit.drawing import Drawing
    from enrichment.pipelines import Pipeline
    from enrichment.sample.again import Again, Recorded
    from enrichment.sample.explained import Explanation

EXIT_UNKNOWN: Final = 2
EXIT_DIFFERENT: Final = 3
EXIT_NOT_DRAWN: Final = 4


def explain(  # noqa: PLR0913, PLR0917  # one for each option
    context: typer.Context,
    job_id: Annotated[str, typer.Argument(help="The job's id: see `enrichment jobs list`.")],
    problem: Annotated[
        int | None,
        typer.Option(
            help="Which of its problems, from 0.  [default: that of the lowest energy]",
            show_default=False,
        ),
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", "-p", help="A .toml file, where the job's name finds none."),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(help="Draw the problem's circuit into this file.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Plot energies and memberships into this file, .svg or .png."),
    ] = None,
    run: Annotated[
        bool, typer.Option("--run/--no-run", help="Draw its samples again, and compare.")
    ] = True,
    full: Annotated[bool, typer.Option("--full", help="Show the whole circuit.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Explain one job, from its micro-batch to its features, and run it again.

    Samples are not kept. They are drawn again from what is recorded, by the provider that drew
    them, on this machine; what comes out is held against hashes and features. Nothing is published.
    Jobs of a device or a service are explained from their record and never run again.

    Exit codes: 0 the same, or not asked for; 2 no such job, problem or pipeline; 3 not the same;
    4 it cannot be run again, and the reason is told.

    Examples:
      enrichment jobs explain 'payments|eu|1700000000000|0'

      enrichment jobs explain 'payments|eu|1700000000000|0' --svg circuit.svg --plot energies.svg
    """
    from enrichment.cli.jobs_read import recorded as read
    from enrichment.cli.jobs_shown import print_explanation
    from enrichment.sample.again import as_it_was
    from enrichment.sample.explain import explain as explained

    settings = settings_of(context)
    if plot is not None and plot.suffix not in {".svg", ".png"}:
        fail(f"a plot is an .svg or a .png: {plot}", EXIT_UNKNOWN)
    recorded = read(settings, job_id)
    found = pipeline_or_fail(pipeline or recorded.job.pipeline, settings)
    if found.name != recorded.job.pipeline:
        fail(f"the job is of '{recorded.job.pipeline}', not of '{found.name}'", EXIT_UNKNOWN)
    if recorded.batch is None or not recorded.batch.problems:
        why = "had no problems" if recorded.job.problems == 0 else "is gone: its topic's retention"
        code = 0 if recorded.job.problems == 0 else EXIT_NOT_DRAWN
        typer.echo(f"{job_id}: {recorded.job.state.value}; its micro-batch {why}")
        raise typer.Exit(code)
    then = as_it_was(recorded, found)
    drawn = _drawn_again(recorded, then) if run else "not asked for (--no-run)"
    try:
        explanation = explained(recorded, then, drawn, problem)
    except ValueError as error:
        fail(str(error), EXIT_UNKNOWN)
    drawing = _drawing(recorded, then, explanation)
    if svg is not None:
        if drawing is None:
            fail(f"{recorded.job.provider} runs no circuit: nothing to draw", EXIT_UNKNOWN)
        svg.write_text(drawing.svg)
    if plot is not None:
        from enrichment.lab.job_plot import draw_job

        draw_job(explanation, plot)
    if as_json:
        typer.echo(json.dumps(_json(explanation, drawing), indent=2))
    else:
        print_explanation(explanation, drawing, full=full)
    if run:
        _exit(explanation)


def _exit(explanation: "Explanation") -> None:
    """End with what the comparison says."""
    verdict = explanation.verdict
    if not verdict.drawn:
        raise typer.Exit(EXIT_NOT_DRAWN)
    if not verdict.agrees:
        raise typer.Exit(EXIT_DIFFERENT)


def _drawn_again(recorded: "Recorded", pipeline: "Pipeline") -> "Again | str":
    """The job drawn again, or why it was not."""
    from enrichment.lineage.reproduce import Redraw
    from enrichment.sample.again import options_of, refusal
    from enrichment.wiring.clock import now_ms

    if why_not := refusal(recorded):
        return why_not
    with Redraw(recorded.job.provider, now_ms, options_of(recorded)) as redraw:
        return redraw.again(recorded, pipeline)


def _drawing(
    recorded: "Recorded", pipeline: "Pipeline", explanation: "Explanation"
) -> "Drawing | None":
    """The shown problem's circuit, drawn, or None where none was run."""
    from enrichment.circuit.drawing import draw
    from enrichment.problem import KINDS
    from enrichment.sample.flight import flags_of

    circuit, batch = explanation.problem.circuit, recorded.batch
    if circuit is None or batch is None:
        return None
    chosen = batch.problems[explanation.problem.number]
    model = KINDS[pipeline.problem.kind](chosen.nodes, chosen.weights, flags_of(chosen))
    return draw(model, circuit.gammas, circuit.betas)


def _json(explanation: "Explanation", drawing: "Drawing | None") -> dict[str, object]:
    """The explanation as JSON would have it, the circuit's drawing as text and figures."""
    import msgspec

    drawn = None if drawing is None else msgspec.to_builtins(drawing)
    if drawn is not None:
        drawn.pop("svg")
    return {**msgspec.to_builtins(explanation), "drawing": drawn}
