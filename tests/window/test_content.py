"""Windows add up exactly, in whatever order and batching their digests come."""

from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enrichment.enrich.decode import Decoder
from enrichment.enrich.digest import DigestBuilder
from enrichment.lab.scenario import SimulationSettings
from enrichment.lab.simulate import simulate
from enrichment.pipelines import load
from enrichment.records import Digest
from enrichment.window import content as contents
from enrichment.window.content import Content
from tests.window.sketch import Event, digest

EVENTS = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.sampled_from("abcd"),
        st.sampled_from("xy"),
        st.sampled_from(["", "a", "b"]),
        st.integers(0, 10_000),
    ),
    min_size=1,
    max_size=30,
)


def merged(batches: list[list[Event]]) -> Content:
    """The content of those batches, a digest each."""
    content = Content(0, 40)
    for batch in batches:
        content.add(digest(batch))
    return content


def named(content: Content) -> dict[tuple[str, ...], tuple[int, ...]]:
    """What was counted, by names."""
    found: dict[tuple[str, ...], tuple[int, ...]] = {}
    ids = content.ids
    for name, links in content.links.items():
        for a, b, *sums in zip(*(column.tolist() for column in links), strict=True):
            found[name, ids[a], ids[b]] = tuple(sums)
    for kind, tallies in content.tallies.items():
        for number, *sums in zip(*(column.tolist() for column in tallies), strict=True):
            found[kind, ids[number]] = tuple(sums)
    for name, aggregates in content.aggregates.items():
        found |= {(name, id_): tuple(sums) for id_, sums in aggregates.items()}
    return found


def counted(events: list[Event]) -> dict[tuple[str, ...], tuple[int, ...]]:
    """The same, counted by hand."""
    found: dict[tuple[str, ...], list[int]] = {}

    def count(key: tuple[str, ...], *sums: int) -> None:
        entry = found.setdefault(key, [0, 0])
        entry[0] += 1
        entry[1] += sums[0]
        if len(sums) > 1:
            entry[2:] = [max(sums[1], *entry[2:], 0)]

    for at_ms, account, device, payee, amount in events:
        count(("account~device", account, device), amount, at_ms)
        if payee:
            count(("account>payee", account, payee), amount, at_ms)
        for id_ in {account, payee} - {""}:
            count(("account", id_), amount)
        count(("device", device), amount)
        count(("paid", account), amount * 10_000)
        count(("risk", device), amount * 10_000)
    return {key: tuple(entry) for key, entry in found.items()}


@given(events=EVENTS, waiting=st.integers(0, 9))
def test_a_content_is_what_counting_gives(events: list[Event], waiting: int) -> None:
    """Exactly, however seldom what has come is added up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "WAITING_MIN", waiting)
        found = merged([[event] for event in events])
        assert named(found) == counted(events)
    assert found.hash() == merged([events]).hash()


@given(events=EVENTS, order=st.randoms(use_true_random=False), batch=st.integers(1, 30))
def test_order_and_batching_do_not_matter(events: list[Event], order: object, batch: int) -> None:
    """The same events in other batches and another order give the same content and hash."""
    shuffled = list(events)
    order.shuffle(shuffled)  # type: ignore[attr-defined]  # a Random
    batches = [shuffled[i : i + batch] for i in range(0, len(shuffled), batch)]
    one, other = merged([[event] for event in events]), merged(batches)
    assert (one.events, one.newest_ms) == (other.events, other.newest_ms)
    assert named(one) == named(other)
    assert one.hash() == other.hash()


@given(events=EVENTS)
def test_one_event_more_is_another_content(events: list[Event]) -> None:
    """The hash tells contents apart."""
    more = [*events, (9, "a", "x", "", 1)]
    assert merged([events]).hash() != merged([more]).hash()


PAYMENTS = load("payments")
SIMULATED = [
    simulated.payment
    for simulated in simulate(
        SimulationSettings(seed=3, seconds=6, rate_per_s=60, accounts=60, rings=1, start_ms=10**12)
    )
]


def windows(enrichers: int, batch: int) -> dict[tuple[str, int], Content]:
    """The content of each shard's windows, as so many enrichers tell of the same payments."""
    found: dict[tuple[str, int], Content] = {}
    size_ms = PAYMENTS.window.size_ms
    decoder = Decoder(PAYMENTS, None)
    for enricher in range(enrichers):
        builder, offset = DigestBuilder(PAYMENTS), 0
        mine = [one for one in SIMULATED if crc32(one.account_id.encode()) % enrichers == enricher]
        for first in range(0, len(mine), batch):
            values = [msgspec.json.encode(one) for one in mine[first : first + batch]]
            now_ms = mine[min(first + batch, len(mine)) - 1].occurred_at
            events, invalid = decoder.decode_batch(values, now_ms=now_ms)
            assert not invalid
            offsets = range(offset, offset + len(values))
            offset += len(values)
            written = builder.digests([enricher] * len(values), offsets, events, now_ms)
            for one in msgspec.json.decode(msgspec.json.encode(written), type=list[Digest]):
                start_ms = one.pane_start_ms // size_ms * size_ms
                where = (one.shard, start_ms)
                found.setdefault(where, Content(start_ms, start_ms + size_ms)).add(one)
    return found


@settings(max_examples=25)
@given(enrichers=st.integers(1, 6), batch=st.integers(1, 400))
def test_any_number_of_enrichers_tell_the_same(enrichers: int, batch: int) -> None:
    """However many share the events, and in whatever batches: the same content of every window."""
    alone, shared = windows(1, 10_000), windows(enrichers, batch)
    assert {where: one.hash() for where, one in shared.items()} == {
        where: one.hash() for where, one in alone.items()
    }
    assert sum(one.events for one in shared.values()) == len(SIMULATED)
