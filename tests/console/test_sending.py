"""Callers' micro-batches on their way to a broker: one that is not there is not said to be."""

from typing import Final

import pytest
from confluent_kafka import KafkaException

from enrichment.console import sending
from enrichment.console.calls import Rules, batch_of, shard_of
from enrichment.console.sending import Sender
from enrichment.lab.ports import free_port
from enrichment.stream.framing import BARE
from tests.console.desks import CALLS
from tests.console.test_calls import NOW_MS, RING, called

BATCH: Final = batch_of(called(RING), Rules.of(CALLS), shard_of("k"), NOW_MS)


@pytest.mark.parametrize("partitions", [0, 4])
def test_where_no_broker_answers_that_is_said_in_time(
    partitions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it has known the topic, and after: a caller waits so long and no longer."""
    monkeypatch.setattr(sending, "DELIVERY_S", 0.2)
    kafka = {"bootstrap.servers": f"127.0.0.1:{free_port()}", "log_level": 0}
    sender = Sender(kafka, BARE)
    sender._partitions = partitions
    with pytest.raises((KafkaException, TimeoutError)):
        sender.publish(BATCH)
    sender.close()
