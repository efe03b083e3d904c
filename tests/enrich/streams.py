"""Events of the shipped streams, and an enricher of them without Kafka."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import msgspec

from enrichment.enrich.batch import Enricher, Output, Record
from enrichment.enrich.events import Event, Events
from enrichment.enrich.lookup import Lookup
from enrichment.feature.store import Layout
from enrichment.pipelines import Pipeline, load
from enrichment.records import DeadLetter, Enriched
from tests.feature.cached import NOW_MS, PARTITIONS, MemoryCache

# The shipped stream with weights of the tests' own: a fit changes those.
PAYMENTS: Final = load(str(Path(__file__).with_name("payments.toml")))
CARDS: Final = load("cards")
TRUST: Final = load("trust")

PAYMENT: Final[dict[str, Any]] = {
    "event_id": "e1",
    "account_id": "a1",
    "device_id": "d1",
    "beneficiary_id": "b1",
    "region": "eu",
    "occurred_at": NOW_MS - 5,
    "amount": 12.34,
    "note": {"lines": ["never", "declared"]},
}
CARD: Final[dict[str, Any]] = {
    "transaction_id": 7,
    "customer_id": 11,
    "terminal_id": 13,
    "occurred_at": "2018-04-01T00:00:31Z",
    "amount": 57.16,
    "is_fraud": 0,
}
RATING: Final[dict[str, Any]] = {
    "event_id": "r1",
    "source": 6,
    "target": 2,
    "rating": 4,
    "time": 1_289_241_911_000,
}


def payment(**changes: Any) -> bytes:
    """A payment as JSON; a change to `...` leaves the field out."""
    return event(PAYMENT, **changes)


def event(fields: dict[str, Any], **changes: Any) -> bytes:
    """An event as JSON; a change to `...` leaves the field out."""
    changed = {name: value for name, value in {**fields, **changes}.items() if value is not ...}
    return json.dumps(changed).encode()


def sensitive(pipeline: Pipeline, *fields: str) -> Pipeline:
    """The pipeline with these fields declared sensitive."""
    stream = msgspec.structs.replace(pipeline.stream, sensitive=fields)
    return msgspec.structs.replace(pipeline, stream=stream)


def pseudonym(text: str) -> str:
    """A stand-in for the keyed hash."""
    return "p" + hashlib.sha256(b"key" + text.encode()).hexdigest()[:16]


def enricher(pipeline: Pipeline, cache: MemoryCache | None = None, **options: Any) -> Enricher:
    """An enricher whose clock stands at NOW_MS."""
    cache = cache or MemoryCache(pipeline=pipeline.name)
    lookup = Lookup(cache, Layout(pipeline.name), PARTITIONS, lambda: NOW_MS)
    return Enricher(pipeline, lookup, lambda: NOW_MS, **options)


def records(*values: bytes | None, topic: str = "payments.events") -> list[Record]:
    """Input records of partition 0, with offsets from 0."""
    return [
        Record(topic=topic, partition=0, offset=offset, key=b"k", value=value)
        for offset, value in enumerate(values)
    ]


def enriched(output: Output) -> Enriched:
    """The enriched event in an output."""
    return msgspec.json.decode(output.value, type=Enriched)


def dead_letter(output: Output) -> DeadLetter:
    """The dead letter in an output."""
    return msgspec.json.decode(output.value, type=DeadLetter)


def columns(*events: Event) -> Events:
    """Events as the columns that a batch of them is decoded to."""
    roles = {"account", "device", "beneficiary"} | {
        role for each in events for role in each.entities
    }
    return Events(
        rows=list(range(len(events))),
        ids=[each.id for each in events],
        keys=[each.key for each in events],
        occurred_at_ms=[each.occurred_at_ms for each in events],
        amounts_minor=[each.amount_minor for each in events],
        shards=[each.shard for each in events],
        entities={role: [each.entities.get(role) for each in events] for role in sorted(roles)},
        numbers={name: [each.numbers[name] for each in events] for name in events[0].numbers},
        labels=[each.label for each in events],
        payloads=[each.payload for each in events],
    )
