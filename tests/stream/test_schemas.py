"""Generated schemas: valid in themselves, stable, and true of what the hot path takes."""

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.enrich.decode import Decoder, Invalid
from enrichment.pipelines import load, names
from enrichment.records import RECORDS
from enrichment.stream.schemas import all_schemas, event_schema, formatted

NOW_MS = 1_750_000_000_000
PIPELINES = {name: load(name) for name in names()}
EVENTS = {name: event_schema(pipeline) for name, pipeline in PIPELINES.items()}
DECODERS = {name: Decoder(pipeline) for name, pipeline in PIPELINES.items()}


def test_every_record_and_every_shipped_event_has_a_schema() -> None:
    """And each is valid JSON Schema with an identity of its own."""
    schemas = all_schemas(PIPELINES.values())
    assert set(schemas) == set(RECORDS) | {f"{name}.event" for name in PIPELINES}
    for name, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["title"] == name
        assert schema["description"].endswith(".")
    assert len({schema["$id"] for schema in schemas.values()}) == len(schemas)


def test_a_schema_is_written_the_same_every_time() -> None:
    """Otherwise every check would find something."""
    for name, schema in all_schemas(PIPELINES.values()).items():
        assert formatted(schema) == formatted(all_schemas(PIPELINES.values())[name])
        assert json.loads(formatted(schema)) == schema


def _field(kind: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values for one alternative of an event's field."""
    match kind["type"]:
        case "integer":
            return st.integers(kind.get("minimum", -(2**53)), min(NOW_MS, 2**53))
        case "number":
            return st.one_of(st.integers(-(10**9), 10**9), st.floats(-1e9, 1e9))
        case "string" if kind.get("format") == "date-time":
            moments = st.datetimes(datetime(2001, 1, 1), datetime(2025, 1, 1))  # noqa: DTZ001
            return moments.map(lambda moment: moment.replace(tzinfo=UTC).isoformat())
        case "string":
            return st.text(min_size=1, max_size=12)
        case "boolean":
            return st.booleans()
        case _:
            return st.none()


@st.composite
def valid_events(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """Events that the pipeline's schema takes."""
    schema = EVENTS[name]
    event = {}
    for field, kind in schema["properties"].items():
        if field in schema["required"] or draw(st.booleans()):
            event[field] = draw(st.one_of([_field(each) for each in kind.get("anyOf", [kind])]))
    if draw(st.booleans()):
        event["something_else"] = draw(st.sampled_from([1, "x", None, [1], {"a": 1}]))
    return event


@pytest.mark.parametrize("name", names())
@given(data=st.data())
def test_the_hot_path_takes_every_event_that_its_schema_takes(
    name: str, data: st.DataObject
) -> None:
    """A producer that goes by the schema never makes a dead letter."""
    event = data.draw(valid_events(name))
    assert jsonschema.Draft202012Validator(EVENTS[name]).is_valid(event)
    decoded = DECODERS[name].decode(msgspec.json.encode(event), now_ms=NOW_MS)
    assert not isinstance(decoded, Invalid), decoded


@pytest.mark.parametrize("name", names())
@given(data=st.data())
def test_the_hot_path_refuses_what_the_schema_refuses(name: str, data: st.DataObject) -> None:
    """A field that is missing, or of a type that no alternative has, is a dead letter."""
    event = data.draw(valid_events(name))
    field = data.draw(st.sampled_from(EVENTS[name]["required"]))
    if data.draw(st.booleans()):
        del event[field]
    else:
        event[field] = data.draw(st.sampled_from([[1], {"a": 1}, True]))
    assert not jsonschema.Draft202012Validator(EVENTS[name]).is_valid(event)
    decoded = DECODERS[name].decode(msgspec.json.encode(event), now_ms=NOW_MS)
    assert isinstance(decoded, Invalid)
