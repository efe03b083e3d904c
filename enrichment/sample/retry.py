"""Whether a failed attempt is worth another, and when: by the failure's kind, inside the deadline.

Exponential backoff with full jitter: the wait is uniform in [0, min(cap, first * 2^(attempt - 1))),
which spreads the clients of a recovering provider best (M. Brooker, "Exponential Backoff And
Jitter", AWS Architecture Blog, 2015). Pure: the draw is an argument.
"""

from collections.abc import Callable
from typing import Final

from enrichment.provider.contract import FailureKind

REPEATABLE: Final = frozenset({FailureKind.TRANSIENT, FailureKind.QUOTA})
"""What another attempt may mend. `unknown` is not here: it may have been accepted, and be paid."""

BACKOFF_FIRST_MS: Final = 100
"""A child of ours is up again, or a burst over, in about that time."""

BACKOFF_MAX_MS: Final = 5_000
"""Half of a usual deadline: a longer wait would leave no time for the attempt."""

RUN_MS_MIN: Final = 50
"""What must be left for the attempt itself: one problem at a busy simulator."""

ATTEMPTS_MAX: Final = 8
"""At one provider; beyond that its failures are not chance."""

Draw = Callable[[], float]
"""A uniform draw from [0, 1)."""


def backoff_ms(attempt: int, draw: Draw) -> int:
    """The wait after the failure of attempt number `attempt` (1, 2, ...), in milliseconds."""
    # 2^16 first waits are beyond any cap: the exponent needs no more, however many attempts.
    ceiling = min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** min(attempt - 1, 16))
    return int(draw() * ceiling)


def waited(due_ms: int, now_ms: int) -> bool:
    """Whether a wait for `due_ms` is over: only a clock set back makes one beyond a backoff."""
    return not 0 < due_ms - now_ms <= BACKOFF_MAX_MS


def retry_at_ms(
    kind: FailureKind, *, attempt: int, now_ms: int, deadline_ms: int, draw: Draw
) -> int | None:
    """When to try again, or None where no further attempt at this provider makes sense."""
    if kind not in REPEATABLE or attempt >= ATTEMPTS_MAX:
        return None
    due_ms = now_ms + backoff_ms(attempt, draw)
    return due_ms if due_ms + RUN_MS_MIN <= deadline_ms else None
