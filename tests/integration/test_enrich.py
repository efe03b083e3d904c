"""The hot path against real servers: every record answered exactly once, whatever happens."""

import hashlib
import hmac
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import redis

from enrichment.enrich.decode import Decoder
from enrichment.enrich.events import Event
from enrichment.feature.store import READY, feature_key, projection_key
from enrichment.lab.ports import free_port
from enrichment.lab.redis_server import RedisServer
from enrichment.lab.servers import LocalServers
from enrichment.records import Enriched, VerdictName
from enrichment.records import Path as ScorePath
from enrichment.stream.headers import header
from enrichment.wiring.clock import now_ms
from tests.enrich.streams import payment
from tests.feature.cached import heartbeat, ring, update
from tests.integration.stages import Stream, eventually

pytestmark = pytest.mark.servers

MakeStream = Callable[..., Stream]
STARTED = '"event": "enriching"'


@pytest.fixture
def make_stream(servers: LocalServers, tmp_path: Path) -> Iterator[MakeStream]:
    """A factory of streams like payments; what a test started is ended."""
    made: list[Stream] = []

    def make(**options: str | dict[str, str]) -> Stream:
        where = {"bootstrap": servers.bootstrap, "redis_url": servers.redis_url}
        stream = Stream(tmp_path, like="payments", **{**where, **options})  # type: ignore[arg-type]
        made.append(stream)
        return stream

    yield make
    for stream in made:
        stream.close()


def mixture(count: int, seed: int) -> list[bytes | None]:
    """Records as in life: most of them good, some bad in every way, some event ids repeated."""
    draw = random.Random(seed)
    now = now_ms()
    bad: list[bytes | None] = [
        None, b"", b"nonsense", b"\xff", payment(amount="1"), payment(event_id=""),
        payment(occurred_at=5), payment(note="x" * 70_000), b"[" * 500 + b"]" * 500,
        payment()[:-1] + b',"x":NaN}',
    ]  # fmt: skip
    good = [
        payment(
            event_id=f"e{draw.randrange(count)}",
            account_id=f"a{draw.randrange(50)}",
            device_id=f"d{draw.randrange(20)}",
            region=draw.choice(["eu", "us"]),
            occurred_at=now - draw.randrange(5_000),
        )
        for _ in range(count)
    ]
    return [draw.choice(bad) if draw.random() < 0.1 else value for value in good]


def inputs(stream: Stream) -> tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]]:
    """(partition, offset) of the valid and of the invalid records on the input topic, decoded."""
    decoder = Decoder(stream.pipeline)
    valid: Counter[tuple[int, int]] = Counter()
    invalid: Counter[tuple[int, int]] = Counter()
    for message in stream.read(stream.topics.events):
        decoded = decoder.decode(message.value(), now_ms=now_ms())
        into = valid if isinstance(decoded, Event) else invalid
        into[message.partition(), message.offset()] += 1
    return valid, invalid


def answered(stream: Stream) -> int:
    """How many answers are committed."""
    return len(stream.read(stream.topics.enriched)) + len(stream.read(stream.topics.dead_letters))


def assert_each_answered_once(stream: Stream) -> None:
    """The multiset of answers, by origin, is that of the inputs; digests count the same events."""
    valid, invalid = inputs(stream)
    enriched = stream.enriched()
    origins = Counter((each.origin.partition, each.origin.offset) for each in enriched)
    assert origins == valid
    assert Counter((each.partition, each.offset) for each in stream.dead_letters()) == invalid
    by_partition = Counter(partition for partition, _ in valid.elements())
    counted: Counter[int] = Counter()
    for digest in stream.digests():
        counted[digest.source_partition] += digest.events
    assert +counted == by_partition


def test_valid_bad_and_repeated_records_are_answered_once(make_stream: MakeStream) -> None:
    """In two waves, by one process that ends on SIGTERM with exit code 0 and without a trace."""
    stream = make_stream()
    stage = stream.start("enrich")
    for wave in (1, 2):
        stream.publish(mixture(400, seed=wave))
        eventually(f"wave {wave}", lambda wave=wave: answered(stream) == 400 * wave)  # type: ignore[misc]
    assert stage.end() == 0
    assert "Traceback" not in stage.said()
    assert_each_answered_once(stream)
    ids = [each.event_id for each in stream.enriched()]
    assert len(set(ids)) < len(ids)
    for message in stream.read(stream.topics.enriched):
        value = json.loads(message.value())
        assert header(message.headers(), "ce_id") == value["event_id"].encode()
        assert message.key().decode() == value["event"]["account_id"]


@pytest.mark.slow
def test_kill_9_loses_and_doubles_nothing(make_stream: MakeStream) -> None:
    """Killed four times in the middle, started again under its name: each answer is seen once."""
    stream = make_stream()
    small = {"ENRICHMENT_BATCH_EVENTS_MAX": "5"}  # so that a kill falls into some transaction
    published, cut_short = 0, 0
    for seed in range(4):
        stage = stream.start("enrich", **small)
        stage.await_said(STARTED)
        before = answered(stream)
        stream.publish(mixture(4_000, seed))
        published += 4_000
        eventually("progress", lambda before=before: answered(stream) > before)  # type: ignore[misc]
        stage.kill()
        cut_short += answered(stream) < published
    assert cut_short > 0
    stage = stream.start("enrich")
    eventually("the rest", lambda: answered(stream) >= published)
    assert stage.end() == 0
    assert_each_answered_once(stream)


@pytest.mark.slow
def test_two_share_the_work_and_one_takes_over(make_stream: MakeStream) -> None:
    """Instances divide the partitions; one goes on with those of the other, which was killed."""
    stream = make_stream()
    first = stream.start("enrich", ENRICHMENT_INSTANCE="one")
    second = stream.start("enrich", ENRICHMENT_INSTANCE="two")
    first.await_said(STARTED)
    second.await_said(STARTED)
    stream.publish(mixture(2_000, seed=4))
    eventually("both waves", lambda: answered(stream) == 2_000)
    stream.publish(mixture(2_000, seed=5))
    first.kill()
    eventually("the takeover", lambda: answered(stream) >= 4_000)
    assert second.end() == 0
    assert_each_answered_once(stream)


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
def test_a_second_of_the_same_name_takes_over(make_stream: MakeStream, busy: bool) -> None:
    """The first ends with exit code 1 and one line, without a trace; no answer is lost or doubled.

    It finds out by its next transaction, or, where there is nothing to do, from the group.
    """
    stream = make_stream()
    first = stream.start("enrich")
    stream.publish(mixture(100, seed=7))
    eventually("the first wave", lambda: answered(stream) == 100)
    second = stream.start("enrich")
    second.await_said(STARTED)
    if busy:
        stream.publish(mixture(100, seed=8))
        eventually("the second wave", lambda: answered(stream) == 200)
    assert first.process.wait(30) == 1
    assert "Traceback" not in first.said()
    assert first.said().splitlines()[-1].startswith("error: ")
    assert second.end() == 0
    assert_each_answered_once(stream)


def test_at_least_once_answers_all(make_stream: MakeStream) -> None:
    """Without transactions nothing is lost; as nothing failed here, nothing is doubled either."""
    stream = make_stream()
    stage = stream.start("enrich", ENRICHMENT_DELIVERY="at_least_once")
    stream.publish(mixture(500, seed=6))
    eventually("all", lambda: answered(stream) >= 500)
    assert stage.end() == 0
    assert_each_answered_once(stream)


def test_without_redis_events_are_still_answered(
    make_stream: MakeStream, own_redis: RedisServer
) -> None:
    """While Redis is away what was last known serves, else the heuristic; then the cache again."""
    stream = make_stream(redis_url=f"redis://{own_redis.address}/0")
    stage = stream.start("enrich")

    def fill() -> None:
        now = now_ms()
        known = {"pipeline": stream.name, "at_ms": now}
        found = [
            heartbeat(at_ms=now, pipeline=stream.name),
            update("account", "a1", "graph", **known),  # type: ignore[arg-type]
            ring("account", "a1", 0.8, **known),
        ]
        with redis.Redis.from_url(stream.redis_url) as cache:
            for number in range(4):
                cache.set(projection_key(stream.name, number), READY)
            for each in found:
                key = feature_key(each.pipeline, each.entity, each.id, each.group)
                cache.set(key, msgspec.json.encode(each))

    def answer(event_id: str, **fields: str) -> tuple[ScorePath, VerdictName, str]:
        """Path, verdict and reason of one event, published now."""
        stream.publish([payment(event_id=event_id, occurred_at=now_ms(), **fields)])
        found: list[Enriched] = []

        def here() -> bool:
            found[:] = [each for each in stream.enriched() if each.event_id == event_id]
            return bool(found)

        eventually(event_id, here)
        return found[0].path, found[0].verdict.name, found[0].verdict.reason

    fill()
    assert answer("with") == (ScorePath.QUANTUM, VerdictName.FRESH, "subgraph_unchanged")
    own_redis.process.kill()
    for number in range(3):
        # The event's verdict is that of the entity of which least is known, here its device.
        away = (VerdictName.FALLBACK, "cache_unavailable")
        assert answer(f"known-{number}") == (ScorePath.QUANTUM, *away)
        assert answer(f"new-{number}", account_id="new") == (ScorePath.HEURISTIC, *away)
    own_redis.start(within_s=20)
    fill()

    def recovered() -> bool:
        return answer(f"back-{now_ms()}")[0] is ScorePath.QUANTUM

    eventually("the cache is used again", recovered, within_s=20)
    assert stage.end() == 0
    assert "Traceback" not in stage.said()


def test_an_unreachable_kafka_is_one_line_and_a_retry(
    make_stream: MakeStream, servers: LocalServers
) -> None:
    """It says where nobody answers and what to do, tries again, and ends on SIGTERM."""
    stream = make_stream()
    nowhere = f"127.0.0.1:{free_port()}"
    assert nowhere != servers.bootstrap
    stage = stream.start("enrich", ENRICHMENT_KAFKA_BOOTSTRAP=nowhere)
    line = f"Kafka at {nowhere} does not answer, trying again in 0.5 s"
    stage.await_said(line)
    stage.await_said("trying again in 1.0 s")
    assert stage.process.poll() is None
    assert stage.end() == 0
    lines = stage.said().splitlines()
    assert "enrichment up" in lines[0]
    assert all("does not answer, trying again" in each for each in lines)


def test_a_missing_topic_is_one_line(make_stream: MakeStream, fresh_servers: object) -> None:
    """A broker without our topics: exit code 2, and the command that makes them."""
    assert callable(fresh_servers)
    empty = fresh_servers()
    stream = make_stream()
    stage = stream.start("enrich", ENRICHMENT_KAFKA_BOOTSTRAP=empty.bootstrap)
    assert stage.process.wait(60) == 2
    assert "enrichment topics apply" in stage.said()
    assert "Traceback" not in stage.said()


def test_sensitive_values_reach_no_topic_and_no_log(make_stream: MakeStream) -> None:
    """A canary in every sensitive field: the input topic alone ever shows it."""
    stream = make_stream(changes={"sensitive = []": 'sensitive = ["account_id", "device_id"]'})
    key = "not-to-be-guessed"
    stage = stream.start("enrich", ENRICHMENT_PSEUDONYM_KEY=key)
    canary = {"account_id": "canary-account", "device_id": "canary-device"}
    good = payment(**canary, occurred_at=now_ms())
    stream.publish([good, payment(**canary, amount="much"), good[:-1]], key=b"canary-account")
    eventually("answers", lambda: answered(stream) == 3)
    assert stage.end() == 0
    written = b"".join(
        repr((message.key(), message.value(), message.headers())).encode()
        for topic in (stream.topics.enriched, stream.topics.dead_letters, "enrichment.digests")
        for message in stream.read(topic)
    )
    assert b"canary" not in written
    assert b"canary" not in stage.said().encode()
    hashed = hmac.new(key.encode(), b"canary-account", hashlib.sha256).hexdigest()[:32]
    assert hashed.encode() in written
    [found] = stream.enriched()
    assert json.loads(bytes(found.event))["account_id"] == hashed
    assert all(letter.payload is None for letter in stream.dead_letters())
