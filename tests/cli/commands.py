"""One noun of the command line, run in this process, and a pipeline that only one test knows."""

import secrets
from collections.abc import Callable
from pathlib import Path

import typer
from typer.testing import CliRunner, Result

from enrichment.settings import Settings

SHIPPED = Path(__file__).resolve().parents[2] / "enrichment" / "pipelines"


def own_pipeline(folder: Path) -> str:
    """The name of a pipeline like payments, whose files are now in the folder."""
    name = f"t{secrets.token_hex(4)}"
    text = (SHIPPED / "payments.toml").read_text().replace('"payments"', f'"{name}"', 1)
    (folder / f"{name}.toml").write_text(text)
    (folder / "payments.score.toml").write_bytes((SHIPPED / "payments.score.toml").read_bytes())
    return name


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
