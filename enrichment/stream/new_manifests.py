"""Manifests for a stream of one's own: five topics, commented as the shipped ones are."""

import re
from typing import Final

from enrichment.stream.topics import StreamTopics

DAY_MS: Final = 86_400_000
# One MiB and a record batch's overhead: Kafka's own default, written out.
MESSAGE_BYTES_DEFAULT: Final = 1_048_588

_TEMPLATE: Final = """\
# {purpose}
apiVersion: kafka.strimzi.io/v1
kind: KafkaTopic
metadata:
  name: {resource}
  labels:
    strimzi.io/cluster: kafka
    app.kubernetes.io/part-of: enrichment
spec:
{topic_name}  partitions: {partitions}{partitions_reason}
  # One broker is enough to try it; the production overlay says 3, with two in sync.
  replicas: 1
  config:
    min.insync.replicas: 1
    cleanup.policy: delete
    retention.ms: {retention_ms} # {retention_reason}
    max.message.bytes: {message_bytes}{message_reason}
    compression.type: producer
    message.timestamp.type: CreateTime
"""


def render(stream: str, partitions: int) -> dict[str, str]:
    """The content of each of the stream's five manifests, by topic name."""
    topics = StreamTopics(stream)
    shared = {"partitions": partitions, "partitions_reason": "", "message_reason": ""}
    plain = shared | {"message_bytes": MESSAGE_BYTES_DEFAULT}
    return {
        topics.events: _filled(
            topics.events,
            plain
            | {
                "purpose": f"Where events of {stream} are published: the way in.",
                "retention_ms": 7 * DAY_MS,
                "retention_reason": "7 days, to replay after a bad release",
            },
        ),
        topics.enriched: _filled(
            topics.enriched,
            plain
            | {
                "purpose": f"Every valid event of {stream} once, with its scores and decision.",
                "retention_ms": 30 * DAY_MS,
                "retention_reason": "30 days, to judge scores when labels come",
            },
        ),
        topics.dead_letters: _filled(
            topics.dead_letters,
            shared
            | {
                "purpose": f"Every record of {stream} that could not be enriched, and why.",
                "retention_ms": 30 * DAY_MS,
                "retention_reason": "30 days, to mend a producer and publish again",
                "message_bytes": 2 * 1024 * 1024,
                "message_reason": " # 2 MiB: the payload is in base64, a third longer",
            },
        ),
        topics.outcomes: _filled(
            topics.outcomes,
            plain
            | {
                "purpose": f"What turned out to be true of events of {stream}, late and corrected.",
                "partitions_reason": " # as enrichment.digests: an outcome travels with its shard",
                "retention_ms": 400 * DAY_MS,
                "retention_reason": "400 days: longer than any horizon of a year",
            },
        ),
        topics.reviews: _filled(
            topics.reviews,
            plain
            | {
                "purpose": f"Events of {stream} that wait for an analyst, answered by outcomes.",
                "retention_ms": 30 * DAY_MS,
                "retention_reason": "30 days, as the enriched events that they are part of",
            },
        ),
    }


def _filled(topic: str, values: dict[str, object]) -> str:
    """One manifest. A topic whose name no resource may have gets a resource name of its own."""
    resource = re.sub(r"[^a-z0-9.]+", "-", topic)
    resource = re.sub(r"-*\.-*", ".", resource).strip("-.")
    topic_name = "" if resource == topic else f"  topicName: {topic}\n"
    return _TEMPLATE.format(resource=resource, topic_name=topic_name, **values)
