"""`enrichment docs reference`: the pages of the reference, made from the code."""

from pathlib import Path
from typing import Annotated, Final

import typer

from enrichment.cli.app import fail

FOLDER: Final = Path("docs/reference")
EXIT_DIFFERENT: Final = 3


def register(app: typer.Typer) -> None:
    """Add the noun."""
    docs = typer.Typer(no_args_is_help=True, help="Make pages of the documentation from the code.")
    docs.command("reference")(reference)
    app.add_typer(docs, name="docs")


def reference(
    folder: Annotated[Path, typer.Option("--to", help="The folder of the pages.")] = FOLDER,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; say which pages are not current.")
    ] = False,
) -> None:
    """Write the reference of commands and settings as Markdown, as the code has them.

    Exit codes: 0 done or current, 2 on wrong usage, 3 (--check) when a page is not current.

    Examples:
      enrichment docs reference

      enrichment docs reference --check
    """
    from enrichment.cli.app import build
    from enrichment.cli.reference import pages

    if not folder.is_dir():
        fail(f"there is no folder '{folder}': run this in a clone of the repository, or name it", 2)
    stale = False
    for name, text in pages(build()).items():
        path = folder / name
        current = path.is_file() and path.read_text(encoding="utf-8") == text
        if check:
            typer.echo(f"{path}: {'current' if current else 'NOT current'}")
            stale = stale or not current
        else:
            path.write_text(text, encoding="utf-8")
            typer.echo(f"written: {path}")
    if stale:
        typer.echo("do: enrichment docs reference", err=True)
        raise typer.Exit(EXIT_DIFFERENT)
