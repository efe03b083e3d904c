"""The review queue of one stream: what waits for an analyst, and the answers, as outcomes.

The queue is two topics and no state of its own: `<stream>.reviews` holds what asks, and
`<stream>.outcomes` what was answered. An event is open while no outcome speaks of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from enrichment.pipelines import Pipeline
from enrichment.records import Outcome, OutcomeKind, Review
from enrichment.stream.framing import BARE, Framing, unframed
from enrichment.stream.headers import cloud_event
from enrichment.stream.to_end import read_to_end
from enrichment.stream.topics import StreamTopics, partition_for, shard_key

READ_S: Final = 30.0  # without a record for so long, the broker does not answer
FLUSH_S: Final = 30.0
# Whoever asks waits for the ends of all partitions, not for more records to come.
PROMPT: Final = {"fetch.wait.max.ms": 10}
ANSWERED: Final = {"fraud": OutcomeKind.ANALYST_FRAUD, "cleared": OutcomeKind.ANALYST_CLEARED}


class ReviewError(ValueError):
    """A review that cannot be listed or answered, said in one line that tells what to do."""


class UnwrittenError(RuntimeError):
    """An answer that Kafka did not confirm, said in one line."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One review and the last word about its event, or None where nobody has spoken."""

    review: Review
    outcome: Outcome | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an analyst says of one event. `role` is who it is about; "" leaves that to the links."""

    verdict: str
    by: str
    note: str = ""
    role: str = ""


def queue(client: dict[str, Any], stream: str) -> dict[str, Waiting]:
    """Every review of now by event id, the oldest first. Raises ReviewError, KafkaException."""
    topics = StreamTopics(stream)
    values = _values(client, topics.reviews, topics.outcomes)
    reviews: dict[str, Review] = {}
    for review in map(msgspec.json.Decoder(Review).decode, values[topics.reviews]):
        asked = reviews.get(review.event_id)
        # A repeated event id asks again: the later one stands.
        if asked is None or asked.decided_at_ms <= review.decided_at_ms:
            reviews[review.event_id] = review
    latest: dict[str, Outcome] = {}
    for outcome in map(msgspec.json.Decoder(Outcome).decode, values[topics.outcomes]):
        known = latest.get(outcome.event_id)
        if known is None or known.decided_at_ms <= outcome.decided_at_ms:
            latest[outcome.event_id] = outcome
    ordered = sorted(reviews.values(), key=lambda each: (each.decided_at_ms, each.event_id))
    return {each.event_id: Waiting(each, latest.get(each.event_id)) for each in ordered}


def outcome_of(pipeline: Pipeline, review: Review, answer: Answer, *, now_ms: int) -> Outcome:
    """The outcome that the answer amounts to. Raises ReviewError.

    It is about the node that links start from, since that is whose neighbours are then near a known
    bad one; a stream without links has its first entity there.
    """
    roles = pipeline.links[0].roles[:1] if pipeline.links else tuple(pipeline.entities)[:1]
    role = answer.role or roles[0]
    if role not in pipeline.entities:
        known = ", ".join(sorted(pipeline.entities))
        raise ReviewError(f"there is no entity '{role}' in {pipeline.name}; known: {known}")
    if role not in review.entities:
        there = ", ".join(sorted(review.entities)) or "none"
        raise ReviewError(f"event '{review.event_id}' names no {role}; it has: {there}")
    return Outcome(
        outcome_id=f"{review.event_id}/{now_ms}",
        event_id=review.event_id,
        entity=pipeline.kind(role),
        id=review.entities[role],
        shard=review.shard,
        kind=ANSWERED[answer.verdict],
        decided_at_ms=now_ms,
        decided_by=answer.by,
        note=answer.note,
    )


def publish(
    client: dict[str, Any], pipeline: Pipeline, outcomes: Sequence[Outcome], framing: Framing = BARE
) -> list[TopicPartition]:
    """Produce outcomes, each in the partition of its shard; where they came to stand.

    Raises UnwrittenError where Kafka does not confirm all of them, ReviewError, KafkaException.
    """
    topic = StreamTopics(pipeline.name).outcomes
    count = partitions_of(client, topic)
    failed: list[str] = []
    written: list[TopicPartition] = []

    def delivered(error: object, message: Any) -> None:
        if error is None:
            written.append(TopicPartition(topic, message.partition(), message.offset()))
        else:
            failed.append(str(error))

    producer = Producer({**client, "enable.idempotence": True})
    for outcome in outcomes:
        bare = cloud_event(
            "outcome", f"/enrichment/{pipeline.name}", outcome.outcome_id, outcome.decided_at_ms
        )
        value, headers = framing.framed(topic, msgspec.json.encode(outcome), bare)
        key = shard_key(pipeline.name, outcome.shard)
        partition = partition_for(key, count)
        producer.produce(topic, value, key, partition, headers=headers, on_delivery=delivered)
    producer.flush(FLUSH_S)
    if len(written) < len(outcomes):
        said = failed[0] if failed else f"Kafka has not taken it in {FLUSH_S:.0f} s"
        raise UnwrittenError(f"the answer is not known to be written: {said}")
    return written


def _values(client: dict[str, Any], *topics: str) -> dict[str, list[bytes]]:
    """Every committed value of these topics."""
    everywhere = [
        TopicPartition(topic, number)
        for topic in topics
        for number in range(partitions_of(client, topic))
    ]
    values: dict[str, list[bytes]] = {topic: [] for topic in topics}
    for record in read_to_end(client | PROMPT, everywhere, READ_S):
        if (value := record.value()) is not None:
            values[record.topic() or ""].append(unframed(value))
    return values


def partitions_of(client: dict[str, Any], topic: str) -> int:
    """How many partitions the topic has. Raises ReviewError where it does not exist."""
    found = AdminClient(dict(client)).list_topics(topic, timeout=10).topics[topic]
    if found.error is not None or not found.partitions:
        raise ReviewError(f"there is no topic {topic}: `enrichment topics apply`")
    return len(found.partitions)
