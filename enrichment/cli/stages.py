"""`enrichment enrich | window | sample | guard | project`: one stage as one process; `run`: all."""

from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Final

import typer

from enrichment.cli import windows
from enrichment.cli.app import PipelineOption, fail, pipeline_or_fail, settings_of

# Stage -> (who runs it in `enrichment.wiring`, what it does). Also the order of `run`.
STAGES: Final = {
    "project": ("stages.run_project", "Write feature updates to the Redis cache, versioned."),
    "guard": (
        "looking.run_guard",
        "Take out what was let in, once jobs or outcomes speak against it.",
    ),
    "sample": ("sampling.run_sample", "Solve micro-batches with circuits and classical twins."),
    "window": (
        "stages.run_window",
        "Window digests into micro-batches and graph features (Faust).",
    ),
    "enrich": (
        "stages.run_enrich",
        "Answer every event in milliseconds, exactly once: the hot path.",
    ),
}


def register(app: typer.Typer) -> None:
    """Add the stages and `run`."""
    for name, (runner, summary) in STAGES.items():
        if name == "window":
            group = typer.Typer(help=_help(name, summary), invoke_without_command=True)
            group.callback()(_stage(name, runner))
            group.command("replay")(windows.replay)
            app.add_typer(group, name=name)
        else:
            app.command(name, help=_help(name, summary))(_stage(name, runner))
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


def _stage(stage: str, runner: str) -> Callable[[typer.Context, str], None]:
    def command(context: typer.Context, pipeline: PipelineOption = "payments") -> None:
        if context.invoked_subcommand is not None:
            return
        from enrichment.telemetry.log import configure
        from enrichment.wiring.errors import ConfigurationError, StageEndedError
        from enrichment.wiring.stages import check_profile, check_stages
        from enrichment.wiring.telling import exported_spans, serve_metrics

        module, _, function = runner.partition(".")
        run_stage = getattr(import_module(f"enrichment.wiring.{module}"), function)
        settings = settings_of(context)
        definition = pipeline_or_fail(pipeline, settings)
        configure(stage=stage, pipeline=definition.name, text=settings.log_text)
        try:
            check_stages(definition, stage)
            check_profile(settings, definition, stage)
            if settings.metrics_port is not None:
                serve_metrics(settings.metrics_port, str(settings.metrics_host))
            with exported_spans(settings, definition, stage):
                run_stage(settings, definition)
        except ConfigurationError as error:
            fail(str(error), 2)
        except StageEndedError as error:
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
    from enrichment.wiring.errors import ConfigurationError
    from enrichment.wiring.stages import check_profile, check_stages
    from enrichment.wiring.telling import check_spans
    from enrichment.wiring.waiting import stop_on_signals

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
