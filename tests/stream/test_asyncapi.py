"""The AsyncAPI document: valid by the official schema, and true of the topics."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from enrichment import __version__
from enrichment.pipelines import names
from enrichment.records import RECORDS
from enrichment.stream.asyncapi import document, formatted
from enrichment.stream.headers import cloud_event
from enrichment.stream.manifests import load_manifests

ROOT = Path(__file__).resolve().parents[2]
OFFICIAL = jsonschema.Draft7Validator(
    json.loads((Path(__file__).parent / "asyncapi" / "3.0.0.json").read_text())
)


@pytest.fixture(scope="module")
def committed() -> Any:
    """The document in schemas/, as a reader of YAML sees it."""
    return yaml.safe_load((ROOT / "schemas" / "asyncapi.yaml").read_text())


def test_the_official_schema_accepts_it(committed: Any) -> None:
    """That of AsyncAPI 3.0.0, its Kafka bindings included."""
    assert [error.message for error in OFFICIAL.iter_errors(committed)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("channels", "payments.events", "bindings", "kafka", "partitions"), "four"),
        (("channels", "payments.events", "bindings", "kafka", "bindingVersion"), "9"),
        (("operations", "enrich.receive.payments.events", "action"), "consume"),
        (("operations", "enrich.receive.payments.events", "channel"), "payments.events"),
        (("components", "messages", "digest", "payloads"), {}),
        (("info", "version"), None),
    ],
)
def test_the_official_schema_refuses_what_is_wrong(
    committed: Any, path: tuple[str, ...], value: Any
) -> None:
    """So that accepting it means something."""
    spoilt = json.loads(json.dumps(committed))
    place = spoilt
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert not OFFICIAL.is_valid(spoilt)


def references(node: Any) -> list[str]:
    """Every `$ref` below a node."""
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [each for value in node.values() for each in references(value)]
    return [each for value in node for each in references(value)] if isinstance(node, list) else []


def test_every_reference_leads_somewhere(committed: Any) -> None:
    """Within the document, or to a schema's file beside it; and each schema is referred to."""
    files = set()
    for reference in references(committed):
        if reference.startswith("#/"):
            found = committed
            for step in reference[2:].split("/"):
                found = found[step]
        else:
            assert (ROOT / "schemas" / reference).is_file(), reference
            files.add(Path(reference).stem)
    assert files == set(RECORDS) | {f"{name}.event" for name in names()}


def test_channels_are_the_topics(committed: Any) -> None:
    """Every topic with its manifest's partitions, cleanup policy and limits."""
    manifests = {manifest.name: manifest for manifest in load_manifests(ROOT / "topics")}
    assert set(committed["channels"]) == set(manifests)
    for name, channel in committed["channels"].items():
        binding, manifest = channel["bindings"]["kafka"], manifests[name]
        assert (channel["address"], binding["partitions"]) == (name, manifest.partitions)
        configuration = binding["topicConfiguration"]
        assert ",".join(configuration["cleanup.policy"]) == manifest.config["cleanup.policy"]
        assert str(configuration["max.message.bytes"]) == manifest.config["max.message.bytes"]


def test_every_topic_is_read_by_a_stage_or_for_others(committed: Any) -> None:
    """And written by a stage, or by others: no channel without an operation."""
    used: dict[str, set[str]] = {}
    for operation in committed["operations"].values():
        topic = operation["channel"]["$ref"].removeprefix("#/channels/")
        used.setdefault(topic, set()).add(operation["action"])
    assert set(used) == set(committed["channels"])
    others_write = {topic for topic, actions in used.items() if actions == {"receive"}}
    assert others_write == {"enrichment.control"} | {
        f"{name}.{what}" for name in names() for what in ("events", "outcomes")
    }


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_headers_are_those_that_stages_write(committed: Any, name: str) -> None:
    """What `cloud_event` makes is valid by the message's header schema."""
    headers = {key: value.decode() for key, value in cloud_event(name, "s", "i", 0)}
    schema = committed["components"]["messages"][name]["headers"]
    jsonschema.Draft7Validator(schema).validate(headers)
    del headers["ce_id"]
    assert not jsonschema.Draft7Validator(schema).is_valid(headers)


def test_it_is_written_the_same_every_time() -> None:
    """And without anchors."""
    manifests = load_manifests(ROOT / "topics")
    texts = {formatted(document(names(), manifests, __version__)) for _ in range(2)}
    assert len(texts) == 1
    assert "&id" not in texts.pop()


def test_a_topic_without_a_manifest_is_an_error() -> None:
    """It is named."""
    manifests = [each for each in load_manifests(ROOT / "topics") if each.name != "rings.cases"]
    with pytest.raises(KeyError, match=r"rings\.cases"):
        document(names(), manifests, __version__)
