"""The loader of pipeline files: errors name the file, the key, what it found and wanted.

A pipeline's score table may stand in a file of its own beside it, `payments.score.toml`, so that a
fit replaces one file and leaves what the stream means alone.
"""

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import msgspec

from enrichment.pipelines.definition import Pipeline, ScoreTable, Term

SUFFIX: Final = ".toml"
TABLE_SUFFIX: Final = ".score.toml"


class PipelineError(ValueError):
    """A pipeline that cannot be used, said in one line that tells what to change."""


def names(folder: Path | None = None) -> list[str]:
    """The pipelines that can be loaded by name: the shipped ones, and those in `folder`."""
    files = {entry.name for entry in resources.files(__package__).iterdir()}
    if folder is not None and folder.is_dir():
        files |= {path.name for path in folder.glob(f"*{SUFFIX}")}
    return sorted(
        name.removesuffix(SUFFIX)
        for name in files
        if name.endswith(SUFFIX) and not name.endswith(TABLE_SUFFIX)
    )


def load(name: str, folder: Path | None = None) -> Pipeline:
    """The pipeline of that name, or in the file of that path (ending in .toml).

    A file in `folder` goes before a shipped one. Raises PipelineError.
    """
    if name.endswith(TABLE_SUFFIX):
        raise PipelineError(f"{name}: is a score table; name the pipeline that it belongs to")
    if name.endswith(SUFFIX):
        path = Path(name)
        if not path.is_file():
            raise PipelineError(f"{name}: no such file")
        return parse(path.read_bytes(), str(path), path.parent)
    if folder is not None and (own := folder / f"{name}{SUFFIX}").is_file():
        return parse(own.read_bytes(), str(own), folder)
    known = names(folder)
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{nearest[0]}'?" if nearest else "known: " + ", ".join(known)
        raise PipelineError(f"there is no pipeline '{name}'; {hint}")
    shipped = resources.files(__package__)
    return parse((shipped / f"{name}{SUFFIX}").read_bytes(), f"{name}{SUFFIX}", shipped)


def parse(content: bytes, file: str, folder: Traversable | None = None) -> Pipeline:
    """The pipeline that `content` describes; `file` is named in errors. Raises PipelineError.

    `folder` is where a score table of its own is looked for: beside the file and nowhere else, so
    that a table that was forgotten is an error and not another table.
    """
    tables = _toml(content, file)
    if "version" in tables:
        raise PipelineError(f"{file}: version: is the file's hash, and not written by hand")
    beside = _table_beside(tables, file, folder)
    if beside is not None:
        # What stands in the table's file was checked under that file's name.
        tables["score"] |= _toml(*beside)
    try:
        pipeline = msgspec.convert(tables, Pipeline)
    except msgspec.ValidationError as error:
        raise PipelineError(f"{file}: {_explained(str(error), tables, Pipeline)}") from error
    for key, problem in _contradictions(pipeline):
        if beside is not None and key.startswith("score."):
            raise PipelineError(f"{beside[1]}: {key.removeprefix('score.')}: {problem}")
        raise PipelineError(f"{file}: {key}: {problem}")
    digest = hashlib.sha256(content)
    if beside is not None:
        digest.update(b"\0" + beside[0])
    return msgspec.structs.replace(pipeline, version=digest.hexdigest()[:16])


def parse_table(content: bytes, file: str) -> ScoreTable:
    """The score table that `content` holds; `file` is named in errors. Raises PipelineError."""
    tables = _toml(content, file)
    try:
        return msgspec.convert(tables, ScoreTable)
    except msgspec.ValidationError as error:
        raise PipelineError(f"{file}: {_explained(str(error), tables, ScoreTable)}") from error


def _table_beside(
    tables: dict[str, Any], file: str, folder: Traversable | None
) -> tuple[bytes, str] | None:
    """Content and name of the score table that `[score] table` names, checked; None without one."""
    score = tables.get("score")
    if not isinstance(score, dict) or "table" not in score:
        return None
    name = score["table"]
    if not isinstance(name, str) or not name.endswith(TABLE_SUFFIX) or Path(name).name != name:
        wanted = f"wanted the name of a file beside this one that ends in {TABLE_SUFFIX}"
        raise PipelineError(f"{file}: score.table: {wanted}, found {name!r}")
    own = {field.name for field in msgspec.structs.fields(ScoreTable)}
    if both := sorted(own & score.keys()):
        said = f"stands in {name} too, which score.table names: keep one of them"
        raise PipelineError(f"{file}: score.{both[0]}: {said}")
    if folder is None or not (place := folder / name).is_file():
        hint = "`enrichment fit` writes one, and the shipped ones can be copied"
        raise PipelineError(f"{file}: score.table: there is no file '{name}' beside it; {hint}")
    shown = str(Path(file).with_name(name))
    content = place.read_bytes()
    parse_table(content, shown)
    return content, shown


def _toml(content: bytes, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PipelineError(f"{file}: not TOML: {error}") from error


def _explained(message: str, tables: dict[str, Any], root: type[msgspec.Struct]) -> str:
    """A msgspec error as `key: wanted …, found …`."""
    what, _, where = message.partition(" - at `$")
    path = re.sub(r"\[\.\.\.\]", "", where.rstrip("`").lstrip("."))
    if unknown := re.search(r"unknown field `(.+)`", what):
        key = f"{path}.{unknown[1]}".lstrip(".")
        nearest = difflib.get_close_matches(unknown[1], _known_keys(path, root), n=1)
        hint = f", did you mean '{nearest[0]}'?" if nearest else ""
        return f"{key}: there is no such key{hint}"
    if missing := re.search(r"missing required field `(.+)`", what):
        return f"{path}.{missing[1]}".lstrip(".") + ": is missing"
    found = _at(tables, path)
    shown = "" if found is None else f", found {found!r}"
    wanted = re.sub(r", got `.+`$", "", what).replace("Expected ", "wanted ").replace("`", "")
    return f"{path}: {wanted}{shown}"


def _known_keys(path: str, root: type[msgspec.Struct]) -> list[str]:
    """The keys of the table at `path`, for a suggestion."""
    fields: Any = root
    for step in (part.partition("[")[0] for part in path.split(".") if part):
        hint = {field.encode_name: field.type for field in msgspec.structs.fields(fields)}[step]
        candidates = [hint, *getattr(hint, "__args__", ()), *getattr(hint, "__metadata__", ())]
        candidates += [inner for c in candidates for inner in getattr(c, "__args__", ())]
        tables = [c for c in candidates if isinstance(c, type) and issubclass(c, msgspec.Struct)]
        if not tables:
            return []
        fields = tables[0]
    return [field.encode_name for field in msgspec.structs.fields(fields)]


def _at(tables: Any, path: str) -> Any:
    """The value that stands at a msgspec path, or None."""
    for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        try:
            tables = tables[int(index)] if index else tables[key]
        except (KeyError, IndexError, TypeError):
            return None
    return tables


def _contradictions(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """What the types allow and the meaning does not: (key, what is wrong)."""
    yield from _wrong_links(pipeline)
    yield from _wrong_references(pipeline)
    window, features, levels = pipeline.window, pipeline.features, pipeline.score.levels
    if window.size_ms % window.pane_ms:
        yield "window.pane_ms", f"wanted a divisor of size_ms ({window.size_ms})"
    if window.horizon_ms < window.size_ms:
        yield "window.horizon_ms", f"wanted at least size_ms ({window.size_ms})"
    for span_ms in window.spans_ms:
        if not window.size_ms <= span_ms < window.horizon_ms:
            wanted = f"from size_ms ({window.size_ms}) to below horizon_ms ({window.horizon_ms})"
            yield "window.spans_ms", f"wanted spans {wanted}"
    if features.stale_ms < features.fresh_ms:
        yield "features.stale_ms", f"wanted at least fresh_ms ({features.fresh_ms})"
    if levels.highest < levels.elevated:
        yield "score.levels.highest", f"wanted at least elevated ({levels.elevated:g})"
    stream = pipeline.stream
    references = [ref for term in pipeline.score.terms for ref in (term.value, term.over) if ref]
    needed = {stream.id, stream.time, stream.amount, *(a.field for a in pipeline.aggregates)}
    needed |= {ref.removeprefix("event.") for ref in references if ref.startswith("event.")}
    if clash := set(stream.sensitive) & needed:
        yield "stream.sensitive", f"'{clash.pop()}' is needed as it stands"


def _wrong_links(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """Links that join nothing, or things of which no problem can be made."""
    known = ", ".join(sorted(pipeline.entities))
    for index, link in enumerate(pipeline.links):
        key = f"links[{index}]"
        given = tuple(end is not None for end in (link.between, link.via, link.from_, link.to))
        if given not in {(True, True, False, False), (False, False, True, True)}:
            yield key, "wanted either between and via, or from and to"
        for role in link.roles:
            if role not in pipeline.entities:
                yield key, f"wanted an entity ({known}), found '{role}'"
                return
        if link.direct and pipeline.kind(link.roles[0]) != pipeline.kind(link.roles[1]):
            yield key, "the two ends of a direct link must be of one kind"
        if not link.direct and pipeline.kind(link.roles[1]) == pipeline.node_kind:
            yield key, f"a '{pipeline.node_kind}' cannot be what others share: use from and to"
        if pipeline.kind(link.roles[0]) != pipeline.node_kind:
            yield key, f"every link must start at a '{pipeline.node_kind}'"


def _wrong_references(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """Aggregates and score terms that speak of what is not there."""
    known = ", ".join(sorted(pipeline.entities))
    for index, aggregate in enumerate(pipeline.aggregates):
        if aggregate.entity not in pipeline.entities:
            found = f"wanted an entity ({known}), found '{aggregate.entity}'"
            yield f"aggregates[{index}].entity", found
        if aggregate.field == "label" and pipeline.labels is None:
            yield f"aggregates[{index}].field", "is 'label', but there are no [labels]"
    for index, term in enumerate(pipeline.score.terms):
        for name, reference in (("value", term.value), ("over", term.over)):
            if reference is not None and (problem := _reference(pipeline, reference, term)):
                yield f"score.terms[{index}].{name}", problem


def _reference(pipeline: Pipeline, reference: str, term: Term) -> str | None:
    """What is wrong with `event.FIELD` or `ROLE.GROUP.FEATURE`, or None."""
    parts = reference.split(".")
    if parts[0] == "event" and len(parts) == 2:
        label = pipeline.labels.field if pipeline.labels else None
        return "bears the label, which no score may read" if parts[1] == label else None
    if len(parts) != 3 or parts[1] not in {"graph", "ring"}:
        return f"wanted event.FIELD or ROLE.graph|ring.FEATURE, found '{reference}' ({term.name})"
    if parts[0] not in pipeline.entities:
        nearest = difflib.get_close_matches(parts[0], list(pipeline.entities), n=1)
        return f"there is no entity '{parts[0]}'" + (f", meant '{nearest[0]}'?" if nearest else "")
    return None
