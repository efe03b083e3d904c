"""An event's enriched records found on their topic by the event's id, the newest first."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from confluent_kafka import Message

from enrichment.records import Enriched
from enrichment.stream.framing import unframed
from enrichment.stream.slices import Reader, Span
from enrichment.stream.topics import partition_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Where an event is sought: in the partition of its account, and between two times, if given.

    The times are those of the topic's records, which are their input records' (0: not given).
    """

    event_id: str
    account: str = ""
    since_ms: int = 0
    until_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One enriched record, with its value as it was written."""

    message: Message
    value: bytes
    record: Enriched


class NoSuchTopicError(LookupError):
    """A topic that this broker does not have, said in one line."""


def places(reader: Reader, topic: str, search: Search) -> dict[int, Span]:
    """The parts of the topic to look in. Raises NoSuchTopicError."""
    count = reader.partitions(topic)
    if not count:
        raise NoSuchTopicError(f"there is no topic {topic}: `enrichment topics apply`")
    where = [partition_for(search.account, count)] if search.account else list(range(count))
    return reader.spans(topic, where, search.since_ms, search.until_ms)


def records_of(
    reader: Reader, topic: str, spans: dict[int, Span], event_id: str
) -> Iterator[list[Found]]:
    """The event's records, chunk by chunk back from the end; an empty list where one has none."""
    # As bytes first: decoding each record takes a hundred times longer than to see that it is
    # another event's. An id may stand in another event's fields, so those that are left are read.
    named = msgspec.json.encode(event_id)
    decode = msgspec.json.Decoder(Enriched).decode
    for chunk in reader.newest_first(topic, spans, lambda record: named in (record.value() or b"")):
        found = []
        for message in chunk:
            value = unframed(message.value() or b"")
            record = decode(value)
            if record.event_id == event_id:
                found.append(Found(message=message, value=value, record=record))
        yield found
