"""One noun of the command line, run in this process."""

from collections.abc import Callable

import typer
from typer.testing import CliRunner, Result

from enrichment.settings import Settings


def runner_of(register: Callable[[typer.Typer], None]) -> Callable[..., Result]:
    """A function that runs the noun's commands: `run("topics", "diff", settings=...)`."""
    app = typer.Typer()

    @app.callback()
    def top() -> None:
        """The top level, as `enrichment.cli.app` has it."""

    register(app)

    def run(*arguments: str, settings: Settings) -> Result:
        result = CliRunner().invoke(app, list(arguments), obj=settings)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run
