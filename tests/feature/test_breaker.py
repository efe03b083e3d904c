"""The circuit breaker: opens after failures in a row, probes one at a time, ever more rarely."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.feature.breaker import (
    FAILURES_MAX,
    OPEN_MS,
    OPEN_MS_MAX,
    Breaker,
    BreakerState,
)


def opened(at_ms: int = 0) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker()
    for _ in range(FAILURES_MAX):
        assert breaker.allows(at_ms)
        breaker.failed(at_ms)
    assert breaker.state is BreakerState.OPEN
    return breaker


def test_failures_in_a_row_open_it_and_others_do_not() -> None:
    """A success in between begins the count anew."""
    breaker = Breaker()
    for _ in range(5):
        for _ in range(FAILURES_MAX - 1):
            breaker.failed(0)
        breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert opened().state is BreakerState.OPEN


def test_one_probe_is_let_through_when_its_time_has_come() -> None:
    """Not a millisecond before, and nobody else with it."""
    breaker = opened()
    states = [breaker.state]
    assert not breaker.allows(OPEN_MS - 1)
    assert breaker.allows(OPEN_MS)
    states.append(breaker.state)
    assert not breaker.allows(OPEN_MS)
    breaker.succeeded()
    states.append(breaker.state)
    assert states == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]
    assert breaker.allows(OPEN_MS)


def test_failed_probes_double_the_wait_up_to_a_bound() -> None:
    """1, 2, 4, 8, 8 seconds; one success makes it one again."""
    breaker, now_ms, waits = opened(), 0, []
    for _ in range(5):
        waits.append(breaker.open_ms)
        assert not breaker.allows(now_ms + breaker.open_ms - 1)
        now_ms += breaker.open_ms
        assert breaker.allows(now_ms)
        breaker.failed(now_ms)
    assert waits == [1_000, 2_000, 4_000, 8_000, 8_000]
    breaker.succeeded()
    assert breaker.open_ms == OPEN_MS


def test_a_lost_probe_does_not_keep_it_shut_for_ever() -> None:
    """Whoever probed and said nothing is replaced after as long a wait."""
    breaker = opened()
    assert breaker.allows(OPEN_MS)
    assert not breaker.allows(2 * OPEN_MS - 1)
    assert breaker.allows(2 * OPEN_MS)


def test_a_clock_that_goes_back_does_not_keep_it_shut() -> None:
    """It cannot be said how long it has been open: a probe finds out."""
    assert opened(at_ms=1_000_000).allows(5)


@pytest.mark.parametrize("options", [{"failures_max": 0}, {"open_ms": 0}, {"open_ms_max": 10}])
def test_limits_that_make_no_sense_are_refused(options: dict[str, int]) -> None:
    """At the start, and not when it should open."""
    with pytest.raises(ValueError, match="a breaker needs"):
        Breaker(**options)


@given(
    st.lists(
        st.tuples(st.integers(0, 3_000), st.sampled_from(["ask", "ok", "late", "fail"])),
        max_size=200,
    )
)
def test_whatever_happens_its_promises_hold(steps: list[tuple[int, str]]) -> None:
    """Against a plain record of what was said to it: when it allows, and that it always will.

    Closed only while fewer than FAILURES_MAX failures came in a row; while open nothing passes
    before its wait is over; after OPEN_MS_MAX of silence a probe always passes.
    """
    breaker, now_ms = Breaker(), 0
    in_a_row = 0
    barred_since: int | None = None
    for step_ms, what in steps:
        now_ms += step_ms
        closed = breaker.state is BreakerState.CLOSED
        wait_ms = breaker.open_ms
        if what == "ask":
            allowed = breaker.allows(now_ms)
            if closed:
                assert allowed
            else:
                assert barred_since is not None
                assert allowed == (now_ms - barred_since >= wait_ms)
                if allowed:
                    barred_since = now_ms
                    assert not breaker.allows(now_ms)
        elif what == "ok":
            breaker.succeeded()
            in_a_row, barred_since = 0, None
            assert breaker.state is BreakerState.CLOSED
        else:
            half = breaker.state is BreakerState.HALF_OPEN
            was_open = breaker.state is BreakerState.OPEN
            breaker.failed(now_ms)
            in_a_row += 1
            if not was_open and (half or in_a_row >= FAILURES_MAX):
                barred_since = now_ms
                assert breaker.state is BreakerState.OPEN
        assert OPEN_MS <= breaker.open_ms <= OPEN_MS_MAX
        assert (breaker.state is BreakerState.CLOSED) == (in_a_row < FAILURES_MAX)
    assert breaker.allows(now_ms + OPEN_MS_MAX)
