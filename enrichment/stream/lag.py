"""How far a consumer is behind the end of what it reads: true lag, by partition."""

from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from enrichment.telemetry import metrics
from enrichment.telemetry.log import logger

Place = tuple[str, int]  # topic, partition


def lags(consumer: Consumer) -> dict[Place, int]:
    """(topic, partition) -> records behind, of what is assigned; no broker is asked for it.

    The end is what the last answer to a fetch said: the last stable offset, where only what is
    committed is read. The marker behind a transaction counts as a record. A partition of which
    nothing is known yet is left out.
    """
    found: dict[Place, int] = {}
    try:
        assigned: list[TopicPartition] = consumer.assignment()
        for at in consumer.position(assigned) if assigned else ():
            _, end = consumer.get_watermark_offsets(at, cached=True)
            if at.offset >= 0 and end >= 0:  # else nothing has been read, or fetched
                found[at.topic, at.partition] = max(0, end - at.offset)
    except KafkaException as error:
        # A client in trouble says so where records are asked for; nobody stops for a figure.
        logger().debug("the lag is not known", error=str(error.args[0]))
    return found


def tell(found: Mapping[Place, int]) -> None:
    """Tell these lags, and no others: of a partition that is ours no more, others tell."""
    metrics.lag.tell(
        (behind, {"topic": topic, "partition": str(partition)})
        for (topic, partition), behind in found.items()
    )
