"""The simulated stream on its way into Kafka: payments, malformed records and late outcomes."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from confluent_kafka import Producer

from enrichment.lab.publish import Publisher, publishing
from enrichment.lab.scenario import SimulationSettings
from enrichment.lab.simulate import Outcome as SimulatedOutcome
from enrichment.lab.simulate import Simulated, timeline
from enrichment.lab.spoil import Spoiled
from enrichment.records import Outcome, OutcomeKind
from enrichment.stream.headers import cloud_event
from enrichment.stream.topics import StreamTopics, partition_for, shard_key

STREAM: Final = "payments"
SOURCE: Final = "/enrichment/simulate"
POLL_EVERY: Final = 200  # records between two looks at the deliveries
SLEEP_MIN_MS: Final = 2  # shorter waits cost more than they keep the pace


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    """What was published."""

    events: int
    malformed: int
    outcomes: int


def broadcast(
    client: dict[str, Any],
    settings: SimulationSettings,
    stop: threading.Event,
    on_progress: Callable[[int], None],
) -> Broadcast:
    """Publish the stream as if it happened now: each record when it is due, by the wall clock.

    Outcomes that fall due after the last payment go out at the end, at once. A start in the past
    is taken for now. Raises PublishError.
    """
    producer = Producer(publishing(client))
    publisher = Publisher(producer)
    topics = StreamTopics(STREAM)
    found = producer.list_topics(topics.outcomes, timeout=10).topics[topics.outcomes]
    partitions = max(1, len(found.partitions))
    shards: dict[str, str] = {}
    now_ms = time.time_ns() // 1_000_000
    begin_ms = max(now_ms, settings.start_ms)
    end_ms = int(settings.seconds * 1000)
    counts = {Simulated: 0, Spoiled: 0, SimulatedOutcome: 0}
    for due_ms, what in timeline(settings):
        since_ms = due_ms - settings.start_ms
        ahead_ms = begin_ms + since_ms - time.time_ns() // 1_000_000
        if ahead_ms > SLEEP_MIN_MS and since_ms <= end_ms:
            stop.wait(ahead_ms / 1000)
        if stop.is_set():
            break
        counts[type(what)] += 1
        match what:
            case Simulated(payment=payment):
                shards[payment.account_id] = payment.region
                publisher.publish(topics.events, payment.account_id, msgspec.json.encode(payment))
            case Spoiled():
                publisher.publish(topics.events, what.key, what.value)
            case SimulatedOutcome():
                shard = shards[what.account_id]
                key = shard_key(STREAM, shard)
                headers = cloud_event("outcome", SOURCE, what.event_id, what.decided_at)
                publisher.publish(
                    topics.outcomes,
                    key,
                    msgspec.json.encode(outcome_record(what, shard)),
                    partition=partition_for(key, partitions),
                    headers=headers,
                )
        if publisher.published % POLL_EVERY == 0:
            producer.poll(0)
            on_progress(counts[Simulated])
    publisher.flush()
    on_progress(counts[Simulated])
    return Broadcast(
        events=counts[Simulated],
        malformed=counts[Spoiled],
        outcomes=counts[SimulatedOutcome],
    )


def outcome_record(simulated: SimulatedOutcome, shard: str) -> Outcome:
    """What the stream's outcomes topic says of it."""
    kind = OutcomeKind.CONFIRMED_FRAUD if simulated.is_fraud else OutcomeKind.CLEARED
    return Outcome(
        outcome_id=f"{simulated.event_id}/{simulated.decided_at}",
        event_id=simulated.event_id,
        entity="account",
        id=simulated.account_id,
        shard=shard,
        kind=kind,
        decided_at_ms=simulated.decided_at,
    )
