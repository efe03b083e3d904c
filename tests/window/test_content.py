"""Windows add up exactly, in whatever order and batching their digests come."""

from hypothesis import given
from hypothesis import strategies as st

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


@given(events=EVENTS, order=st.randoms(use_true_random=False), batch=st.integers(1, 30))
def test_order_and_batching_do_not_matter(events: list[Event], order: object, batch: int) -> None:
    """The same events in other batches and another order give the same content and hash."""
    shuffled = list(events)
    order.shuffle(shuffled)  # type: ignore[attr-defined]  # a Random
    batches = [shuffled[i : i + batch] for i in range(0, len(shuffled), batch)]
    one, other = merged([[event] for event in events]), merged(batches)
    assert (one.events, one.newest_ms) == (other.events, other.newest_ms)
    assert (one.links, one.tallies) == (other.links, other.tallies)
    assert one.hash() == other.hash()


@given(events=EVENTS)
def test_one_event_more_is_another_content(events: list[Event]) -> None:
    """The hash tells contents apart."""
    more = [*events, (9, "a", "x", "", 1)]
    assert merged([events]).hash() != merged([more]).hash()
