"""Names of topics and partitions of keys."""

from hypothesis import given
from hypothesis import strategies as st

from enrichment.stream.topics import StreamTopics, partition_for, shard_key


def test_a_stream_has_five_topics_of_its_own() -> None:
    """Their names start with the stream's."""
    of = StreamTopics("logins")
    assert [of.events, of.enriched, of.dead_letters, of.outcomes, of.reviews] == [
        "logins.events",
        "logins.enriched",
        "logins.dead-letters",
        "logins.outcomes",
        "logins.reviews",
    ]


def test_the_partition_of_a_key_never_changes() -> None:
    """Fixed values, as librdkafka's `consistent` partitioner gives them: data rest on them."""
    assert [partition_for(key, 4) for key in ("", "a", "payments|eu", "123456789")] == [0, 3, 1, 2]


@given(pipeline=st.text(), shard=st.text(), partitions=st.integers(1, 1000))
def test_every_shard_has_a_partition(pipeline: str, shard: str, partitions: int) -> None:
    """Whatever a shard is called, its partition exists."""
    assert 0 <= partition_for(shard_key(pipeline, shard), partitions) < partitions
