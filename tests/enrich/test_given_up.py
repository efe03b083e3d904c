"""A commit that fails before anybody looks at it."""

from tests.telemetry.way import TOPICS, Way, ring


def test_a_commit_that_fails_at_once_loses_nothing() -> None:
    """Its failure is its own: the same records, read again, are answered and committed."""
    way = Way(trouble="abortable")
    way.enrich(*((value, None) for value in ring(3)))
    assert len(way.kafka.committed(TOPICS.enriched)) == 3
    assert way.kafka.offsets == {(TOPICS.events, 0): 3}
