"""What counts as a break between two schemas, and that nothing else slips through."""

from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.pipelines import load, names
from enrichment.records import RECORDS
from enrichment.stream.compatibility import breaks
from enrichment.stream.schemas import event_schema, record_schema

Schema = dict[str, Any]


def an_object(required: tuple[str, ...] = (), **properties: Any) -> Schema:
    """A record's schema, as msgspec writes it."""
    return {"type": "object", "properties": properties, "required": list(required)}


def places(*items: Schema, least: int | None = None) -> Schema:
    """An array-like record's schema."""
    return {
        "type": "array",
        "prefixItems": list(items),
        "minItems": len(items) if least is None else least,
    }


TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
NULL: Schema = {"type": "null"}
OPEN: Schema = an_object(("a",), a=TEXT) | {"additionalProperties": True}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            {"enum": ["a", "b"]}, {"enum": ["a"]}, "$: 'b' is no longer a value", id="enum"
        ),
        pytest.param(
            {"const": 1}, {"const": 2}, "$: 1 is no longer a value", id="const"
        ),
        pytest.param(
            an_object(), an_object(("a",), a=TEXT), "$.a: is required, and was not there",
            id="new required field",
        ),
        pytest.param(
            an_object(a=TEXT), an_object(("a",), a=TEXT), "$.a: is required, and was optional",
            id="field became required",
        ),
        pytest.param(
            an_object(a=NUMBER), an_object(a=WHOLE), "$.a: was number, is now integer",
            id="narrowed type",
        ),
        pytest.param(
            an_object(a=TEXT), an_object(a=WHOLE), "$.a: was string, is now integer",
            id="changed type",
        ),
        pytest.param(
            an_object(a={"anyOf": [TEXT, NULL]}), an_object(a=TEXT),
            "$.a: was null, is now string", id="null no longer taken",
        ),
        pytest.param(
            an_object(a={**WHOLE, "default": 1}), an_object(a={**WHOLE, "default": 2}),
            "$.a: the default was 1 and is now 2: old data leave it out", id="changed default",
        ),
        pytest.param(
            an_object(a=TEXT), an_object() | {"additionalProperties": False},
            "$.a: is no longer allowed", id="field forbidden",
        ),
        pytest.param(
            places(TEXT), places(TEXT, WHOLE), "$: minItems was 1 and is now 2",
            id="item appended without a default",
        ),
        pytest.param(
            places(TEXT, WHOLE), places(WHOLE), "$[0]: was string, is now integer",
            id="item removed in front",
        ),
        pytest.param(
            places(TEXT, WHOLE) | {"items": False}, places(TEXT) | {"items": False},
            "$[1]: is no longer allowed", id="item removed from a tuple",
        ),
        pytest.param(
            {"type": "array", "items": NUMBER}, {"type": "array", "items": WHOLE},
            "$[*]: was number, is now integer", id="narrowed items",
        ),
        pytest.param(
            {"type": "array"}, {"type": "array", "items": WHOLE},
            "$[*]: was anything, is now integer", id="items of any type",
        ),
        pytest.param(
            {"type": "object", "additionalProperties": NUMBER},
            {"type": "object", "additionalProperties": TEXT},
            "$.*: was number, is now string", id="changed values of a map",
        ),
        pytest.param(
            {"type": "object", "additionalProperties": NUMBER}, an_object(a=NUMBER)
            | {"additionalProperties": False},
            "$.*: further properties are no longer allowed", id="map became a record",
        ),
        pytest.param(
            WHOLE, WHOLE | {"minimum": 0}, "$: minimum was unbounded and is now 0", id="new bound"
        ),
        pytest.param(
            WHOLE | {"maximum": 9}, WHOLE | {"maximum": 8}, "$: maximum was 9 and is now 8",
            id="tighter bound",
        ),
        pytest.param(
            TEXT, TEXT | {"pattern": "^a"}, "$: pattern was None and is now '^a'", id="new pattern"
        ),
        pytest.param(
            TEXT, TEXT | {"contentEncoding": "base64"},
            "$: contentEncoding was None and is now 'base64'", id="new encoding",
        ),
        pytest.param(
            TEXT, {"enum": ["a"]}, "$: was string, is now enum", id="text became an enum"
        ),
        pytest.param({"enum": ["a"]}, WHOLE, "$: 'a' is no longer a value", id="enum became whole"),
        pytest.param({}, TEXT, "$: was anything, is now string", id="anything became text"),
        pytest.param(True, False, "$: was anything, is now nothing", id="nothing is taken"),
        pytest.param(
            OPEN, OPEN | {"properties": {"a": TEXT, "b": WHOLE}},
            "$.b: was anything, is now integer", id="a new field of an open record",
        ),
        pytest.param(
            TEXT, {"oneOf": [TEXT]}, "$: cannot compare 'oneOf'", id="what is not understood"
        ),
        pytest.param(
            TEXT, {"$ref": "#/$defs/None"}, "$: the reference '#/$defs/None' leads nowhere",
            id="a reference that leads nowhere",
        ),
        pytest.param(
            an_object(), {"properties": {"a": TEXT}, "required": ["a"]},
            "$: cannot compare a schema that names no type", id="constraints without a type",
        ),
        pytest.param(
            {"anyOf": [TEXT, WHOLE]}, {"anyOf": [TEXT, WHOLE], "minimum": 3},
            "$: cannot compare 'minimum' beside 'anyOf'", id="constraints beside a union",
        ),
    ],
)  # fmt: skip
def test_a_break_is_named_with_its_place(old: Schema, new: Schema, said: str) -> None:
    """Each kind of change that leaves old data unreadable: path and reason."""
    assert said in [str(each) for each in breaks(old, new)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param({"enum": ["a"]}, {"enum": ["a", "b"]}, id="enum value added"),
        pytest.param({"enum": ["a", "b"]}, TEXT, id="enum became text"),
        pytest.param(an_object(("a",), a=TEXT), an_object(), id="field removed"),
        pytest.param(an_object(), an_object(a={**TEXT, "default": ""}), id="optional field added"),
        pytest.param(
            an_object(("a",), a=TEXT), an_object(a={**TEXT, "default": ""}),
            id="field became optional",
        ),
        pytest.param(WHOLE, NUMBER, id="whole became a number"),
        pytest.param(TEXT, {"anyOf": [TEXT, NULL]}, id="null also taken"),
        pytest.param(places(TEXT), places(TEXT, WHOLE, least=1), id="item with a default appended"),
        pytest.param(places(TEXT, WHOLE), places(TEXT), id="last item removed"),
        pytest.param(WHOLE | {"minimum": 1}, WHOLE | {"minimum": 0}, id="looser bound"),
        pytest.param(TEXT | {"pattern": "^a"}, TEXT, id="pattern dropped"),
        pytest.param(TEXT, {}, id="anything taken"),
        pytest.param({"type": ["string", "null"]}, {"anyOf": [NULL, TEXT]}, id="spelt otherwise"),
        pytest.param(
            {"$ref": "#/$defs/A", "$defs": {"A": TEXT}}, TEXT | {"description": "b"}, id="ref gone"
        ),
        pytest.param(OPEN, OPEN | {"properties": {"a": TEXT, "b": {}}}, id="any open field"),
    ],
)  # fmt: skip
def test_what_old_data_survive_is_no_break(old: Schema, new: Schema) -> None:
    """Each kind of change that a reader does not notice."""
    assert breaks(old, new) == ()


def test_a_recursive_schema_is_compared_once() -> None:
    """A definition that holds itself ends, and a break inside of it is found."""
    tree = {
        "$ref": "#/$defs/Tree",
        "$defs": {
            "Tree": an_object(name=TEXT, below={"type": "array", "items": {"$ref": "#/$defs/Tree"}})
        },
    }
    narrower: Any = msgspec.json.decode(msgspec.json.encode(tree))
    narrower["$defs"]["Tree"]["properties"]["name"] = WHOLE
    assert breaks(tree, tree) == ()
    assert "$.name: was string, is now integer" in [str(each) for each in breaks(tree, narrower)]


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_a_record_reads_itself(name: str) -> None:
    """Nothing that msgspec generates for our records is beyond the comparison."""
    assert breaks(record_schema(name), record_schema(name)) == ()


@pytest.mark.parametrize("name", names())
def test_an_event_schema_reads_itself(name: str) -> None:
    """Nor is anything in the schemas of events."""
    schema = event_schema(load(name))
    assert breaks(schema, schema) == ()


LEAVES = st.one_of(
    st.sampled_from([TEXT, WHOLE, NUMBER, NULL, {"type": "boolean"}, {}]),
    st.builds(
        lambda values: {"enum": sorted(values)},
        st.sets(st.sampled_from(["a", "b", "c"]), min_size=1),
    ),
    st.builds(
        lambda low, span: {"type": "integer", "minimum": low, "maximum": low + span},
        st.integers(-2, 2),
        st.integers(0, 3),
    ),
    st.builds(
        lambda low, span: {"type": "string", "minLength": low, "maxLength": low + span},
        st.integers(0, 2),
        st.integers(0, 3),
    ),
)


def _composed(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    fields = st.dictionaries(st.sampled_from(["p", "q", "r"]), inner, max_size=3)
    return st.one_of(
        st.builds(
            lambda properties, optional: {
                "type": "object",
                "properties": properties,
                "required": sorted(set(properties) - optional),
            },
            fields,
            st.sets(st.sampled_from(["p", "q", "r"])),
        ),
        st.builds(lambda values: {"type": "object", "additionalProperties": values}, inner),
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(
            lambda items, less: places(*items, least=max(0, len(items) - less)),
            st.lists(inner, max_size=3),
            st.integers(0, 2),
        ),
        st.builds(lambda kinds: {"anyOf": kinds}, st.lists(inner, min_size=1, max_size=3)),
    )


SCHEMAS = st.recursive(LEAVES, _composed, max_leaves=6)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 6),
    st.sampled_from([0.5, 1.5]),
    st.text("abc", max_size=5),
)


@st.composite
def written(draw: st.DrawFn, schema: Schema) -> Any:
    """A value as a writer of that schema writes it: what the schema names, and nothing else."""
    if "anyOf" in schema:
        return draw(written(draw(st.sampled_from(schema["anyOf"]))))
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    kind = schema.get("type")
    if kind == "object":
        required = schema.get("required", [])
        value = {
            name: draw(written(inner))
            for name, inner in schema.get("properties", {}).items()
            if name in required or draw(st.booleans())
        }
        if others := schema.get("additionalProperties"):
            value |= {name: draw(written(others)) for name in draw(st.sets(st.sampled_from("pxy")))}
        return value
    if kind == "array":
        if "items" in schema:
            return [draw(written(schema["items"])) for _ in range(draw(st.integers(0, 2)))]
        items = schema["prefixItems"]
        length = draw(st.integers(schema["minItems"], len(items)))
        return [draw(written(item)) for item in items[:length]]
    return draw(VALUES.filter(lambda value: is_valid(value, schema)))


def is_valid(value: Any, schema: Schema) -> bool:
    """Whether the value is valid, as a public validator has it."""
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


@given(schema=SCHEMAS)
def test_every_schema_reads_itself(schema: Schema) -> None:
    """Equal schemas are compatible, whatever they are made of."""
    assert breaks(schema, schema) == ()


@given(old=SCHEMAS, new=SCHEMAS, data=st.data())
def test_without_a_break_old_data_stay_valid(old: Schema, new: Schema, data: st.DataObject) -> None:
    """Of any two schemas: no break means that what the old one's writers wrote is valid today."""
    value = data.draw(written(old))
    assert is_valid(value, old)
    if not breaks(old, new):
        assert is_valid(value, new)


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[Schema, Schema]:
    """Two schemas that differ in one place, as two versions of a record do."""
    one, other = draw(LEAVES), draw(LEAVES)
    around = draw(st.lists(st.integers(0, 3), max_size=2))
    for how in around:
        beside = draw(LEAVES)
        one, other = _around(how, one, beside), _around(how, other, beside)
    return one, other


def _around(how: int, inner: Schema, beside: Schema) -> Schema:
    if how == 0:
        return an_object(("p",), p=inner, q=beside)
    if how == 1:
        return places(beside, inner)
    if how == 2:
        return {"anyOf": [inner, beside]}
    return {"type": "object", "additionalProperties": inner}


@given(pair=neighbours(), data=st.data())
def test_no_break_between_versions_keeps_old_data_valid(
    pair: tuple[Schema, Schema], data: st.DataObject
) -> None:
    """The same of schemas that differ in one place only, where most pairs are compatible."""
    old, new = pair
    value = data.draw(written(old))
    if not breaks(old, new):
        assert is_valid(value, new)
