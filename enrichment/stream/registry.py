"""Schemas in a registry that speaks Confluent's API: registered on `topics apply`, looked up once.

Subjects follow TopicNameStrategy: `<topic>-value`. What is registered says the same as `schemas/`
in the form that registries read (docs/decisions/schema-registry.md): JSON Schema's draft 7, and of
our own records *closed*, so that a new field is no break. Events, which others write, stay open.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self

from enrichment.pipelines import Pipeline
from enrichment.records import RECORDS
from enrichment.stream.asyncapi import RECORD_OF
from enrichment.stream.framing import Framing
from enrichment.stream.schemas import Schema, event_schema, record_schema

CALL_S: Final = 5.0  # one request; a registry answers in milliseconds
RETRIES_MAX: Final = 2
RETRY_MS: Final = 200
COMPATIBILITY: Final = "BACKWARD"
NOT_FOUND: Final = 404
DRAFT_7: Final = "http://json-schema.org/draft-07/schema#"

# The end of a stream's topic -> the record on it; `events` holds the pipeline's own.
_RECORD_OF_STREAM: Final = {
    "enriched": "enriched",
    "dead-letters": "dead-letter",
    "outcomes": "outcome",
    "reviews": "review",
}


class RegistryError(RuntimeError):
    """A registry that does not answer or refuses, said in one line that tells what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryConfig:
    """Where the registry is. A URL of `mock://` is one within this process, for tests."""

    url: str
    user: str | None = None
    password: str | None = None
    # A file or folder of CA certificates; None takes the system's.
    ca: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One schema as the registry has it."""

    topic: str
    subject: str
    schema_id: int


def subject_of(topic: str) -> str:
    """TopicNameStrategy, which is what every client of Confluent's assumes."""
    return f"{topic}-value"


def record_on(topic: str) -> str | None:
    """The name of the record that travels on a topic; None on events, and on unknown topics."""
    if topic in RECORD_OF:
        return RECORD_OF[topic][0]
    name = _RECORD_OF_STREAM.get(topic.rpartition(".")[2])
    return name if name in RECORDS else None


def schema_of(topic: str, pipelines: Mapping[str, Pipeline]) -> Schema | None:
    """What is registered for a topic; None where nothing of ours is known to travel on it.

    `pipelines` by stream: the schema of events is theirs.
    """
    if (record := record_on(topic)) is not None:
        return registrable(record_schema(record), closed=True)
    stream, _, end = topic.rpartition(".")
    if end == "events" and stream in pipelines:
        return registrable(event_schema(pipelines[stream]), closed=False)
    return None


def registrable(schema: Schema, *, closed: bool) -> Schema:
    """The same schema in draft 7: without `$id`, its root spelt out, no `$defs`, no `prefixItems`.

    `closed` adds `additionalProperties: false` to every object that says nothing of further ones.
    """
    definitions = {
        name: _draft_7(each, closed=closed) for name, each in schema.get("$defs", {}).items()
    }
    outside = {key: each for key, each in schema.items() if key not in {"$id", "$ref", "$defs"}}
    root = {"$schema": DRAFT_7, **_draft_7(outside | {"$schema": DRAFT_7}, closed=closed)}
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        root = definitions.pop(name) | root
    return root | ({"definitions": definitions} if definitions else {})


def _draft_7(node: Any, *, closed: bool) -> Any:
    """One schema, or a table or list of them."""
    if isinstance(node, list):
        return [_draft_7(each, closed=closed) for each in node]
    if not isinstance(node, dict):
        return node
    new = {key: _draft_7(each, closed=closed) for key, each in node.items()}
    if isinstance(reference := new.get("$ref"), str):
        new["$ref"] = reference.replace("#/$defs/", "#/definitions/")
    if isinstance(first := new.pop("prefixItems", None), list):
        if "items" in new:
            new["additionalItems"] = new["items"]
        new["items"] = first
    # A property may bear these names as well, and is then a schema and no table of schemas.
    if closed and new.get("type") == "object" and isinstance(new.get("properties"), dict):
        new.setdefault("additionalProperties", False)
    return new


class Registry:
    """One registry, through Confluent's client."""

    def __init__(self, client: Any, where: str) -> None:
        self._client = client
        self._where = where

    @classmethod
    def open(cls, config: RegistryConfig) -> Self:
        """A client; nothing is asked yet. Raises RegistryError where the extra is missing."""
        try:
            from confluent_kafka.schema_registry import SchemaRegistryClient
        except ImportError as error:
            raise RegistryError(
                f"a schema registry needs pip install 'enrichment[registry]' ({error.name})"
            ) from error
        settings: dict[str, Any] = {
            "url": config.url,
            "timeout": CALL_S,
            "max.retries": RETRIES_MAX,
            "retries.wait.ms": RETRY_MS,
        }
        if config.user is not None:
            settings["basic.auth.user.info"] = f"{config.user}:{config.password or ''}"
        if config.ca is not None:
            settings["ssl.ca.location"] = config.ca
        try:
            client = SchemaRegistryClient.new_client(settings)
        except (ValueError, OSError) as error:  # OSError: of the CA's file, ssl's own among them
            raise RegistryError(f"the schema registry's settings: {error}") from error
        return cls(client, config.url)

    def __enter__(self) -> Self:
        """The registry itself: leaving closes its connections."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._client.close()

    def register(self, topic: str, schema: Schema) -> Registered:
        """Register a topic's schema, which may be there already, and ask for BACKWARD from now on.

        Raises RegistryError where the registry finds that it cannot read what is registered.
        """
        subject = subject_of(topic)
        found = self._ask(
            f"registering {subject}",
            lambda: self._client.register_schema_full_response(subject, _of(schema)),
        )
        self._ask(
            f"setting the compatibility of {subject}", lambda: self._set_compatibility(subject)
        )
        return Registered(topic=topic, subject=subject, schema_id=found.schema_id)

    def resolve(self, topics: Iterable[str], pipelines: Mapping[str, Pipeline]) -> Framing:
        """The frames of these topics' values. Raises RegistryError where a schema is missing.

        What is looked up is the schema that this process writes, and not the newest: behind an
        older id a reader would find less than there is.
        """
        ids = {}
        for topic in topics:
            schema = schema_of(topic, pipelines)
            if schema is None:
                raise RegistryError(f"there is no schema of what travels on {topic}")
            subject = subject_of(topic)
            ids[topic] = self._ask(f"looking up {subject}", partial(self._lookup, subject, schema))
        return Framing(ids)

    def _lookup(self, subject: str, schema: Schema) -> int:
        from confluent_kafka.schema_registry import SchemaRegistryError

        try:
            return int(self._client.lookup_schema(subject, _of(schema)).schema_id)
        except SchemaRegistryError as error:
            if error.http_status_code != NOT_FOUND:
                raise
            raise RegistryError(
                f"the schema that this version writes is not registered as {subject} at "
                f"{self._where}: `enrichment topics apply`"
            ) from error

    def _set_compatibility(self, subject: str) -> None:
        from confluent_kafka.schema_registry import ConfigCompatibilityLevel, ServerConfig

        level = ConfigCompatibilityLevel[COMPATIBILITY]
        self._client.set_config(subject, ServerConfig(compatibility=level))

    def _ask(self, doing: str, call: Callable[[], Any]) -> Any:
        """The registry's answer. Raises RegistryError."""
        from confluent_kafka.schema_registry import SchemaRegistryError

        try:
            return call()
        except SchemaRegistryError as error:
            said = " ".join(str(error.error_message).split())[:500]
            raise RegistryError(
                f"{doing}: the registry at {self._where} says: {said} ({error.http_status_code})"
            ) from error
        except OSError as error:
            raise RegistryError(_silent(doing, self._where, error)) from error
        except Exception as error:  # other than the HTTP library's it is raised again
            # What its HTTP library raises has no base that could be imported without naming it.
            if type(error).__module__.partition(".")[0].startswith("http"):
                raise RegistryError(_silent(doing, self._where, error)) from error
            raise


def _silent(doing: str, where: str, error: Exception) -> str:
    return (
        f"{doing}: the registry at {where} does not answer ({error}): is "
        "ENRICHMENT_SCHEMA_REGISTRY_URL right?"
    )


def _of(schema: Schema) -> Any:
    """The schema as the client wants it: the same text for the same schema."""
    from confluent_kafka.schema_registry import Schema as RegistrySchema

    text = json.dumps(schema, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return RegistrySchema(text, "JSON")
