"""Who gives a command, where they do not say so."""

import getpass
from typing import Annotated, Final

import typer

from enrichment.cli.app import fail

EXIT_MISUSE: Final = 2

By = Annotated[str, typer.Option("--by", help="Who says so; the login's name where not given.")]


def login() -> str:
    """The login's name; ends the command where there is none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        fail("say who you are with --by", EXIT_MISUSE)
