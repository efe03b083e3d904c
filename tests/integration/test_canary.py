"""Pseudonyms on real servers: identities go in, and a search of everything else finds none.

The identities are those of the Sparkov sample, which is not ours to copy: without it, ten made-up
ones of the same shape stand in.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import pytest
import redis
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.lab.ports import free_port
from enrichment.lab.servers import LocalServers
from enrichment.lab.tables import read_rows
from enrichment.records import MicroBatch
from enrichment.stream.topics import HORIZONS, MICRO_BATCHES
from enrichment.wiring.clock import now_ms
from tests.integration.stages import Stage, Stream, eventually

pytestmark = [pytest.mark.servers, pytest.mark.slow]

ROOT: Final = Path(__file__).resolve().parents[2]
SPARKOV: Final = (
    Path(os.environ.get("ENRICHMENT_TEST_DATA", ROOT.parent / "shared" / "data"))
    / "sparkov-2020-01-to-02.csv.gz"
)
SENSITIVE: Final = (
    "account_id", "device_id", "region",
    "cc_num", "ssn", "first", "last", "street", "dob", "acct_num",
)  # fmt: skip
# What is looked for: shorter ones (a name of four letters) may stand anywhere by chance.
CANARY_MIN: Final = 7
KEY: Final = "not-to-be-guessed"
ROWS: Final = 400
# Where one record with a raw value each stands wrong.
Headers = list[tuple[str, bytes]]


def identities() -> list[dict[str, Any]]:
    """Rows of the sample, or of its shape."""
    if SPARKOV.is_file():
        return list(islice(read_rows(SPARKOV), ROWS))
    return [
        {
            "trans_num": f"t{number}", "cc_num": f"49{number:014d}", "ssn": f"353-73-{number:04d}",
            "first": f"Pamela{number}", "last": f"Keystone{number}", "dob": f"1981-02-{number:02d}",
            "street": f"{number} Barbara Union", "city": f"Newport {number}", "amt": "19.5",
            "acct_num": f"19{number:010d}", "merchant": f"shop {number % 3}",
        }
        for number in range(1, 11)
    ]  # fmt: skip


def event(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A row as a payment: the card is the account, the person's number the device."""
    return {
        **{name: row[name] for name in ("cc_num", "ssn", "first", "last", "street", "dob")},
        "acct_num": row["acct_num"],
        "event_id": row["trans_num"],
        "account_id": row["cc_num"],
        "device_id": row["ssn"],
        "beneficiary_id": row["merchant"],
        "region": row["city"],
        "amount": float(row["amt"]),
        "occurred_at": now_ms(),
        **changes,
    }


def canaries(rows: Iterable[dict[str, Any]]) -> set[bytes]:
    """Every raw value of a sensitive field that is no accident: long, and no merchant's name."""
    rows = list(rows)
    fields = (*SENSITIVE[3:], "city")
    found = {str(row[name]) for row in rows for name in fields}
    open_ = "\n".join(str(row["merchant"]) for row in rows)
    return {each.encode() for each in found if len(each) >= CANARY_MIN and each not in open_}


def records(rows: list[dict[str, Any]]) -> Iterator[tuple[bytes | None, Headers]]:
    """Every row as an event, in each form that an input may have, and some damaged ones."""
    for number, row in enumerate(rows):
        value = json.dumps(event(row)).encode()
        card, street = row["cc_num"].encode(), row["street"].encode()
        attributes = [
            ("ce_specversion", b"1.0"), ("ce_id", card), ("ce_type", street),
            ("ce_source", b"/" + card), ("ce_subject", street), (row["ssn"], card),
        ]  # fmt: skip
        structured = {
            "specversion": "1.0", "id": row["cc_num"], "source": f"/{row['ssn']}", "type": "t",
            "subject": row["street"], "correlationid": row["ssn"], "data": event(row),
        }  # fmt: skip
        mode = ("content-type", b"application/cloudevents+json")
        yield (
            (value, []),
            (value, attributes),
            (value, [("correlation-id", card), ("tracestate", card), ("traceparent", street)]),
            (json.dumps(structured).encode(), [mode]),
        )[number % 4]


def damaged(row: dict[str, Any]) -> Iterator[tuple[bytes | None, Headers]]:
    """Records that become dead letters, raw values wherever one may stand wrong."""
    value = json.dumps(event(row)).encode()
    card = row["cc_num"]
    yield value[:-1], []
    yield value + b"\xff", [("correlation-id", card.encode())]
    yield card.encode(), []
    yield json.dumps(card).encode(), [("enrichment-replay-of", card.encode())]
    yield json.dumps(event(row, account_id=None)).encode(), []
    yield json.dumps(event(row, amount=card)).encode(), []
    yield json.dumps(event(row, account_id={card: row["street"]})).encode(), []
    yield json.dumps(event(row, device_id=row["street"] * 100)).encode(), []
    yield json.dumps(event(row, notes=row["street"] * 5_000)).encode(), []
    yield json.dumps({card: row["ssn"]}).encode(), []
    yield b"[" * 200 + json.dumps(row["street"]).encode() + b"]" * 200, []
    yield value, [("content-type", b"application/cloudevents-batch+json; x=" + card.encode())]
    yield value, [("content-type", b"application/cloudevents+" + card.encode())]


def misplaced(row: dict[str, Any]) -> Iterator[tuple[bytes | None, Headers]]:
    """Raw values where the pipeline expects a number or a time, which nobody marked sensitive."""
    card = row["cc_num"]
    yield json.dumps(event(row, amount=int(card))).encode(), []
    yield json.dumps(event(row, occurred_at=card)).encode(), []
    yield json.dumps(event(row, occurred_at=int(card))).encode(), []
    yield json.dumps(event(row)).encode(), [("ce_specversion", card.encode())]


class Field:
    """A stream of identities through three stages, and everything that they leave behind."""

    def __init__(self, servers: LocalServers, folder: Path, changes: dict[str, str]) -> None:
        marked = ", ".join(f'"{name}"' for name in SENSITIVE)
        self.stream = Stream(
            folder,
            like="payments",
            bootstrap=servers.bootstrap,
            redis_url=servers.redis_url,
            changes={"sensitive = []": f"sensitive = [{marked}]"} | changes,
        )
        self.redis_url = servers.redis_url
        admin = AdminClient({"bootstrap.servers": servers.bootstrap})
        there = admin.list_topics(timeout=20).topics
        wanted = [NewTopic(name, 4, 1) for name in {MICRO_BATCHES, HORIZONS} - there.keys()]
        for future in admin.create_topics(wanted).values() if wanted else ():
            future.result(20)
        self.stages: dict[str, Stage] = {}
        self.ports: dict[str, int] = {}
        self._client = {"bootstrap.servers": servers.bootstrap}

    def start(self, *names: str) -> None:
        """Those stages, each with its metrics page."""
        for name in names:
            self.ports[name] = free_port()
            self.stages[name] = self.stream.start(
                name, ENRICHMENT_PSEUDONYM_KEY=KEY, ENRICHMENT_METRICS_PORT=str(self.ports[name])
            )

    def publish(self, records: Iterable[tuple[bytes | None, Headers]], key: bytes) -> int:
        """The records, keyed by a raw value; how many."""
        producer = Producer(self._client | {"linger.ms": 5})
        count = 0
        for value, headers in records:
            producer.produce(self.stream.topics.events, value, key, headers=headers)
            count += 1
        assert producer.flush(30) == 0
        return count

    def answered(self) -> int:
        """How many records have their answer."""
        topics = self.stream.topics
        return sum(len(self.stream.read(topic)) for topic in (topics.enriched, topics.dead_letters))

    def left(self) -> Iterator[tuple[str, bytes]]:
        """Everything outside the input topic, and where it was found."""
        names = AdminClient(self._client).list_topics(timeout=20).topics
        for topic in sorted(names):
            own = topic.partition(".")[0] in {
                self.stream.name,
                "features",
                "sampling",
                "enrichment",
            }
            if own and topic != self.stream.topics.events:
                for message in self.stream.read(topic):
                    yield topic, _whole(message)
        for key, content in _cache(self.redis_url):
            yield f"redis {key!r}", content
        for name, stage in self.stages.items():
            yield f"log of {name}", stage.said().encode()
            if stage.process.poll() is None:
                url = f"http://127.0.0.1:{self.ports[name]}/metrics"
                with urlopen(url, timeout=10) as page:
                    yield f"metrics of {name}", page.read()


def _whole(message: Message) -> bytes:
    """Key, value and headers."""
    parts = [message.key() or b"", message.value() or b""]
    for name, content in message.headers() or ():
        parts += [name.encode(), content or b""]
    return b"\n".join(parts)


def _cache(url: str) -> Iterator[tuple[bytes, bytes]]:
    """Every key of Redis with its value."""
    client = redis.Redis.from_url(url)
    for key in client.scan_iter(count=1_000):
        kind = client.type(key)
        if kind == b"string":
            value: Any = client.get(key)
        elif kind == b"hash":
            value = client.hgetall(key)
        elif kind == b"zset":
            value = client.zrange(key, 0, -1)
        elif kind == b"set":
            value = client.smembers(key)
        else:
            value = client.lrange(key, 0, -1)
        yield key, key + repr(value).encode()
    client.close()


@pytest.fixture
def make_field(servers: LocalServers, tmp_path: Path) -> Iterator[Callable[..., Field]]:
    """A factory of fields; what one started is ended."""
    made: list[Field] = []

    def make(**changes: str) -> Field:
        made.append(Field(servers, tmp_path, changes))
        return made[-1]

    yield make
    for field in made:
        field.stream.close()


def found_in(field: Field, raw: set[bytes]) -> dict[str, set[bytes]]:
    """Where raw values are, by place."""
    found: dict[str, set[bytes]] = {}
    for where, content in field.left():
        if leaked := {value for value in raw if value in content}:
            found.setdefault(where, set()).update(leaked)
    return found


def test_no_identity_leaves_the_enricher(make_field: Callable[..., Field]) -> None:
    """In topics, keys, headers, Redis, logs and metrics there are pseudonyms alone."""
    rows = identities()
    raw = canaries(rows)
    field = make_field()
    field.start("enrich", "window", "project")
    count = field.publish(records(rows), rows[0]["cc_num"].encode())
    count += field.publish(damaged(rows[0]), rows[0]["cc_num"].encode())
    eventually("every record is answered", lambda: field.answered() == count)
    eventually(
        "a window of theirs was closed and projected",
        lambda: (
            any(
                field.stream.name.encode() in (message.key() or b"")
                for message in field.stream.read(MICRO_BATCHES)
            )
            and any(field.stream.name.encode() in key for key, _ in _cache(field.redis_url))
        ),
    )
    assert found_in(field, raw) == {}
    # The search would have found them: on the input topic there is nothing else.
    inputs = b"".join(map(_whole, field.stream.read(field.stream.topics.events)))
    assert all(value in inputs for value in raw)
    assert field.stream.dead_letters()
    batches = [
        MicroBatch.__name__
        for message in field.stream.read(MICRO_BATCHES)
        if field.stream.name.encode() in (message.key() or b"")
    ]
    assert batches


def test_a_misplaced_identity_is_in_no_dead_letter(make_field: Callable[..., Field]) -> None:
    """A card number in the amount's place is refused without being quoted."""
    rows = identities()[:1]
    field = make_field()
    field.start("enrich")
    count = field.publish(misplaced(rows[0]), b"k")
    eventually("every record is answered", lambda: field.answered() == count)
    assert found_in(field, canaries(rows)) == {}


def test_a_pipeline_may_keep_them_in_its_enriched_events(make_field: Callable[..., Field]) -> None:
    """`sensitive_in_event = "kept"`: there, and nowhere else; keys are pseudonyms all the same."""
    rows = identities()[:20]
    raw = canaries(rows)
    field = make_field(**{'\nname = "': '\nsensitive_in_event = "kept"\nname = "'})
    field.start("enrich")
    count = field.publish(records(rows), rows[0]["cc_num"].encode())
    eventually("every record is answered", lambda: field.answered() == count)
    enriched = field.stream.topics.enriched
    assert set(found_in(field, raw)) == {enriched}
    for message in field.stream.read(enriched):
        names = b"".join(name.encode() + (content or b"") for name, content in message.headers())
        assert not any(value in (message.key() or b"") + names for value in raw)
    cards = {json.loads(bytes(each.event))["cc_num"] for each in field.stream.enriched()}
    assert cards == {row["cc_num"] for row in rows}
