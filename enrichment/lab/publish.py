"""Publishing to a stream's topics: paced, and with room made when the producer's queue is full."""

import time
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import KafkaException, Producer

from enrichment.stream.headers import Headers

FLUSH_S: Final = 30.0
FULL_S: Final = 30.0


class PublishError(RuntimeError):
    """Records could not be delivered, said in one line."""


def publishing(client: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a producer of events: nothing lost, keys placed as everywhere else."""
    return client | {
        "enable.idempotence": True,
        "linger.ms": 5,
        "compression.type": "lz4",
        "partitioner": "consistent",
        "queue.buffering.max.messages": 200_000,
    }


class Publisher:
    """A producer that blocks when full, and that counts what could not be delivered."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self.published = 0
        self._failures = 0
        self._failure = ""

    def publish(
        self,
        topic: str,
        key: str | None,
        value: bytes | None,
        *,
        partition: int = -1,
        headers: Headers | None = None,
        timestamp_ms: int = 0,
    ) -> None:
        """Queue one record; without a timestamp it bears the time of producing.

        Raises PublishError when there is no room for FULL_S.
        """
        give_up_s = time.monotonic() + FULL_S
        while True:
            try:
                self.producer.produce(
                    topic,
                    value,
                    key,
                    partition,
                    headers=headers,
                    timestamp=timestamp_ms,
                    on_delivery=self._delivered,
                )
            except BufferError:
                if time.monotonic() > give_up_s:
                    raise PublishError("Kafka has taken nothing for 30 s") from None
                self.producer.poll(0.05)
            else:
                self.published += 1
                return

    def flush(self) -> None:
        """Wait until everything is delivered. Raises PublishError where something was not."""
        unsent = self.producer.flush(FLUSH_S)
        if unsent or self._failures:
            failed = unsent + self._failures
            raise PublishError(f"{failed} records were not delivered: {self._failure}")

    def _delivered(self, error: object, _message: object) -> None:
        if error is not None:
            self._failures += 1
            self._failure = str(error)


class Pace:
    """Waits so that work goes on at a steady rate, in bursts short enough not to be noticed."""

    def __init__(
        self,
        rate_per_s: float,
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate_per_s
        self._clock_s = clock_s
        self._sleep = sleep
        self._started_s = clock_s()

    def wait(self, done: int) -> None:
        """Return when `done` pieces are due."""
        ahead_s = done / self._rate - (self._clock_s() - self._started_s)
        if ahead_s > 0.002:
            self._sleep(ahead_s)


def explained(error: KafkaException) -> str:
    """A Kafka error as one line."""
    cause = error.args[0]
    return str(cause.str()) if hasattr(cause, "str") else str(error)
