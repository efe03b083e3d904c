"""Another attempt is made for what it may mend, within the deadline, at a random moment."""

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from enrichment.provider.contract import FailureKind
from enrichment.sample.retry import (
    ATTEMPTS_MAX,
    BACKOFF_MAX_MS,
    REPEATABLE,
    RUN_MS_MIN,
    backoff_ms,
    retry_at_ms,
)

draws = st.floats(0, 1, exclude_max=True)


@given(
    kind=st.sampled_from(FailureKind),
    attempt=st.integers(1, 40),
    now_ms=st.integers(0, 100_000),
    deadline_ms=st.integers(0, 100_000),
    draw=draws,
)
def test_a_retry_leaves_time_for_the_attempt_or_is_not_made(
    kind: FailureKind, attempt: int, now_ms: int, deadline_ms: int, draw: float
) -> None:
    """It lies between now and the deadline, and only for kinds that another attempt may mend."""
    due_ms = retry_at_ms(
        kind, attempt=attempt, now_ms=now_ms, deadline_ms=deadline_ms, draw=lambda: draw
    )
    if due_ms is None:
        latest = now_ms + backoff_ms(attempt, lambda: draw) + RUN_MS_MIN
        assert kind not in REPEATABLE or attempt >= ATTEMPTS_MAX or latest > deadline_ms
    else:
        assert kind in REPEATABLE
        assert attempt < ATTEMPTS_MAX
        assert now_ms <= due_ms <= deadline_ms - RUN_MS_MIN


def test_only_transient_and_quota_are_repeated() -> None:
    """The rest never are: it would not help, or might be paid twice."""
    repeated = {
        kind
        for kind in FailureKind
        if retry_at_ms(kind, attempt=1, now_ms=0, deadline_ms=10_000, draw=lambda: 0.5) is not None
    }
    assert repeated == {FailureKind.TRANSIENT, FailureKind.QUOTA}


def test_attempts_are_limited() -> None:
    """The last attempt is followed by none, with all the time in the world."""
    made = [
        retry_at_ms(
            FailureKind.TRANSIENT, attempt=attempt, now_ms=0, deadline_ms=10**9, draw=lambda: 0.0
        )
        for attempt in range(1, ATTEMPTS_MAX + 3)
    ]
    assert [due_ms is not None for due_ms in made] == [True] * (ATTEMPTS_MAX - 1) + [False] * 3


@given(attempt=st.integers(1, 10_000), draw=draws)
def test_the_wait_is_bounded(attempt: int, draw: float) -> None:
    """However many attempts: never longer than the cap, never negative."""
    assert 0 <= backoff_ms(attempt, lambda: draw) < BACKOFF_MAX_MS


def test_the_jitter_is_full_and_the_mean_doubles() -> None:
    """Waits fill [0, ceiling) evenly, and the ceiling doubles with each attempt."""
    rng = random.Random(5)
    means = []
    for attempt in (1, 2, 3, 4):
        waits = [backoff_ms(attempt, rng.random) for _ in range(4_000)]
        ceiling = 100 * 2 ** (attempt - 1)
        assert min(waits) < 0.02 * ceiling
        assert max(waits) > 0.98 * ceiling - 1
        means.append(sum(waits) / len(waits))
    for earlier, later in itertools.pairwise(means):
        assert 1.9 < later / earlier < 2.1
