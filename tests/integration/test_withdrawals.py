"""A withdrawal against real servers: two seconds after it was said nobody uses what it covers."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from enrichment.feature.store import Layout
from enrichment.lab.redis_server import RedisServer
from enrichment.lab.servers import LocalServers
from enrichment.records import Enriched, FeatureUsed, Verdict, VerdictName
from enrichment.wiring.clock import now_ms
from tests.integration.operated import IN_FORCE_MS, UNCHANGED, Load, Operated
from tests.integration.stages import eventually

pytestmark = pytest.mark.servers

WITHDRAWN = Verdict(VerdictName.FALLBACK, "withdrawn")


@pytest.fixture
def withdrawing(
    servers: LocalServers, own_redis: RedisServer, tmp_path: Path
) -> Iterator[Operated]:
    """The stream, with its projector running."""
    made = Operated(servers, tmp_path, f"redis://{own_redis.address}/0")
    made.stream.start("project")
    yield made
    made.stream.close()


def test_public_readers_are_told(withdrawing: Operated) -> None:
    """By job and by time, lifted again; a flushed Redis and another projector change nothing."""
    withdrawing.publish_features()
    told = withdrawing.says("control", "withdraw", "--job", "j1", "--reason", "a bad run")
    assert told["mirrored"]["after_s"] < IN_FORCE_MS / 1000
    assert withdrawing.verdicts() == [WITHDRAWN, UNCHANGED]
    [listed] = withdrawing.says("control", "list")["controls"]
    assert (listed["reason"], listed["withdrawal"]) == ("a bad run", {"job_id": "j1"})

    withdrawing.cache.flushall()
    key = Layout(withdrawing.stream.name).control()
    eventually("mirrored again", lambda: withdrawing.cache.get(key) is not None)
    seen: set[str] = set()

    def rebuilt() -> bool:
        first, second = withdrawing.verdicts()
        seen.add(first.reason)
        return (first, second) == (WITHDRAWN, UNCHANGED)

    eventually("rebuilt", rebuilt)
    assert seen <= {"rebuilding", "never_seen", "withdrawn"}

    told = withdrawing.says("control", "lift", "--job", "j1")
    assert told["mirrored"]["after_s"] < IN_FORCE_MS / 1000
    assert withdrawing.verdicts() == [UNCHANGED, UNCHANGED]
    told = withdrawing.says("control", "withdraw", "--until", "now", "--reason", "to be sure")
    assert told["mirrored"]["after_s"] < IN_FORCE_MS / 1000
    assert withdrawing.verdicts() == [WITHDRAWN, WITHDRAWN]
    withdrawing.cache.delete(key)
    eventually("mirrored again", lambda: withdrawing.verdicts() == [WITHDRAWN, WITHDRAWN])


def ring_of(event: Enriched) -> FeatureUsed:
    """What the event says of its account's ring."""
    return next(used for used in event.features if (used.kind, used.group) == ("account", "ring"))


@pytest.mark.slow
def test_the_hot_path_obeys_within_two_seconds(withdrawing: Operated) -> None:
    """Under load: events published later than that say `withdrawn`, of the job's account alone."""
    withdrawing.publish_features()
    stream = withdrawing.stream
    stream.start("enrich").await_said('"event": "enriching"')
    load = Load(stream)
    load.start()
    eventually("answers", lambda: len(stream.enriched()) > 10)
    told = withdrawing.says("control", "withdraw", "--job", "j1", "--reason", "a bad run")
    withdrawn_ms = told["control"]["issued_at_ms"]
    in_force_ms = withdrawn_ms + IN_FORCE_MS
    time.sleep(max(0.0, (in_force_ms - now_ms()) / 1000) + 1)
    lifted_ms = now_ms()
    withdrawing.says("control", "lift", "--job", "j1")
    free_ms = now_ms() + IN_FORCE_MS
    time.sleep(max(0.0, (free_ms - now_ms()) / 1000) + 1)
    load.end()
    eventually("all answered", lambda: len(stream.enriched()) == len(load.published_ms))

    counts = Counter[str]()
    for event in stream.enriched():
        at_ms, found = load.published_ms[event.event_id], ring_of(event)
        if found.id == "a2" or event.decided_at_ms < withdrawn_ms:
            assert found.verdict == UNCHANGED
            counts["free"] += 1
        elif in_force_ms < at_ms and event.decided_at_ms < lifted_ms:
            assert found.verdict == event.verdict == WITHDRAWN
            assert not found.estimates
            counts["withdrawn"] += 1
        elif at_ms > free_ms:
            assert found.verdict == UNCHANGED
            counts["lifted"] += 1
    assert len(counts) == 3, counts
