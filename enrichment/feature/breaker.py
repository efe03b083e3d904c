"""A circuit breaker: what fails again and again is left alone, and probed ever more rarely.

Pure: time is an argument, in milliseconds of any clock that is best monotonic. For one caller:

    if breaker.allows(now_ms()):
        try:
            answer = reads.read(keys)
        except redis.RedisError:
            breaker.failed(now_ms())
        else:
            breaker.succeeded()
"""

from enum import Enum
from typing import Final

# One read that a busy machine delayed says nothing of the next; so many in a row do, and cost the
# batches that made them no more than that many timeboxes.
FAILURES_MAX: Final = 3
OPEN_MS: Final = 1_000  # how long a broken cache is left alone before it is probed again
# A probe of a hung cache may cost a batch its timebox: with 20 ms of 8 s that is under the
# hundredth of batches that a p99 shows. A cache that has come back is used within as long.
OPEN_MS_MAX: Final = 8_000


class BreakerState(Enum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"  # one probe is under way, and nobody else may call


class Breaker:
    """The state between calls. `failures_max` failures in a row open it, one success closes it."""

    def __init__(
        self,
        *,
        failures_max: int = FAILURES_MAX,
        open_ms: int = OPEN_MS,
        open_ms_max: int = OPEN_MS_MAX,
    ) -> None:
        if failures_max < 1 or not 0 < open_ms <= open_ms_max:
            raise ValueError("a breaker needs failures_max >= 1 and 0 < open_ms <= open_ms_max")
        self._failures_max = failures_max
        self._open_first_ms = open_ms
        self._open_ms_max = open_ms_max
        self._state = BreakerState.CLOSED
        self._failures = 0
        self._open_ms = open_ms
        self._since_ms = 0

    @property
    def state(self) -> BreakerState:
        """Where it stands since the last call of a method."""
        return self._state

    @property
    def open_ms(self) -> int:
        """How long it stays open, or would if it opened now."""
        return self._open_ms

    def allows(self, now_ms: int) -> bool:
        """Whether to call now. True is to be followed by `succeeded` or `failed`.

        Of those that ask once it has been open long enough, the first alone is told yes. A probe
        of which nothing was heard for as long is given up, and another allowed. A clock that went
        back is taken for one that went on: nobody can say how long it has been open.
        """
        if self._state is BreakerState.CLOSED:
            return True
        if 0 <= now_ms - self._since_ms < self._open_ms:
            return False
        self._state = BreakerState.HALF_OPEN
        self._since_ms = now_ms
        return True

    def succeeded(self) -> None:
        """A call was answered: everything is as at the beginning."""
        self._state = BreakerState.CLOSED
        self._failures = 0
        self._open_ms = self._open_first_ms

    def failed(self, now_ms: int) -> None:
        """A call failed. While open it is late news of a call made before, and changes nothing."""
        if self._state is BreakerState.HALF_OPEN:
            self._open_ms = min(2 * self._open_ms, self._open_ms_max)
            self._open(now_ms)
        elif self._state is BreakerState.CLOSED:
            self._failures += 1
            if self._failures >= self._failures_max:
                self._open(now_ms)

    def _open(self, now_ms: int) -> None:
        self._state = BreakerState.OPEN
        self._since_ms = now_ms
