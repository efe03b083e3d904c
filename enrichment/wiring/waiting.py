"""Servers that are not there yet, or do not let us in; and signals to end."""

import random
import signal
import threading
from collections.abc import Callable
from typing import Any

import redis
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from enrichment.settings import Settings
from enrichment.telemetry.log import logger
from enrichment.wiring.clients import kafka_config, open_redis

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 10.0  # an operator who fixes the server should not wait longer for us to notice


# Errors of a client that has found a broker and is not let in, or does not trust it.
REFUSALS = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})  # noqa: SLF001  # so named
# Server -> the settings that a refusal is about.
LOGINS = {
    "Kafka": "ENRICHMENT_KAFKA_SASL_USER and _PASSWORD, and the files of ENRICHMENT_KAFKA_SSL_*",
    "Redis": "the user in ENRICHMENT_REDIS_URL, and ENRICHMENT_REDIS_PASSWORD",
}


def stop_on_signals() -> threading.Event:
    """An event that signals to end set, so that a loop can end between two batches."""
    stop = threading.Event()
    # SIGHUP: the terminal was closed, and what was started from it must not stay behind.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    return stop


def await_kafka(settings: Settings, stop: threading.Event) -> bool:
    """Wait until a broker answers; True, or False when told to stop first."""
    config = kafka_config(settings, "enrichment-probe")
    return _await("Kafka", settings.kafka_bootstrap, lambda: brokers_of(config, 3.0), stop)


def brokers_of(config: dict[str, Any], timeout_s: float) -> list[int]:
    """The brokers that there are, by number. Raises KafkaException: see `is_refusal`."""
    said: list[KafkaError] = []
    admin = AdminClient(config | {"error_cb": said.append})
    try:
        return list(admin.list_topics(timeout=timeout_s).brokers)
    except KafkaException as error:
        admin.poll(0)  # what the client has to say comes here: that it was refused, and why
        refusal = next((one for one in said if _refuses(one)), None)
        raise (error if refusal is None else KafkaException(refusal)) from error


def await_redis(settings: Settings, stop: threading.Event) -> bool:
    """Wait until Redis answers; True, or False when told to stop first."""
    where = settings.redis_url.where
    client = open_redis(settings, 3.0)
    try:
        return _await("Redis", where, client.ping, stop)
    finally:
        client.close()


def _await(what: str, where: str, probe: Callable[[], object], stop: threading.Event) -> bool:
    """Probe with exponential backoff and jitter, saying once per attempt that nobody answers."""
    delay_s = BACKOFF_FIRST_S
    while not stop.is_set():
        try:
            probe()
        except (KafkaException, redis.RedisError) as error:
            refused = is_refusal(error)
            logger().warning(
                f"{what} at {where} does not {'let us in' if refused else 'answer'}, trying again "
                f"in {delay_s:.1f} s",
                hint=f"look at {LOGINS[what]}"
                if refused
                else "start local servers with `enrichment up`, or set ENRICHMENT_"
                + ("KAFKA_BOOTSTRAP" if what == "Kafka" else "REDIS_URL"),
                error=str(error),
            )
            stop.wait(delay_s * random.uniform(0.8, 1.2))  # noqa: S311  # jitter, not a secret
            delay_s = min(2 * delay_s, BACKOFF_MAX_S)
        else:
            return True
    return False


def is_refusal(error: KafkaException | redis.RedisError) -> bool:
    """Whether a server answers, and it is its answer that is in the way."""
    if isinstance(error, KafkaException):
        return _refuses(error.args[0])
    return isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError)


def _refuses(error: KafkaError) -> bool:
    # What a broker makes of our certificate comes, by TLS 1.3, when the connection stands already:
    # for the client it is then one that was lost (seen, librdkafka 2.16).
    return error.code() in REFUSALS or "SSL alert" in error.str()
