"""A broker's topics, read and changed: the one module that acts on what a plan says."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from enrichment.stream.manifests import TopicManifest
from enrichment.stream.topic_plan import Change, Difference, TopicState, differences

POLL_S: Final = 0.05
TIMEOUT_S: Final = 10.0  # a reachable broker answers in milliseconds; an operator waits no longer


class BrokerError(RuntimeError):
    """A broker that does not answer, or refuses, said in one line that tells what to do."""


class TopicAdmin:
    """The topics of one Kafka, through one admin client."""

    def __init__(self, admin: AdminClient, where: str, timeout_s: float) -> None:
        self._admin = admin
        self._where = where
        self._timeout_s = timeout_s

    def states(self, names: Iterable[str]) -> dict[str, TopicState]:
        """Those of the named topics that exist. Raises BrokerError."""
        try:
            metadata = self._admin.list_topics(timeout=self._timeout_s)
        except KafkaException as error:
            raise BrokerError(
                f"Kafka at {self._where} does not answer within {self._timeout_s:.0f} s: start a "
                "local one with `enrichment up`, or set ENRICHMENT_KAFKA_BOOTSTRAP"
            ) from error
        there = {name: metadata.topics[name] for name in names if name in metadata.topics}
        configs = self._configs(there)
        return {
            name: TopicState(
                name=name,
                partitions=len(topic.partitions),
                replicas=min((len(each.replicas) for each in topic.partitions.values()), default=0),
                config={key: entry.value or "" for key, entry in configs[name].items()},
                overrides=frozenset(
                    key
                    for key, entry in configs[name].items()
                    if entry.source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
                ),
            )
            for name, topic in there.items()
        }

    def _configs(self, names: Iterable[str]) -> dict[str, dict[str, ConfigEntry]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        if not resources:
            return {}
        asked = self._admin.describe_configs(resources, request_timeout=self._timeout_s)
        return {
            resource.name: self._result(future, f"reading the configs of {resource.name}")
            for resource, future in asked.items()
        }

    def carry_out(
        self,
        found: Sequence[Difference],
        manifests: Mapping[str, TopicManifest],
        done: Callable[[Difference], None],
    ) -> None:
        """Bring the differences in step, calling `done` after each. Raises BrokerError.

        Topics are created first: an error in a config then leaves none of them out.
        """
        self._create([each for each in found if each.change is Change.CREATE], manifests, done)
        for each in found:
            if each.change is Change.ADD_PARTITIONS:
                more = NewPartitions(each.topic, int(each.wanted))
                future = self._admin.create_partitions([more], request_timeout=self._timeout_s)
                self._result(future[each.topic], f"adding partitions to {each.topic}")
                done(each)
        altered = [e for e in found if e.change in {Change.SET_CONFIG, Change.RESET_CONFIG}]
        for topic in dict.fromkeys(each.topic for each in altered):
            self._alter(topic, [each for each in altered if each.topic == topic], done)

    def await_in_step(self, manifests: Sequence[TopicManifest]) -> None:
        """Wait until the broker shows what was carried out. Raises BrokerError.

        The controller answers first, and the brokers follow: whoever starts a stage right after
        must find the topics.
        """
        until_s = time.monotonic() + self._timeout_s
        while left := differences(manifests, self.states(each.name for each in manifests)):
            if time.monotonic() > until_s:
                first = left[0]
                raise BrokerError(
                    f"Kafka at {self._where} accepted every change and after "
                    f"{self._timeout_s:.0f} s still shows {first.topic}: {first.key}: "
                    f"{first.found or 'none'}; look at its log, and at `enrichment topics diff`"
                )
            time.sleep(POLL_S)

    def _create(
        self,
        missing: Sequence[Difference],
        manifests: Mapping[str, TopicManifest],
        done: Callable[[Difference], None],
    ) -> None:
        if not missing:
            return
        topics = [
            NewTopic(
                manifest.name,
                num_partitions=manifest.partitions,
                replication_factor=manifest.replicas,
                config=dict(manifest.config),
            )
            for manifest in (manifests[each.topic] for each in missing)
        ]
        futures = self._admin.create_topics(topics, request_timeout=self._timeout_s)
        for each in missing:
            self._result(futures[each.topic], f"creating {each.topic}")
            done(each)

    def _alter(
        self, topic: str, found: Sequence[Difference], done: Callable[[Difference], None]
    ) -> None:
        """Change the configs of one topic, and only those named."""
        entries = [
            ConfigEntry(
                each.key,
                each.wanted or None,
                incremental_operation=(
                    AlterConfigOpType.SET
                    if each.change is Change.SET_CONFIG
                    else AlterConfigOpType.DELETE
                ),
            )
            for each in found
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        futures = self._admin.incremental_alter_configs([resource], request_timeout=self._timeout_s)
        self._result(futures[resource], f"altering {topic}")
        for each in found:
            done(each)

    def _result(self, future: "Future[Any]", doing: str) -> Any:
        """What the broker answered, or BrokerError with what it said."""
        try:
            return future.result()
        except KafkaException as error:
            said = error.args[0].str()
            raise BrokerError(f"{doing} at {self._where}: the broker says: {said}") from error
