"""The kill switch against real servers: two seconds after it was pulled the heuristic decides."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from enrichment.lab.redis_server import RedisServer
from enrichment.lab.servers import LocalServers
from enrichment.records import Enriched
from enrichment.records import Path as ServedPath
from enrichment.wiring.clock import now_ms
from tests.integration.operated import IN_FORCE_MS, Load, Operated
from tests.integration.stages import Stream, eventually

pytestmark = pytest.mark.servers

WHY = ("--reason", "to see whether it works")


@pytest.fixture
def operated(servers: LocalServers, own_redis: RedisServer, tmp_path: Path) -> Iterator[Operated]:
    """The stream, with its projector running."""
    made = Operated(servers, tmp_path, f"redis://{own_redis.address}/0")
    made.stream.start("project")
    yield made
    made.stream.close()


def decided(stream: Stream, path: ServedPath) -> list[Enriched]:
    """The events that this path decided, oldest first."""
    found = [event for event in stream.enriched() if event.path is path]
    return sorted(found, key=lambda event: event.decided_at_ms)


def await_path(stream: Stream, path: ServedPath, since_ms: int) -> None:
    """Wait until an event was decided by that path since then."""
    eventually(
        f"by {path.value}",
        lambda: any(event.decided_at_ms > since_ms for event in decided(stream, path)),
    )


def test_the_heuristic_decides_within_two_seconds(operated: Operated) -> None:
    """In every enricher, and in one that starts while it is pulled; then paths serve again."""
    operated.publish_features()
    stream = operated.stream
    enrichers = [stream.start("enrich", ENRICHMENT_INSTANCE=name) for name in ("one", "two")]
    for enricher in enrichers:
        enricher.await_said('"event": "enriching"')
    load = Load(stream)
    load.start()
    eventually(
        "both answer",
        lambda: {e.origin.partition for e in decided(stream, ServedPath.QUANTUM)} == {0, 1, 2, 3},
    )

    started_ms = now_ms()
    told = operated.says("rollout", "kill", *WHY)
    await_path(stream, ServedPath.HEURISTIC, started_ms)
    time.sleep(max(0.0, (started_ms + IN_FORCE_MS - now_ms()) / 1000) + 0.5)
    assert decided(stream, ServedPath.HEURISTIC)[-1].decided_at_ms > started_ms + IN_FORCE_MS
    last = decided(stream, ServedPath.QUANTUM)[-1]
    assert last.decided_at_ms < started_ms + IN_FORCE_MS
    assert told["control"]["serve"] == "heuristic"

    for enricher in enrichers:
        assert enricher.end() == 0
    restarted_ms = now_ms()
    stream.start("enrich", ENRICHMENT_INSTANCE="one").await_said('"event": "enriching"')
    await_path(stream, ServedPath.HEURISTIC, restarted_ms)
    assert decided(stream, ServedPath.QUANTUM)[-1] == last
    killed = decided(stream, ServedPath.HEURISTIC)[-1]
    assert killed.scores.quantum is not None
    assert killed.rollout is not None
    assert killed.rollout.paths == ()

    restored_ms = now_ms()
    operated.says("rollout", "restore", *WHY)
    await_path(stream, ServedPath.QUANTUM, restored_ms)
    load.end()
    again = next(e for e in decided(stream, ServedPath.QUANTUM) if e.decided_at_ms > restored_ms)
    assert again.decided_at_ms < restored_ms + IN_FORCE_MS
    assert again.rollout is None
