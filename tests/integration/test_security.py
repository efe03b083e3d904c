"""Kafka and Redis that ask who comes: what each role may do, and what everybody is refused."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from structlog.testing import capture_logs

from enrichment.access import Role, user_of
from enrichment.feature.connection import open_cache
from enrichment.feature.store import feature_key
from enrichment.provider.kept_store import RedisAnswers
from enrichment.sample.budget import Claim
from enrichment.sample.counter import RedisCounter, Verdict
from enrichment.stream.topics import CASES, CONTROL, FEATURES, JOBS
from enrichment.wiring.clients import kafka_config, partition_count, redis_address
from enrichment.wiring.clock import now_ms
from enrichment.wiring.errors import ConfigurationError
from enrichment.wiring.waiting import await_kafka, brokers_of, is_refusal
from tests.integration.guarded import Guarded
from tests.integration.stages import eventually

pytestmark = pytest.mark.servers

PATIENCE_S = 20.0
AT_ONCE_S = 0.5
SILENT_S = 2.0  # whoever speaks another language is not told so
EVENTS = 40


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Servers that this file shares."""
    made = Guarded.start(tmp_path_factory.mktemp("guarded"))
    yield made
    made.close()


def answer(client: dict[str, Any], within_s: float = PATIENCE_S) -> str:
    """What a client is told that asks for the topics: "in", or why not."""
    give_up_s = time.monotonic() + within_s
    while time.monotonic() < give_up_s:
        try:
            brokers_of(client | {"log_level": 0}, AT_ONCE_S)
        except KafkaException as error:
            if is_refusal(error):
                return "refused"
        else:
            return "in"
    return "silence"


def test_who_says_the_password_is_let_in(guarded: Guarded) -> None:
    """Nobody else is: another password, another name, no trust in the broker, no TLS."""
    client = kafka_config(guarded.settings(Role.ENRICH), "test")
    assert answer(client) == "in"
    foreign = str(guarded.foreign.certificate)
    for changed in (
        {"sasl.password": "wrong"},
        {"sasl.username": "nobody"},
        {"ssl.ca.location": foreign},
    ):
        assert answer(client | changed) == "refused", changed
    assert answer({"bootstrap.servers": guarded.kafka.address}, SILENT_S) == "silence"


def test_who_has_a_certificate_is_let_in(guarded: Guarded) -> None:
    """And nobody without one, or with one of an authority that the broker does not know."""
    secured, user = guarded.secured, user_of(Role.ENRICH, guarded.stream.name)
    known = secured.with_certificate(secured.authority.issue(user))
    assert answer(known) == "in"
    unknown = guarded.foreign.issue(user)
    strange = {
        "ssl.certificate.location": str(unknown.certificate),
        "ssl.key.location": str(unknown.key),
    }
    assert answer(known | strange) == "refused"
    without = {name: value for name, value in known.items() if name not in strange}
    assert answer(without) == "refused"


def test_a_certificate_bears_the_rules_of_its_name(guarded: Guarded) -> None:
    """The same user, known in another way, may do the same and no more."""
    secured, user = guarded.secured, user_of(Role.PUBLISHER, guarded.stream.name)
    client = secured.with_certificate(secured.authority.issue(user))
    assert produced(client, guarded.stream.topics.events) is None
    assert produced(client, JOBS) == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_a_stage_that_is_not_let_in_says_so(guarded: Guarded) -> None:
    """In place of calling the broker away, and with what to look at; it goes on trying."""

    class Once(threading.Event):
        """A stop that comes with the first wait."""

        def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002  # nobody waits
            self.set()
            return True

    settings = guarded.settings(Role.ENRICH, kafka_sasl_password="wrong")  # noqa: S106  # it is
    with capture_logs() as logs:
        assert not await_kafka(settings, Once())
    [said] = logs
    assert "does not let us in, trying again" in said["event"]
    assert "ENRICHMENT_KAFKA_SASL_USER" in said["hint"]
    assert "wrong" not in str(said)


def produced(client: dict[str, Any], topic: str) -> int | None:
    """The code of the error that a record meets; None where it was taken."""
    met: list[int | None] = []
    producer = Producer(client | {"log_level": 0, "message.timeout.ms": 10_000})
    try:
        producer.produce(
            topic,
            b"{}",
            partition=0,
            on_delivery=lambda error, _: met.append(error.code() if error else None),
        )
        assert producer.flush(PATIENCE_S) == 0
    except KafkaException as error:
        return int(error.args[0].code())
    [code] = met
    return code


def consumed(client: dict[str, Any], topic: str, group: str) -> int:
    """The code of the error that a member of that group meets. Fails where it meets none."""
    consumer = Consumer(
        client | {"log_level": 0, "group.id": group, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    try:
        give_up_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_s:
            message = consumer.poll(0.1)
            if message is not None and (error := message.error()) is not None:
                return int(error.code())
    finally:
        consumer.close()
    pytest.fail("nothing was refused")


def transacted(client: dict[str, Any], name: str) -> int:
    """The code of the error that whoever takes over a transactional id meets."""
    producer = Producer(client | {"log_level": 0, "transactional.id": name})
    with pytest.raises(KafkaException) as error:
        producer.init_transactions(PATIENCE_S)
    return int(error.value.args[0].code())


Attempt = Callable[[dict[str, Any], str], int | None]

TOPIC = KafkaError.TOPIC_AUTHORIZATION_FAILED
# Who, what is tried ({stream} is the stream's name), and what comes of it.
REFUSED: dict[str, tuple[Role, Attempt, int]] = {
    "enrich writes jobs": (Role.ENRICH, lambda client, _: produced(client, JOBS), TOPIC),
    "enrich writes features": (Role.ENRICH, lambda client, _: produced(client, FEATURES), TOPIC),
    "window writes answers": (
        Role.WINDOW, lambda client, name: produced(client, f"{name}.enriched"), TOPIC,
    ),
    "sample reads events": (
        Role.SAMPLE,
        lambda client, name: consumed(client, f"{name}.events", f"enrichment.sample.{name}"),
        TOPIC,
    ),
    "sample lifts a kill switch": (
        Role.SAMPLE, lambda client, _: produced(client, CONTROL), TOPIC,
    ),
    "project writes features": (Role.PROJECT, lambda client, _: produced(client, FEATURES), TOPIC),
    "guard writes cases": (Role.GUARD, lambda client, _: produced(client, CASES), TOPIC),
    "console lifts a kill switch": (
        Role.CONSOLE, lambda client, _: produced(client, CONTROL), TOPIC,
    ),
    "publisher reads answers": (
        Role.PUBLISHER,
        lambda client, name: consumed(client, f"{name}.enriched", f"{name}.mine"),
        KafkaError.GROUP_AUTHORIZATION_FAILED,  # it has none to read in
    ),
    "consumer reads events": (
        Role.CONSUMER,
        lambda client, name: consumed(client, f"{name}.events", f"{name}.mine"),
        TOPIC,
    ),
    "consumer says outcomes": (
        Role.CONSUMER, lambda client, name: produced(client, f"{name}.outcomes"), TOPIC,
    ),
    "project takes enrich's place": (
        Role.PROJECT,
        lambda client, name: consumed(client, FEATURES, f"enrichment.enrich.{name}"),
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    ),
    "window fences enrich": (
        Role.WINDOW,
        lambda client, name: transacted(client, f"enrichment.enrich.{name}.one"),
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_role_is_refused_what_is_not_its_own(guarded: Guarded, what: str) -> None:
    """By the broker, whatever the process does."""
    role, attempt, wanted = REFUSED[what]
    client = kafka_config(guarded.settings(role), "test")
    assert attempt(client, guarded.stream.name) == wanted


def test_an_operator_makes_no_topics(guarded: Guarded) -> None:
    """Whoever tends topics does, and reads none of them."""

    def make(role: Role) -> None:
        admin = AdminClient(kafka_config(guarded.settings(role), "test"))
        name = f"{guarded.stream.name}.reviews"
        admin.create_topics([NewTopic(name, 1, 1)])[name].result(PATIENCE_S)

    for role, code in (
        (Role.OPERATOR, KafkaError.TOPIC_AUTHORIZATION_FAILED),
        (Role.TOPICS, KafkaError.TOPIC_ALREADY_EXISTS),
    ):
        with pytest.raises(KafkaException) as error:
            make(role)
        assert error.value.args[0].code() == code


def test_a_topic_that_may_not_be_seen_is_not_called_missing(guarded: Guarded) -> None:
    """The error names the user and where its rules are, in place of telling to make the topic."""
    with pytest.raises(ConfigurationError, match=r"does not let enrichment-project-.* use the to"):
        partition_count(guarded.settings(Role.PROJECT), JOBS)


Client = Callable[..., redis.Redis]


@pytest.fixture
def client(guarded: Guarded) -> Iterator[Client]:
    """Clients of Redis, by user; with another URL or another password where those are given."""
    with contextlib.ExitStack() as stack:

        def make(user: str, url: str = "", password: str = "p@ss/w:rd") -> redis.Redis:  # noqa: S107
            where = {"redis_url": url or guarded.redis_url(user), "redis_password": password}
            made = open_cache(redis_address(guarded.settings(Role.ENRICH, **where)), 5.0)
            assert isinstance(made, redis.Redis)
            stack.callback(made.close)
            return made

        yield make


def test_redis_refuses_what_is_not_a_roles_own(guarded: Guarded, client: Client) -> None:
    """By password, by certificate, by key and by command."""
    name = guarded.stream.name
    key = feature_key(name, "account", "a", "ring")
    assert client("enrich").mget([key]) == [None]
    plain = guarded.redis_url("enrich").partition("?")[0]
    authority = guarded.redis.files["ca.crt"]
    foreign = guarded.foreign.issue("enrich")
    strange = f"ssl_certfile={foreign.certificate}&ssl_keyfile={foreign.key}"
    for url in (
        plain,  # an authority of the system's is asked about Redis's certificate
        f"{plain}?ssl_ca_certs={authority}",  # no certificate of ours
        f"{plain}?ssl_ca_certs={authority}&{strange}",
    ):
        with pytest.raises(redis.ConnectionError):
            client("enrich", url).mget([key])
    for user in ("enrich", "default", "nobody"):
        with pytest.raises(redis.AuthenticationError):
            client(user, password="wrong").mget([key])  # noqa: S106  # it is
    refused: list[Callable[[], object]] = [
        lambda: client("enrich").set(key, "x"),
        lambda: client("reader").set(key, "x"),
        lambda: client("reader").get("budget:{1}"),
        lambda: client("project").mget(["budget:{1}"]),
        lambda: client("sample").mget([key]),
        lambda: client("project").flushall(),
        lambda: client("operator").set(key, "x"),
    ]
    for attempt in refused:
        with pytest.raises(redis.exceptions.NoPermissionError):
            attempt()


def test_the_sampler_counts_and_keeps_by_its_rules(client: Client) -> None:
    """Money and answers of devices, as it does when it asks one; an operator reads the sums."""
    day = now_ms() // 86_400_000
    counter = RedisCounter(client("sample"))
    assert counter.begin(day, "builder")
    assert counter.write(day, "builder", {})
    claim = Claim(pipeline="p", provider="ionq", micro=5)
    assert counter.reserve(day, "job|1", claim, (None, None, None)).verdict is Verdict.GRANTED
    assert counter.settle(day, "job|1", claim).verdict is Verdict.GRANTED
    assert RedisCounter(client("operator")).seen(day, ["all"]) == (5, 1)
    answers = RedisAnswers(client("sample"))
    answers.put({"kept:1:a": b"answer"}, 60_000)
    assert answers.get(["kept:1:a"]) == [b"answer"]


def test_stages_run_with_the_least_privilege(guarded: Guarded) -> None:
    """Each under its own user, from an event to features in Redis, and nothing is refused."""
    stream = guarded.stream
    stages = {
        role: stream.start(role.value, **guarded.variables(role))
        for role in (Role.PROJECT, Role.WINDOW, Role.ENRICH)
    }
    publisher = Producer(kafka_config(guarded.settings(Role.PUBLISHER), "test"))
    for number in range(EVENTS):
        event = {
            "event_id": f"e{number}",
            "account_id": f"a{number % 5}",
            "device_id": "d",
            "beneficiary_id": "b",
            "region": "eu",
            "amount": 10.0,
            "occurred_at": now_ms(),
        }
        publisher.produce(stream.topics.events, json.dumps(event), partition=number % 4)
    assert publisher.flush(PATIENCE_S) == 0
    eventually("answers", lambda: len(stream.enriched()) == EVENTS)
    reader = open_cache(
        redis_address(guarded.settings(Role.PROJECT, redis_url=guarded.redis_url("reader"))), 5.0
    )
    key = feature_key(stream.name, "account", "a1", "graph")
    eventually("features", lambda: reader.mget([key]) != [None])
    said = {role: stage.said() for role, stage in stages.items()}
    for role, stage in stages.items():
        assert stage.end() == 0, said[role]
        assert "uthorization" not in said[role]
        assert "NOPERM" not in said[role]
        assert "Traceback" not in said[role]
        assert guarded.passwords[user_of(role, stream.name)] not in said[role]
