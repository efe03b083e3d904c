"""The hot path while partitions move: nothing stops that need not, and no answer is given twice."""

import threading
import time
from collections.abc import Sequence

import pytest

from enrichment.enrich.batch import Record
from tests.faults.answers import Account, Watch
from tests.faults.enrichers import STARTED, Enrichers, Publishing, owned
from tests.integration.loops import Running, config, good, hesitant
from tests.integration.stages import Stream, eventually

pytestmark = pytest.mark.servers


def test_a_member_that_joins_stops_only_what_moves(stream: Stream) -> None:
    """Cooperative: partitions that stay with their owner are answered on while others move."""
    enrichers = Enrichers(stream)
    enrichers.start("0").await_said(STARTED)
    watch = Watch(stream.bootstrap, stream.name)
    publishing = Publishing(stream, 5_000, 1_000.0, seed=3)
    try:
        eventually("the first answers", lambda: watch.answered > 200)
        joining_s = time.monotonic()
        enrichers.start("1").await_said(STARTED)
        enrichers.await_shared("0", "1")
        shared_s = time.monotonic()
        kept = enrichers.owned("0")
        publishing.finish()
        eventually("all", lambda: watch.answered >= 5_000)
    finally:
        watch.close()
    assert len(kept) == 2
    longest_s = max(watch.silence_s(partition, joining_s, shared_s) for partition in kept)
    assert longest_s < 2.5  # the session, after which they would have been taken away, lasts 6 s
    assert {enrichers.terminate(name) < 5.0 for name in ("0", "1")} == {True}
    Account.take(stream.bootstrap, stream.name).assert_exact()


def test_a_slow_batch_keeps_its_partitions_until_it_is_done(stream: Stream) -> None:
    """A member that joins in the middle of a batch answers nothing of it, before or after."""
    held, go_on = threading.Event(), threading.Event()

    def wait(records: Sequence[Record]) -> None:
        if any(record.offset >= 10 for record in records) and not go_on.is_set():
            held.set()
            go_on.wait(30)

    slow = Running(hesitant(stream, wait), config(stream, "slow", batch_ms_max=1_000))
    stream.publish(good(40))
    eventually("the first answers", lambda: len(stream.read(stream.topics.enriched)) == 40)
    stream.publish(good(40))
    assert held.wait(20)
    quick = Running(hesitant(stream, lambda _: None), config(stream, "quick"))
    time.sleep(3.0)  # twice a heartbeat: what it could be given by then, it has
    assert len(stream.read(stream.topics.enriched)) == 40
    go_on.set()
    eventually("all", lambda: len(stream.read(stream.topics.enriched)) >= 80)
    eventually("they share", lambda: len(owned(stream, "quick")) == 2)
    slow.end()
    quick.end()
    Account.take(stream.bootstrap, stream.name).assert_exact()
