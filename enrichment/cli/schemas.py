"""`enrichment schemas generate | check | release`: the contract of what travels on the topics."""

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from enrichment import __version__
from enrichment.cli.app import JsonOption, fail, settings_of

EXIT_USAGE: Final = 2
EXIT_BROKEN: Final = 3

SchemasDir = Annotated[
    Path, typer.Option("--schemas-dir", help="The folder of the schemas.", file_okay=False)
]
TopicsDir = Annotated[
    Path | None,
    typer.Option(
        "--topics-dir", help="The folder with the manifests.  [default: topics]", file_okay=False
    ),
]
DEFAULT_DIR: Final = Path("schemas")


def register(app: typer.Typer) -> None:
    """Adds the noun to the top-level application."""
    schemas = typer.Typer(
        no_args_is_help=True, help="Generate, check and release the schemas of what travels."
    )
    schemas.command("generate")(generate)
    schemas.command("check")(check)
    schemas.command("release")(release)
    app.add_typer(schemas, name="schemas")


def generate(
    context: typer.Context, schemas_dir: SchemasDir = DEFAULT_DIR, topics_dir: TopicsDir = None
) -> None:
    """Write a JSON Schema for each record and each shipped pipeline's event, and asyncapi.yaml.

    For example:

      enrichment schemas generate
    """
    from enrichment.stream import contract

    changed = contract.write(schemas_dir, _files(context, topics_dir))
    typer.echo("\n".join(changed) if changed else "nothing changed")


def check(
    context: typer.Context,
    schemas_dir: SchemasDir = DEFAULT_DIR,
    topics_dir: TopicsDir = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether the committed schemas are those generated now, and read all released data.

    BACKWARD compatible means: a reader of today reads what any released version has written.

    Exit codes: 0 when both hold, 1 on an error, 2 on wrong usage, 3 when one does not hold.

    For example:

      enrichment schemas check
    """
    from enrichment.stream import contract

    files = _files(context, topics_dir)
    if not schemas_dir.is_dir():
        fail(
            f"there is no folder '{schemas_dir}'; run this in a clone of the repository, or name "
            "the folder with --schemas-dir",
            EXIT_USAGE,
        )
    stale = contract.differing(schemas_dir, files)
    try:
        broken = contract.incompatible(schemas_dir, files)
    except contract.ContractError as error:
        fail(str(error))
    problems = stale + broken
    if as_json:
        typer.echo(json.dumps([{"file": p.file, "detail": p.detail} for p in problems], indent=2))
    else:
        for problem in problems:
            typer.secho(f"{problem.file}: {problem.detail}", fg=typer.colors.RED)
        if stale:
            typer.echo("`enrichment schemas generate` writes them anew")
        if not problems:
            released = ", ".join(contract.versions(schemas_dir)) or "none"
            typer.echo(f"{len(files)} files are as generated; released versions read: {released}")
    if problems:
        raise typer.Exit(EXIT_BROKEN)


def release(
    context: typer.Context,
    version: Annotated[
        str, typer.Argument(help="The version, such as 0.2.0.  [default: the package's]")
    ] = __version__,
    schemas_dir: SchemasDir = DEFAULT_DIR,
    topics_dir: TopicsDir = None,
) -> None:
    """Keep today's schemas as those of a version, which every later one must be able to read.

    For example:

      enrichment schemas release
    """
    from enrichment.stream import contract

    if not all(part.isdigit() for part in version.split(".")) or version.count(".") != 2:
        fail(f"wanted a version such as 0.2.0, found '{version}'", EXIT_USAGE)
    try:
        target = contract.release(schemas_dir, _files(context, topics_dir), version)
    except contract.ContractError as error:
        fail(str(error))
    typer.echo(f"released: {target}")


def _files(context: typer.Context, topics_dir: Path | None) -> dict[str, str]:
    """What would be generated now."""
    from enrichment.pipelines import load, names
    from enrichment.stream import contract
    from enrichment.stream.manifests import ManifestError, load_manifests

    folder = topics_dir or settings_of(context).topics_dir
    try:
        return contract.generated(map(load, names()), load_manifests(folder), __version__)
    except (ManifestError, contract.ContractError) as error:
        fail(str(error), EXIT_USAGE)
