"""The reference of commands and settings, as Markdown pages made from the code itself."""

import inspect
from collections.abc import Iterator
from typing import Final

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from enrichment.settings import Settings

Command = TyperCommand | TyperGroup
Parameter = TyperArgument | TyperOption

MADE: Final = "<!-- Made from the code by `enrichment docs reference`: change it there. -->"


def pages(app: typer.Typer) -> dict[str, str]:
    """Each page's text, by its file's name."""
    return {"cli.md": cli_page(app), "settings.md": settings_page()}


def cli_page(app: typer.Typer) -> str:
    """Every command with its usage, what its `--help` says, and its options."""
    lines = [
        MADE,
        "# Commands",
        "",
        "What `--help` of each says. Settings (`ENRICHMENT_*`) apply to all:",
        "[settings](settings.md).",
        "",
    ]
    for path, command in commands(app):
        if not isinstance(command, TyperGroup) or command.invoke_without_command:
            lines += _command(path, command)
    return "\n".join(lines).rstrip() + "\n"


def commands(app: typer.Typer) -> Iterator[tuple[str, Command]]:
    """Every command and group below the top, with what is typed to get there, by name."""
    top = typer.main.get_command(app)
    if isinstance(top, TyperGroup):
        yield from _below("enrichment", top)


def _below(path: str, group: TyperGroup) -> Iterator[tuple[str, Command]]:
    for name, inner in sorted(group.commands.items()):
        if isinstance(inner, TyperGroup):
            yield f"{path} {name}", inner
            yield from _below(f"{path} {name}", inner)
        elif isinstance(inner, TyperCommand):
            yield f"{path} {name}", inner


def _command(path: str, command: Command) -> Iterator[str]:
    context = typer.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    # A form feed ends what is shown of a help text.
    said = inspect.cleandoc(command.help or "").partition("\f")[0].rstrip()
    yield from (f"## {path}", "", "```text", usage, "", *said.splitlines(), "```", "")
    rows = [
        _row(each, context)
        for each in command.params
        if isinstance(each, TyperArgument | TyperOption)
    ]
    if rows:
        yield from ("| option | what | default |", "|---|---|---|", *rows, "")


def _row(parameter: Parameter, context: typer.Context) -> str:
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    if isinstance(parameter, TyperArgument):
        names = f"`{' '.join(parameter.get_usage_pieces(context))}`"
    default = parameter.get_default(context, call=False)
    plain = default is None or callable(default) or default in (False, "", (), [])
    shown = "" if plain else f"`{default}`"
    if parameter.required:
        shown = "required"
    return f"| {names} | {_cell(getattr(parameter, 'help', None) or '')} | {shown} |"


def settings_page() -> str:
    """Every setting: its variable, its default, and what it is."""
    lines = [
        MADE,
        "# Settings",
        "",
        "Read once, at the start of a process, from its environment. Values are checked: an",
        "error names the variable.",
        "",
        "| variable | what | default |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        what = _cell(field.description or "")
        lines.append(f"| `ENRICHMENT_{name.upper()}` | {what} | {_default(field)} |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    """A default as one would write it into the environment; a secret has none to show."""
    value = field.default
    if isinstance(value, SecretStr):
        raise TypeError(f"a secret with a default: {field}")
    if value is None or value in ("", {}):
        return ""
    shown = getattr(value, "value", value)
    return f"`{str(shown).lower() if isinstance(shown, bool) else shown}`"


def _cell(text: str) -> str:
    """Text that a table takes: one line, and no bar or mark-up of its own."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<")
