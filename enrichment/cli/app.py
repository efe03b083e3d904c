"""The top-level command and what its parts share: settings, pipelines, clear errors."""

from importlib import import_module
from typing import Annotated, Any, Final, NoReturn

import typer

from enrichment import __version__
from enrichment.pipelines import Pipeline, PipelineError, load
from enrichment.settings import Settings

# Each of these modules has `register(app)`. A new noun is one file and one line.
NOUNS: Final = (
    "servers",
    "topics",
    "access",
    "schemas",
    "preflight",
    "stages",
    "console",
    "streams",
    "evaluate",
    "evidence",
    "jobs",
    "lineage",
    "reproduce",
    "budget",
    "cases",
    "dead_letters",
    "control",
    "rollout",
    "changes",
    "experiment",
    "reviews",
    "fit",
    "score",
    "demo",
    "story",
    "bench",
    "sizing",
    "docs",
)

PipelineOption = Annotated[
    str,
    typer.Option(
        "--pipeline", "-p", help="A pipeline by name (payments, cards, trust) or a .toml file."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def build() -> typer.Typer:
    """The application with every noun registered."""
    app = typer.Typer(
        name="enrichment",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        help="Enrich every event of a Kafka stream in milliseconds, and sample graph problems with "
        "quantum circuits off the critical path.",
        epilog="Start with: [bold]enrichment demo[/bold]. Settings: ENRICHMENT_* variables.",
    )

    @app.callback(invoke_without_command=True)
    def top(
        version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    ) -> None:
        if version:
            typer.echo(__version__)
            raise typer.Exit

    for noun in NOUNS:
        import_module(f"enrichment.cli.{noun}").register(app)
    return app


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with one line on standard error."""
    typer.secho(f"error: {message}", err=True, fg=typer.colors.RED)
    raise typer.Exit(code)


def pipeline_or_fail(name: str, settings: Settings) -> Pipeline:
    """The pipeline of that name, or a message that names the nearest valid one (exit code 2)."""
    try:
        return load(name, settings.pipelines_dir)
    except PipelineError as error:
        fail(str(error), 2)


def settings_of(context: typer.Context) -> Settings:
    """The settings that `__main__` read."""
    settings: Any = context.obj
    assert isinstance(settings, Settings)  # noqa: S101  # set by __main__ and by every test
    return settings
