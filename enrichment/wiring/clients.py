"""Clients of Kafka, Redis and the schema registry, as the settings describe them."""

import contextlib
from typing import TYPE_CHECKING, Any

import redis
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from enrichment.feature.address import Address
from enrichment.feature.cluster import ClusterCache
from enrichment.feature.connection import open_cache
from enrichment.pipelines import Pipeline
from enrichment.settings import Settings
from enrichment.stream import topics
from enrichment.stream.framing import BARE, Framing
from enrichment.wiring.errors import ConfigurationError

if TYPE_CHECKING:
    from enrichment.feature.reads import TrackedReads
    from enrichment.stream.registry import Registry


CACHE_S = (
    2.0  # the longest that the hot path waits for its connection to the cache before it begins
)


def kafka_config(settings: Settings, client_id: str) -> dict[str, Any]:
    """What every Kafka client of ours is told, login and certificates included."""
    return {
        "bootstrap.servers": settings.kafka_bootstrap,
        "client.id": client_id,
        "log_level": 2,  # what goes wrong on the way is reported by us, in our own form
        **settings.kafka_security.librdkafka(),
    }


def redis_address(settings: Settings) -> Address:
    """Where the feature cache is, with its password."""
    address = settings.redis_url
    if settings.redis_password is not None:
        return address.with_password(settings.redis_password.get_secret_value())
    return address


def open_redis(settings: Settings, timeout_s: float) -> redis.Redis | ClusterCache:
    """A client of the feature cache whose every call ends within about `timeout_s`."""
    return open_cache(redis_address(settings), timeout_s)


def open_reads(settings: Settings) -> "TrackedReads":
    """The hot path's reads of the feature cache, within its timebox."""
    from enrichment.feature.reads import TrackedReads

    return TrackedReads(
        redis_address(settings), settings.read_timeout_ms / 1000, track=settings.cache_tracking
    )


def partition_count(settings: Settings, topic: str) -> int:
    """How many partitions a topic has. Raises ConfigurationError where it does not exist."""
    admin = AdminClient(kafka_config(settings, "enrichment-probe"))
    found = admin.list_topics(topic, timeout=10).topics[topic]
    if found.error is not None and found.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        who = settings.kafka_sasl_user or "whoever we are to it"
        raise ConfigurationError(
            f"Kafka at {settings.kafka_bootstrap} does not let {who} use the topic {topic}: "
            "`enrichment access kafka` says what each role needs"
        )
    if found.error is not None or not found.partitions:
        raise ConfigurationError(
            f"there is no topic {topic} at {settings.kafka_bootstrap}: `enrichment topics apply`"
        )
    return len(found.partitions)


def partition_counts(settings: Settings, names: tuple[str, ...]) -> set[int]:
    """How many partitions these topics have: one number where all have as many."""
    return {partition_count(settings, name) for name in names}


def open_registry(settings: Settings) -> "Registry | None":
    """The schema registry, where there is one. Raises ConfigurationError."""
    from enrichment.stream.registry import Registry, RegistryConfig, RegistryError

    if settings.schema_registry_url is None:
        return None
    password = settings.schema_registry_password
    ca = settings.schema_registry_ca
    config = RegistryConfig(
        url=settings.schema_registry_url,
        user=settings.schema_registry_user,
        password=None if password is None else password.get_secret_value(),
        ca=None if ca is None else str(ca),
    )
    try:
        return Registry.open(config)
    except RegistryError as error:
        raise ConfigurationError(str(error)) from error


def framing_of(settings: Settings, pipeline: Pipeline | None, *written: str) -> Framing:
    """What stands before the values of the topics that a stage writes: nothing without a registry.

    Raises ConfigurationError where a schema is not registered.
    """
    from enrichment.stream.registry import RegistryError

    registry = open_registry(settings)
    if registry is None:
        return BARE
    pipelines = {} if pipeline is None else {pipeline.name: pipeline}
    try:
        with registry:
            if topics.CONTROL in written:
                # Whoever instructs leaves a change; without its schema `instruct` says so, and lets
                # through what takes something out of use.
                with contextlib.suppress(RegistryError):
                    return registry.resolve((*written, topics.CHANGES), pipelines)
            return registry.resolve(written, pipelines)
    except RegistryError as error:
        raise ConfigurationError(str(error)) from error
