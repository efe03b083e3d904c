"""A score table as its file holds it: for people to read, and read back before it is kept."""

import json
import re
from pathlib import Path
from typing import Final

import msgspec

from enrichment.pipelines import PipelineError
from enrichment.pipelines.definition import ScoreTable, Term
from enrichment.pipelines.loader import TABLE_SUFFIX, parse_table
from enrichment.pipelines.table import Provenance

WIDTH: Final = 96


def written(table: ScoreTable, stream: str) -> str:
    """The table in TOML, defaults left out. Raises PipelineError where it does not read back."""
    lines = [
        f"# The score of {stream}, as `enrichment fit` wrote it; docs/score.md explains it.",
        f"version = {toml_value(table.version)}",
        "# Log-odds.",
        f"bias = {toml_value(table.bias)}",
    ]
    for name, part in (("levels", table.levels), ("decisions", table.decisions)):
        lines += ["", f"[{name}]", *(f"{k} = {toml_value(v)}" for k, v in _plain(part).items())]
    for term in table.terms:
        lines += ["", "[[terms]]", *_term(term)]
    if table.provenance is not None:
        lines += ["", "[provenance]", *provenance_lines(table.provenance)]
    text = "\n".join(lines) + "\n"
    if parse_table(text.encode(), stream) != table:
        raise PipelineError(f"{stream}{TABLE_SUFFIX}: what was written is not what was meant")
    return text


def next_version(version: str) -> str:
    """The name of the table after this one: payments-1, payments-2."""
    numbered = re.fullmatch(r"(.*?)(\d+)", version)
    if numbered is None:
        return f"{version}-2"
    return f"{numbered[1]}{int(numbered[2]) + 1}"


def check_target(path: Path, *, force: bool, suffix: str = TABLE_SUFFIX) -> None:
    """Raises PipelineError where a table's file would replace another, or cannot be written."""
    if not path.name.endswith(suffix):
        raise PipelineError(f"{path}: wanted a file whose name ends in {suffix}")
    if path.exists() and not force:
        raise PipelineError(f"{path}: is there already; --force replaces it, --out names another")
    if not path.parent.is_dir():
        raise PipelineError(f"{path}: there is no folder '{path.parent}'")


def _term(term: Term) -> list[str]:
    usual = _plain(Term(name="", value="", weight=0.0))
    always = ("name", "value", "weight")
    return [
        f"{name} = {toml_value(value)}"
        for name, value in _plain(term).items()
        if name in always or value != usual[name]
    ]


def provenance_lines(provenance: Provenance) -> list[str]:
    """What is known of it, in TOML; the note last, on as many lines as it takes."""
    empty = _plain(Provenance(method=""))
    known = {k: v for k, v in _plain(provenance).items() if v != empty[k] and k != "note"}
    lines = [f"{name} = {toml_value(value)}" for name, value in known.items()]
    if provenance.note:
        lines.append(f"note = {toml_value(provenance.note)}")
    return lines


def _plain(value: object) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(value)
    return plain


def toml_value(value: object) -> str:
    """One value in TOML. Text is escaped as JSON does, which TOML reads the same."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list() | tuple():
            inner = ", ".join(map(toml_value, value))
            if len(inner) <= WIDTH - 30:
                return f"[{inner}]"
            return "[\n" + "".join(f"  {toml_value(each)},\n" for each in value) + "]"
        case dict():
            inner = ", ".join(f"{name} = {toml_value(each)}" for name, each in value.items())
            return f"{{ {inner} }}"
        case float() | int():
            return repr(value)
        case _:
            raise TypeError(f"no TOML for {value!r}")
