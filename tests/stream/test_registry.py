"""Schemas in a registry: what is registered, how it evolves, and what a process finds at its start.

`mock://` is confluent-kafka's own; over HTTP a small server stands in, or the registry whose URL is
in ENRICHMENT_TEST_REGISTRY_URL (`scripts/registry-check` starts an Apicurio and sets it).
"""

import copy
import os
from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enrichment.pipelines.loader import load, names
from enrichment.records import RECORDS
from enrichment.stream.registry import (
    DRAFT_7,
    Registry,
    RegistryConfig,
    RegistryError,
    record_on,
    registrable,
    schema_of,
)
from enrichment.stream.schemas import record_schema
from enrichment.stream.topics import DIGESTS, FEATURES, JOBS, MICRO_BATCHES, REPLAYS
from tests.records.builders import any_record
from tests.stream.registry_server import PASSWORD, USER, running_registry

PIPELINES = {name: load(name) for name in names()}
TOPICS = ["payments.events", "payments.enriched", "payments.dead-letters", DIGESTS, FEATURES, JOBS]


@pytest.fixture(params=["mock", "http"])
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    """An empty registry, of each kind."""
    if request.param == "mock":
        with Registry.open(RegistryConfig(url="mock://")) as opened:
            yield opened
    else:
        with running_registry() as (url, _):
            where = os.environ.get("ENRICHMENT_TEST_REGISTRY_URL", url)
            with Registry.open(RegistryConfig(url=where)) as opened:
                yield opened


def test_what_is_registered_is_found_at_a_start(registry: Registry) -> None:
    """Registering again changes nothing, and a frame bears the id that the registry gave."""
    ids = {}
    for topic in TOPICS:
        schema = schema_of(topic, PIPELINES)
        assert schema is not None
        first = registry.register(topic, schema)
        assert first.subject == f"{topic}-value"
        assert registry.register(topic, schema).schema_id == first.schema_id
        ids[topic] = first.schema_id
    framing = registry.resolve(TOPICS, PIPELINES)
    for topic, id_ in ids.items():
        assert framing.prefix(topic) == b"\x00" + id_.to_bytes(4, "big")


def test_what_is_not_registered_is_told_at_a_start(registry: Registry) -> None:
    """With the command that would register it; a topic of nobody's has no schema at all."""
    with pytest.raises(RegistryError, match="`enrichment topics apply`"):
        registry.resolve([MICRO_BATCHES], PIPELINES)
    with pytest.raises(RegistryError, match="no schema of what travels on weather"):
        registry.resolve(["weather"], PIPELINES)


def test_a_record_may_gain_a_field_and_not_change_one() -> None:
    """BACKWARD is asked for with the first schema, and refuses the second breach."""
    with (
        running_registry() as (url, server),
        Registry.open(
            RegistryConfig(url=os.environ.get("ENRICHMENT_TEST_REGISTRY_URL", url))
        ) as registry,
    ):
        topic = "evolving.dead-letters"
        schema = schema_of(topic, {})
        assert schema is not None
        first = registry.register(topic, schema)
        wider = copy.deepcopy(schema)
        wider["properties"]["new"] = {"type": "string", "default": ""}
        assert registry.register(topic, wider).schema_id != first.schema_id
        broken = copy.deepcopy(wider)
        broken["properties"]["offset"] = {"type": "string"}
        with pytest.raises(RegistryError, match=f"registering {topic}-value: the registry at"):
            registry.register(topic, broken)
        if "ENRICHMENT_TEST_REGISTRY_URL" not in os.environ:
            assert server.levels == {f"{topic}-value": "BACKWARD"}


@pytest.mark.parametrize("name", sorted(RECORDS))
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_draft_7_says_what_our_schemas_say(name: str, data: st.DataObject) -> None:
    """A record is valid; one with a field of nobody's is not, nor one with a wrong type."""
    schema = registrable(record_schema(name), closed=True)
    assert schema["$schema"] == DRAFT_7
    assert "$defs" not in str(schema)
    assert "prefixItems" not in str(schema)
    validator = jsonschema.Draft7Validator(schema)
    validator.check_schema(schema)
    record = data.draw(any_record(RECORDS[name]))
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(record))
    validator.validate(plain)
    assert not validator.is_valid(plain | {"of_nobody": 1})
    simple = {"string", "integer", "number"}
    field = next(f for f, each in schema["properties"].items() if each.get("type") in simple)
    assert not validator.is_valid(plain | {field: {"of": "another type"}})


def test_events_stay_open() -> None:
    """Others write them, with fields that we do not know."""
    schema = schema_of("payments.events", PIPELINES)
    assert schema is not None
    assert schema["additionalProperties"] is True
    assert schema_of("unknown.events", PIPELINES) is None


def test_every_topic_of_ours_has_a_record() -> None:
    """By its name, or by the end of it; what others call theirs has none."""
    assert record_on("any.enriched") == "enriched"
    assert record_on("any.dead-letters") == "dead-letter"
    assert record_on(REPLAYS) == "replay"
    assert record_on("any.events") is None
    assert record_on("weather") is None


def test_user_and_password_are_sent() -> None:
    """A guarded registry takes them, and refuses others without telling them."""
    with running_registry(guarded=True) as (url, _):
        schema = schema_of(DIGESTS, {})
        assert schema is not None
        with Registry.open(RegistryConfig(url=url, user=USER, password=PASSWORD)) as known:
            assert known.register(DIGESTS, schema).schema_id == 1
        wrong = RegistryConfig(url=url, user=USER, password="guess")  # noqa: S106
        with (
            Registry.open(wrong) as stranger,
            pytest.raises(RegistryError, match="Unauthorized") as refused,
        ):
            stranger.register(DIGESTS, schema)
        assert "guess" not in str(refused.value)


def test_a_silent_registry_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What, where and what to look at."""
    monkeypatch.setattr("enrichment.stream.registry.RETRIES_MAX", 0)
    schema = schema_of(DIGESTS, {})
    assert schema is not None
    with (
        Registry.open(RegistryConfig(url="http://127.0.0.1:1")) as registry,
        pytest.raises(RegistryError, match="does not answer") as silent,
    ):
        registry.register(DIGESTS, schema)
    assert "ENRICHMENT_SCHEMA_REGISTRY_URL" in str(silent.value)


def test_a_ca_that_is_no_file_is_one_line() -> None:
    """Before anything is asked."""
    with pytest.raises(RegistryError, match="settings"):
        Registry.open(RegistryConfig(url="https://127.0.0.1:1", ca="/nowhere/ca.pem"))
