"""The one place that opens clients, configures logging and builds the stages from settings."""

import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from enrichment.settings import Settings
from enrichment.telemetry.log import logger

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 10.0  # an operator who fixes the server should not wait longer for us to notice


def kafka_config(settings: Settings, client_id: str) -> dict[str, Any]:
    """What every Kafka client of ours is told."""
    return {
        "bootstrap.servers": settings.kafka_bootstrap,
        "client.id": client_id,
        "log_level": 3,  # errors: unreachable brokers are reported by us, in one line
    }


def open_redis(settings: Settings, timeout_s: float) -> redis.Redis:
    """A client of the feature cache whose every call ends within about `timeout_s`."""
    return redis.Redis.from_url(
        str(settings.redis_url),
        socket_timeout=timeout_s,
        socket_connect_timeout=max(timeout_s, 1.0),
    )


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set, so that a loop can end between two batches."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def await_kafka(settings: Settings, stop: threading.Event) -> bool:
    """Wait until a broker answers; True, or False when told to stop first."""
    admin = AdminClient(kafka_config(settings, "enrichment-probe"))
    where = settings.kafka_bootstrap
    return _await("Kafka", where, lambda: admin.list_topics(timeout=3), stop)


def await_redis(settings: Settings, stop: threading.Event) -> bool:
    """Wait until Redis answers; True, or False when told to stop first."""
    url = settings.redis_url
    client = open_redis(settings, 3.0)
    try:
        return _await("Redis", f"{url.host}:{url.port}", client.ping, stop)
    finally:
        client.close()


def _await(what: str, where: str, probe: Callable[[], object], stop: threading.Event) -> bool:
    """Probe with exponential backoff and jitter, saying once per attempt that nobody answers."""
    delay_s = BACKOFF_FIRST_S
    while not stop.is_set():
        try:
            probe()
        except (KafkaException, redis.RedisError) as error:
            logger().warning(
                f"{what} at {where} does not answer, trying again in {delay_s:.1f} s",
                hint="start local servers with `enrichment up`, or set ENRICHMENT_"
                + ("KAFKA_BOOTSTRAP" if what == "Kafka" else "REDIS_URL"),
                error=str(error),
            )
            stop.wait(delay_s * random.uniform(0.8, 1.2))  # noqa: S311  # jitter, not a secret
            delay_s = min(2 * delay_s, BACKOFF_MAX_S)
        else:
            return True
    return False


def now_ms() -> int:
    """The wall clock, in milliseconds since 1970: handed to whoever needs the time."""
    return time.time_ns() // 1_000_000
