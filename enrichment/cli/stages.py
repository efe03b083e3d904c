"""`enrichment enrich | window | sample | guard | project`: one stage as one process; `run`: all."""

from collections.abc import Callable
from typing import Annotated, Final

import typer

from enrichment.cli import windows
from enrichment.cli.app import PipelineOption, fail, pipeline_or_fail, settings_of

# Stage -> (function of the wiring, what it does). Also the order in which `run` starts them.
STAGES: Final = {
    "project": ("run_project", "Write feature updates to the Redis cache, versioned."),
    "guard": ("run_guard", "Take out what was let in, once jobs or outcomes speak against it."),
    "sample": ("run_sample", "Solve micro-batches with circuits and classical twins."),
    "window": ("run_window", "Window digests into micro-batches and graph features (Faust)."),
    "enrich": ("run_enrich", "Answer every event in milliseconds, exactly once: the hot path."),
}


def register(app: typer.Typer) -> None:
    """Add the stages and `run`."""
    for name, (function, summary) in STAGES.items():
        if name == "window":
            group = typer.Typer(help=_help(name, summary), invoke_without_command=True)
            group.callback()(_stage(name, function))
            group.command("replay")(windows.replay)
            app.add_typer(group, name=name)
        else:
            app.command(name, help=_help(name, summary))(_stage(name, function))
    app.command("run")(run)


def _help(name: str, summary: str) -> str:
    several = (
        "one is enough, and two are harmless"
        if name == "guard"
        else "several processes share the partitions, each with its own ENRICHMENT_INSTANCE"
    )
    return (
        f"{summary} Runs until SIGTERM or Ctrl-C; {several}."
        f"\n\nExample: enrichment {name} --pipeline payments"
    )


def _stage(stage: str, function: str) -> Callable[[typer.Context, str], None]:
    def command(context: typer.Context, pipeline: PipelineOption = "payments") -> None:
        if context.invoked_subcommand is not None:
            return
        from enrichment import wiring
        from enrichment.telemetry.log import configure

        settings = settings_of(context)
        definition = pipeline_or_fail(pipeline, settings)
        configure(stage=stage, pipeline=definition.name, text=settings.log_text)
        try:
            wiring.check_stages(definition, stage)
            wiring.check_profile(settings, definition, stage)
            if settings.metrics_port is not None:
                wiring.serve_metrics(settings.metrics_port, str(settings.metrics_host))
            with wiring.exported_spans(settings, definition, stage):
                getattr(wiring, function)(settings, definition)
        except wiring.ConfigurationError as error:
            fail(str(error), 2)
        except wiring.StageEndedError as error:
            fail(str(error))

    return command


def run(
    context: typer.Context,
    pipeline: PipelineOption = "payments",
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Start just this stage; may be given several times."),
    ] = None,
) -> None:
    """Start every stage as its own process, restart one that dies, stop all on Ctrl-C or SIGTERM.

    Of a pipeline with [calls] in its file: `project` and `sample`, which are all that it has.

    With ENRICHMENT_METRICS_PORT each has a port of its own: that one the first, the next one the
    second, in the order project, guard, sample, window, enrich, or that of --only.

    Example: enrichment run --pipeline payments
    """
    from enrichment.lab.processes import StageProcesses
    from enrichment.pipelines.definition import STAGES_OF_CALLS
    from enrichment.telemetry.log import configure
    from enrichment.wiring import (
        ConfigurationError,
        check_profile,
        check_spans,
        check_stages,
        stop_on_signals,
    )

    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    all_stages = STAGES if definition.calls is None else STAGES_OF_CALLS
    stages = list(all_stages) if only is None else only
    for stage in stages:
        if stage not in STAGES:
            fail(f"there is no stage '{stage}'; stages: {', '.join(STAGES)}", 2)
    configure(stage="run", pipeline=definition.name, text=settings.log_text)
    try:
        check_stages(definition, *stages)
        check_profile(settings, definition, *stages)
        check_spans(settings)
    except ConfigurationError as error:
        # Once, and not by each stage at each of its starts.
        fail(str(error), 2)
    stop = stop_on_signals()
    with StageProcesses(stages, pipeline) as processes:
        while not stop.wait(0.2):
            processes.tend()
