"""Histories of a real Kafka: transactions of ours under cuts of the network and a kill -9."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.stream.transaction import Outcome
from tests.faults.history import check
from tests.faults.journal import Acked, Ended, Polled, read_journals
from tests.faults.observed import ends_of
from tests.faults.proxied import ProxiedServers, proxied_servers
from tests.faults.proxy import BOTH, MISSING, Cut, Way, available
from tests.faults.recording import Reading, Sharing, Writing
from tests.integration.stages import eventually

pytestmark = [
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.skipif(not available(), reason=MISSING),
]

TOPIC = "history"
PARTITIONS = 2
CUT_S = 4.0  # longer than one call to the coordinator is waited for


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[ProxiedServers]:
    """Servers of this test's own, with one topic."""
    with proxied_servers(tmp_path) as started:
        admin = AdminClient({"bootstrap.servers": started.servers.bootstrap})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(20)
        yield started


def test_cuts_and_a_killed_broker_show_nobody_what_no_log_could(
    proxied: ProxiedServers, tmp_path: Path
) -> None:
    """Writers and readers on both sides of each cut, and of a `kill -9`: not one anomaly."""
    journals = tmp_path / "journals"
    direct, through = proxied.servers.bootstrap, proxied.kafka.address
    writers = [Writing(where, TOPIC, PARTITIONS, journals) for where in (direct, through)]
    starts = {(TOPIC, number): 0 for number in range(PARTITIONS)}
    readers = [
        Reading(where, starts, journals, committed=committed)
        for where in (direct, through)
        for committed in (True, False)
    ]
    members = [Sharing(where, [TOPIC], journals, "history") for where in (direct, through)]
    for ways, by in (
        ((Way.TO_CLIENT,), Cut.LOSS),
        ((Way.TO_SERVER,), Cut.DELAY),
        (BOTH, Cut.LOSS),
    ):
        time.sleep(1)
        proxied.kafka.cut(*ways, by=by)
        time.sleep(CUT_S)
        proxied.kafka.heal()
    proxied.servers.kafka.process.kill()
    proxied.servers.up()
    before = [dict(writer.outcomes) for writer in writers]
    eventually(
        "both writers commit again",
        lambda: all(
            writer.outcomes[Outcome.COMMITTED] > was[Outcome.COMMITTED]
            for writer, was in zip(writers, before, strict=True)
        ),
    )
    for writer in writers:
        writer.stop()
    ends = ends_of(direct, TOPIC, partitions=PARTITIONS)
    assert all(reader.await_end(ends, 30) for reader in readers)
    for runner in (*readers, *members):
        runner.stop()
    history = read_journals(journals)
    assert check(history) == []
    told = [op.committed for op in history if isinstance(op, Ended)]
    assert True in told
    assert False in told
    assert sum(writer.outcomes[Outcome.LOST] for writer in writers) > 0, "no cut was felt"
    assert sum(isinstance(op, Polled) for op in history) > 4 * 100
    assert sum(isinstance(op, Acked) for op in history) > 100
