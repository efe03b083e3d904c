"""Heads of values: the same as whole values say, whatever stands in them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.feature.heads import Head, Shards, head_of, heads_of
from enrichment.records import FeatureUpdate, Source

texts = st.text(max_size=20) | st.sampled_from(
    ["{", '"', '\\"values\\":{', ',"values":{"a":1}', "x|y", '":"a|b', '"micro_batch_id":"p|q|1|0"']
)
times = st.integers(min_value=0, max_value=2**53)
sources = st.none() | st.builds(
    lambda backend, pipeline, shard, job: Source(
        backend=backend, micro_batch_id=f"{pipeline}|{shard}|1700000000000|0", job_id=job
    ),
    texts,
    st.sampled_from(["payments", "lo{gins"]),
    texts,
    st.just("") | texts,
)
updates = st.builds(
    FeatureUpdate,
    version=times,
    pipeline=texts,
    entity=texts,
    id=texts,
    group=st.sampled_from(["ring", "graph"]),
    subgraph=texts,
    event_time_ms=times,
    computed_at_ms=times,
    values=st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    source=sources,
)


def said_by(update: FeatureUpdate) -> Head:
    """Its head, as the whole value has it."""
    times_of = (update.event_time_ms, update.computed_at_ms)
    return Head(update.version, update.subgraph, *times_of)


def shard_of(update: FeatureUpdate) -> str | None:
    """The shard, as the whole value has it."""
    if update.source is None:
        return None
    return update.source.micro_batch_id.partition("|")[2].rsplit("|", 2)[0]


@given(st.lists(st.none() | updates, max_size=6))
def test_heads_say_what_whole_values_say(some: list[FeatureUpdate | None]) -> None:
    """Braces, quotes and field names inside of texts, and keys that are absent, included."""
    values = [None if one is None else msgspec.json.encode(one) for one in some]
    assert heads_of(values) == [None if one is None else said_by(one) for one in some]


@given(st.lists(st.none() | updates, max_size=6))
def test_shards_are_those_of_the_micro_batches(some: list[FeatureUpdate | None]) -> None:
    """Also where a shard was met before, and where other texts look like an id."""
    values = [None if one is None else msgspec.json.encode(one) for one in some]
    wanted = [None if one is None else shard_of(one) for one in some]
    shards = Shards()
    assert shards.of(values) == wanted
    assert shards.of(values) == wanted


def test_fields_in_another_order_are_found() -> None:
    """What another program wrote is decoded as a whole."""
    told = {"values": {}, "computed_at_ms": 4, "event_time_ms": 3, "subgraph": "s", "version": 2}
    value = msgspec.json.encode(told)
    assert heads_of([value, None, value]) == [Head(2, "s", 3, 4), None, Head(2, "s", 3, 4)]
    assert head_of(value) == Head(2, "s", 3, 4)


def test_what_is_no_value_is_said() -> None:
    """Broken JSON, and JSON without a head, raise; a good value beside them changes nothing."""
    good = msgspec.json.encode(FeatureUpdate(
        version=1, pipeline="p", entity="a", id="i", group="graph", subgraph="s",
        event_time_ms=1, computed_at_ms=1,
    ))  # fmt: skip
    for broken in (b"", b"{", b'{"version":1}', b"[]", b'{"version":1,"values":{}}'):
        with pytest.raises(msgspec.DecodeError):
            heads_of([good, broken])


def test_a_shard_that_ends_like_another_is_itself() -> None:
    """A quote inside of a shard's name does not begin the micro-batch's id."""
    ends = ["north", 'x"payments|north', 'x:"payments|north', '"micro_batch_id":"payments|north']
    values = []
    for shard in ends:
        source = Source(backend="window", micro_batch_id=f"payments|{shard}|1700000000000|0")
        values.append(msgspec.json.encode(FeatureUpdate(
            version=1, pipeline="p", entity="a", id="i", group="graph", subgraph="s",
            event_time_ms=1, computed_at_ms=1, source=source,
        )))  # fmt: skip
    assert Shards().of(values) == ends
