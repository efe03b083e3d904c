"""The watermark never goes back, waits for live sources, and counts a transaction as a whole."""

from hypothesis import given
from hypothesis import strategies as st

from enrichment.window.watermark import Watermark


def heard(watermark: Watermark, source: int, progress_ms: int, written_ms: int = 0) -> int | None:
    """What the watermark is after a complete word of the source."""
    watermark.observe(source, progress_ms, written_ms=written_ms, complete=True)
    return watermark.value_ms


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 1_000), st.integers(0, 500), st.booleans()),
        max_size=60,
    ),
    st.integers(0, 100),
)
def test_it_never_goes_back_nor_past_its_sources(
    words: list[tuple[int, int, int, bool]], lateness_ms: int
) -> None:
    """After every word it is no less than before, and no more than the greatest progress allows."""
    watermark = Watermark(lateness_ms=lateness_ms, idle_ms=50)
    written_ms, before = 0, None
    for source, progress_ms, gap_ms, complete in words:
        written_ms += gap_ms
        watermark.observe(source, progress_ms, written_ms=written_ms, complete=complete)
        if watermark.value_ms is not None:
            assert before is None or watermark.value_ms >= before
            assert watermark.value_ms <= max(word[1] for word in words) - lateness_ms
        before = watermark.value_ms


def test_the_slowest_live_source_holds_it() -> None:
    """It is the minimum over live sources, minus the lateness."""
    watermark = Watermark(lateness_ms=5, idle_ms=100)
    heard(watermark, 0, 50)
    heard(watermark, 1, 30)
    assert heard(watermark, 0, 90) == 45  # what the first word alone had given
    assert heard(watermark, 1, 70) == 65


def test_a_silent_source_is_not_waited_for() -> None:
    """A source that comes no further for the idle timeout no longer counts, by written time."""
    watermark = Watermark(lateness_ms=0, idle_ms=100)
    heard(watermark, 0, 10, written_ms=0)
    heard(watermark, 1, 10, written_ms=0)
    assert heard(watermark, 0, 500, written_ms=100) == 10
    assert heard(watermark, 1, 10, written_ms=150) == 500  # it speaks, and says nothing new


def test_progress_counts_when_its_transaction_is_complete() -> None:
    """A digest's progress is held back until the source goes on, or nothing is left to read."""
    watermark = Watermark(lateness_ms=0, idle_ms=100)
    watermark.observe(0, 40, written_ms=0, complete=False)
    watermark.observe(0, 40, written_ms=0, complete=False)
    assert watermark.held
    known = [watermark.value_ms]
    watermark.observe(0, 60, written_ms=1, complete=False)
    known.append(watermark.value_ms)
    watermark.settle()
    assert [*known, watermark.value_ms] == [None, 40, 60]


def test_sources_that_have_not_spoken_are_given_time() -> None:
    """With four sources known, nothing counts before each spoke or was silent for the timeout."""
    watermark = Watermark(lateness_ms=0, idle_ms=100, sources=2)
    assert heard(watermark, 0, 50, written_ms=10) is None
    assert heard(watermark, 0, 60, written_ms=110) is None
    assert heard(watermark, 0, 70, written_ms=111) == 70
    both = Watermark(lateness_ms=0, idle_ms=100, sources=2)
    heard(both, 0, 50, written_ms=10)
    assert heard(both, 1, 40, written_ms=11) == 40
