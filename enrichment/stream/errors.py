"""Which errors of a Kafka client end the process that meets them."""

from confluent_kafka import KafkaError


def is_fatal(error: KafkaError) -> bool:
    """Whether the client can go no further.

    What a consumer's queue brings when another process has taken over its name is fatal by its code
    and not by its flag (measured).
    """
    return bool(error.fatal()) or error.code() == KafkaError._FATAL  # noqa: SLF001  # its public name
