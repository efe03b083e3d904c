"""Outputs of real stages, held against CloudEvents' rules, with and without a schema registry."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.lab.servers import LocalServers
from enrichment.stream.framing import FRAMED_CONTENT_TYPE, unframed
from enrichment.stream.headers import header
from enrichment.stream.registry import Registry, RegistryConfig, schema_of
from enrichment.stream.topics import DIGESTS, FEATURES, HORIZONS, MICRO_BATCHES
from enrichment.wiring.clock import now_ms
from tests.enrich.streams import payment
from tests.integration.cloud_events import breaches
from tests.integration.stages import Stream, eventually
from tests.stream.registry_server import running_registry

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Written:
    """A message that was never sent."""

    def __init__(self, value: bytes | None, *headers: tuple[str, bytes | None]) -> None:
        self._value, self._headers = value, list(headers)

    def value(self) -> bytes | None:
        """Its value."""
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]]:
        """Its headers."""
        return self._headers


GOOD: dict[str, bytes | None] = {
    "ce_specversion": b"1.0", "ce_id": b"1", "ce_source": b"/s", "ce_type": b"t",
    "ce_time": b"2026-01-01T00:00:00.000Z", "content-type": b"application/json",
}  # fmt: skip


@pytest.mark.parametrize(
    "broken",
    [
        {"ce_id": b""}, {"ce_specversion": b"0.3"}, {"ce_source": b"a b"}, {"ce_type": None},
        {"ce_time": b"2026-01-01 00:00"}, {"ce_Upper": b"x"}, {"ce_id": b"\xff"},
        {"ce_id": b"a\x01"}, {"content-type": b"json"}, {"ce_datacontenttype": b"text/plain"},
        {"content-type": b"application/cloudevents+json"},
    ],
)  # fmt: skip
def test_the_validator_finds_breaches(broken: dict[str, bytes | None]) -> None:
    """Each rule fails on what breaks it, and none on what does not."""
    message: Any = Written(b"{}", *GOOD.items())
    assert list(breaches(message)) == []
    wrong: Any = Written(b"{}", *(GOOD | broken).items())
    assert list(breaches(wrong)) != []
    doubled: Any = Written(b"{}", *GOOD.items(), ("ce_id", b"2"))
    assert list(breaches(doubled)) != []


@pytest.fixture
def stream(servers: LocalServers, tmp_path: Path) -> Iterator[Stream]:
    """A stream like payments, and the topic of its micro-batches."""
    made = Stream(
        tmp_path, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
    )
    admin = AdminClient({"bootstrap.servers": servers.bootstrap})
    for topic in {MICRO_BATCHES, HORIZONS} - admin.list_topics(timeout=20).topics.keys():
        admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(20)
    yield made
    made.close()


def inputs() -> list[bytes | None]:
    """Payments of a few accounts on one device, ids of every alphabet, and bad records."""
    draw = random.Random(3)
    ids = ["plain", "a b", "été", "数", "%41", "a/b?c#d", '"', "x" * 256]
    good = [
        payment(
            event_id=f"{draw.choice(ids)}"[: 255 - len(str(n))] + str(n),
            account_id=f"a{n % 4}",
            device_id="shared",
            occurred_at=now_ms(),
        )
        for n in range(100)
    ]
    return [*good, None, b"", b"nonsense", payment(amount="1")]


def own(stream: Stream, topic: str) -> list[Message]:
    """The stream's records on a topic."""
    name = stream.name.encode()
    return [
        message
        for message in stream.read(topic)
        if topic.startswith(stream.name) or (message.key() or b"").startswith(name)
    ]


@pytest.mark.servers
@pytest.mark.slow
def test_every_output_is_a_cloud_event(stream: Stream) -> None:
    """Of enrich and window, framed and bare: no rule is broken, and the SDK reads them all.

    The window stage has a registry here: its values are framed, the projector takes them, and the
    cache holds plain JSON.
    """
    with running_registry() as (url, _):
        with Registry.open(RegistryConfig(url=url)) as registry:
            for topic in (MICRO_BATCHES, FEATURES, HORIZONS):
                registry.register(topic, schema_of(topic, {}) or {})
        stream.start("enrich")
        stream.start("window", ENRICHMENT_SCHEMA_REGISTRY_URL=url)
        stream.start("project")
        values = inputs()
        stream.publish(values, key="k", headers=[("traceparent", TRACE)])
        topics = stream.topics
        answers = (topics.enriched, topics.dead_letters)
        eventually(
            "every record is answered", lambda: sum(len(stream.read(t)) for t in answers) == 104
        )
        eventually("a window was closed", lambda: bool(own(stream, MICRO_BATCHES)))
        cache = redis.Redis.from_url(stream.redis_url)
        pattern = f"*{stream.name}*account*graph*"
        eventually("features are projected", lambda: bool(list(cache.scan_iter(pattern))))
    kept: list[Any] = [cache.get(key) for key in cache.scan_iter(pattern)]
    assert {each[:1] for each in kept} == {b"{"}
    cache.close()
    for topic in (*answers, DIGESTS, MICRO_BATCHES, FEATURES):
        found = own(stream, topic)
        assert found
        for message in found:
            assert list(breaches(message)) == [], topic
            _read_by_sdk(message)
        framed = topic in {MICRO_BATCHES, FEATURES}
        assert {(m.value() or b"")[:1] for m in found} == {b"\x00" if framed else b"{"}
        declared = {header(m.headers(), "content-type") for m in found}
        assert declared == {FRAMED_CONTENT_TYPE if framed else b"application/json"}
    assert {header(m.headers(), "traceparent") for t in answers for m in stream.read(t)} == {TRACE}


def _read_by_sdk(message: Message) -> None:
    """CloudEvents' own SDK reads it; of a framed value it takes bytes."""
    headers = {name: content or b"" for name, content in message.headers() or ()}
    value = message.value() or b""
    headers["content-type"] = b"application/json"
    read = kafka.from_binary(
        kafka.KafkaMessage(headers=headers, key=None, value=unframed(value)), JSONFormat()
    )
    assert isinstance(read.get_data(), dict)


@pytest.mark.servers
def test_a_stage_without_its_schemas_says_what_to_do(stream: Stream) -> None:
    """Before it joins anything: one line, exit code 2."""
    with running_registry() as (url, _):
        stage = stream.start("window", ENRICHMENT_SCHEMA_REGISTRY_URL=url)
        assert stage.process.wait(60) == 2
    assert "`enrichment topics apply`" in stage.said()
    assert "Traceback" not in stage.said()
