"""Digests: what windowing adds up is exactly what was enriched, however it was batched or split."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.enrich import digest as digests
from enrichment.enrich.decode import Decoder
from enrichment.enrich.digest import MICRO, DigestBuilder
from enrichment.enrich.events import Event
from enrichment.records import Aggregates, Digest, Links, Tallies
from tests.enrich.streams import CARD, CARDS, PAYMENTS, RATING, TRUST, columns, event, payment
from tests.feature.cached import NOW_MS

DECODER = Decoder(PAYMENTS)
PANE_MS = PAYMENTS.window.pane_ms
Sums = dict[tuple[str, ...], list[int]]


def decoded(decoder: Decoder, value: bytes) -> Event:
    """The event in a valid record."""
    found = decoder.decode(value, now_ms=NOW_MS)
    assert isinstance(found, Event)
    return found


EVENTS = st.builds(
    lambda account, device, region, back_ms, amount: decoded(
        DECODER,
        payment(
            account_id=account,
            device_id=device,
            region=region,
            occurred_at=NOW_MS - back_ms,
            amount=amount,
        ),
    ),
    st.sampled_from(["a1", "a2", "a3"]),
    st.sampled_from(["d1", "d2", None]),
    st.sampled_from(["eu", "us"]),
    st.integers(0, 3 * PANE_MS),
    st.decimals(0, 1000, places=2).map(float),
)


def digested(builder: DigestBuilder, *events: Event) -> list[Digest]:
    """The digests of these events of partition 0, as whoever reads the topic decodes them."""
    return read(builder.digests([0] * len(events), range(len(events)), columns(*events), NOW_MS))


def read(written: list[Digest]) -> list[Digest]:
    """The digests as they come over the wire, where they are what the record would write."""
    wire = msgspec.json.encode(written)
    found = msgspec.json.decode(wire, type=list[Digest])
    assert msgspec.json.encode(found) == wire
    return found


def rows(columns: Links | Tallies | Aggregates) -> list[tuple[Any, ...]]:
    """What stands in columns, row by row."""
    return list(zip(*msgspec.structs.astuple(columns), strict=True))


def merged(found: list[Digest]) -> Sums:
    """Everything that the digests count, added up by pane and shard as windowing does."""
    sums: Sums = {}

    def add(key: tuple[str, ...], events: int, amount: int, newest_ms: int = 0) -> None:
        entry = sums.setdefault(key, [0, 0, 0])
        entry[0] += events
        entry[1] += amount
        entry[2] = max(entry[2], newest_ms)

    for each in found:
        where = (each.shard, str(each.pane_start_ms))
        for name, links in each.link_columns.items():
            for a, b, *counts in rows(links):
                add((*where, name, a, b), *counts)
        for kind, tallies in each.tally_columns.items():
            for id_, *counts in rows(tallies):
                add((*where, kind, id_), *counts)
        # A time per entity is not told, only the digest's own.
        add(where, each.events, 0, each.newest_ms)
    return sums


def counted(events: list[Event]) -> Sums:
    """The same, counted from the events without any digest."""
    sums: Sums = {}
    for each in events:
        where = (each.shard, str(each.occurred_at_ms // PANE_MS * PANE_MS))
        roles = each.entities
        amount, at_ms = each.amount_minor, each.occurred_at_ms
        counts: dict[tuple[str, ...], tuple[int, int]] = {
            (*where, kind, id_): (amount, 0) for kind, id_ in roles.items()
        }
        for a, b in (("account", "device"), ("account", "beneficiary")):
            if a in roles and b in roles:
                counts[*where, f"{a}~{b}", roles[a], roles[b]] = (amount, at_ms)
        counts[where] = (0, at_ms)
        for key, (amount, at_ms) in counts.items():
            entry = sums.setdefault(key, [0, 0, 0])
            entry[0] += 1
            entry[1] += amount
            entry[2] = max(entry[2], at_ms)
    return sums


@given(batches=st.lists(st.lists(st.tuples(st.integers(0, 2), EVENTS), max_size=8), max_size=4))
def test_digests_add_up_to_the_events(batches: list[list[tuple[int, Event]]]) -> None:
    """However events fall into batches and source partitions, no count and no cent is lost."""
    builder = DigestBuilder(PAYMENTS)
    found: list[Digest] = []
    offset = 0
    for batch in batches:
        if batch:
            partitions = [partition for partition, _ in batch]
            offsets = range(offset, offset + len(batch))
            events = columns(*[each for _, each in batch])
            found += read(builder.digests(partitions, offsets, events, NOW_MS))
        offset += len(batch)
        list(builder.progress())
    all_events = [each for batch in batches for _, each in batch]
    assert merged(found) == counted(all_events)
    assert sum(each.events for each in found) == len(all_events)
    assert all(digest.pane_end_ms - digest.pane_start_ms == PANE_MS for digest in found)
    assert all(digest.offset_first <= digest.offset_last for digest in found)
    assert all(d.pane_start_ms <= d.newest_ms < d.pane_end_ms for d in found)


@given(events=st.lists(EVENTS, min_size=1, max_size=12), tuples_max=st.integers(1, 5))
def test_a_large_digest_is_split_without_loss(events: list[Event], tuples_max: int) -> None:
    """Parts are numbered, none is larger than the limit, and events are counted in one of them."""
    builder = DigestBuilder(PAYMENTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "TUPLES_MAX", tuples_max)
        found = digested(builder, *events)
    assert merged(found) == counted(events)
    assert sum(each.events for each in found) == len(events)
    parts = Counter((digest.shard, digest.pane_start_ms) for digest in found)
    for digest in found:
        assert digest.parts == parts[digest.shard, digest.pane_start_ms]
        assert 0 <= digest.part < digest.parts
        tuples: list[Links | Tallies] = [
            *digest.link_columns.values(),
            *digest.tally_columns.values(),
        ]
        assert 0 < sum(map(len, tuples)) <= tuples_max


def test_a_label_is_an_aggregate_in_exact_millionths() -> None:
    """Label and amount are summed as integers, so that merging is exact in any order."""
    decoder, builder = Decoder(CARDS), DigestBuilder(CARDS)
    events = [decoded(decoder, event(CARD, is_fraud=fraud, amount=0.1)) for fraud in (1, 0, 1, ...)]
    [found] = digested(builder, *events)
    assert rows(found.aggregate_columns["risk_week"]) == [("13", 3, 2 * MICRO)]
    assert rows(found.aggregate_columns["amount_week"]) == [("11", 4, 400_000)]


def test_an_event_between_a_user_and_itself_counts_once() -> None:
    """Two roles of one kind that are one user make one tally of one event."""
    builder = DigestBuilder(TRUST)
    rating = decoded(Decoder(TRUST), event(RATING, source=6, target=6))
    [found] = digested(builder, rating)
    tallies = found.tally_columns["user"]
    assert (tallies.ids, tallies.events) == (["6"], [1])


@given(pairs=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=12))
def test_a_user_counts_in_whichever_role(pairs: list[tuple[int, int]]) -> None:
    """Tallies of a kind with two roles, and links within it, are those of the events."""
    decoder = Decoder(TRUST)
    events = [decoded(decoder, event(RATING, source=a, target=b)) for a, b in pairs]
    [found] = digested(DigestBuilder(TRUST), *events)
    users = Counter(str(user) for pair in pairs for user in set(pair))
    assert Counter({id_: count for id_, count, _ in rows(found.tally_columns["user"])}) == users
    links = {(a, b): count for a, b, count, *_ in rows(found.link_columns["source>target"])}
    assert links == Counter((str(a), str(b)) for a, b in pairs)


def test_a_pair_that_meets_again_is_one_link() -> None:
    """Also where both have been with others since, and whichever event was the newest."""
    met = [("a1", "d1", 3), ("a1", "d1", 5), ("a1", "d1", 4), ("a1", "d2", 6), ("a2", "d1", 7)]
    events = [
        decoded(DECODER, payment(account_id=account, device_id=device, occurred_at=at_ms))
        for account, device, at_ms in [(a, d, NOW_MS - NOW_MS % PANE_MS + ms) for a, d, ms in met]
    ]
    [found] = digested(DigestBuilder(PAYMENTS), *events)
    links = found.link_columns["account~device"]
    newest = [at_ms % PANE_MS for at_ms in links.newest_ms]
    assert sorted(zip(links.a, links.b, links.events, newest, strict=True)) == [
        ("a1", "d1", 3, 5),
        ("a1", "d2", 1, 6),
        ("a2", "d1", 1, 7),
    ]


def test_progress_is_the_newest_time_that_a_source_has_shown() -> None:
    """It never goes back, is each source partition's own, and survives batches."""
    builder = DigestBuilder(PAYMENTS)
    first = decoded(DECODER, payment(occurred_at=NOW_MS))
    second = decoded(DECODER, payment(occurred_at=NOW_MS - 9_000))
    found = builder.digests([0, 1], [0, 0], columns(first, second), NOW_MS)
    assert {d.source_partition: d.progress_ms for d in found} == {
        0: NOW_MS,
        1: NOW_MS - 9_000,
    }
    list(builder.progress())
    [late] = digested(builder, decoded(DECODER, payment(occurred_at=NOW_MS - 100)))
    assert late.progress_ms == NOW_MS
    [(progress, stated)] = builder.progress()
    assert (progress.source_partition, progress.progress_ms) == (0, NOW_MS)
    assert (progress.shard, progress.events, stated) == ("", 0, False)


def test_an_event_ahead_of_the_clock_tells_no_progress() -> None:
    """A source with one wrong clock among its events has come as far as the wall clock, no more."""
    builder = DigestBuilder(PAYMENTS)
    ahead = decoded(DECODER, payment(occurred_at=NOW_MS + 3_600_000))
    [found] = digested(builder, ahead)
    assert found.pane_start_ms > NOW_MS
    assert found.progress_ms == NOW_MS


def test_a_stated_progress_needs_no_event() -> None:
    """A source that says how far it is moves the watermark past the lateness, and it is told."""
    builder = DigestBuilder(PAYMENTS)
    builder.add_progress(2, 5, NOW_MS)
    [(progress, stated)] = builder.progress()
    assert progress.progress_ms - PAYMENTS.window.lateness_ms == NOW_MS
    assert (progress.source_partition, progress.offset_last, stated) == (2, 5, True)
    assert progress.pane_start_ms <= progress.progress_ms < progress.pane_end_ms
    assert list(builder.progress()) == []


def test_what_was_aborted_is_not_counted_twice() -> None:
    """After `forget`, the batch read again gives the digests that it gave at first."""
    builder = DigestBuilder(PAYMENTS)
    first = digested(builder, decoded(DECODER, payment()))
    builder.forget()
    assert list(builder.progress()) == []
    assert digested(builder, decoded(DECODER, payment())) == first
