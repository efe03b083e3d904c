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
from typing import Any, Final, TypeVar

import msgspec

from enrichment.pipelines.called import of_calls
from enrichment.pipelines.definition import Pipeline, ScoreTable, Term
from enrichment.pipelines.probability import RingProbability
from enrichment.pipelines.table import PipelineError

SUFFIX: Final = ".toml"
TABLE_SUFFIX: Final = ".score.toml"
PROBABILITY_SUFFIX: Final = ".probability.toml"
BESIDE: Final = {
    TABLE_SUFFIX: ("score", "table", "a score table"),
    PROBABILITY_SUFFIX: ("sampling", "probability", "a calibration"),
}
"""Files beside a pipeline's: the table and the key that name one, and what it is."""

Root = TypeVar("Root", bound=msgspec.Struct)


def names(folder: Path | None = None) -> list[str]:
    """The pipelines that can be loaded by name: the shipped ones, and those in `folder`."""
    files = {entry.name for entry in resources.files(__package__).iterdir()}
    if folder is not None and folder.is_dir():
        files |= {path.name for path in folder.glob(f"*{SUFFIX}")}
    return sorted(
        name.removesuffix(SUFFIX)
        for name in files
        if name.endswith(SUFFIX) and not name.endswith(tuple(BESIDE))
    )


def load(name: str, folder: Path | None = None) -> Pipeline:
    """The pipeline of that name, or in the file of that path (ending in .toml).

    A file in `folder` goes before a shipped one. Raises PipelineError.
    """
    return parse(*_file(name, folder))


def written(name: str, folder: Path | None = None) -> frozenset[str]:
    """The keys that the pipeline's own file names, `rollout.gate.margin`. Raises PipelineError.

    Whether a margin was chosen or left as it comes cannot be told from the pipeline.
    """
    content, file, _ = _file(name, folder)
    return frozenset(_keys(_toml(content, file)))


def _keys(tables: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tables.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")


def _file(name: str, folder: Path | None) -> tuple[bytes, str, Traversable]:
    """Content, name and folder of a pipeline's file. Raises PipelineError."""
    for suffix, (_, _, what) in BESIDE.items():
        if name.endswith(suffix):
            raise PipelineError(f"{name}: is {what}; name the pipeline that it belongs to")
    if name.endswith(SUFFIX):
        path = Path(name)
        if not path.is_file():
            raise PipelineError(f"{name}: no such file")
        return path.read_bytes(), str(path), path.parent
    if folder is not None and (own := folder / f"{name}{SUFFIX}").is_file():
        return own.read_bytes(), str(own), folder
    known = names(folder)
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{nearest[0]}'?" if nearest else "known: " + ", ".join(known)
        raise PipelineError(f"there is no pipeline '{name}'; {hint}")
    shipped = resources.files(__package__)
    return (shipped / f"{name}{SUFFIX}").read_bytes(), f"{name}{SUFFIX}", shipped


def parse(content: bytes, file: str, folder: Traversable | None = None) -> Pipeline:
    """The pipeline that `content` describes; `file` is named in errors. Raises PipelineError.

    `folder` is where a score table or calibration of its own is looked for: beside the file and
    nowhere else, so that one that was forgotten is an error and not another one.
    """
    tables = _toml(content, file)
    if "version" in tables:
        raise PipelineError(f"{file}: version: is the file's hash, and not written by hand")
    if "files" in tables:
        raise PipelineError(f"{file}: files: are what was read, and not written by hand")
    if "probability" in tables:
        raise PipelineError(f"{file}: probability: stands in a file of its own: see [sampling]")
    table = _beside(tables, file, folder, TABLE_SUFFIX)
    if table is not None:
        _refuse_twice(tables["score"], table, file)
        parse_table(*table)
        # What stands in the table's file was checked under that file's name.
        tables["score"] |= _toml(*table)
    known = _beside(tables, file, folder, PROBABILITY_SUFFIX)
    whole = of_calls(tables, file) if "calls" in tables else tables
    try:
        pipeline = msgspec.convert(whole, Pipeline)
    except msgspec.ValidationError as error:
        raise PipelineError(f"{file}: {_explained(str(error), tables, Pipeline)}") from error
    for key, problem in _contradictions(pipeline):
        if table is not None and key.startswith("score."):
            raise PipelineError(f"{table[1]}: {key.removeprefix('score.')}: {problem}")
        raise PipelineError(f"{file}: {key}: {problem}")
    digest = hashlib.sha256(content)
    probability = None
    if table is not None:
        digest.update(b"\0" + table[0])
    if known is not None:
        digest.update(b"\0" + known[0])
        probability = parse_probability(*known)
        _refuse_strange(pipeline, probability, known[1])
    version = digest.hexdigest()[:16]
    files = {
        Path(name).name: read.decode()
        for read, name in ((content, file), *(each for each in (table, known) if each is not None))
    }
    return msgspec.structs.replace(pipeline, version=version, probability=probability, files=files)


def parse_table(content: bytes, file: str) -> ScoreTable:
    """The score table that `content` holds; `file` is named in errors. Raises PipelineError."""
    return _converted(content, file, ScoreTable)


def parse_probability(content: bytes, file: str) -> RingProbability:
    """The calibration that `content` holds; `file` is named in errors. Raises PipelineError."""
    probability = _converted(content, file, RingProbability)
    for index, steps in enumerate(probability.steps):
        if steps.fault:
            raise PipelineError(f"{file}: steps[{index}]: {steps.fault}")
    return probability


def _converted(content: bytes, file: str, root: type[Root]) -> Root:
    tables = _toml(content, file)
    try:
        return msgspec.convert(tables, root)
    except msgspec.ValidationError as error:
        raise PipelineError(f"{file}: {_explained(str(error), tables, root)}") from error


def _beside(
    tables: dict[str, Any], file: str, folder: Traversable | None, suffix: str
) -> tuple[bytes, str] | None:
    """Content and name of the file of that suffix that the pipeline names; None without one."""
    own, key, _ = BESIDE[suffix]
    table = tables.get(own)
    if not isinstance(table, dict) or key not in table:
        return None
    name = table[key]
    if not isinstance(name, str) or not name.endswith(suffix) or Path(name).name != name:
        wanted = f"wanted the name of a file beside this one that ends in {suffix}"
        raise PipelineError(f"{file}: {own}.{key}: {wanted}, found {name!r}")
    if folder is None or not (place := folder / name).is_file():
        hint = "`enrichment fit` writes one"
        raise PipelineError(f"{file}: {own}.{key}: there is no file '{name}' beside it; {hint}")
    return place.read_bytes(), str(Path(file).with_name(name))


def _refuse_twice(score: dict[str, Any], table: tuple[bytes, str], file: str) -> None:
    """What stands in the table's file may not stand in the pipeline's too."""
    own = {field.name for field in msgspec.structs.fields(ScoreTable)}
    if both := sorted(own & score.keys()):
        said = f"stands in {Path(table[1]).name} too, which score.table names: keep one of them"
        raise PipelineError(f"{file}: score.{both[0]}: {said}")


def _refuse_strange(pipeline: Pipeline, probability: RingProbability, file: str) -> None:
    """A map of other memberships than the pipeline's sampler gives says nothing of these."""
    now = pipeline.sampled(probability.sampled.path)
    if now is None:
        raise PipelineError(f"{file}: sampled: no one sampler draws that path for this pipeline")
    if differing := list(probability.sampled.differences(now)):
        raise PipelineError(
            f"{file}: sampled: {', '.join(differing)}: fit it anew, or take it out of [sampling]"
        )


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
    yield from _wrong_rollout(pipeline)
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
    sampling = pipeline.sampling
    if sampling.shots_min is not None and sampling.shots_min > sampling.shots:
        yield "sampling.shots_min", f"wanted at most shots ({sampling.shots})"
    if sampling.shots_max is not None and sampling.shots_max < sampling.shots:
        yield "sampling.shots_max", f"wanted at least shots ({sampling.shots})"
    stream = pipeline.stream
    references = [ref for term in pipeline.score.terms for ref in (term.value, term.over) if ref]
    needed = {stream.id, stream.time, stream.amount, *(a.field for a in pipeline.aggregates)}
    needed |= {ref.removeprefix("event.") for ref in references if ref.startswith("event.")}
    if clash := set(stream.sensitive) & needed:
        yield "stream.sensitive", f"'{clash.pop()}' is needed as it stands"


def _wrong_rollout(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """A share of untreated events that nothing could be in."""
    rollout = pipeline.rollout
    if pipeline.stream.amount and rollout.untreated_share and not rollout.untreated_amount_max:
        said = f"wanted above 0 where untreated_share is {rollout.untreated_share:g}"
        yield "rollout.untreated_amount_max", f"{said}: no event would be small enough"


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
