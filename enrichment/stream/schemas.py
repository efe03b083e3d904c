"""JSON Schemas of what travels: one per record, and one per pipeline for the events it takes."""

import inspect
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from enrichment.pipelines import Pipeline
from enrichment.records import RECORDS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ID_LENGTH_MAX: Final = 256  # as the hot path has it: an id is a key in Redis and in Kafka

Schema = dict[str, Any]


def record_schema(name: str) -> Schema:
    """The JSON Schema of a record of `enrichment.records.RECORDS`.

    Readers skip fields they do not know; writers write no others than these.
    """
    record = RECORDS[name]
    schema = json.loads(msgspec.json.encode(msgspec.json.schema(record)))
    definitions = {key: _cleaned(value) for key, value in sorted(schema["$defs"].items())}
    return {
        "$schema": DIALECT,
        "$id": _identity(name),
        "title": name,
        "description": _first_line(record),
        "$ref": schema["$ref"],
        "$defs": definitions,
    }


def event_schema(pipeline: Pipeline) -> Schema:
    """The JSON Schema of an event as the pipeline's hot path takes it.

    An event may carry any other field; those are passed on and not looked at. Where one field has
    several parts to play, the narrowest of their types holds.
    """
    properties: dict[str, Schema] = {
        field: {"description": "A value that scores or aggregates read.", "type": "number"}
        for field in _numbers(pipeline)
    }
    for role in pipeline.entities:
        what = f"The id of the {role}, or null where the event has none."
        properties[pipeline.field(role)] = _identifier(what, nullable=True)
    optional = set()
    if pipeline.labels is not None:
        label = pipeline.labels.field
        if label not in properties:
            optional.add(label)
            kinds = ("boolean", "number", "null")
            properties[label] = {"anyOf": [{"type": kind} for kind in kinds]}
        properties[label]["description"] = "Whether the event was bad, where that is known."
    if pipeline.window.shard is not None:
        what = "The shard that the event belongs to: rings are looked for within one."
        properties[pipeline.window.shard] = _identifier(what)
    stream = pipeline.stream
    if stream.amount is not None:
        properties[stream.amount] = {"description": "The amount, in major units.", "type": "number"}
    properties[stream.key] = _identifier("Whose event it is: events of one key stay in order.")
    properties[stream.id] = _identifier("The event's own id. A second event with it is a repeat.")
    properties[stream.time] = _time(pipeline)
    return {
        "$schema": DIALECT,
        "$id": _identity(f"{pipeline.name}.event"),
        "title": f"{pipeline.name}.event",
        "description": f"One event of {pipeline.name}, as published to {pipeline.name}.events.",
        "type": "object",
        "properties": {field: properties[field] for field in sorted(properties)},
        "required": sorted(set(properties) - optional),
        "additionalProperties": True,
    }


def all_schemas(pipelines: Iterable[Pipeline]) -> dict[str, Schema]:
    """Every schema by its file's name without `.json`."""
    events = {f"{pipeline.name}.event": event_schema(pipeline) for pipeline in pipelines}
    return {name: record_schema(name) for name in RECORDS} | events


def formatted(schema: Mapping[str, Any]) -> str:
    """The schema as its file holds it: the same bytes for the same schema."""
    return json.dumps(schema, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _identity(name: str) -> str:
    return f"urn:enrichment:schema:{name}"


def _first_line(record: type) -> str:
    return (inspect.getdoc(record) or "").partition("\n")[0]


def _cleaned(definition: Schema) -> Schema:
    """A definition whose description is free of the source's indentation."""
    if "description" not in definition:
        return definition
    return definition | {"description": inspect.cleandoc(definition["description"])}


def _numbers(pipeline: Pipeline) -> list[str]:
    """Fields that aggregates or score terms read from the event as numbers."""
    aggregated = {each.field for each in pipeline.aggregates if each.field != "label"}
    references = (each for term in pipeline.score.terms for each in (term.value, term.over))
    scored = {
        each.removeprefix("event.")
        for each in references
        if each is not None and each.startswith("event.")
    }
    return sorted(aggregated | scored)


def _identifier(description: str, *, nullable: bool = False) -> Schema:
    kinds: list[Schema] = [
        {"type": "string", "minLength": 1, "maxLength": ID_LENGTH_MAX},
        {"type": "integer"},
    ]
    return {
        "description": description,
        "anyOf": [*kinds, {"type": "null"}] if nullable else kinds,
    }


def _time(pipeline: Pipeline) -> Schema:
    """Integer milliseconds or text; how late is too late is said at the time, not in a schema."""
    return {
        "description": "When it happened: milliseconds since 1970, or an RFC 3339 time.",
        "anyOf": [
            {"type": "integer", "minimum": pipeline.limits.earliest_ms},
            {"type": "string", "format": "date-time"},
        ],
    }
